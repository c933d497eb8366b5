#include "image/probe.hpp"

#include <blkid/blkid.h>

#include <cerrno>

#include "base/handle.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;

std::string value_of(blkid_probe probe, const char* name) {
  const char* value = nullptr;
  std::size_t size = 0;
  if (::blkid_probe_lookup_value(probe, name, &value, &size) != 0 || size == 0) {
    return "";
  }
  return {value, size - 1};  // the size counts the zero at the end
}

}  // namespace

base::Result<Probed> probe(const BlockRange& range) {
  const base::Handle<struct blkid_struct_probe, blkid_free_probe> handle(::blkid_new_probe());
  if (!handle) {
    return Error(ErrorCode::kInternal, "no memory for a probe");
  }
  if (::blkid_probe_set_device(handle.get(), range.fd()->get(),
                               static_cast<blkid_loff_t>(range.offset_bytes()),
                               static_cast<blkid_loff_t>(range.size_bytes())) != 0 ||
      ::blkid_probe_enable_superblocks(handle.get(), 1) != 0 ||
      ::blkid_probe_set_superblocks_flags(handle.get(), BLKID_SUBLKS_LABEL | BLKID_SUBLKS_TYPE) !=
          0) {
    return Error(ErrorCode::kIo, "a partition cannot be examined");
  }
  // 1: nothing is there; -2: several file systems at once, so none that could be named.
  const int found = ::blkid_do_safeprobe(handle.get());
  if (found == -1) {
    return Error(ErrorCode::kIo, "a partition cannot be read");
  }
  return found == 0 ? Probed{value_of(handle.get(), "TYPE"), value_of(handle.get(), "LABEL")}
                    : Probed{};
}

}  // namespace image
