// Where coroutine frames come from: a stack of free pieces for each size and thread, filled from
// and emptied into chunks that all threads share. A piece may be freed by another thread than the
// one that took it. A chunk whose pieces are all free goes back to the system, except a few.
#include "zsync/rt/frame.hpp"

#include <sys/mman.h>

#include <array>
#include <mutex>
#include <new>
#include <utility>

#include "rt/process_life.hpp"

namespace zsync::rt {
namespace {

constexpr size_t kBatchBytes = 32 * 1024;        // moved between a thread and the store
constexpr size_t kChunkBytes = 2 * 1024 * 1024;  // also their alignment: a large page
constexpr size_t kStepBytes = 256 * 1024;        // of a chunk of small pages, made present at once
constexpr size_t kSpareBytesMax = 8 * 1024 * 1024;  // empty chunks that are kept
constexpr size_t kSparesMax = kSpareBytesMax / kChunkBytes;

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE \
  23  // Linux 5.14; an older one answers EINVAL, and pages come one by one
#endif

constexpr size_t bytes_of(size_t size_class) { return (size_class + 1) * kFrameGranule; }
constexpr uint32_t batch_count(size_t size_class) {
  return static_cast<uint32_t>(kBatchBytes / bytes_of(size_class));
}

// Faults taken before they happen, all at once, cost a third of what they cost one by one.
void make_present(void* memory, size_t bytes) { madvise(memory, bytes, MADV_POPULATE_WRITE); }

// Pieces of one size; stands at the beginning of its memory.
struct alignas(64) Chunk {
  Chunk* previous;  // in the list of those with free pieces
  Chunk* next;
  FreePiece* free;
  uint32_t used;    // pieces in use, or with a thread
  uint32_t carved;  // pieces that were ever used
  uint32_t capacity;
  uint32_t size_class;
  bool present;  // all its pages; they stay so

