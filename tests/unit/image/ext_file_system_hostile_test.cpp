// File systems that lie: an error, never a crash, and never a byte written outside of the range.
#include <catch2/catch.hpp>
#include <random>

#include "image/ext_file_system.hpp"
#include "support/byte_sources.hpp"
#include "unit/image/ext_images.hpp"

using base::ErrorCode;
using image::ExtFileSystem;
using image::ExtNode;
using image::NodeKind;
using support::GuardedImage;
using support::opened;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kSuperblockAt = 1024;
constexpr auto kRead = ExtFileSystem::Access::kRead;
constexpr auto kChange = ExtFileSystem::Access::kChange;
const std::vector<std::string> kUnchecked = {"-b", "1024", "-O", "^metadata_csum,^64bit"};

std::filesystem::path make_tree(const support::Scratch& scratch) {
  static_cast<void>(scratch.write("tree/one", std::string(5000, '1')));
  for (int i = 0; i < 60; ++i) {
    static_cast<void>(scratch.write("tree/directory/" + std::to_string(i), ""));
  }
  std::filesystem::create_directory(scratch / "tree/directory/deep");
  std::filesystem::create_symlink(std::string(100, 'l'), scratch / "tree/link");
  return scratch / "tree";
}

void patch(const GuardedImage& image, std::uint64_t at, const std::string& bytes) {
  REQUIRE(image.range().write(at, base::as_bytes(bytes)));
}

/// Replaces the only `from` in the file system by `to`, of the same length.
void replace(const GuardedImage& image, const std::string& from, const std::string& to) {
  const std::string all = support::all_bytes(image.path());
  const std::size_t at = all.find(from);
  REQUIRE(at != std::string::npos);
  REQUIRE(all.find(from, at + 1) == std::string::npos);
  patch(image, at - support::kGuardBytes, to);
}

std::string little_endian(std::uint32_t value) {
  std::string bytes;
  for (unsigned shift = 0; shift < 32; shift += 8) {
    bytes.push_back(static_cast<char>(value >> shift));
  }
  return bytes;
}

ErrorCode refusal(const GuardedImage& image, ExtFileSystem::Access access) {
  const auto files = ExtFileSystem::open(image.range(), access);
  REQUIRE(!files);
  INFO(files.error().message());
  return files.error().code();
}

ErrorCode list_error(const GuardedImage& image, const std::string& directory) {
  const ExtFileSystem files = opened(image);
  const auto entries = files.list(files.find(directory).value().value(), 1000);
  REQUIRE(!entries);
  return entries.error().code();
}

/// Whatever happens is fine, as long as it ends.
void visit(const ExtFileSystem& files, const ExtNode& directory, std::size_t& visited) {
  const auto entries = files.list(directory, 1000);
  for (std::size_t i = 0; entries && i < entries->size() && visited < 1000; ++i) {
    ++visited;
    const auto node = files.node((*entries)[i].inode);
    if (node && node->kind == NodeKind::kDirectory) {
      visit(files, *node, visited);
    } else if (node && node->kind == NodeKind::kSymlink) {
      static_cast<void>(files.read_link(*node));
    } else if (node && node->size_bytes < kMiB) {
      if (const auto source = files.open_file(*node)) {
        static_cast<void>(support::read_all(**source));
      }
    }
  }
}

}  // namespace

TEST_CASE("ext file system: a superblock that lies about sizes is refused before it is believed") {
  const support::Scratch scratch;
  const std::string tree = make_tree(scratch);
  const auto with = [&](std::uint64_t at, std::uint32_t value) {
    const GuardedImage image(scratch / "image", 4 * kMiB, kUnchecked, tree);
    patch(image, kSuperblockAt + at, little_endian(value));
    const ErrorCode code = refusal(image, kRead);
    CHECK(refusal(image, kChange) == code);
    CHECK(image::grow_ext_file_system(image.range(), scratch.path()).error().code() ==
          ErrorCode::kDiskImage);
    CHECK(image::check_ext_file_system(image.range()).error().code() == ErrorCode::kDiskImage);
    CHECK(image.guards_intact());
    return code;
  };
  CHECK(with(4, 4097) == ErrorCode::kDiskImage);         // blocks: one more than there are
  CHECK(with(4, 0xffffffff) == ErrorCode::kDiskImage);   //
  CHECK(with(24, 7) == ErrorCode::kDiskImage);           // size of a block
  CHECK(with(24, 2) == ErrorCode::kDiskImage);           //
  CHECK(with(32, 0) == ErrorCode::kDiskImage);           // blocks in a group
  CHECK(with(32, 9) == ErrorCode::kDiskImage);           //
  CHECK(with(40, 0) == ErrorCode::kDiskImage);           // inodes in a group
  CHECK(with(40, 0xfffffff8) == ErrorCode::kDiskImage);  //
  CHECK(with(20, 4000000) == ErrorCode::kDiskImage);     // first block
  CHECK(with(56, 0x0000ef52) == ErrorCode::kDiskImage);  // magic number
  CHECK(with(88, 0x00007fff) == ErrorCode::kDiskImage);  // size of an inode
}

