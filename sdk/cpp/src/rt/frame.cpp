// Frames come from a cache of the running thread: a stack of free pieces for each size. A piece may
// be freed by another thread than the one that took it; a thread that frees more than it takes puts
// half of a full stack into a common store, where threads that take more find it.
#include "zsync/rt/frame.hpp"

#include <array>
#include <mutex>
#include <new>
#include <utility>

namespace zsync::rt {
namespace {

constexpr size_t kThreadBytesMax = 64 * 1024;       // of one size, kept by one thread
constexpr size_t kStoreBytesMax = 8 * 1024 * 1024;  // of all sizes together

constexpr size_t bytes_of(size_t size_class) { return (size_class + 1) * kFrameGranule; }
constexpr uint32_t batch_count(size_t size_class) {
  return static_cast<uint32_t>(kThreadBytesMax / 2 / bytes_of(size_class));
}

void free_all(FreePiece* piece) {
  while (piece) ::operator delete(std::exchange(piece, piece->next));
}

// Batches of batch_count() pieces.
class Store {
 public:
  // False when there is no room left.
  bool put(size_t size_class, FreePiece* batch) {
    const size_t bytes = batch_count(size_class) * bytes_of(size_class);
    std::lock_guard<std::mutex> guard(mutex_);
    if (bytes_ + bytes > kStoreBytesMax) return false;
    bytes_ += bytes;
    batch->next_batch = std::exchange(batches_[size_class], batch);
    return true;
  }
  FreePiece* take(size_t size_class) {
    std::lock_guard<std::mutex> guard(mutex_);
    FreePiece* const batch = batches_[size_class];
    if (!batch) return nullptr;
    batches_[size_class] = batch->next_batch;
    bytes_ -= batch_count(size_class) * bytes_of(size_class);
    return batch;
  }

 private:
  std::mutex mutex_;
  size_t bytes_ = 0;
  std::array<FreePiece*, FrameCache::kClasses> batches_{};
};

Store& store() {
  static Store* const instance = new Store;  // frames may be freed by destructors of static objects
  return *instance;
}

// Gives the thread's pieces back when it ends.
struct CacheEnd {
  void watch() {}
  ~CacheEnd() {
    FrameCache& cache = frame_cache;
    cache.ended = true;
    for (FrameCache::List& list : cache.lists) free_all(std::exchange(list, {}).head);
  }
};
thread_local CacheEnd cache_end;

}  // namespace

constinit thread_local FrameCache frame_cache;

void* FrameCache::refill(size_t bytes) {
  if (!kEnabled || bytes > kBytesMax) return ::operator new(bytes);
  const size_t size_class = class_of(bytes);
  FreePiece* const batch = ended ? nullptr : store().take(size_class);
  if (!batch) return ::operator new(bytes_of(size_class));
  cache_end.watch();
  const uint32_t count = batch_count(size_class);
  lists[size_class] = {batch->next, count - 1, 2 * count};
  return batch;
}

// A full list gives away its older half.
void FrameCache::spill(FreePiece* piece, size_t bytes) noexcept {
  if (!kEnabled || bytes > kBytesMax || ended) return ::operator delete(piece);
  const size_t size_class = class_of(bytes);
  List& list = lists[size_class];
  const uint32_t half = batch_count(size_class);
  if (list.limit == 0) {
    cache_end.watch();
    list.limit = 2 * half;
  } else {
    FreePiece* last = list.head;
    for (uint32_t i = 1; i < list.count - half; ++i) last = last->next;
    FreePiece* const batch = std::exchange(last->next, nullptr);
    list.count -= half;
    if (!store().put(size_class, batch)) free_all(batch);
  }
  piece->next = std::exchange(list.head, piece);
  ++list.count;
}

}  // namespace zsync::rt
