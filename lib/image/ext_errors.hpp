// libext2fs's error numbers as errors of ours. Private to this library.
#pragma once

#include <string>

#include "base/error.hpp"

namespace image {

/// Makes libext2fs ready for this process: its texts are there, and it prints nothing by itself.
void prepare_ext2fs();

/// \param code an errcode_t other than 0; what is full is kNoSpace, what the system says is kIo,
/// and
///   all else is damage, kDiskImage
base::Error ext_error(long code, std::string doing);

}  // namespace image
