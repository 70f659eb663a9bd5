// ModelChecker: runs a few threads of a lock-free structure in every order that x86 allows.
//
// The structure takes its atomics from a template parameter; here that is Modelled. Each access to
// one is a step; between steps any thread may go on, and a store may stay in its thread's store
// buffer while the thread goes on reading (Owens, Sarkar, Sewell: x86-TSO, 2009). A sequentially
// consistent store and every read-modify-write wait until the buffer is empty. Orders that lead to
// a state that was seen before are not followed twice, so the search is complete for a program that
// ends. Weaker memory than x86's is not modelled.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace zsync::testing {

class ModelChecker {
 public:
  // One execution: made anew for each. The closures share what the threads work on.
  struct Program {
    std::vector<std::function<void()>> threads;
    // After all have ended, or wait for each other: what is wrong, or nothing.
    std::function<std::string()> check;
  };
  struct Result {
    std::string failure;      // of the first execution that failed, with its steps
    uint64_t executions = 0;  // that differ
    uint64_t states = 0;      // that differ
  };
  static constexpr int kStepsMax = 10'000;  // of one execution; more are taken for a loop

  static Result explore(const std::function<Program()>& make);
};

// What Modelled<T> does; the value is kept as bits.
class ModelledBits {
 public:
  explicit ModelledBits(uint64_t bits);
  ~ModelledBits();
  ModelledBits(const ModelledBits&) = delete;
  ModelledBits& operator=(const ModelledBits&) = delete;

  uint64_t load() const;
  void store(uint64_t bits, bool buffered);
  // Replaces `expected`; what was there before.
  uint64_t compare_exchange(uint64_t expected, uint64_t desired);
  // What was there before.
  uint64_t fetch_add(uint64_t added);
  // Visible to all, and no step of its own.
  void store_now(uint64_t bits);
  // Waits until `expected` is there, and replaces it. A thread that waits for ever has ended.
  void await_exchange(uint64_t expected, uint64_t desired);

 private:
  friend class ModelRun;
  struct Value {
    uint64_t bits;
    uint64_t origin;  // which store made it, the same in every execution
  };
  Value value_;
  const uint64_t name_;
};

// In the place of std::atomic.
template <typename T>
class Modelled {
 public:
  Modelled() : Modelled(T{}) {}
  Modelled(T value) : bits_(to_bits(value)) {}

  T load(std::memory_order) const { return from_bits(bits_.load()); }
  void store(T value, std::memory_order order) {
    bits_.store(to_bits(value), order != std::memory_order_seq_cst);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order) {
    const uint64_t before = bits_.compare_exchange(to_bits(expected), to_bits(desired));
    if (before == to_bits(expected)) return true;
    expected = from_bits(before);
    return false;
  }
  T fetch_add(T added, std::memory_order) { return from_bits(bits_.fetch_add(to_bits(added))); }
  T fetch_sub(T taken, std::memory_order) {
    return from_bits(bits_.fetch_add(uint64_t{0} - to_bits(taken)));
  }
  // In the place of a wait in a loop.
  void await_exchange(T expected, T desired) {
    bits_.await_exchange(to_bits(expected), to_bits(desired));
  }

 private:
  static_assert(sizeof(T) <= sizeof(uint64_t));
  static uint64_t to_bits(T value) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
  }
  static T from_bits(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }

  ModelledBits bits_;
};

// In the place of a mutex. Letting go belongs to the step before: others could only wait longer.
class ModelledLock {
 public:
  void lock() { held_.await_exchange(0, 1); }
  void unlock() { held_.store_now(0); }

 private:
  ModelledBits held_{0};
};

}  // namespace zsync::testing
