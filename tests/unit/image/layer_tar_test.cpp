// How archives of other programs are read: PAX and GNU forms, sparse files, large numbers; that
// every byte is in the record; and that what lies is an error.
#include "image/layer_tar.hpp"

#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>
#include <iterator>

#include "image/tar_header.hpp"
#include "support/byte_sources.hpp"
#include "support/command.hpp"
#include "support/scratch.hpp"
#include "support/tar_builder.hpp"

using base::ErrorCode;
using image::LayerEntry;
using image::LayerTar;
using support::Scratch;
using support::TarBuilder;

namespace {

/// Puts the archive together again, as an engine does from the record and the files.
class Assembly final : public image::ArchiveRecord {
 public:
  base::Status raw(base::ByteView bytes) override {
    archive += base::as_text(bytes);
    return base::ok();
  }
  base::Status file(const std::string& name, std::uint64_t size_bytes,
                    const std::array<std::uint8_t, 8>& crc64) override {
    names.push_back(name);
    REQUIRE(content.size() == size_bytes);
    image::Crc64 expected;
    expected.update(base::as_bytes(content));
    if (size_bytes > 0) {
      CHECK(expected.value() == crc64);
    }
    archive += content;
    content.clear();
    return base::ok();
  }
  std::string archive;
  std::string content;  // of the present file
  std::vector<std::string> names;
};

struct Read {
  std::vector<LayerEntry> entries;
  std::vector<std::string> contents;  // without holes
  std::string assembled;
};

/// \param piece how much the source gives at once
base::Result<Read> read(const std::string& archive, std::size_t piece = 1000) {
  support::TextSource source(archive, piece);
  Assembly record;
  LayerTar tar(source, record);
  Read result;
  for (;;) {
    OU_TRY(const auto entry, tar.next());
    if (!entry) {
      result.assembled = record.archive;
      return result;
    }
    std::string content;
    base::Bytes buffer(777);
    for (;;) {
      OU_TRY(const std::size_t got, tar.read(buffer));
      if (got == 0) {
        break;
      }
      content += base::as_text(base::ByteView(buffer).first(got));
    }
    const bool whole =
        entry->stretches.size() == 1 && entry->stretches[0].size_bytes == entry->size_bytes;
    record.content = whole ? content : "";
    result.entries.push_back(*entry);
    result.contents.push_back(std::move(content));
  }
}

ErrorCode code_of(const std::string& archive) {
  const auto result = read(archive);
  REQUIRE_FALSE(result);
  return result.error().code();
}

/// One header with a right checksum.
std::string header(const std::string& name, char type, const std::string& size_field,
                   const std::string& target = "") {
  std::string block(512, '\0');
  const auto put = [&block](std::size_t at, const std::string& text) {
    block.replace(at, text.size(), text);
  };
  put(0, name);
  put(100, "0000644");
  put(108, "0000000");
  put(116, "0000000");
  put(124, size_field);
  put(136, "00000000000");
  put(148, "        ");
  block[156] = type;
  put(157, target);
  put(257, std::string("ustar\00000", 8));
  unsigned sum = 0;
  for (const char byte : block) {
    sum += static_cast<std::uint8_t>(byte);
  }
  std::array<char, 8> digits{};
  std::snprintf(digits.data(), digits.size(), "%06o", sum);
  put(148, digits.data());
  return block;
}

std::string octal(std::uint64_t value) {
  std::array<char, 13> digits{};
  std::snprintf(digits.data(), digits.size(), "%011lo", value);
  return digits.data();
}

std::string padded(std::string text) {
  text.resize((text.size() + 511) / 512 * 512);
  return text;
}

std::string record(const std::string& key, const std::string& value) {
  std::size_t length = key.size() + value.size() + 3;
  length += std::to_string(length).size();
  if (std::to_string(length).size() != std::to_string(length - 1).size() &&
      std::to_string(length).size() + key.size() + value.size() + 3 != length) {
    ++length;
  }
  return std::to_string(length) + " " + key + "=" + value + "\n";
}

std::string pax(const std::string& records) {
  return header("pax", 'x', octal(records.size())) + padded(records);
}

const std::string kEnd(1024, '\0');

std::string file_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("layer tar: every byte of an archive is in the record, whatever pieces it comes in") {
  const std::string archive = TarBuilder()
                                  .directory("d/")
                                  .file("d/one", support::noise(5000))
                                  .file("empty", "")
                                  .hardlink("two", "d/one")
                                  .symlink("three", "d/one")
                                  .file("exact", std::string(512, 'x'))
                                  .finish() +
                              std::string(3000, '\0') + "behind the end";
  for (const std::size_t piece : {1U, 511U, 4096U, 1U << 20U}) {
    const auto result = read(archive, piece);
    REQUIRE(result);
    CHECK(result->assembled == archive);
    CHECK(result->entries.size() == 6);
    CHECK(result->contents[1] == support::noise(5000));
  }
}

TEST_CASE("layer tar: PAX records say what a header cannot") {
  const std::string name(300, 'n');
  const std::string archive =
      pax(record("path", name) + record("uid", "4294967294") + record("gid", "70000") +
          record("mtime", "1700000000.123456789") + record("size", "3") +
          record("SCHILY.xattr.security.capability", std::string("\1\0\0\2", 4)) +
          record("SCHILY.xattr.user.none", "")) +
      header("short", '0', octal(0)) + padded("abc") + pax(record("linkpath", name)) +
      header("link", '2', octal(0)) + kEnd;
  const auto result = read(archive);
  REQUIRE(result);
  CHECK(result->assembled == archive);
  const LayerEntry& entry = result->entries[0];
  CHECK(entry.name == name);
  CHECK(entry.uid == 4294967294);
  CHECK(entry.gid == 70000);
  CHECK(entry.mtime_seconds == 1700000000);
  CHECK(entry.mtime_nanoseconds == 123456789);
  CHECK(entry.size_bytes == 3);
  CHECK(result->contents[0] == "abc");
  CHECK(entry.xattrs.at("security.capability") == std::string("\1\0\0\2", 4));
  CHECK(entry.xattrs.count("user.none") == 0);
  CHECK(result->entries[1].link_target == name);
}

TEST_CASE("layer tar: GNU long names, prefixes, binary numbers and old files are read") {
  const std::string name(200, 'g');
  std::string binary(12, '\0');
  binary[0] = '\x80';
  binary[11] = '\5';
  const std::string archive = header("././@LongLink", 'L', octal(201)) + padded(name) +
                              header("short", '0', binary) + padded("12345") +
                              header("old-directory/", '\0', octal(0)) + kEnd;
  const auto result = read(archive);
  REQUIRE(result);
  CHECK(result->assembled == archive);
  CHECK(result->entries[0].name == name);
  CHECK(result->contents[0] == "12345");
  CHECK(result->entries[1].kind == LayerEntry::Kind::kDirectory);
}

TEST_CASE("layer tar: sparse files of GNU tar's PAX forms have their holes") {
  const Scratch scratch;
  const auto path = scratch.write("sparse", "");
  {
    std::ofstream out(path, std::ios::binary);
    out.seekp(1 << 20);
    out << std::string(6000, 'a');
    out.seekp(3 << 20);
    out << std::string(100, 'b');
  }
  std::filesystem::resize_file(path, 5 << 20);
  for (const char* version : {"0.0", "0.1", "1.0"}) {
    INFO(version);
    support::must_run({"tar", "--sparse", "--format=posix",
                       "--sparse-version=" + std::string(version), "-C", scratch.path().string(),
                       "-cf", (scratch / "archive").string(), "sparse"});
    const std::string archive = file_text(scratch / "archive");
    const auto result = read(archive);
    REQUIRE(result);
    CHECK(result->assembled == archive);
    REQUIRE(result->entries.size() == 1);
    const LayerEntry& entry = result->entries[0];
    CHECK(entry.name == "sparse");
    CHECK(entry.size_bytes == 5 << 20);
    std::string whole(5 << 20, '\0');
    std::size_t at = 0;
    for (const auto& stretch : entry.stretches) {
      whole.replace(stretch.at, stretch.size_bytes, result->contents[0], at, stretch.size_bytes);
      at += stretch.size_bytes;
    }
    CHECK(whole == file_text(path));
  }
  support::must_run({"tar", "--sparse", "--format=gnu", "-C", scratch.path().string(), "-cf",
                     (scratch / "archive").string(), "sparse"});
  CHECK(code_of(file_text(scratch / "archive")) == ErrorCode::kImageInvalid);
}

TEST_CASE("layer tar: archives that lie are errors") {
  const std::string file = header("a", '0', octal(5)) + padded("12345");
  CHECK(read(file + kEnd));
  CHECK(read(file));  // engines do not insist on an end
  CHECK(code_of(file.substr(0, 515)) == ErrorCode::kImageInvalid);
  CHECK(code_of(file.substr(0, 600)) == ErrorCode::kImageInvalid);
  CHECK(code_of(file + std::string(512, '\0') + file) == ErrorCode::kImageInvalid);
  std::string altered = file;
  altered[0] = 'b';
  CHECK(code_of(altered + kEnd) == ErrorCode::kImageInvalid);
  CHECK(code_of(header("a", '0', "notoctal") + kEnd) == ErrorCode::kImageInvalid);
  CHECK(code_of(header("a", '0', std::string(12, '\xff')) + kEnd) == ErrorCode::kImageInvalid);
  CHECK(code_of(header("a", '0', "\x80" + std::string(11, '\xff')) + kEnd) ==
        ErrorCode::kImageInvalid);
  CHECK(code_of(header("a", 'Z', octal(0)) + kEnd) == ErrorCode::kImageInvalid);
  CHECK(code_of(header("x", 'x', octal(1 << 21U)) + kEnd) == ErrorCode::kLimitExceeded);
  for (const char* records :
       {"5 a=b\n", "x", "99 a=b\n", "6 ab\n\n", "0 a=b\n", "18446744073709551615 a=b\n"}) {
    INFO(records);
    CHECK(code_of(pax(records) + file + kEnd) == ErrorCode::kImageInvalid);
  }
  CHECK(code_of(pax(record("uid", "-1")) + file + kEnd) == ErrorCode::kImageInvalid);
  CHECK(code_of(pax(record("uid", "4294967296")) + file + kEnd) == ErrorCode::kImageInvalid);
  CHECK(code_of(pax(record("size", "18446744073709551615")) + file + kEnd) != ErrorCode::kInternal);
  const auto sparse = [&](const std::string& map, const std::string& size) {
    return pax(record("GNU.sparse.map", map) + record("GNU.sparse.size", size)) + file + kEnd;
  };
  CHECK(read(sparse("0,5", "9")));
  for (const char* map :
       {"0,6", "5,5,0,0", "0,3,1,2", "8,5", "0", "18446744073709551615,5", "a,b"}) {
    INFO(map);
    CHECK(code_of(sparse(map, "9")) == ErrorCode::kImageInvalid);
  }
  CHECK(code_of(sparse("0,5", "18446744073709551615")) == ErrorCode::kLimitExceeded);
}
