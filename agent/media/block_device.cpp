#include "media/block_device.hpp"

namespace agent::media {

std::string_view name_of(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::kUsb:
      return "usb";
    case DeviceKind::kSd:
      return "sd";
    case DeviceKind::kLoop:
      return "loop";
    case DeviceKind::kOther:
      return "other";
  }
  return "other";
}

}  // namespace agent::media