TEST_CASE(
    "ext file system: features and states that changing would harm are refused for changing") {
  const support::Scratch scratch;
  const std::string tree = make_tree(scratch);
  const auto with = [&](const std::string& command) {
    const GuardedImage image(scratch / "image", 4 * kMiB, {"-b", "1024"}, tree);
    image.change(command);
    const ErrorCode code = refusal(image, kChange);
    CHECK(opened(image).read_file("one", 10000).value() == std::string(5000, '1'));
    return code;
  };
  CHECK(with("feature needs_recovery") == ErrorCode::kDiskImage);
  CHECK(with("set_super_value state 0") == ErrorCode::kDiskImage);
  CHECK(with("set_super_value state 3") == ErrorCode::kDiskImage);
  CHECK(with("set_super_value last_orphan 12") == ErrorCode::kDiskImage);
  CHECK(with("feature quota") == ErrorCode::kDiskImageUnsupported);
  CHECK(with("feature encrypt") == ErrorCode::kDiskImageUnsupported);
  CHECK(with("feature inline_data") == ErrorCode::kDiskImageUnsupported);

  const GuardedImage image(scratch / "image", 4 * kMiB, {"-b", "1024"}, tree);
  CHECK(!opened(image).unfinished_journal());
  image.change("feature needs_recovery");
  CHECK(opened(image).unfinished_journal());
}

TEST_CASE("ext file system: a directory that is in two places is damage, not a way without end") {
  const support::Scratch scratch;
  const std::string tree = make_tree(scratch);
  const auto listing = [&](const std::string& command, const std::string& directory) {
    const GuardedImage image(scratch / "image", 4 * kMiB, kUnchecked, tree);
    image.change(command);
    return list_error(image, directory);
  };
  CHECK(listing("ln /directory /directory/deep/loop", "directory/deep") == ErrorCode::kDiskImage);
  CHECK(listing("ln / /directory/loop", "directory") == ErrorCode::kDiskImage);
  CHECK(listing("ln / /loop", "") == ErrorCode::kDiskImage);
  CHECK(listing("ln /directory/deep /twice", "") == ErrorCode::kDiskImage);
}

TEST_CASE("ext file system: names and lengths that no directory can have are damage") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("tree/directory/evil-name", ""));
  static_cast<void>(scratch.write("tree/directory/good-name", ""));
  const auto image_with = [&](const std::string& from, const std::string& to) {
    const GuardedImage image(scratch / "image", 4 * kMiB, kUnchecked, scratch / "tree");
    replace(image, from, to);
    return list_error(image, "directory");
  };
  CHECK(image_with("evil-name", "evil/name") == ErrorCode::kDiskImage);
  CHECK(image_with("evil-name", std::string("evil\0name", 9)) == ErrorCode::kDiskImage);
  CHECK(image_with("evil-name", "good-name") == ErrorCode::kDiskImage);  // twice
  // rec_len, name_len and file type come in front of the name.
  const std::string entry = std::string("\x14\0\x09\x01", 4) + "evil-name";
  CHECK(image_with(entry, std::string("\0\0\x09\x01", 4) + "evil-name") == ErrorCode::kDiskImage);
  CHECK(image_with(entry, std::string("\x13\0\x09\x01", 4) + "evil-name") == ErrorCode::kDiskImage);
  CHECK(image_with(entry, std::string("\xfc\xff\x09\x01", 4) + "evil-name") ==
        ErrorCode::kDiskImage);
  CHECK(image_with(entry, std::string("\x14\0\xff\x01", 4) + "evil-name") == ErrorCode::kDiskImage);
  CHECK(image_with(entry, std::string("\x14\0\0\x01", 4) + "evil-name") == ErrorCode::kDiskImage);
}

