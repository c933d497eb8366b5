// Readers take a reference to whatever directory is attached and read without the lock; what they
// find decides whether the directory is still worth anything.
#include "intake/medium_chunks.hpp"

#include <optional>

namespace agent::intake {
namespace {

using base::Error;
using base::ErrorCode;
using Clock = std::chrono::steady_clock;

/// Errors that a medium gives on its way out. A chunk that was read and does not verify is not one
/// of them, nor is an entry that was swapped for a link or a special file.
bool means_gone(ErrorCode code) {
  return code == ErrorCode::kIo || code == ErrorCode::kBlobMissing ||
         code == ErrorCode::kBlobSize || code == ErrorCode::kMediumGone ||
         code == ErrorCode::kNotFound || code == ErrorCode::kPermission;
}

}  // namespace

struct MediumChunks::State {
  State(base::UntrustedDirectory directory, std::chrono::seconds limit,
        std::function<void(bool)> notify)
      : wait_limit(limit),
        on_wait(std::move(notify)),
        source(std::make_shared<bundle::DirectoryChunks>(std::move(directory))) {}

  using Source = std::shared_ptr<bundle::DirectoryChunks>;

  /// What is attached, waiting for it if need be.
  base::Result<Source> wait_for_source() {
    std::unique_lock lock(mutex);
    if (!stopped && !source) {
      ++waiting;
      lock.unlock();
      announce();
      lock.lock();
      changed.wait_until(lock, absent_since + wait_limit, [this] { return stopped || source; });
      --waiting;
    }
    if (stopped) {
      return Error(ErrorCode::kCancelled, "reading from the medium was stopped");
    }
    if (!source) {
      return timed_out();
    }
    return source;
  }

  /// \pre the lock is held
  [[nodiscard]] Error timed_out() const {
    std::string what = "the medium with this bundle did not come back within " +
                       std::to_string(wait_limit.count()) + " s";
    if (last_error) {
      what += "; the last error was: " + last_error->message();
    }
    return {ErrorCode::kMediumTimeout, std::move(what)};
  }

  /// `used` is of no use any more, unless another directory has replaced it meanwhile.
  void lose(const Source& used, const Error& error) {
    const std::lock_guard lock(mutex);
    if (source == used) {
      last_error = error;
      source.reset();
      absent_since = Clock::now();
    }
  }

  void replace(Source with) {
    {
      const std::lock_guard lock(mutex);
      if (source && !with) {
        absent_since = Clock::now();
        last_error.reset();
      }
      source.swap(with);
    }
    changed.notify_all();
    // What was attached is closed here, outside the lock.
  }

  /// Tells the owner once for all readers, in the order in which it happened.
  void announce() {
    const std::lock_guard telling(announce_mutex);
    const bool now_waiting = [this] {
      const std::lock_guard lock(mutex);
      return waiting > 0;
    }();
    if (announced != now_waiting) {
      announced = now_waiting;
      if (on_wait) {
        on_wait(now_waiting);
      }
    }
  }

  const std::chrono::seconds wait_limit;
  const std::function<void(bool)> on_wait;

  mutable std::mutex mutex;
  std::condition_variable changed;
  Source source;  // nothing: the medium is away
  Clock::time_point absent_since;
  std::optional<Error> last_error;
  int waiting = 0;
  bool stopped = false;
  std::uint64_t bytes_read = 0;

  std::mutex announce_mutex;
  bool announced = false;
};

MediumChunks::MediumChunks(base::UntrustedDirectory directory, std::chrono::seconds wait_limit,
                           std::function<void(bool waiting)> on_wait)
    : state_(std::make_unique<State>(std::move(directory), wait_limit, std::move(on_wait))) {}

MediumChunks::~MediumChunks() = default;

void MediumChunks::attach(base::UntrustedDirectory directory) {
  state_->replace(std::make_shared<bundle::DirectoryChunks>(std::move(directory)));
}

void MediumChunks::detach() {
  state_->replace(nullptr);
}

void MediumChunks::stop() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopped = true;
  }
  state_->changed.notify_all();
}

std::uint64_t MediumChunks::bytes_read() const {
  const std::lock_guard lock(state_->mutex);
  return state_->bytes_read;
}

bool MediumChunks::waiting() const {
  const std::lock_guard lock(state_->mutex);
  return state_->waiting > 0;
}

base::Result<base::Bytes> MediumChunks::read_chunk(const bundle::Blob& blob, std::size_t index) {
  for (;;) {
    OU_TRY(State::Source source, state_->wait_for_source());
    auto chunk = source->read_chunk(blob, index);
    if (chunk) {
      {
        const std::lock_guard lock(state_->mutex);
        state_->bytes_read += chunk->size();
      }
      state_->announce();
      return chunk;
    }
    if (!means_gone(chunk.error().code())) {
      return chunk;
    }
    state_->lose(source, chunk.error());
  }
}

}  // namespace agent::intake
