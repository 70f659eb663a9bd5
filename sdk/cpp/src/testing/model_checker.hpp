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
#include <bit>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace zsync::testing {

class ModelChecker {
 public:
  // One execution: made anew for each. The closures share what the threads work on.
  struct Program {
    std::vector<std::function<void()>> threads;
    std::function<std::string()> check;  // after all have ended: what is wrong, or nothing
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

 private:
  static_assert(sizeof(T) == sizeof(uint64_t));
  static uint64_t to_bits(T value) { return std::bit_cast<uint64_t>(value); }
  static T from_bits(uint64_t bits) { return std::bit_cast<T>(bits); }

  ModelledBits bits_;
};

}  // namespace zsync::testing
