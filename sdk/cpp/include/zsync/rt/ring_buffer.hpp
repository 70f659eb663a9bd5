// RingBuffer<T>: a FIFO in one array that doubles when it is full.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <utility>

namespace zsync::rt {

template <typename T>
class RingBuffer {
 public:
  RingBuffer() = default;
  RingBuffer(const RingBuffer&) = delete;
  RingBuffer& operator=(const RingBuffer&) = delete;
  ~RingBuffer() {
    while (!empty()) pop_front();
    release();
  }

  bool empty() const { return head_ == tail_; }
  size_t size() const { return tail_ - head_; }
  T& front() { return *at(head_); }

  void push_back(T&& value) {
    if (size() == capacity_) grow();
    std::construct_at(at(tail_), std::move(value));
    ++tail_;
  }
  void pop_front() {
    std::destroy_at(at(head_));
    ++head_;
  }
  // Moves the `count` oldest values to `out`.
  template <typename Out>
  void pop_front_to(size_t count, Out out) {
    while (count > 0) {  // twice, where they wrap around the end
      T* const first = at(head_);
      const size_t run = std::min(count, capacity_ - (head_ & (capacity_ - 1)));
      out = std::move(first, first + run, out);
      std::destroy_n(first, run);
      head_ += run;
      count -= run;
    }
  }

 private:
  static constexpr size_t kFirstCapacity = 16;  // values

  T* at(size_t index) { return values_ + (index & (capacity_ - 1)); }

  [[gnu::noinline]] void grow() {
    const size_t capacity = capacity_ ? 2 * capacity_ : kFirstCapacity;
    T* const values = std::allocator<T>().allocate(capacity);
    const size_t count = size();
    for (size_t i = 0; i < count; ++i) {
      std::construct_at(values + i, std::move(front()));
      pop_front();
    }
    release();
    values_ = values;
    capacity_ = capacity;
    head_ = 0;
    tail_ = count;
  }
  void release() {
    if (values_) std::allocator<T>().deallocate(values_, capacity_);
  }

  T* values_ = nullptr;
  size_t capacity_ = 0;  // 0 or a power of two
  size_t head_ = 0;      // both count on, and are taken modulo the capacity
  size_t tail_ = 0;
};

}  // namespace zsync::rt
