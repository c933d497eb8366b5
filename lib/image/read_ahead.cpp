#include "image/read_ahead.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "base/sha256.hpp"

namespace image {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{512} * 1024;

}  // namespace

struct ReadAhead::State {
  explicit State(std::unique_ptr<oci::ByteSource> from) : source(std::move(from)) {}

  std::unique_ptr<oci::ByteSource> source;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<base::Bytes> queue;
  std::deque<base::Bytes> spare;  // so that pieces are not allocated again and again
  std::size_t queued_bytes = 0;
  bool abandoned = false;
  bool ended = false;
  std::optional<base::Error> failure;
  std::optional<oci::Digest> digest;
  std::uint64_t size_bytes = 0;
  base::Bytes piece;
  base::ByteView rest;
  std::thread thread;

  void run() {
    base::Sha256 hash;
    std::uint64_t total = 0;
    for (;;) {
      base::Bytes bytes = take_spare();
      auto got = fill(bytes);
      if (!got || *got == 0) {
        const std::lock_guard lock(mutex);
        if (!got) {
          failure = std::move(got).error();
        } else {
          digest = oci::Digest(hash.finish());
          size_bytes = total;
        }
        ended = true;
        changed.notify_all();
        return;
      }
      bytes.resize(*got);
      hash.update(bytes);
      total += *got;
      std::unique_lock lock(mutex);
      queued_bytes += bytes.size();
      queue.push_back(std::move(bytes));
      changed.notify_all();
      changed.wait(lock, [this] { return abandoned || queued_bytes < kMaxBytesAhead; });
      if (abandoned) {
        return;
      }
    }
  }

  base::Bytes take_spare() {
    const std::lock_guard lock(mutex);
    if (spare.empty()) {
      return base::Bytes(kPieceBytes);
    }
    base::Bytes bytes = std::move(spare.front());
    spare.pop_front();
    bytes.resize(kPieceBytes);
    return bytes;
  }

  base::Result<std::size_t> fill(base::Bytes& bytes) const {
    std::size_t have = 0;
    while (have < bytes.size()) {
      OU_TRY(const std::size_t got, source->read(std::span(bytes).subspan(have)));
      if (got == 0) {
        break;
      }
      have += got;
    }
    return have;
  }

  base::Status take_piece() {
    std::unique_lock lock(mutex);
    if (piece.capacity() > 0) {
      spare.push_back(std::move(piece));
      piece = {};
    }
    changed.wait(lock, [this] { return !queue.empty() || ended; });
    if (queue.empty()) {
      return failure ? base::Status(*failure) : base::ok();
    }
    piece = std::move(queue.front());
    queue.pop_front();
    queued_bytes -= piece.size();
    rest = piece;
    changed.notify_all();
    return base::ok();
  }
};

ReadAhead::ReadAhead(std::unique_ptr<oci::ByteSource> source)
    : state_(std::make_unique<State>(std::move(source))) {
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

ReadAhead::~ReadAhead() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->abandoned = true;
    state_->changed.notify_all();
  }
  state_->thread.join();
}

base::Result<std::size_t> ReadAhead::read(std::span<std::uint8_t> buffer) {
  if (state_->rest.empty() && !buffer.empty()) {
    OU_CHECK(state_->take_piece());
  }
  const std::size_t count = std::min(buffer.size(), state_->rest.size());
  std::copy_n(state_->rest.begin(), count, buffer.begin());
  state_->rest = state_->rest.subspan(count);
  return count;
}

oci::Digest ReadAhead::digest() const {
  const std::lock_guard lock(state_->mutex);
  return *state_->digest;
}

std::uint64_t ReadAhead::size_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->size_bytes;
}

}  // namespace image
