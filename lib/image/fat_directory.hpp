// The entries of one FAT directory, long names put together.
#pragma once

#include <vector>

#include "base/bytes.hpp"
#include "image/fat_reader.hpp"

namespace image {

/// What `content` lists, without "." and "..", volume labels and removed files. Pieces of long
/// names that do not belong to the entry behind them are left out, as every system does.
std::vector<FatNode> parse_fat_directory(base::ByteView content, FatKind kind);

}  // namespace image
