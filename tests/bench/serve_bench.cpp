// How fast a medium's bundle is verified and served: reads every layer of a bundle through the
// loopback registry and throws it away. One line of JSON. Usage: serve_bench BUNDLE.bundle
// TRUSTFILE
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <cmath>
#include <iostream>
#include <set>

#include "base/json.hpp"
#include "install/loopback_registry.hpp"
#include "intake/medium_chunks.hpp"
#include "intake/verified_bundle.hpp"

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

/// Reads one blob as an engine does, and counts its bytes.
std::uint64_t get(const agent::install::RegistryAddress& address, const oci::Digest& digest) {
  asio::io_context context;
  tcp::socket socket(context);
  socket.connect({asio::ip::address_v4::loopback(), address.port});
  http::request<http::empty_body> request(
      http::verb::get, "/v2/" + address.token + "/app/blobs/" + digest.text(), 11);
  request.set(http::field::host, "127.0.0.1");
  http::write(socket, request);
  boost::beast::flat_buffer buffer;
  http::response_parser<http::buffer_body> reply;
  reply.body_limit(boost::none);
  http::read_header(socket, buffer, reply);
  std::uint64_t bytes = 0;
  std::vector<char> piece(std::size_t{256} * 1024);
  while (!reply.is_done()) {
    reply.get().body().data = piece.data();
    reply.get().body().size = piece.size();
    boost::system::error_code error;
    http::read(socket, buffer, reply, error);
    if (error && error != http::error::need_buffer) {
      throw boost::system::system_error(error);
    }
    bytes += piece.size() - reply.get().body().size;
  }
  return bytes;
}

template <typename T>
T must(base::Result<T> result) {
  if (!result) {
    throw std::runtime_error(result.error().message());
  }
  return *std::move(result);
}

int run(const std::string& path, const std::string& trust_file) {
  const auto started = std::chrono::steady_clock::now();
  const auto trust = must(agent::intake::load_trust(trust_file));
  const auto bundle =
      must(agent::intake::open_bundle(must(base::UntrustedDirectory::open(path)), path, trust));
  agent::intake::MediumChunks chunks(must(bundle.directory().duplicate()), std::chrono::seconds(60),
                                     {});
  const auto registry =
      must(agent::install::LoopbackRegistry::start({}, bundle.manifest(), chunks));
  std::set<oci::Digest> seen;
  std::uint64_t served = 0;
  for (const auto& image : bundle.manifest().images) {
    for (const auto& layer : image.layers) {
      if (seen.insert(layer.diff_id).second) {
        served += get(registry->address(), layer.diff_id);
      }
    }
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  std::cout << base::to_canonical(base::Json{{"bytes_read", chunks.bytes_read()},
                                             {"bytes_served", served},
                                             {"milliseconds", std::llround(seconds.count() * 1e3)}})
            << "\n";
  chunks.stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: serve_bench BUNDLE.bundle TRUSTFILE\n";
    return 2;
  }
  try {
    return run(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::cerr << "serve_bench: " << error.what() << "\n";
    return 1;
  }
}
