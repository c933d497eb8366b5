// A disk image arrives bit for bit from whatever it is packed in, or there is an error: what the
// programs of Debian pack, and what they never would.
#include "image/image_stream.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/files.hpp"
#include "support/byte_sources.hpp"
#include "support/command.hpp"
#include "support/scratch.hpp"
#include "support/tar_builder.hpp"

using base::ErrorCode;
using image::Compression;
using support::must_run;
using support::noise;
using support::Scratch;
namespace fs = std::filesystem;

namespace {

base::Result<std::string> read_image(const fs::path& path, std::size_t piece = 65536) {
  OU_TRY(const auto stream, image::open_image_stream(path));
  return support::read_all(*stream, piece);
}

ErrorCode failure_of(const fs::path& path) {
  const auto text = read_image(path);
  return text ? ErrorCode::kInternal : text.error().code();
}

/// Noise, zeros, noise: several buffers long.
std::string image_text() {
  return noise(300'000) + std::string(500'000, '\0') + noise(12'345, 2);
}

std::string content_of(const fs::path& path) {
  return std::string(base::as_text(base::read_file(path, 1U << 30U).value()));
}

/// `text` packed by the program of that name, in a file whose name says nothing.
fs::path pack(const Scratch& scratch, const std::string& text, const std::string& program) {
  const fs::path plain = scratch.write("os.img", text);
  const fs::path packed = scratch / ("packed-by-" + program);
  if (program == "zip") {
    must_run({"zip", "-q", "-j", packed.string() + ".zip", plain.string()});
    fs::rename(packed.string() + ".zip", packed);
  } else {
    must_run({"sh", "-c", "\"$0\" -c < \"$1\" > \"$2\"", program, plain, packed});
  }
  return packed;
}

struct Format {
  const char* program;
  Compression compression;
};

}  // namespace

TEST_CASE("image stream: gives back what each program packed, however the pieces fall") {
  const Scratch scratch;
  const std::string text = image_text();
  const auto format = GENERATE(Format{"gzip", Compression::kGzip}, Format{"zip", Compression::kZip},
                               Format{"bzip2", Compression::kBzip2}, Format{"xz", Compression::kXz},
                               Format{"zstd", Compression::kZstd});
  const fs::path packed = pack(scratch, text, format.program);
  CHECK(image::sniff_compression(packed).value() == format.compression);
  for (const std::size_t piece : {std::size_t{1009}, std::size_t{4} << 20U}) {
    CHECK((read_image(packed, piece).value() == text));
  }
  const auto stream = image::open_image_stream(packed);
  CHECK((*stream)->compression() == format.compression);
  CHECK((*stream)->file_size_bytes() == fs::file_size(packed));
  if (format.compression == Compression::kXz || format.compression == Compression::kZip) {
    CHECK((*stream)->size_bytes() == text.size());
  }
  CHECK((*stream)->skip_hole().value() == 0);
  CHECK((support::read_all(**stream).value() == text));
  CHECK((*stream)->file_read_bytes() > 300'000);
  CHECK((*stream)->file_read_bytes() <= fs::file_size(packed));
}

TEST_CASE("image stream: two packed pieces in a row are one image") {
  const Scratch scratch;
  const std::string program = GENERATE("gzip", "bzip2", "xz", "zstd");
  const std::string one = content_of(pack(scratch, "one ", program));
  const std::string two = content_of(pack(scratch, "two", program));
  const fs::path both = scratch.write("both", one + two);
  CHECK(read_image(both).value() == "one two");
  if (program == "xz") {
    CHECK((*image::open_image_stream(both))->size_bytes() == 7);
  }
}

TEST_CASE("image stream: a packed image cut anywhere is an error") {
  const Scratch scratch;
  const std::string program = GENERATE("gzip", "zip", "bzip2", "xz", "zstd");
  const std::string whole = content_of(pack(scratch, noise(100'000), program));
  for (const std::size_t cut :
       {std::size_t{1}, std::size_t{4}, std::size_t{20}, whole.size() / 2, whole.size() - 12}) {
    CAPTURE(program, cut);
    CHECK(failure_of(scratch.write("cut", whole.substr(0, whole.size() - cut))) ==
          ErrorCode::kDiskImage);
  }
}

TEST_CASE("image stream: anything after the end of a packed image is an error") {
  const Scratch scratch;
  const std::string program = GENERATE("gzip", "zip", "bzip2", "xz", "zstd");
  const std::string whole = content_of(pack(scratch, noise(100'000), program));
  CHECK(failure_of(scratch.write("more", whole + "more")) == ErrorCode::kDiskImage);
  CHECK(failure_of(scratch.write("long", whole + noise(200'000, 3))) == ErrorCode::kDiskImage);
}

TEST_CASE("image stream: a packed image with a changed byte is an error") {
  const Scratch scratch;
  const std::string program = GENERATE("gzip", "zip", "bzip2", "xz", "zstd");
  // zstd -c of a pipe writes a checksum; each of the others always has one.
  std::string bytes = content_of(pack(scratch, noise(100'000), program));
  bytes[bytes.size() / 2] = static_cast<char>(~bytes[bytes.size() / 2]);
  CHECK(failure_of(scratch.write("changed", bytes)) == ErrorCode::kDiskImage);
}

TEST_CASE("image stream: a raw image has its size, and its holes are passed over") {
  const Scratch scratch;
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
  const std::string text = noise(kMiB);
  const fs::path path = scratch.write("raw", "");
  const auto fd = base::open_file(path, O_WRONLY).value();
  for (const std::uint64_t at : {2 * kMiB, 5 * kMiB}) {
    REQUIRE(::pwrite(fd.get(), text.data(), kMiB, static_cast<off_t>(at)) == kMiB);
  }
  REQUIRE(::ftruncate(fd.get(), 8 * kMiB) == 0);

  const auto stream = image::open_image_stream(path).value();
  CHECK(stream->compression() == Compression::kNone);
  CHECK(stream->size_bytes() == 8 * kMiB);
  base::Bytes buffer(kMiB);
  CHECK(stream->skip_hole().value() == 2 * kMiB);
  CHECK(stream->skip_hole().value() == 0);
  CHECK(stream->read(buffer).value() == kMiB);
  CHECK((base::as_text(buffer) == text));
  CHECK(stream->skip_hole().value() == 2 * kMiB);
  CHECK(stream->read(buffer).value() == kMiB);
  CHECK((base::as_text(buffer) == text));
  CHECK(stream->skip_hole().value() == 2 * kMiB);
  CHECK(stream->file_read_bytes() == 8 * kMiB);
  CHECK(stream->skip_hole().value() == 0);
  CHECK(stream->read(buffer).value() == 0);
}

TEST_CASE("image stream: an empty file, a directory and what is not there are no images") {
  const Scratch scratch;
  CHECK(failure_of(scratch.write("empty", "")) == ErrorCode::kDiskImage);
  CHECK(failure_of(scratch.path()) == ErrorCode::kDiskImage);
  CHECK(failure_of(scratch / "none") == ErrorCode::kNotFound);
  const fs::path pipe = scratch / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(failure_of(pipe) == ErrorCode::kDiskImage);
}

TEST_CASE("image stream: what wants too much memory is refused before it is given") {
  const Scratch scratch;
  const fs::path plain = scratch.write("os.img", noise(1000));
  const fs::path packed = scratch / "packed";
  const std::string command =
      GENERATE("xz --lzma2=dict=1GiB -c", "zstd --long=28 --ultra -22 -c --no-content-size");
  must_run({"sh", "-c", command + " < \"$0\" > \"$1\"", plain, packed});
  const auto text = read_image(packed);
  REQUIRE_FALSE(text);
  CHECK(text.error().code() == ErrorCode::kDiskImage);
  CHECK_THAT(text.error().message(), Catch::Contains("MiB"));
}

TEST_CASE("image stream: a zstd window of 128 MiB, as zstd --long makes, is taken") {
  const Scratch scratch;
  const fs::path plain = scratch.write("os.img", "text");
  const fs::path packed = scratch / "packed";
  must_run({"sh", "-c", "cat \"$0\" | zstd --long=27 -c > \"$1\"", plain, packed});
  CHECK(read_image(packed).value() == "text");
}

TEST_CASE("image stream: of a zip archive with several files the one named like an image counts") {
  const Scratch scratch;
  const fs::path image = scratch.write("os.img", "the image");
  const fs::path notes = scratch.write("README.txt", "notes");
  const fs::path mac = scratch.write("__MACOSX/._os.img", "resource fork");
  const fs::path archive = scratch / "os.zip";
  const auto zip = [&](const std::string& files) {
    must_run({"sh", "-c", "cd \"$0\" && rm -f os.zip && zip -q os.zip " + files, scratch.path()});
  };
  zip("README.txt os.img __MACOSX __MACOSX/._os.img");
  CHECK(read_image(archive).value() == "the image");
  zip("README.txt");
  CHECK(read_image(archive).value() == "notes");
  static_cast<void>(scratch.write("other.img", "another"));
  zip("os.img other.img");
  const auto two = read_image(archive);
  REQUIRE_FALSE(two);
  CHECK(two.error().code() == ErrorCode::kDiskImage);
  CHECK_THAT(two.error().message(), Catch::Contains("other.img"));
  zip("__MACOSX/._os.img");
  CHECK(failure_of(archive) == ErrorCode::kDiskImage);
}

TEST_CASE("image stream: stored, streamed and commented zip archives are read, others refused") {
  const Scratch scratch;
  const std::string text = image_text();
  static_cast<void>(scratch.write("os.img", text));
  const auto shell = [&](const std::string& command) {
    must_run({"sh", "-c", "cd \"$0\" && rm -f os.zip && " + command, scratch.path()});
  };
  const fs::path archive = scratch / "os.zip";
  shell("zip -q -0 os.zip os.img");
  CHECK((read_image(archive).value() == text));
  shell("cat os.img | zip -q - - > os.zip");  // sizes behind the data, and zip64
  CHECK((read_image(archive).value() == text));
  shell("zip -q os.zip os.img && echo a comment | zip -q -z os.zip");
  CHECK((read_image(archive).value() == text));
  shell("zip -q -Z bzip2 os.zip os.img");
  CHECK(failure_of(archive) == ErrorCode::kDiskImage);
  shell("zip -q -P secret os.zip os.img");
  const auto encrypted = read_image(archive);
  REQUIRE_FALSE(encrypted);
  CHECK_THAT(encrypted.error().message(), Catch::Contains("encrypted"));
}

TEST_CASE("image stream: a zip directory that lies is an error wherever it does") {
  const Scratch scratch;
  const std::string whole = content_of(pack(scratch, noise(5000), "zip"));
  const std::size_t directory = whole.find("PK\x01\x02");
  REQUIRE(directory != std::string::npos);
  // Each byte that says how long, where or how something is; the attributes at its end do not.
  for (std::size_t at = directory; at < directory + 46; ++at) {
    const std::size_t field = at - directory;
    const bool says_nothing = (field >= 4 && field < 8) || field == 9 ||
                              (field >= 12 && field < 16) || (field >= 34 && field < 42);
    if (says_nothing) {
      continue;
    }
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ (field == 8 ? 1 : 0x55));
    CAPTURE(field);
    CHECK(failure_of(scratch.write("lies", changed)) == ErrorCode::kDiskImage);
  }
}
