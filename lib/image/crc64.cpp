#include "image/crc64.hpp"

namespace image {
namespace {

constexpr std::uint64_t kPolynomial = 0xD800000000000000;
constexpr std::size_t kSlices = 8;

using Tables = std::array<std::array<std::uint64_t, 256>, kSlices>;

/// Table k advances the checksum of a byte by k more bytes, so that eight can be done in one step.
constexpr Tables make_tables() {
  Tables tables{};
  for (std::uint64_t byte = 0; byte < 256; ++byte) {
    std::uint64_t value = byte;
    for (int bit = 0; bit < 8; ++bit) {
      value = (value >> 1U) ^ ((value & 1U) != 0 ? kPolynomial : 0);
    }
    tables[0][byte] = value;
  }
  for (std::size_t slice = 1; slice < kSlices; ++slice) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint64_t before = tables[slice - 1][byte];
      tables[slice][byte] = tables[0][before & 0xffU] ^ (before >> 8U);
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

void Crc64::update(base::ByteView bytes) {
  std::uint64_t state = state_;
  std::size_t at = 0;
  for (; at + kSlices <= bytes.size(); at += kSlices) {
    std::uint64_t next = 0;
    for (std::size_t i = 0; i < kSlices; ++i) {
      const std::uint64_t byte = (bytes[at + i] ^ (state >> (8 * i))) & 0xffU;
      next ^= kTables[kSlices - 1 - i][byte];
    }
    state = next;
  }
  for (; at < bytes.size(); ++at) {
    state = kTables[0][(state ^ bytes[at]) & 0xffU] ^ (state >> 8U);
  }
  state_ = state;
}

std::array<std::uint8_t, 8> Crc64::value() const {
  std::array<std::uint8_t, 8> bytes{};
  const std::uint64_t value = ~state_;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(value >> (8 * (bytes.size() - 1 - i)));
  }
  return bytes;
}

}  // namespace image
