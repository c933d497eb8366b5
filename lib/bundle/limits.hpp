// Every size that a bundle may have. docs/bundle-format.md lists the same names; a test compares
// them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bundle {

inline constexpr std::size_t kMaxManifestBytes = std::size_t{8} * 1024 * 1024;
inline constexpr std::size_t kMaxManifestDepth = 24;
inline constexpr std::size_t kMaxManifestValues = 400'000;
inline constexpr std::size_t kMaxSignatureBytes = 4096;
inline constexpr std::size_t kMaxSignatures = 16;
inline constexpr std::size_t kMaxTrustedKeys = 64;
inline constexpr std::size_t kMaxTrustFileBytes = std::size_t{64} * 1024;
inline constexpr std::size_t kMaxNameBytes = 255;          // names, ids, versions, slugs
inline constexpr std::size_t kMaxValueBytes = 65'536;      // environment values, labels
inline constexpr std::size_t kMaxDocumentBytes = 262'144;  // one composition, contract, volume set
inline constexpr std::size_t kMaxDeviceTypes = 64;
inline constexpr std::size_t kMaxDeviceUuids = 100'000;
inline constexpr std::size_t kMaxServices = 128;
inline constexpr std::size_t kMaxEnvironment = 1024;  // variables or labels of one service
inline constexpr std::size_t kMaxImages = 128;
inline constexpr std::size_t kMaxBlobs = 8192;
inline constexpr std::uint64_t kMaxBlobBytes = (std::uint64_t{4} << 30) - 1;  // a FAT32 file
inline constexpr std::uint64_t kMaxUncompressedBytes = std::uint64_t{64} << 30;
inline constexpr std::uint64_t kMaxExpansionRatio = 65'536;  // uncompressed to stored, whole blob
inline constexpr std::uint32_t kMinChunkBytes = 64 * 1024;
inline constexpr std::uint32_t kMaxChunkBytes = 4 * 1024 * 1024;
inline constexpr std::uint32_t kDefaultChunkBytes = 1024 * 1024;
inline constexpr std::size_t kMaxDirectoryEntries = 20'000;
inline constexpr std::size_t kMaxBootFiles = 8192;
inline constexpr std::size_t kMaxConnections = 32;
inline constexpr std::size_t kMaxConnectionBytes = std::size_t{64} * 1024;
inline constexpr std::uint32_t kMaxConfirmSeconds = 24 * 3600;

}  // namespace bundle
