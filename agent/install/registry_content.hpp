// What a registry for one bundle holds, and where in its URL space: no network in here.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.hpp"
#include "bundle/chunks.hpp"
#include "bundle/manifest.hpp"

namespace agent::install {

/// A small document, verified and in memory: an image manifest or configuration.
struct Document {
  std::string media_type;
  oci::Digest digest;
  std::string bytes;
};

/// What a path names. The pointers live as long as the content.
struct RegistryRoot {};   // GET /v2/, the API's version check
struct NoSuchContent {};  // 404
using Resource = std::variant<NoSuchContent, RegistryRoot, const Document*, const bundle::Blob*>;

class RegistryContent {
 public:
  /// All image configurations together; they stay in memory.
  static constexpr std::size_t kMaxDocumentsBytes = std::size_t{16} * 1024 * 1024;

  /// Reads the image configurations and makes the manifests that are served.
  /// \param manifest is copied as far as it is needed
  /// \error ErrorCode::kLimitExceeded; those of bundle::read_small_blob()
  static base::Result<RegistryContent> load(std::string token, const bundle::Manifest& manifest,
                                            bundle::ChunkProvider& chunks);

  /// \param target of a request: "/v2/TOKEN/NAME.../manifests/DIGEST",
  /// "/v2/TOKEN/NAME.../blobs/DIGEST".
  ///   NAME may be anything; the token is compared in constant time, everything without it is
  ///   unknown
  [[nodiscard]] Resource find(std::string_view target) const;

  /// The digest of the manifest under which an image is served. \pre `image` is one of the bundle's
  [[nodiscard]] const oci::Digest& manifest_of(const oci::Digest& image) const;

  [[nodiscard]] const std::string& token() const { return token_; }

 private:
  explicit RegistryContent(std::string token) : token_(std::move(token)) {}
  base::Status add_image(const bundle::Image& image, const bundle::Manifest& manifest,
                         bundle::ChunkProvider& chunks);

  std::string token_;
  std::size_t documents_bytes_ = 0;
  std::map<oci::Digest, oci::Digest> manifest_of_image_;
  std::map<oci::Digest, Document> manifests_;
  std::map<oci::Digest, Document> configs_;
  std::map<oci::Digest, bundle::Blob> layers_;  // by diff ID
};

}  // namespace agent::install
