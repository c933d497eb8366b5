// Builds tar archives in memory, and compresses them, for tests of whatever reads them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace support {

/// A tar (restricted pax, times zero, owner root) made entry by entry. Names are written as given,
/// also hostile ones. Throws std::runtime_error when libarchive refuses.
class TarBuilder {
 public:
  TarBuilder();
  TarBuilder(const TarBuilder&) = delete;
  TarBuilder& operator=(const TarBuilder&) = delete;
  ~TarBuilder();

  TarBuilder& file(const std::string& name, std::string_view content, unsigned mode = 0644);
  TarBuilder& directory(const std::string& name, unsigned mode = 0755);
  TarBuilder& symlink(const std::string& name, const std::string& target);
  TarBuilder& hardlink(const std::string& name, const std::string& target);
  TarBuilder& fifo(const std::string& name);
  TarBuilder& device(const std::string& name, unsigned major, unsigned minor);
  /// The mark that removes `path` of a lower layer: directory/.wh.NAME.
  TarBuilder& whiteout(const std::string& path);
  /// The mark that hides everything below `directory` of lower layers.
  TarBuilder& opaque(const std::string& directory);

  /// Ends the archive and returns its bytes; the builder is of no more use.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string gzip(std::string_view bytes);
/// One frame. \param window_log 0: what the level gives
std::string zstd(std::string_view bytes, int level = 3, int window_log = 0);

/// Bytes that do not compress; the same seed gives the same bytes.
std::string noise(std::size_t size, std::uint32_t seed = 1);

}  // namespace support
