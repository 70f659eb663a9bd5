// WorkDeque: a growing array into which its owner pushes, and from which the owner takes the latest
// and anybody the oldest entry, without a lock.
//
// Chase, Lev: Dynamic Circular Work-Stealing Deque (SPAA 2005), in the form of Le, Pop, Cohen,
// Nardelli: Correct and Efficient Work-Stealing for Weak Memory Models (PPoPP 2013), with
// sequentially consistent operations in the place of fences.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "zsync/assert.hpp"

namespace zsync::rt {

// `Atomic`: std::atomic, or a model of it.
template <typename T, template <typename> typename Atomic = std::atomic>
class WorkDeque {
 private:
  class Ring;

 public:
  static constexpr size_t kFirstCapacity = 64;  // entries

  WorkDeque() : WorkDeque(kFirstCapacity) {}
  // `capacity`: a power of two; the array grows beyond it.
  explicit WorkDeque(size_t capacity) { use(make_ring(capacity)); }
  WorkDeque(const WorkDeque&) = delete;
  WorkDeque& operator=(const WorkDeque&) = delete;

  // Owner.
  void push(T* entry) {
    const int64_t bottom = bottom_.load(std::memory_order_relaxed);
    const int64_t top = top_.load(std::memory_order_acquire);
    Ring* ring = ring_.load(std::memory_order_relaxed);
    if (bottom - top >= ring->capacity()) ring = grow(*ring, top, bottom);
    ring->put(bottom, entry);
    bottom_.store(bottom + 1, std::memory_order_release);
  }

  // Room for so many more. Owner.
  void reserve(size_t entries) {
    while (!Pushing(*this).has_room(entries)) {
      grow(*ring_.load(std::memory_order_relaxed), top_.load(std::memory_order_acquire),
           bottom_.load(std::memory_order_relaxed));
    }
  }

  // Several entries that thieves see all at once, when finish() is called. Owner.
  class Pushing {
   public:
    explicit Pushing(WorkDeque& deque)
        : deque_(deque),
          ring_(deque.ring_.load(std::memory_order_relaxed)),
          bottom_(deque.bottom_.load(std::memory_order_relaxed)) {}
    // Asked before the first add().
    bool has_room(size_t entries) const {
      const int64_t top = deque_.top_.load(std::memory_order_acquire);
      return bottom_ - top + static_cast<int64_t>(entries) <= ring_->capacity();
    }
    void add(T* entry) { ring_->put(bottom_++, entry); }
    void finish() { deque_.bottom_.store(bottom_, std::memory_order_release); }

   private:
    WorkDeque& deque_;
    Ring* ring_;
    int64_t bottom_;
  };

  // The entry pushed last, or nullptr. Owner.
  T* pop() {
    const int64_t bottom = bottom_.load(std::memory_order_relaxed) - 1;
    if (top_.load(std::memory_order_relaxed) > bottom) return nullptr;  // it only grows
    // Thieves must see that the entry is claimed before it is known here what they have taken.
    bottom_.store(bottom, std::memory_order_seq_cst);
    int64_t top = top_.load(std::memory_order_seq_cst);
    T* entry = nullptr;
    if (top <= bottom) entry = ring_.load(std::memory_order_relaxed)->get(bottom);
    if (top >= bottom) {
      if (top == bottom && !take_top(top)) entry = nullptr;
      bottom_.store(bottom + 1, std::memory_order_relaxed);
    }
    return entry;
  }

  // The entry pushed first, or nullptr when there is none or another thread was faster. Anybody.
  T* steal() {
    int64_t top = top_.load(std::memory_order_seq_cst);
    if (top >= bottom_.load(std::memory_order_seq_cst)) return nullptr;
    T* const entry = ring_.load(std::memory_order_acquire)->get(top);
    return take_top(top) ? entry : nullptr;
  }

  // The entry pushed first, or nullptr when there is none. Owner.
  T* pop_oldest() {
    int64_t top = top_.load(std::memory_order_relaxed);
    const int64_t bottom = bottom_.load(std::memory_order_relaxed);
    while (top < bottom) {
      T* const entry = ring_.load(std::memory_order_relaxed)->get(top);
      if (take_top(top)) return entry;
    }
    return nullptr;
  }

  // Entries; a guess where others steal. Anybody.
  size_t size() const {
    const int64_t top = top_.load(std::memory_order_seq_cst);
    const int64_t bottom = bottom_.load(std::memory_order_seq_cst);
    return bottom > top ? static_cast<size_t>(bottom - top) : 0;
  }

 private:
  class Ring {
   public:
    explicit Ring(size_t capacity)
        : mask_(capacity - 1), entries_(new(std::nothrow) Atomic<T*>[capacity]()) {}
    bool has_memory() const { return entries_ != nullptr; }
    std::unique_ptr<Ring> older;
    int64_t capacity() const { return static_cast<int64_t>(mask_ + 1); }
    T* get(int64_t at) const { return entries_[at & mask_].load(std::memory_order_relaxed); }
    void put(int64_t at, T* entry) { entries_[at & mask_].store(entry, std::memory_order_relaxed); }

   private:
    const size_t mask_;
    const std::unique_ptr<Atomic<T*>[]> entries_;
  };

  bool take_top(int64_t& top) {
    return top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst);
  }

  // An exception would leave a scope whose branches are half pushed, so the program ends here.
  static std::unique_ptr<Ring> make_ring(size_t capacity) {
    std::unique_ptr<Ring> ring(new (std::nothrow) Ring(capacity));
    ZS_ASSERT(ring && ring->has_memory(),
              "spawn() or all(): no memory to queue one more ready task; let fewer be ready at "
              "once (Semaphore, bounded channel)");
    return ring;
  }
  Ring* use(std::unique_ptr<Ring> ring) {
    ring_.store(ring.get(), std::memory_order_release);
    ring->older = std::exchange(newest_, nullptr);
    newest_ = std::move(ring);
    return newest_.get();
  }
  // The old array stays: a thief may be reading it.
  [[gnu::noinline]] Ring* grow(const Ring& full, int64_t top, int64_t bottom) {
    std::unique_ptr<Ring> ring = make_ring(static_cast<size_t>(full.capacity()) * 2);
    for (int64_t at = top; at < bottom; ++at) ring->put(at, full.get(at));
    return use(std::move(ring));
  }

  // Apart, so that thieves' writes to one do not slow the owner's to the other.
  alignas(64) Atomic<int64_t> top_{0};
  alignas(64) Atomic<int64_t> bottom_{0};
  Atomic<Ring*> ring_{nullptr};
  std::unique_ptr<Ring> newest_;
};

}  // namespace zsync::rt
