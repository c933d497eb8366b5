// Any bytes as a tar archive, read to its end.
#include "fuzz/fuzz_input.hpp"
#include "oci/tar_reader.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kMaxEntries = 10000;
  constexpr std::size_t kMaxContent = std::size_t{4} << 20U;
  oci::TarReader reader(std::make_unique<fuzz::BytesSource>(base::ByteView(data, size)));
  base::Bytes buffer(3000);
  std::size_t content = 0;
  for (std::size_t i = 0; i < kMaxEntries && content < kMaxContent; ++i) {
    const auto entry = reader.next();
    if (!entry || !*entry) {
      return 0;
    }
    // Half of the content is read, the rest of an entry is left to next().
    for (auto got = reader.read(buffer); got && *got > 0 && i % 2 == 0; got = reader.read(buffer)) {
      fuzz::must(*got <= buffer.size());
      content += *got;
      if (content > kMaxContent) {
        break;
      }
    }
  }
  return 0;
}