  static Chunk& of(void* piece) {
    return *reinterpret_cast<Chunk*>(reinterpret_cast<uintptr_t>(piece) & ~(kChunkBytes - 1));
  }
  bool full() const { return used == capacity; }
  FreePiece* take() {
    ++used;
    if (free) return std::exchange(free, free->next);
    return reinterpret_cast<FreePiece*>(carve());
  }
  // A piece that was never used. Who has filled one step of pages will use the next one too.
  char* carve() {
    char* const piece =
        reinterpret_cast<char*>(this) + sizeof(Chunk) + carved++ * bytes_of(size_class);
    if (!present) {
      char* const end = piece + bytes_of(size_class);
      char* const step = end - (reinterpret_cast<uintptr_t>(end) & (kStepBytes - 1));
      char* const chunk_end = reinterpret_cast<char*>(this) + kChunkBytes;
      if (step > piece && step < chunk_end) make_present(step, kStepBytes);
    }
    return piece;
  }
};

void* map_chunk() {
  // Twice the size, of which the aligned part is kept.
  void* const mapped = mmap(nullptr, 2 * kChunkBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, /*fd*/ -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  const auto address = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t aligned = (address + kChunkBytes - 1) & ~(kChunkBytes - 1);
  if (aligned > address) munmap(mapped, aligned - address);
  const uintptr_t end = address + 2 * kChunkBytes;
  const uintptr_t kept_end = aligned + kChunkBytes;
  if (end > kept_end) munmap(reinterpret_cast<void*>(kept_end), end - kept_end);
  return reinterpret_cast<void*>(aligned);
}

class Store {
 public:
  // Up to `count` pieces, linked -> how many.
  uint32_t take(size_t size_class, uint32_t count, FreePiece*& taken) {
    std::lock_guard<std::mutex> guard(mutex_);
    Chunk* chunk = partial_[size_class];
    if (!chunk) chunk = &add_chunk(size_class);
    taken = nullptr;
    uint32_t got = 0;
    while (got < count && !chunk->full()) {
      FreePiece* const piece = chunk->take();
      piece->next = std::exchange(taken, piece);
      ++got;
    }
    if (chunk->full()) unlist(*chunk);
    return got;
  }

  void put(FreePiece* pieces) {
    std::lock_guard<std::mutex> guard(mutex_);
    while (pieces) {
      FreePiece* const piece = std::exchange(pieces, pieces->next);
      Chunk& chunk = Chunk::of(piece);
      if (chunk.full()) list(chunk);
      piece->next = std::exchange(chunk.free, piece);
      if (--chunk.used == 0) drop(chunk);
    }
  }

  std::mutex& mutex() { return mutex_; }

 private:
  Chunk& add_chunk(size_t size_class) {
    const bool first = ++chunks_[size_class] == 1;
    bool present = false;
    void* memory = nullptr;
    if (spare_count_ > 0) {
      memory = spares_[--spare_count_];
      present = static_cast<Chunk*>(memory)->present;
    } else {
      memory = map_chunk();
      if (!first) {
        // Where the system has no large pages these are small ones, and present all the same.
        madvise(memory, kChunkBytes, MADV_HUGEPAGE);
        make_present(memory, kChunkBytes);
        present = true;
      }
    }
    const size_t pieces = (kChunkBytes - sizeof(Chunk)) / bytes_of(size_class);
    auto* const chunk = ::new (memory) Chunk{nullptr,
                                             nullptr,
                                             nullptr,
                                             0,
                                             0,
                                             static_cast<uint32_t>(pieces),
                                             static_cast<uint32_t>(size_class),
                                             present};
    list(*chunk);
    return *chunk;
  }
  void drop(Chunk& chunk) {
    unlist(chunk);
    --chunks_[chunk.size_class];
    if (spare_count_ < kSparesMax) {
      spares_[spare_count_++] = &chunk;
    } else {
      munmap(&chunk, kChunkBytes);
    }
  }
  void list(Chunk& chunk) {
    Chunk*& first = partial_[chunk.size_class];
    chunk.previous = nullptr;
    chunk.next = first;
    if (first) first->previous = &chunk;
    first = &chunk;
  }
  void unlist(Chunk& chunk) {
    (chunk.previous ? chunk.previous->next : partial_[chunk.size_class]) = chunk.next;
    if (chunk.next) chunk.next->previous = chunk.previous;
  }

  std::mutex mutex_;
  std::array<Chunk*, FrameCache::kClasses> partial_{};
  std::array<uint32_t, FrameCache::kClasses> chunks_{};
  std::array<void*, kSparesMax> spares_{};
  size_t spare_count_ = 0;
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
    for (FrameCache::List& list : cache.lists) store().put(std::exchange(list, {}).head);
  }
};
thread_local CacheEnd cache_end;

}  // namespace

void lock_frame_store() { store().mutex().lock(); }
void unlock_frame_store() { store().mutex().unlock(); }

constinit thread_local FrameCache frame_cache;

void* FrameCache::refill(size_t bytes) {
  if (!kEnabled || bytes > kBytesMax) return ::operator new(bytes);
  const size_t size_class = class_of(bytes);
  FreePiece* pieces = nullptr;
  if (ended) {
    store().take(size_class, 1, pieces);
    return pieces;
  }
  cache_end.watch();
  const uint32_t batch = batch_count(size_class);
  const uint32_t got = store().take(size_class, batch, pieces);
  lists[size_class] = {pieces->next, 2 * batch - (got - 1), true};
  return pieces;
}

// A full list gives away its older half.
void FrameCache::spill(FreePiece* piece, size_t bytes) noexcept {
  if (!kEnabled || bytes > kBytesMax) return ::operator delete(piece);
  piece->next = nullptr;
  if (ended) return store().put(piece);
  const size_t size_class = class_of(bytes);
  List& list = lists[size_class];
  const uint32_t half = batch_count(size_class);
  if (!list.watched) {
    cache_end.watch();
    list = {nullptr, 2 * half, true};
  } else {
    FreePiece* last = list.head;
    for (uint32_t i = 1; i < half; ++i) last = last->next;
    store().put(std::exchange(last->next, nullptr));
    list.room = half;
  }
  piece->next = std::exchange(list.head, piece);
  --list.room;
}

}  // namespace zsync::rt
