// The members of a tar by name. One pass makes the index; opening a member walks there again, which
// costs little because the data between is skipped by seeking.
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "base/printable.hpp"
#include "oci/named_files.hpp"
#include "oci/tar_reader.hpp"

namespace oci {
namespace {

using base::Error;
using base::ErrorCode;

constexpr int kMaxLinks = 16;

// "a/./b/../c" as "a/c"; nothing if it leads out of the archive.
std::optional<std::string> normalise(std::string_view name) {
  std::vector<std::string_view> parts;
  while (!name.empty()) {
    const std::size_t slash = std::min(name.find('/'), name.size());
    const std::string_view part = name.substr(0, slash);
    name.remove_prefix(std::min(slash + 1, name.size()));
    if (part == "..") {
      if (parts.empty()) {
        return std::nullopt;
      }
      parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
  }
  std::string out;
  for (const auto part : parts) {
    out += (out.empty() ? "" : "/") + std::string(part);
  }
  return out;
}

struct Member {
  std::size_t ordinal;
  TarEntry::Kind kind;
  std::uint64_t size_bytes;
  std::string target;  // of a link, normalised; empty when it leads out
};

std::string link_target(const TarEntry& entry, const std::string& name) {
  if (entry.kind == TarEntry::Kind::kHardlink) {
    return normalise(entry.link_target).value_or("");
  }
  if (entry.link_target.starts_with('/')) {
    return "";
  }
  return normalise(name + "/../" + entry.link_target).value_or("");
}

// The data of one member; an archive that ends early is an error of the reader.
class MemberSource final : public ByteSource {
 public:
  explicit MemberSource(std::unique_ptr<TarReader> reader) : reader_(std::move(reader)) {}
  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    return reader_->read(buffer);
  }

 private:
  std::unique_ptr<TarReader> reader_;
};

class TarFiles final : public NamedFiles {
 public:
  TarFiles(SharedFd archive, std::uint64_t size_bytes)
      : archive_(std::move(archive)), size_bytes_(size_bytes) {}

  base::Status build_index() {
    const auto reader = open_reader();
    for (std::size_t ordinal = 0;; ++ordinal) {
      OU_TRY(const auto entry, reader->next());
      if (!entry) {
        return base::ok();
      }
      if (ordinal >= kMaxArchiveMembers) {
        return Error(
            ErrorCode::kLimitExceeded,
            "the archive has more than " + std::to_string(kMaxArchiveMembers) + " members");
      }
      add(*entry, ordinal);
    }
  }

  [[nodiscard]] base::Result<std::uint64_t> size_of(const std::string& name) const override {
    OU_TRY(const Member* member, find(name));
    return member->size_bytes;
  }

  [[nodiscard]] base::Result<std::unique_ptr<ByteSource>> open(
      const std::string& name) const override {
    OU_TRY(const Member* member, find(name));
    auto reader = open_reader();
    for (std::size_t ordinal = 0; ordinal <= member->ordinal; ++ordinal) {
      OU_TRY(const auto entry, reader->next());
      if (!entry) {
        return Error(ErrorCode::kIo, "the archive changed while it was read");
      }
    }
    return std::unique_ptr<ByteSource>(std::make_unique<MemberSource>(std::move(reader)));
  }

 private:
  [[nodiscard]] std::unique_ptr<TarReader> open_reader() const {
    return std::make_unique<TarReader>(
        std::unique_ptr<SkippableSource>(std::make_unique<FileSource>(archive_, size_bytes_)));
  }

  // What is neither file nor link, or has a name that no tool writes, is of no use and not kept.
  void add(const TarEntry& entry, std::size_t ordinal) {
    const auto name = normalise(entry.name);
    const bool link =
        entry.kind == TarEntry::Kind::kSymlink || entry.kind == TarEntry::Kind::kHardlink;
    if (!name || name->empty() || name->size() > kMaxMemberNameBytes ||
        entry.link_target.size() > kMaxMemberNameBytes ||
        (!link && entry.kind != TarEntry::Kind::kFile)) {
      return;
    }
    members_.insert_or_assign(*name, Member{ordinal, entry.kind, entry.size_bytes,
                                            link ? link_target(entry, *name) : ""});
  }

  [[nodiscard]] base::Result<const Member*> find(const std::string& name) const {
    std::string at = normalise(name).value_or("");
    for (int links = 0; links <= kMaxLinks; ++links) {
      const auto found = members_.find(at);
      if (found == members_.end()) {
        return Error(ErrorCode::kNotFound,
                     "the archive has no file \"" + base::printable(name) + "\"" +
                         (links == 0 ? "" : " (it is a link to something that is not there)"));
      }
      if (found->second.kind == TarEntry::Kind::kFile) {
        return &found->second;
      }
      at = found->second.target;
    }
    return Error(ErrorCode::kImageInvalid,
                 "links of \"" + base::printable(name) + "\" lead to each other");
  }

  SharedFd archive_;
  std::uint64_t size_bytes_;
  std::map<std::string, Member> members_;
};

}  // namespace

base::Result<std::unique_ptr<NamedFiles>> open_tar_files(const SharedFd& archive) {
  OU_TRY(const std::uint64_t size_bytes, size_of(archive));
  auto files = std::make_unique<TarFiles>(archive, size_bytes);
  OU_CHECK(files->build_index());
  return std::unique_ptr<NamedFiles>(std::move(files));
}

}  // namespace oci
