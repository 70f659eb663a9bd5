// What a worker counts about itself.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "zsync/rt/scheduler.hpp"

namespace zsync::rt {

// Written by one thread without an atomic read-modify-write, read by any.
class OwnerCounter {
 public:
  void add(uint64_t more) {
    value_.store(value_.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Nothing of it is touched while a worker runs strands, except `running`.
struct WorkerCounters {
  static constexpr size_t kWakeBuckets = 21;  // the first: below 1 us; each twice the one before

  // -- written by the worker's thread
  std::atomic<TaskContext*> running{nullptr};  // the task that it resumed last; not to be followed
  OwnerCounter steals;                         // thefts that found something
  OwnerCounter parks;
  std::array<OwnerCounter, kWakeBuckets> wakes;

  // -- written by who wakes it: nanoseconds of the steady clock; 0: nobody did
  std::atomic<int64_t> woken_at{0};

  static int64_t now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

  void wake_is_sent() { woken_at.store(now(), std::memory_order_relaxed); }
  // Whatever was sent before this park was not for it.
  void park_begins() {
    running.store(nullptr, std::memory_order_relaxed);
    woken_at.store(0, std::memory_order_relaxed);
  }
  void park_ends() {
    const int64_t sent = woken_at.load(std::memory_order_relaxed);
    if (sent == 0) return;
    const int64_t micros = (now() - sent) / 1000;
    const size_t bucket = micros <= 0 ? 0 : std::bit_width(static_cast<uint64_t>(micros));
    wakes[bucket < kWakeBuckets ? bucket : kWakeBuckets - 1].add(1);
  }
};

}  // namespace zsync::rt
