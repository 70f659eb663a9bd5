// The memory of one coroutine: its result, its strand and its frame in one piece.
//
//   | value (T) | TaskContext | FrameHeader | coroutine frame ... |
//
// Every Task's frame has room for a strand before it, so that spawning one or making it a branch
// takes no further memory; until then that room is untouched. The frame ends before the piece does:
// a task's arguments and locals are gone when it has ended, its result stays until somebody takes
// it.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

#include "zsync/rt/context.hpp"

namespace zsync::rt {

// Whoever looks for memory errors has to see every piece come and go.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ZSYNC_FRAMES_UNCACHED 1
#endif
#endif

inline constexpr size_t kFrameGranule = 16;  // bytes: sizes of pieces are multiples of it

// A free piece of memory.
struct FreePiece {
  FreePiece* next;
};

// Free pieces of the running thread, a stack for each size.
struct FrameCache {
  static constexpr size_t kBytesMax = 1024;  // a larger piece is the allocator's business
  static constexpr size_t kClasses = kBytesMax / kFrameGranule;
#ifdef ZSYNC_FRAMES_UNCACHED
  static constexpr bool kEnabled = false;
#else
  static constexpr bool kEnabled = true;
#endif

  struct List {
    FreePiece* head = nullptr;
    uint32_t count = 0;
    uint32_t limit = 0;  // 0: nothing was freed yet
  };

  static constexpr size_t class_of(size_t bytes) { return (bytes - 1) / kFrameGranule; }

  void* take(size_t bytes) {
    if (!kEnabled || bytes > kBytesMax) return refill(bytes);
    List& list = lists[class_of(bytes)];
    FreePiece* const piece = list.head;
    if (!piece) return refill(bytes);
    list.head = piece->next;
    --list.count;
    return piece;
  }
  void give(void* memory, size_t bytes) noexcept {
    auto* const piece = static_cast<FreePiece*>(memory);
    if (!kEnabled || bytes > kBytesMax) return spill(piece, bytes);
    List& list = lists[class_of(bytes)];
    if (list.count >= list.limit) return spill(piece, bytes);
    piece->next = list.head;
    list.head = piece;
    ++list.count;
  }

  void* refill(size_t bytes);
  void spill(FreePiece* piece, size_t bytes) noexcept;

  List lists[kClasses];
  bool ended = false;  // the thread ends
};
extern constinit thread_local FrameCache frame_cache;

struct FrameHeader {
  std::exception_ptr error;  // what the body threw
  uint32_t bytes;            // of the whole piece
  uint16_t before;           // granules of the piece before the strand
  bool body_alive : 1;       // the frame belongs to a task and was not destroyed
  bool destroys_value : 1;   // there is one, and its destructor's address stands before the strand
  bool is_strand : 1;        // the strand was made: the piece goes with its last reference
};

// What stands right before a coroutine frame.
class FrameBlock {
 public:
  static FrameBlock& of(void* frame) noexcept {
    return *reinterpret_cast<FrameBlock*>(static_cast<char*>(frame) - sizeof(FrameBlock));
  }
  static FrameBlock& of(TaskContext& strand) noexcept {
    return reinterpret_cast<FrameBlock&>(strand);
  }

  std::coroutine_handle<> body() noexcept {
    return std::coroutine_handle<>::from_address(reinterpret_cast<char*>(this) +
                                                 sizeof(FrameBlock));
  }
  TaskContext& strand() noexcept { return *std::launder(reinterpret_cast<TaskContext*>(strand_)); }
  TaskContext& make_strand() noexcept {
    header_.is_strand = true;
    return *::new (strand_) TaskContext;
  }
  FrameHeader& header() noexcept { return header_; }

  template <typename T>
  void* value_room() noexcept {
    auto address = reinterpret_cast<uintptr_t>(this) - value_bytes<T>();
    return reinterpret_cast<void*>((address + alignof(T) - 1) & ~(alignof(T) - 1));
  }
  template <typename T>
  T& value() noexcept {
    return *std::launder(static_cast<T*>(value_room<T>()));
  }
  template <typename T, typename From>
  void make_value(From&& from) {
    ::new (value_room<T>()) T(std::forward<From>(from));
    if constexpr (!std::is_trivially_destructible_v<T>) {
      value_destructor() = [](FrameBlock& block) noexcept { block.value<T>().~T(); };
      header_.destroys_value = true;
    }
  }

  // Destroys arguments and locals; what the piece holds besides stays.
  void destroy_body() noexcept { body().destroy(); }
  // For a promise's operator delete: the piece stays, except that of a frame which never became a
  // task because copying an argument threw.
  static void frame_destroyed(void* frame) noexcept {
    FrameBlock& block = of(frame);
    if (!block.header_.body_alive) return block.free();
    block.header_.body_alive = false;
  }
  // Destroys what is left and gives the memory back.
  [[gnu::always_inline]] void free() noexcept {
    if (header_.body_alive) destroy_body();
    if (header_.destroys_value) value_destructor()(*this);
    header_.error.~exception_ptr();
    frame_cache.give(reinterpret_cast<char*>(this) - header_.before * kFrameGranule, header_.bytes);
  }

  // For a promise's operator new.
  template <typename T>
  static void* allocate(size_t frame_bytes) {
    constexpr size_t kBefore = value_bytes<T>();
    static_assert(kBefore / kFrameGranule <= UINT16_MAX,
                  "a task's result is too large: return a pointer to it");
    const size_t bytes = kBefore + sizeof(FrameBlock) + frame_bytes;
    auto* block =
        reinterpret_cast<FrameBlock*>(static_cast<char*>(frame_cache.take(bytes)) + kBefore);
    ::new (&block->header_) FrameHeader{nullptr,
                                        static_cast<uint32_t>(bytes),
                                        static_cast<uint16_t>(kBefore / kFrameGranule),
                                        false,
                                        false,
                                        false};
    return reinterpret_cast<char*>(block) + sizeof(FrameBlock);
  }

 private:
  using Destructor = void (*)(FrameBlock&) noexcept;

  Destructor& value_destructor() noexcept { return reinterpret_cast<Destructor*>(this)[-1]; }

  // Without a value nothing; else its size, with room to align it and for its destructor.
  template <typename T>
  static constexpr size_t value_bytes() {
    if constexpr (std::is_void_v<T>) {
      return 0;
    } else {
      return round_up(sizeof(T) + (alignof(T) > kFrameGranule ? alignof(T) : 0) +
                      (std::is_trivially_destructible_v<T> ? 0 : sizeof(Destructor)));
    }
  }
  static constexpr size_t round_up(size_t bytes) {
    return (bytes + kFrameGranule - 1) & ~(kFrameGranule - 1);
  }
  alignas(TaskContext) unsigned char strand_[sizeof(TaskContext)];
  FrameHeader header_;
};

inline std::exception_ptr& TaskContext::error() noexcept {
  return FrameBlock::of(*this).header().error;
}

}  // namespace zsync::rt
