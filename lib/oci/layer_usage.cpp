#include "oci/layer_usage.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>

#include "base/sizes.hpp"

namespace oci {
namespace {

constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::size_t kInodeSymlinkBytes = 59;  // a longer target needs a block (ext4)
constexpr std::size_t kMaxQueuedBytes = std::size_t{4} * 1024 * 1024;

// Marks of AUFS and the opaque mark become an attribute or nothing; an ordinary whiteout becomes a
// device node, which is an inode.
bool leaves_no_inode(std::string_view name) {
  const std::size_t slash = name.rfind('/');
  const auto last = slash == std::string_view::npos ? name : name.substr(slash + 1);
  return last.starts_with(".wh..wh.");
}

base::Result<LayerUsage> measure(TarReader& reader) {
  LayerUsage usage{};
  for (;;) {
    OU_TRY(const auto entry, reader.next());
    if (!entry) {
      return usage;
    }
    if (entry->kind == TarEntry::Kind::kHardlink || leaves_no_inode(entry->name)) {
      continue;
    }
    ++usage.inodes;
    usage.bytes += installed_bytes(entry->kind, entry->size_bytes, entry->link_target.size());
  }
}

}  // namespace

std::uint64_t installed_bytes(TarEntry::Kind kind, std::uint64_t size_bytes,
                              std::size_t target_bytes) {
  switch (kind) {
    case TarEntry::Kind::kFile:
      return base::in_blocks(size_bytes, kBlockBytes);
    case TarEntry::Kind::kDirectory:
      return kBlockBytes;
    case TarEntry::Kind::kSymlink:
      return target_bytes > kInodeSymlinkBytes ? kBlockBytes : 0;
    case TarEntry::Kind::kHardlink:
    case TarEntry::Kind::kOther:
      break;
  }
  return 0;
}

struct LayerMeter::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<base::Bytes> queue;
  std::size_t queued_bytes = 0;
  bool ended = false;      // nothing more will be fed
  bool abandoned = false;  // nobody wants the outcome any more
  bool done = false;       // the reader needs nothing more
  std::optional<base::Result<LayerUsage>> outcome;
  std::thread thread;

  // What the caller feeds, as the reader sees it.
  class Queue final : public ByteSource {
   public:
    explicit Queue(State& state) : state_(state) {}

    base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
      if (rest_.empty()) {
        OU_CHECK(take_piece());
      }
      const std::size_t count = std::min(buffer.size(), rest_.size());
      std::copy_n(rest_.begin(), count, buffer.begin());
      rest_ = rest_.subspan(count);
      return count;
    }

   private:
    base::Status take_piece() {
      std::unique_lock lock(state_.mutex);
      state_.changed.wait(
          lock, [this] { return !state_.queue.empty() || state_.ended || state_.abandoned; });
      if (state_.abandoned) {
        return base::Error(base::ErrorCode::kCancelled, "the layer was given up");
      }
      if (!state_.queue.empty()) {
        piece_ = std::move(state_.queue.front());
        state_.queue.pop_front();
        state_.queued_bytes -= piece_.size();
        rest_ = piece_;
        state_.changed.notify_all();
      }
      return base::ok();
    }

    State& state_;
    base::Bytes piece_;
    base::ByteView rest_;
  };

  void run() {
    TarReader reader(std::unique_ptr<ByteSource>(std::make_unique<Queue>(*this)));
    auto measured = measure(reader);
    const std::lock_guard lock(mutex);
    outcome = std::move(measured);
    done = true;
    changed.notify_all();
  }
};

LayerMeter::LayerMeter() : state_(std::make_unique<State>()) {
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

LayerMeter::~LayerMeter() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->abandoned = true;
    state_->changed.notify_all();
  }
  if (state_->thread.joinable()) {
    state_->thread.join();
  }
}

void LayerMeter::feed(base::ByteView bytes) {
  if (bytes.empty()) {
    return;
  }
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock,
                       [this] { return state_->done || state_->queued_bytes <= kMaxQueuedBytes; });
  if (state_->done) {
    return;  // padding behind the end of the archive, or a failure that finish() reports
  }
  state_->queue.emplace_back(bytes.begin(), bytes.end());
  state_->queued_bytes += bytes.size();
  state_->changed.notify_all();
}

base::Result<LayerUsage> LayerMeter::finish() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->ended = true;
    state_->changed.notify_all();
  }
  if (state_->thread.joinable()) {
    state_->thread.join();
  }
  return *state_->outcome;
}

}  // namespace oci
