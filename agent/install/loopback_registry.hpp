// A read-only registry on 127.0.0.1 that serves exactly the images of one verified bundle.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "bundle/chunks.hpp"
#include "bundle/manifest.hpp"

namespace agent::install {

/// Where the registry is found. Kept in the journal, so that a restarted agent takes the same
/// place.
struct RegistryAddress {
  std::uint16_t port = 0;  // 0: any free one
  std::string token;       // 32 hexadecimal digits, the first path element of every repository name
};

/// Whether `reference` is one that a registry of this program gave to an engine:
/// "127.0.0.1:PORT/TOKEN/...".
bool is_loopback_reference(std::string_view reference);

/// Serves layers uncompressed under their diff IDs, and for each image the manifest of
/// oci::served_manifest(), both by digest. Blobs block while the medium is away. One thread per
/// connection, at most kMaxConnections: further ones wait to be accepted. Nothing of a chunk that
/// did not verify is ever sent: the connection is cut before it, and failure() says why. Listens
/// until destroyed; open connections are cut then. The destructor waits for reads that are under
/// way: the owner ends those that wait for a medium first, by MediumChunks::stop(). \source OCI
/// distribution specification; engine-and-supervisor.md section 9
class LoopbackRegistry {
 public:
  static constexpr int kMaxConnections = 8;

  /// \param address token empty: a new random one
  /// \param chunks outlives the registry
  /// \error ErrorCode::kPortUnavailable; kUsage for a token that is none; those of reading the
  /// image
  ///   configurations
  static base::Result<std::unique_ptr<LoopbackRegistry>> start(const RegistryAddress& address,
                                                               const bundle::Manifest& manifest,
                                                               bundle::ChunkProvider& chunks);
  LoopbackRegistry(const LoopbackRegistry&) = delete;
  LoopbackRegistry& operator=(const LoopbackRegistry&) = delete;
  ~LoopbackRegistry();

  [[nodiscard]] const RegistryAddress& address() const;
  /// What the engine has to pull: "127.0.0.1:PORT/TOKEN/IMAGE@sha256:MANIFEST".
  /// \pre `image` is one of the manifest's
  [[nodiscard]] std::string reference(const bundle::Image& image) const;
  /// Bytes of layers sent so far; grows while a pull makes progress.
  [[nodiscard]] std::uint64_t bytes_served() const;
  /// The first error that made the registry cut a connection (an altered chunk), for the outcome:
  /// the engine only sees a broken connection.
  [[nodiscard]] std::optional<base::Error> failure() const;
  /// Blocks until there is a failure() or `stop` is requested. \return whether there is a failure
  [[nodiscard]] bool wait_for_failure(const std::stop_token& stop) const;

 private:
  struct State;
  explicit LoopbackRegistry(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace agent::install