TEST_CASE("ext file system: blocks outside of it, and blocks used again and again, are damage") {
  const support::Scratch scratch;
  const std::string tree = make_tree(scratch);
  const auto file_error = [&](const std::string& extents, const std::string& field) {
    const GuardedImage image(scratch / "image", 4 * kMiB,
                             {"-b", "1024", "-O", "^metadata_csum,^64bit," + extents}, tree);
    image.change("set_inode_field /one " + field);
    const ExtFileSystem files = opened(image);
    const auto source = files.open_file(files.find("one").value().value());
    REQUIRE(!source);
    ExtFileSystem changing = opened(image, kChange);
    support::TextSource text("text");
    CHECK(changing.write_file("one", text, 4, 0644).error().code() == source.error().code());
    return source.error().code();
  };
  CHECK(file_error("^extent", "block[0] 4096") == ErrorCode::kDiskImage);
  CHECK(file_error("^extent", "block[0] 4000000000") == ErrorCode::kDiskImage);
  CHECK(file_error("^extent", "block[IND] 4000000000") == ErrorCode::kDiskImage);
  CHECK(file_error("extent", "block[5] 4094") == ErrorCode::kDiskImage);  // start of an extent
  CHECK(file_error("extent", "block[4] 0xffff0005") == ErrorCode::kDiskImage);  // its upper part
  CHECK(file_error("extent", "block[4] 0x00007fff") == ErrorCode::kDiskImage);  // length
  CHECK(file_error("extent", "block[4] 0") == ErrorCode::kDiskImage);
  CHECK(file_error("extent", "block[1] 0x00060004") == ErrorCode::kDiskImage);  // depth 6
}

TEST_CASE("ext file system: what its checksums do not fit is an error") {
  const support::Scratch scratch;
  const std::string tree = make_tree(scratch);
  const std::vector<std::string> checked = {"-b", "1024", "-O", "metadata_csum,64bit"};
  {
    const GuardedImage image(scratch / "image", 4 * kMiB, checked, tree);
    patch(image, kSuperblockAt + 120, "other");  // the label
    CHECK(refusal(image, kRead) == ErrorCode::kDiskImage);
  }
  {
    const GuardedImage image(scratch / "image", 4 * kMiB, checked, tree);
    replace(image, std::string("\x04\x07", 2) + "link",
            std::string("\x04\x07", 2) + "lint");  // in the root directory
    CHECK(list_error(image, "") == ErrorCode::kDiskImage);
  }
}

TEST_CASE("ext file system: a file that ends before the file system does gives an error") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("tree/large", support::pattern(3 * kMiB)));
  const GuardedImage image(scratch / "image", 8 * kMiB, {"-b", "4096"}, scratch / "tree");
  const std::string all = support::all_bytes(image.path());
  const std::size_t at = all.find(support::pattern(3 * kMiB).substr(2 * kMiB, 100));
  REQUIRE(at != std::string::npos);
  std::filesystem::resize_file(image.path(), at);
  const ExtFileSystem files = opened(image);
  const auto source = files.open_file(files.find("large").value().value());
  REQUIRE(source);
  const auto read = support::read_all(**source);
  REQUIRE(!read);
  CHECK(read.error().code() == ErrorCode::kDiskImage);
  std::filesystem::resize_file(image.path(), support::kGuardBytes + 1500);
  CHECK(refusal(image, kRead) == ErrorCode::kDiskImage);
}

TEST_CASE("ext file system: any damage to metadata is an error or nothing, and stays inside") {
  const support::Scratch scratch;
  const std::string tree = make_tree(scratch);
  std::mt19937 random(20240607);  // the same each time
  for (std::size_t shape = 0; shape < support::kExtShapes.size(); ++shape) {
    const GuardedImage image(
        scratch / "image", kMiB + kMiB / 2,
        [&] {
          auto options = support::kExtShapes[shape];
          options.back() += ",^has_journal,^resize_inode";
          options.insert(options.end(), {"-N", "96"});
          return options;
        }(),
        tree);
    const std::string sound =
        support::all_bytes(image.path()).substr(support::kGuardBytes, kMiB + kMiB / 2);
    std::vector<std::size_t> places;  // of what is not zero: that is metadata, nearly all of it
    for (std::size_t at = 0; at < sound.size(); ++at) {
      if (sound[at] != '\0' && sound[at] != '1') {
        places.push_back(at);
      }
    }
    for (int round = 0; round < 60; ++round) {
      CAPTURE(shape, round);
      std::string damaged = sound;
      for (std::size_t changes = 1 + random() % 12; changes > 0; --changes) {
        const std::size_t at = places[random() % places.size()] + random() % 3;
        damaged[std::min(at, damaged.size() - 1)] = static_cast<char>(random());
      }
      patch(image, 0, damaged);
      if (const auto files = ExtFileSystem::open(image.range(), kRead)) {
        std::size_t visited = 0;
        visit(*files, files->root(), visited);
      }
      if (auto files = ExtFileSystem::open(image.range(), kChange)) {
        for (const std::string path : {"one", "directory/7", "directory/deep/new"}) {
          support::TextSource content(std::string(20000, 'n'));
          static_cast<void>(files->write_file(path, content, 20000, 0644));
        }
        static_cast<void>(files->make_directory("directory/made", 0755));
        static_cast<void>(files->remove_file("link"));
        static_cast<void>(files->close());
      }
      REQUIRE(image.guards_intact());
    }
  }
}
