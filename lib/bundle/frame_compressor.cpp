#include "bundle/frame_compressor.hpp"

#include <zstd.h>

#include <algorithm>

#include "base/handle.hpp"

namespace bundle {
namespace {

base::Result<base::Bytes> compress(ZSTD_CCtx* context, const base::Bytes& piece) {
  base::Bytes frame(ZSTD_compressBound(piece.size()));
  const std::size_t size =
      ZSTD_compress2(context, frame.data(), frame.size(), piece.data(), piece.size());
  if (ZSTD_isError(size) != 0) {
    return base::Error(base::ErrorCode::kInternal, std::string("zstd: ") + ZSTD_getErrorName(size));
  }
  frame.resize(size);
  return frame;
}

}  // namespace

FrameCompressor::FrameCompressor(int level, unsigned threads) {
  const unsigned count = threads != 0 ? threads : std::max(1U, std::thread::hardware_concurrency());
  for (unsigned i = 0; i < count; ++i) {
    workers_.emplace_back([this, level](const std::stop_token& stop) { work(level, stop); });
  }
}

FrameCompressor::~FrameCompressor() {
  for (auto& worker : workers_) {
    worker.request_stop();
  }
}

void FrameCompressor::put(base::Bytes piece) {
  Task task{.piece = std::move(piece), .frame = {}};
  frames_.push_back(task.frame.get_future());
  const std::lock_guard lock(mutex_);
  tasks_.push_back(std::move(task));
  changed_.notify_one();
}

base::Result<std::optional<base::Bytes>> FrameCompressor::take() {
  if (frames_.empty()) {
    return std::optional<base::Bytes>();
  }
  auto frame = frames_.front().get();
  frames_.pop_front();
  if (!frame) {
    return std::move(frame).error();
  }
  return std::optional<base::Bytes>(*std::move(frame));
}

void FrameCompressor::work(int level, const std::stop_token& stop) {
  const base::Handle<ZSTD_CCtx, ZSTD_freeCCtx> context(ZSTD_createCCtx());
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level);
  for (;;) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, stop, [this] { return !tasks_.empty(); })) {
      return;
    }
    auto task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task.frame.set_value(compress(context.get(), task.piece));
  }
}

}  // namespace bundle
