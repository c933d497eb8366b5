// Any bytes as an ext file system: read all of it, then change it. Nothing around it may change.
#include "fuzz/fuzz_input.hpp"
#include "image/ext_file_system.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using image::ExtFileSystem;
using image::ExtNode;
using image::NodeKind;

constexpr std::size_t kMaxEntries = 200;
constexpr int kMaxDepth = 64;
constexpr std::size_t kMaxContent = std::size_t{1} << 20U;

void walk(const ExtFileSystem& files, const ExtNode& directory, int depth, std::size_t& visited) {
  // A directory is below itself only if list() is wrong; an image of this size is not this deep.
  fuzz::must(depth < kMaxDepth * 16);
  const auto entries = files.list(directory, kMaxEntries);
  for (std::size_t i = 0; entries && i < entries->size() && visited < kMaxEntries; ++i) {
    ++visited;
    const auto node = files.node((*entries)[i].inode);
    if (!node) {
      continue;
    }
    if (node->kind == NodeKind::kDirectory && depth < kMaxDepth) {
      walk(files, *node, depth + 1, visited);
    } else if (node->kind == NodeKind::kSymlink) {
      const auto target = files.read_link(*node);
      fuzz::must(!target || target->find('\0') == std::string::npos);
    } else if (const auto source = files.open_file(*node)) {
      fuzz::read_some(**source, kMaxContent);
    }
  }
}

void change(ExtFileSystem& files) {
  const base::Bytes content(5000, 'c');
  for (const char* const path : {"new", "directory/new", "one", "directory/0"}) {
    fuzz::BytesSource source(content);
    static_cast<void>(files.write_file(path, source, content.size(), 0644));
  }
  static_cast<void>(files.make_directory("made", 0755));
  static_cast<void>(files.remove_file("link"));
  static_cast<void>(files.remove_file("sparse"));
}

}  // namespace

/// Most bytes of an image are zero and matter to nobody: changes those that are not, or one near.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  if (size < 2048 || seed % 16 == 0) {
    return LLVMFuzzerMutate(data, size, max_size);
  }
  std::uint64_t state = seed;
  const auto next = [&state] {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::size_t>(state >> 33U);
  };
  for (std::size_t changes = 1 + next() % 4; changes > 0; --changes) {
    std::size_t at = next() % size;
    for (std::size_t tries = 0; tries < 4096 && data[at] == 0; ++tries) {
      at = (at + 1) % size;
    }
    at = (at + next() % 4) % (size - 4);
    constexpr std::uint32_t kValues[] = {0, 1, 2, 4, 7, 8, 12, 0x7f, 0xff, 0xffff, 0x7fffffff};
    const std::uint32_t value =
        next() % 2 == 0 ? kValues[next() % std::size(kValues)] : static_cast<std::uint32_t>(next());
    const std::size_t width = std::size_t{1} << next() % 3;
    for (std::size_t i = 0; i < width; ++i) {
      data[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
    }
  }
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::Disk disk({data, size});
  if (const auto files = ExtFileSystem::open(disk.range(), ExtFileSystem::Access::kRead)) {
    std::size_t visited = 0;
    walk(*files, files->root(), 0, visited);
    static_cast<void>(files->find("directory/new/x"));
    static_cast<void>(files->read_file("one", kMaxContent));
  }
  if (auto files = ExtFileSystem::open(disk.range(), ExtFileSystem::Access::kChange)) {
    change(*files);
    static_cast<void>(files->close());
  }
  fuzz::must(disk.guards_intact());
  return 0;
}
