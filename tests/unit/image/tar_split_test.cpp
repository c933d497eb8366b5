// Layers put together from hand-made records: right ones, damaged ones and hostile ones.
#include "image/tar_split.hpp"

#include <catch2/catch.hpp>
#include <map>

#include "support/byte_sources.hpp"
#include "unit/image/store_tree.hpp"

using base::ErrorCode;

namespace {

/// Files by name, as split_layer_path() gives it.
class MapContent final : public image::LayerContent {
 public:
  explicit MapContent(std::map<std::string, std::string> files) : files_(std::move(files)) {}

  base::Result<std::unique_ptr<oci::ByteSource>> open(const std::string& name,
                                                      std::uint64_t /*size_bytes*/) override {
    OU_TRY(const auto parts, image::split_layer_path(name));
    std::string path;
    for (const std::string_view part : parts) {
      path += (path.empty() ? "" : "/") + std::string(part);
    }
    const auto found = files_.find(path);
    if (found == files_.end()) {
      return base::Error(ErrorCode::kImageInvalid, "there is no " + path);
    }
    return std::unique_ptr<oci::ByteSource>(
        std::make_unique<support::TextSource>(found->second, 7));
  }

 private:
  std::map<std::string, std::string> files_;
};

base::Result<std::string> assemble(const std::string& record,
                                   std::map<std::string, std::string> files = {},
                                   std::size_t piece = 65536) {
  const auto source =
      image::open_tar_split(std::make_unique<support::TextSource>(support::gzip(record)),
                            std::make_unique<MapContent>(std::move(files)));
  return support::read_all(*source, piece);
}

}  // namespace

TEST_CASE("tar split: an archive with every kind of entry comes back bit for bit") {
  const std::string long_name = std::string(120, 'd') + "/" + std::string(120, 'n');
  support::TarBuilder builder;
  builder.directory("etc/")
      .file("etc/hosts", "127.0.0.1 localhost\n")
      .file("./dotted", "with a dot in front")
      .file("empty", "")
      .symlink("link", "etc/hosts")
      .hardlink("second", "etc/hosts")
      .fifo("pipe")
      .device("null", 1, 3)
      .whiteout("gone")
      .opaque("etc")
      .file("block", std::string(512, 'b'))
      .file(long_name, "under a long name");
  const std::string tar = builder.finish() + std::string(20 * 512, '\0');
  const std::string record = support::record_of(tar);
  REQUIRE(record.find("\"name\":\"" + long_name + "\"") != std::string::npos);
  for (const std::size_t piece : {1U, 511U, 65536U}) {
    const auto found = assemble(record,
                                {{"etc/hosts", "127.0.0.1 localhost\n"},
                                 {"dotted", "with a dot in front"},
                                 {"block", std::string(512, 'b')},
                                 {long_name, "under a long name"}},
                                piece);
    REQUIRE(found);
    CHECK(*found == tar);
  }
}

TEST_CASE("tar split: a name that is no UTF-8 comes as bytes") {
  const std::string name = "caf\xe9";
  base::Json line = base::Json::parse(support::file_line(0, "x", "content"));
  line.erase("name");
  line["name_raw"] = base::to_base64(base::as_bytes(name));
  const auto found = assemble(line.dump() + "\n", {{name, "content"}});
  REQUIRE(found);
  CHECK(*found == "content");
}

TEST_CASE("tar split: a file that is not what was extracted is an error") {
  const std::string record = support::file_line(0, "a", "content");
  const auto changed = assemble(record, {{"a", "Content"}});
  REQUIRE_FALSE(changed);
  CHECK(changed.error().code() == ErrorCode::kImageInvalid);
  CHECK(changed.error().message().find("has been changed") != std::string::npos);
  const auto shorter = assemble(record, {{"a", "conten"}});
  REQUIRE_FALSE(shorter);
  CHECK(shorter.error().message().find("shorter") != std::string::npos);
  CHECK_FALSE(assemble(record, {}));
}

TEST_CASE("tar split: a damaged record is an error that names the line") {
  const std::string first = support::segment_line(0, "header");
  const std::vector<std::string> second = {
      "nonsense\n",
      support::segment_line(0, "again"),  // position
      R"({"type":3,"payload":null,"position":1})"
      "\n",  // type
      R"({"type":2,"payload":"*","position":1})"
      "\n",  // no base64
      R"({"type":2,"payload":7,"position":1})"
      "\n",  // no text
      R"({"type":1,"name":"a","size":3,"payload":"AAAA","position":1})"
      "\n",  // checksum
      R"({"type":1,"name":"a","size":-3,"payload":null,"position":1})"
      "\n",  // size
      R"(["type"])"
      "\n",
  };
  for (const std::string& line : second) {
    INFO(line);
    const auto found = assemble(first + line);
    REQUIRE_FALSE(found);
    CHECK(found.error().code() == ErrorCode::kImageInvalid);
    CHECK(found.error().message().find("line 2") != std::string::npos);
  }
}

TEST_CASE("tar split: a record that is cut or no gzip is an error") {
  const std::string whole = support::gzip(support::segment_line(0, support::noise(5000)));
  for (const std::string& record : {whole.substr(0, whole.size() / 2), std::string("plain")}) {
    const auto source =
        image::open_tar_split(std::make_unique<support::TextSource>(record),
                              std::make_unique<MapContent>(std::map<std::string, std::string>()));
    const auto found = support::read_all(*source);
    REQUIRE_FALSE(found);
    CHECK(found.error().code() == ErrorCode::kImageInvalid);
  }
}

TEST_CASE("tar split: a line beyond the limit is refused before it is in memory") {
  const auto found =
      assemble(R"({"type":2,"payload":")" + std::string(image::kMaxTarSplitLineBytes, 'A'));
  REQUIRE_FALSE(found);
  CHECK(found.error().code() == ErrorCode::kLimitExceeded);
}

TEST_CASE("tar split: names lead nowhere but below the layer's directory") {
  for (const std::string& name :
       {std::string("../etc/shadow"), std::string("a/../../b"), std::string(".."), std::string(),
        std::string("/"), std::string("."), std::string("a\0b", 3), std::string(300, 'n')}) {
    const auto parts = image::split_layer_path(name);
    REQUIRE_FALSE(parts);
    CHECK(parts.error().code() == ErrorCode::kImageInvalid);
  }
  const auto parts = image::split_layer_path("/usr//./bin/sh");
  REQUIRE(parts);
  CHECK(*parts == std::vector<std::string_view>{"usr", "bin", "sh"});
}
