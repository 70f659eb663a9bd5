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
    uint32_t room = 0;     // pieces that may be added
    bool watched = false;  // it was used before
  };
  static_assert(sizeof(List) == kFrameGranule, "the offset of a list is the size of its pieces");

  static constexpr size_t class_of(size_t bytes) { return (bytes - 1) / kFrameGranule; }
  static constexpr bool keeps(size_t bytes) { return kEnabled && bytes <= kBytesMax; }

  void* take(size_t bytes) {
    if (!keeps(bytes)) return refill(bytes);
    List& list = lists[class_of(bytes)];
    FreePiece* const piece = list.head;
    if (!piece) return refill(bytes);
    list.head = piece->next;
    ++list.room;
    return piece;
  }
  void give(void* memory, size_t bytes) noexcept {
    if (!keeps(bytes)) return spill(static_cast<FreePiece*>(memory), bytes);
    give_kept(memory, (class_of(bytes) + 1) * kFrameGranule);
  }
  // `bytes`: of a piece that keeps() is true of, in whole granules.
  void give_kept(void* memory, size_t bytes) noexcept {
    auto* const piece = static_cast<FreePiece*>(memory);
    List& list = *reinterpret_cast<List*>(reinterpret_cast<char*>(lists) + bytes - kFrameGranule);
    if (list.room == 0) [[unlikely]]
      return spill(piece, bytes);
    piece->next = list.head;
    list.head = piece;
    --list.room;
  }

  void* refill(size_t bytes);
  void spill(FreePiece* piece, size_t bytes) noexcept;

  List lists[kClasses];
  bool ended = false;  // the thread ends
};
extern constinit thread_local FrameCache frame_cache;

struct FrameHeader {
  // What there is to do before the piece may be given back.
  static constexpr uint8_t kBody = 1;   // the frame has arguments to destroy
  static constexpr uint8_t kValue = 2;  // a result; its destructor's address is before the strand
  static constexpr uint8_t kError = 4;  // `error` is set
  static constexpr uint8_t kExtra = 8;  // the strand has an Extra
  // The strand was made: the piece goes with its last reference.
  static constexpr uint8_t kStrand = 16;
  static constexpr uint8_t kUncached = 32;  // FrameCache does not keep the piece

  bool has(uint8_t flag) const { return (flags & flag) != 0; }

  std::exception_ptr error;  // what the body threw
  uint32_t bytes;            // of the whole piece, in whole granules
  uint16_t before;           // granules of the piece before the strand
  uint8_t flags;
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
  template <typename... Args>
  TaskContext& make_strand(Args&&... args) noexcept {
    header_.flags |= FrameHeader::kStrand;
    // Without parentheses for none: they would clear all of it first.
    if constexpr (sizeof...(Args) == 0) return *::new (strand_) TaskContext;
    return *::new (strand_) TaskContext(std::forward<Args>(args)...);
  }
  FrameHeader& header() noexcept { return header_; }
  void set_error(std::exception_ptr error) noexcept {
    header_.error = std::move(error);
    header_.flags |= FrameHeader::kError;
  }

  // What the body threw; taken once.
  [[noreturn, gnu::noinline]] void rethrow() {
    std::rethrow_exception(std::exchange(header_.error, nullptr));
  }

  template <typename T>
  void* value_room() noexcept {
    auto address = reinterpret_cast<uintptr_t>(this) - value_bytes<T>();
    if constexpr (alignof(T) <= kFrameGranule) return reinterpret_cast<void*>(address);
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
      header_.flags |= FrameHeader::kValue;
    }
  }

  // A frame has to be destroyed when it has arguments that do something then: it is never destroyed
  // elsewhere than before its body has begun and after it has ended, when there are no locals.
  void destroy_body() noexcept {
    if (header_.has(FrameHeader::kBody)) body().destroy();
  }
  // For a promise's operator delete: the piece stays, except that of a frame which never became a
  // task because copying an argument threw.
  static void frame_destroyed(void* frame) noexcept {
    FrameBlock& block = of(frame);
    if (!block.header_.has(FrameHeader::kBody)) return block.free();
    block.header_.flags &= static_cast<uint8_t>(~FrameHeader::kBody);
  }
  // Destroys what is left and gives the memory back.
  [[gnu::always_inline]] void free() noexcept {
    if ((header_.flags & ~FrameHeader::kStrand) != 0) [[unlikely]]
      return free_rest();
    give_back();
  }
  // The end of the Task<T> that owns it; of a strand one reference goes.
  template <typename T>
  [[gnu::always_inline]] void release() noexcept {
    const bool alone = header_.flags == 0 ||
                       (header_.flags == FrameHeader::kStrand && strand().is_last_reference());
    if (!alone) [[unlikely]]
      return release_rest();
    frame_cache.give_kept(reinterpret_cast<char*>(this) - value_bytes<T>(), header_.bytes);
  }

  // For a promise's operator new.
  template <typename T>
  static void* allocate(size_t frame_bytes) {
    constexpr size_t kBefore = value_bytes<T>();
    static_assert(kBefore / kFrameGranule <= UINT16_MAX,
                  "a task's result is too large: return a pointer to it");
    const size_t bytes = kBefore + sizeof(FrameBlock) + round_up(frame_bytes);
    auto* block =
        reinterpret_cast<FrameBlock*>(static_cast<char*>(frame_cache.take(bytes)) + kBefore);
    const uint8_t flags = FrameCache::keeps(bytes) ? 0 : FrameHeader::kUncached;
    ::new (&block->header_) FrameHeader{nullptr, static_cast<uint32_t>(bytes),
                                        static_cast<uint16_t>(kBefore / kFrameGranule), flags};
    return reinterpret_cast<char*>(block) + sizeof(FrameBlock);
  }

 private:
  using Destructor = void (*)(FrameBlock&) noexcept;

  [[gnu::noinline]] void free_rest() noexcept {
    destroy_body();
    if (header_.has(FrameHeader::kValue)) value_destructor()(*this);
    header_.error.~exception_ptr();
    frame_cache.give(piece(), header_.bytes);
  }
  [[gnu::noinline]] void release_rest() noexcept {
    if (!header_.has(FrameHeader::kStrand)) return free();
    destroy_body();
    strand().unref();
  }
  void give_back() noexcept { frame_cache.give_kept(piece(), header_.bytes); }
  char* piece() noexcept { return reinterpret_cast<char*>(this) - header_.before * kFrameGranule; }
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
inline bool TaskContext::failed() noexcept {
  return FrameBlock::of(*this).header().has(FrameHeader::kError);
}

}  // namespace zsync::rt
