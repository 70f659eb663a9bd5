// OnceCell<T>: a value that is made when it is first needed, by one task, once.
//
//   const Config& config = co_await cell.get_or_init(load_config);
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/spawn.hpp"
#include "zsync/sync.hpp"
#include "zsync/task.hpp"

namespace zsync {

namespace rt {

template <typename Result>
struct AwaitedOf {
  using type = Result;
};
template <typename Result>
struct AwaitedOf<Task<Result>> {
  using type = Result;
};

}  // namespace rt

// Lifetime: outlives its waiters; the value lives as long as the cell and never moves.
// Threads:  every member may be called from any thread.
template <typename T>
class OnceCell {
 public:
  OnceCell() = default;
  OnceCell(const OnceCell&) = delete;
  OnceCell& operator=(const OnceCell&) = delete;

  // Never waits; nullptr: there is no value yet.
  T* get() { return ready_.load(std::memory_order_acquire) ? &*value_ : nullptr; }
  // The same for a constant cell.
  const T* get() const { return ready_.load(std::memory_order_acquire) ? &*value_ : nullptr; }

  // Completes with the value, which converts to T&. The first task runs `function`, a coroutine
  // function or a plain callable that gives a T or a StatusOr<T> (then a StatusOr comes back); the
  // others wait. Where it fails, throws or is cancelled, that ends its own task's wait only: the
  // next one in the order of asking runs its function. `function` must not ask the same cell.
  //
  // Cancel: kCancelled where `function` gives a StatusOr, else throws Cancelled.
  template <typename Function>
  auto get_or_init(Function function) {
    using Given = typename rt::AwaitedOf<std::invoke_result_t<Function&>>::type;
    if constexpr (rt::kCarriesStatus<Given>) {
      return init_or_fail(std::move(function));
    } else {
      return init(std::move(function));
    }
  }

 private:
  template <typename Function>
  Task<std::reference_wrapper<T>> init(Function function) {
    if (!get()) {
      Permit turn = co_await turn_.lock();
      if (!get()) keep(co_await rt::call_in_frame(std::move(function)));
    }
    co_return *value_;
  }

  template <typename Function>
  Task<absl::StatusOr<std::reference_wrapper<T>>> init_or_fail(Function function) {
    if (T* value = get()) co_return *value;
    std::optional<Permit> turn;
    try {
      turn.emplace(co_await turn_.lock());
    } catch (const Cancelled&) {
      co_return absl::CancelledError();
    }
    if (T* value = get()) co_return *value;
    auto made = co_await rt::call_in_frame(std::move(function));
    if (!made.ok()) co_return std::move(made).status();
    keep(*std::move(made));
    co_return *value_;
  }

  template <typename Value>
  void keep(Value&& value) {
    value_.emplace(std::forward<Value>(value));
    ready_.store(true, std::memory_order_release);
  }

  Mutex turn_;              // held by the task that makes the value
  std::optional<T> value_;  // written under turn_, before ready_
  std::atomic<bool> ready_{false};
};

}  // namespace zsync
