#include "base/error.hpp"

#include <cerrno>
#include <system_error>

namespace base {

Error Error::from_errno(int error_number, std::string doing) {
  const auto code = [error_number] {
    switch (error_number) {
      case ENOSPC:
      case EDQUOT:
        return ErrorCode::kNoSpace;
      case ENOENT:
        return ErrorCode::kNotFound;
      case EACCES:
      case EPERM:
        return ErrorCode::kPermission;
      default:
        return ErrorCode::kIo;
    }
  }();
  return Error(code, std::generic_category().message(error_number)).within(std::move(doing));
}

Error Error::within(std::string doing) && {
  contexts_.push_back(std::move(doing));
  return std::move(*this);
}

std::string Error::message() const {
  std::string text;
  for (auto context = contexts_.rbegin(); context != contexts_.rend(); ++context) {
    text += *context + ": ";
  }
  return text + what_;
}

}  // namespace base
