// The memory of a ring: a stream of messages from one process to another, without a system call.
//
// A page of indices, then the bytes of the messages, all in a sealed memfd that both ends and the
// daemon map. A message is its length in four bytes, its bytes, and padding to eight. Positions
// count bytes since the ring was made and never wrap; the data is mapped twice in a row, so that a
// message is contiguous wherever it lies.
//
// Nothing that a peer may write is believed: an index is checked before it is used, a length is
// read once from a private copy, and the size is that of the memory, which the seals fix.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"

namespace zsync::ring {

inline constexpr std::size_t kHeaderBytes = 4096;
inline constexpr std::uint64_t kRingBytesMin = 64ull << 10;
inline constexpr std::uint64_t kRingBytesMax = 1ull << 30;
inline constexpr std::uint64_t kRingBytesDefault = 4ull << 20;
inline constexpr std::uint64_t kLengthBytes = 4;      // before each message
inline constexpr std::uint64_t kClosed = 1ull << 63;  // in the tail: nothing is sent any more

// What a message of `bytes` takes.
constexpr std::uint64_t record_bytes(std::uint64_t bytes) {
  return (kLengthBytes + bytes + 7) & ~std::uint64_t{7};
}

// The indices. Who writes what stands with it; each has a cache line pair of its own.
struct Header {
  // The sender: the end of what it has sent, and how many messages that is.
  alignas(128) std::atomic<std::uint64_t> tail;
  std::atomic<std::uint64_t> sent;
  // The receiver: the end of what it has received, and how many messages that is.
  alignas(128) std::atomic<std::uint64_t> head;
  std::atomic<std::uint64_t> received;
  // Whether an end is asleep, or about to be: set by that end, cleared by whoever rings its bell.
  alignas(128) std::atomic<std::uint32_t> sender_sleeps;
  alignas(128) std::atomic<std::uint32_t> receiver_sleeps;
};
static_assert(sizeof(Header) <= kHeaderBytes);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

// A mapping.
//
// Lifetime: unmapped and closed with this.
// Threads:  the indices are atomic; the rest belongs to whoever is the end.
class Memory {
 public:
  // Of data bytes: `bytes` rounded up to a power of two, kRingBytesMin at least.
  //
  // Errors: kInvalidArgument over kRingBytesMax; kResourceExhausted, kUnavailable: the system's.
  static absl::StatusOr<Memory> make(std::uint64_t bytes);
  // Maps what a peer or the daemon passed; takes over `fd`, also on failure.
  //
  // Errors: kInvalidArgument for anything but a sealed memory of a ring's size.
  static absl::StatusOr<Memory> map(int fd);

  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&&) = delete;
  ~Memory();

  Header& header() const { return *reinterpret_cast<Header*>(base_); }
  unsigned char* data() const { return base_ + kHeaderBytes; }
  std::uint64_t bytes() const { return bytes_; }
  int fd() const { return fd_; }

 private:
  Memory(int fd, unsigned char* base, std::uint64_t bytes) : fd_(fd), base_(base), bytes_(bytes) {}

  int fd_;
  unsigned char* base_;
  std::uint64_t bytes_;
};

}  // namespace zsync::ring
