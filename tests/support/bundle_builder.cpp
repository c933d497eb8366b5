#include "support/bundle_builder.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <set>
#include <stdexcept>

#include "base/handle.hpp"
#include "bundle/authentic_manifest.hpp"
#include "oci/image_config.hpp"

namespace support {
namespace {

template <typename T>
T require(base::Result<T> result) {
  if (!result) {
    throw std::runtime_error(result.error().message());
  }
  return *std::move(result);
}

class MemorySource final : public oci::ByteSource {
 public:
  MemorySource(base::Bytes bytes, std::size_t piece_bytes)
      : bytes_(std::move(bytes)), piece_bytes_(piece_bytes) {}
  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    const auto count = std::min({buffer.size(), bytes_.size() - position_, piece_bytes_});
    std::copy_n(bytes_.begin() + static_cast<long>(position_), count, buffer.begin());
    position_ += count;
    return count;
  }

 private:
  base::Bytes bytes_;
  std::size_t piece_bytes_;
  std::size_t position_ = 0;
};

void write_file(const std::filesystem::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

}  // namespace

std::unique_ptr<oci::ByteSource> memory_source(base::Bytes bytes, std::size_t piece_bytes) {
  return std::make_unique<MemorySource>(std::move(bytes), piece_bytes);
}

base::Bytes random_bytes(std::size_t size, unsigned seed) {
  std::mt19937 generator(seed);
  base::Bytes bytes(size);
  for (auto& byte : bytes) {
    byte = static_cast<std::uint8_t>(generator());
  }
  return bytes;
}

base::Bytes tar_of(const std::string& name, const base::Bytes& content) {
  base::Bytes out(content.size() + 16384);
  std::size_t used = 0;
  const base::Handle<archive, archive_write_free> writer(archive_write_new());
  archive_write_set_format_pax_restricted(writer.get());
  archive_write_set_bytes_per_block(writer.get(), 512);
  archive_write_open_memory(writer.get(), out.data(), out.size(), &used);
  const base::Handle<archive_entry, archive_entry_free> entry(archive_entry_new());
  archive_entry_set_pathname(entry.get(), name.c_str());
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0755);
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
  if (archive_write_header(writer.get(), entry.get()) != ARCHIVE_OK) {
    throw std::runtime_error("tar header");
  }
  archive_write_data(writer.get(), content.data(), content.size());
  archive_write_close(writer.get());
  out.resize(used);
  return out;
}

base::Bytes gzip(const base::Bytes& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  base::Bytes out(deflateBound(&stream, bytes.size()) + 64);
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

base::Bytes zstd(const base::Bytes& bytes) {
  base::Bytes out(ZSTD_compressBound(bytes.size()));
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 19));
  return out;
}

base::Bytes read_all(oci::ByteSource& source) {
  base::Bytes all;
  base::Bytes buffer(70'000);
  while (const auto got = require(source.read(buffer))) {
    all.insert(all.end(), buffer.begin(), buffer.begin() + static_cast<long>(got));
  }
  return all;
}

BuiltBundle build_bundle(const std::filesystem::path& directory,
                         const std::vector<std::vector<base::Bytes>>& layers,
                         std::uint64_t sequence, std::uint32_t chunk_bytes) {
  const auto blobs = directory / "blobs/sha256";
  std::filesystem::create_directories(blobs);
  base::NoProgress progress;
  BuiltBundle built{.directory = directory, .manifest = {}};
  auto& manifest = built.manifest;
  const auto add = [&manifest](bundle::Blob blob) {
    const auto digest = blob.digest;
    manifest.blobs.insert_or_assign(digest, std::move(blob));
    return digest;
  };
  std::set<oci::Digest> images;
  for (const auto& image_layers : layers) {
    bundle::Image image{.id = oci::Digest::of({}),
                        .manifest = oci::Digest::of({}),
                        .architecture = "amd64",
                        .os = "linux"};
    oci::ImageManifest oci_manifest{
        .media_type = std::string(oci::kOciManifestType),
        .config = {std::string(oci::kOciConfigType), oci::Digest::of({}), 0}};
    std::string diff_ids;
    std::vector<oci::Digest> ids;
    std::vector<std::uint64_t> sizes;
    for (const auto& tar : image_layers) {
      const auto diff_id = oci::Digest::of(tar);
      auto packed =
          require(bundle::pack_layer(memory_source(tar), diff_id, blobs,
                                     {.zstd_level = 3, .chunk_bytes = chunk_bytes}, progress));
      ids.push_back(diff_id);
      sizes.push_back(tar.size());
      image.layers.push_back(
          {diff_id, packed.blob.digest, packed.usage.bytes, packed.usage.inodes});
      oci_manifest.layers.push_back(
          {std::string(oci::kOciLayerZstd), packed.blob.digest, packed.blob.size_bytes});
      diff_ids += (diff_ids.empty() ? "\"" : ",\"") + diff_id.text() + "\"";
      add(std::move(packed.blob));
    }
    const std::string config =
        R"({"architecture":"amd64","config":{"Cmd":["/bin/app"]},"os":"linux","rootfs":{"diff_ids":[)" +
        diff_ids + R"(],"type":"layers"}})";
    image.id = add(require(bundle::store_document(config, blobs)));
    oci_manifest.config.digest = image.id;
    oci_manifest.config.size_bytes = config.size();
    image.manifest = add(require(bundle::store_document(oci::to_json(oci_manifest), blobs)));
    bundle::Service service{.name = "s" + std::to_string(manifest.release.services.size()),
                            .image = image.id};
    service.image_reference =
        "registry.invalid/v2/" + image.id.hex().substr(0, 32) + "@" +
        oci::Digest::of(base::as_bytes(oci::served_manifest(image.id, config.size(), ids, sizes)))
            .text();
    service.composition_json = "{}";
    manifest.release.services.push_back(std::move(service));
    if (images.insert(image.id).second) {
      manifest.images.push_back(std::move(image));
    }
  }
  manifest.bundle_id = "6d2c3c6e-9f6f-4f4b-8b0c-1f0e2f9a7c11";
  manifest.name = "test bundle";
  manifest.created_at = 1'700'000'000;
  manifest.sequence = sequence;
  manifest.targets.fleet_uuid = std::string(32, 'f');
  manifest.targets.device_types = {"generic-amd64"};
  manifest.release.commit = std::string(32, '2');
  manifest.release.app_name = "test-fleet";
  manifest.release.volumes_json = manifest.release.networks_json = "{}";
  const std::string layout = R"({"imageLayoutVersion":"1.0.0"})";
  const std::string index = R"({"manifests":[],"schemaVersion":2})";
  write_file(directory / "oci-layout", layout);
  write_file(directory / "index.json", index);
  manifest.files.emplace("oci-layout", oci::Digest::of(base::as_bytes(layout)));
  manifest.files.emplace("index.json", oci::Digest::of(base::as_bytes(index)));
  return built;
}

void write_manifest(const BuiltBundle& built, const std::vector<const bundle::SecretKey*>& keys) {
  const auto json = bundle::to_json(built.manifest);
  write_file(built.directory / "manifest.json", json);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    write_file(built.directory / bundle::signature_file_name(i),
               keys[i]->sign(base::as_bytes(json), "test"));
  }
}

bundle::Trust trust_in(const std::vector<const bundle::SecretKey*>& keys, std::size_t threshold) {
  bundle::Trust trust{.keys = {}, .threshold = threshold};
  for (const auto* key : keys) {
    trust.keys.push_back({key->public_key(), "test"});
  }
  return trust;
}

}  // namespace support
