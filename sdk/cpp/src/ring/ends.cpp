#include "ends.hpp"

#include <algorithm>
#include <cstring>

namespace zsync::ring {
namespace {

absl::Status damaged() {
  return absl::DataLossError(
      "the indices of the ring make no sense: one of its ends wrote over them");
}

struct Indices {
  std::uint64_t tail;
  std::uint64_t head;
};

absl::StatusOr<Indices> read_indices(const Memory& memory) {
  const Header& header = memory.header();
  const std::uint64_t tail = header.tail.load(std::memory_order_acquire) & ~kClosed;
  const std::uint64_t head = header.head.load(std::memory_order_acquire);
  const bool fits = head <= tail && tail - head <= memory.bytes() && tail % 8 == 0 && head % 8 == 0;
  if (!fits) return damaged();
  return Indices{tail, head};
}

}  // namespace

Sender::Sender(const Memory& memory, std::uint64_t tail, std::uint64_t head, std::uint64_t sent)
    : header_(&memory.header()),
      data_(memory.data()),
      capacity_(memory.bytes()),
      tail_(tail),
      written_(tail),
      head_(head),
      sent_(sent) {}

absl::StatusOr<Sender> Sender::attach(const Memory& memory) {
  const absl::StatusOr<Indices> indices = read_indices(memory);
  if (!indices.ok()) return indices.status();
  return Sender(memory, indices->tail, indices->head,
                memory.header().sent.load(std::memory_order_relaxed));
}

bool Sender::has_room(std::size_t bytes) {
  const std::uint64_t head = header_->head.load(std::memory_order_seq_cst);
  // It goes forward only, and never beyond what was published.
  if (head < head_ || head > tail_ || head % 8 != 0) {
    damaged_ = true;
    return false;
  }
  head_ = head;
  return written_ + record_bytes(bytes) - head_ <= capacity_;
}

bool Sender::put(std::string_view message) {
  const std::uint64_t bytes = record_bytes(message.size());
  if (written_ + bytes - head_ > capacity_ && !has_room(message.size())) return false;
  unsigned char* at = data_ + (written_ & (capacity_ - 1));
  const auto length = static_cast<std::uint32_t>(message.size());
  std::memcpy(at, &length, sizeof(length));
  std::memcpy(at + kLengthBytes, message.data(), message.size());
  written_ += bytes;
  ++unpublished_;
  return true;
}

Sender::Result Sender::publish() {
  // Not a store: who closes the ring marks this word, and what comes after the mark is not sent.
  std::uint64_t expected = tail_;
  if (!header_->tail.compare_exchange_strong(expected, written_, std::memory_order_seq_cst)) {
    written_ = tail_;
    unpublished_ = 0;
    if (expected == (tail_ | kClosed)) return Result::kClosed;
    damaged_ = true;
    return Result::kDamaged;
  }
  tail_ = written_;
  sent_ += unpublished_;
  unpublished_ = 0;
  header_->sent.store(sent_, std::memory_order_relaxed);
  return Result::kDone;
}

bool Sender::closed() const {
  return (header_->tail.load(std::memory_order_relaxed) & kClosed) != 0;
}

Receiver::Receiver(const Memory& memory, std::uint64_t head, std::uint64_t received)
    : header_(&memory.header()),
      data_(memory.data()),
      capacity_(memory.bytes()),
      next_(head),
      taken_(received) {}

absl::StatusOr<Receiver> Receiver::attach(const Memory& memory) {
  const absl::StatusOr<Indices> indices = read_indices(memory);
  if (!indices.ok()) return indices.status();
  return Receiver(memory, indices->head, memory.header().received.load(std::memory_order_relaxed));
}

absl::StatusOr<std::size_t> Receiver::take(std::size_t max,
                                           std::vector<std::string_view>& messages) {
  messages.clear();
  const std::uint64_t tail = header_->tail.load(std::memory_order_seq_cst) & ~kClosed;
  if (tail < next_ || tail - next_ > capacity_ || tail % 8 != 0) return damaged();
  const std::uint64_t there = tail - next_;
  if (there == 0) return std::size_t{0};
  const unsigned char* from = data_ + (next_ & (capacity_ - 1));
  std::uint64_t copied = std::min(there, kTakeBytes);
  if (copy_.size() < copied) copy_.resize(kTakeBytes);
  std::memcpy(copy_.data(), from, copied);
  std::uint64_t at = 0;
  while (messages.size() < max && copied - at >= 8) {
    std::uint32_t length = 0;
    std::memcpy(&length, copy_.data() + at, sizeof(length));
    const std::uint64_t bytes = record_bytes(length);
    if (bytes > there - at) return damaged();
    if (bytes > copied - at) {
      if (at > 0) break;  // it comes whole with the next call
      copied = bytes;
      copy_.resize(std::max<std::size_t>(copy_.size(), bytes));
      // Behind its length, which is known and may have been changed since.
      std::memcpy(copy_.data() + kLengthBytes, from + kLengthBytes, bytes - kLengthBytes);
    }
    messages.emplace_back(reinterpret_cast<const char*>(copy_.data() + at + kLengthBytes), length);
    at += bytes;
  }
  next_ += at;
  taken_ += messages.size();
  return messages.size();
}

void Receiver::release() {
  header_->received.store(taken_, std::memory_order_relaxed);
  header_->head.store(next_, std::memory_order_seq_cst);
}

bool Receiver::empty() const {
  return (header_->tail.load(std::memory_order_seq_cst) & ~kClosed) == next_;
}

bool Receiver::ended() const {
  return header_->tail.load(std::memory_order_seq_cst) == (next_ | kClosed);
}

}  // namespace zsync::ring
