// Flow: waiting for time and for several things at once.
//
// Cancel: every combinator ends only after all of its tasks have ended; cancelling it cancels them.
#pragma once

#include <chrono>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "zsync/rt/scope.hpp"
#include "zsync/rt/timer.hpp"
#include "zsync/spawn.hpp"
#include "zsync/task.hpp"

namespace zsync {

namespace rt {

class YieldOperation {
 public:
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    TaskContext& context = *handle.promise().context;
    cancelled_ = context.cancel_requested();
    if (cancelled_) return false;
    context.resume_point = handle;
    context.yield();
    return true;
  }
  void await_resume() const {
    if (cancelled_) throw Cancelled();
  }

 private:
  bool cancelled_ = false;
};

class SleepOperation : public TimerOperation {
 public:
  explicit SleepOperation(Duration delay) : TimerOperation(TimePoint{}), delay_(delay) {}
  explicit SleepOperation(TimePoint deadline) : TimerOperation(deadline) {}

  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    prepare(*handle.promise().context->scheduler);
    return suspend(*handle.promise().context, handle);
  }
  void prepare(Scheduler& scheduler) {
    if (delay_ != Duration{-1}) set_deadline(deadline_after(scheduler.now(), delay_));
  }
  void await_resume() const {
    if (cancelled()) throw Cancelled();
  }

 private:
  Duration delay_{-1};
};

template <typename T>
using Voidless = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <typename T>
Voidless<T> take_voidless(RootPromise<T>& branch) {
  if constexpr (std::is_void_v<T>) {
    branch.take();
    return {};
  } else {
    return branch.take();
  }
}

template <typename... T>
struct ChoiceOf {
  using type = std::variant<Voidless<T>...>;
};
template <typename First, typename... Rest>
  requires((std::same_as<First, Rest> && ...))
struct ChoiceOf<First, Rest...> {
  using type = Voidless<First>;
};

}  // namespace rt

// Lets every other ready task of this worker run first. Cancel: throws Cancelled.
inline rt::YieldOperation yield_now() { return {}; }

// Completes after `delay`, never early. Cancel: throws Cancelled.
inline rt::SleepOperation sleep(rt::Duration delay) {
  return rt::SleepOperation(std::max(delay, rt::Duration{0}));
}
// Completes at `deadline` of the steady clock.
inline rt::SleepOperation sleep_until(rt::TimePoint deadline) {
  return rt::SleepOperation(deadline);
}

// Runs all tasks concurrently -> a tuple of their results (std::monostate for void).
//
// Errors: the first exception cancels the rest, waits for them, and is rethrown. A status that a
// task
//         returns is a result like any other.
template <typename... T>
Task<std::tuple<rt::Voidless<T>...>> all(Task<T>... tasks) {
  rt::BranchScope scope(rt::BranchScope::CancelRest::kOnError);
  auto branches = std::tuple<rt::RootPromise<T>&...>(scope.add(std::move(tasks))...);
  co_await scope;
  if (const int failed = scope.decisive(); failed >= 0) {
    int index = 0;
    std::apply([&](auto&... branch) { ((index++ == failed ? (void)branch.take() : void()), ...); },
               branches);
  }
  co_return std::apply(
      [](auto&... branch) { return std::tuple<rt::Voidless<T>...>{rt::take_voidless(branch)...}; },
      branches);
}

// The same for a list of tasks -> their results in order.
template <typename T>
  requires(!std::is_void_v<T>)
Task<std::vector<T>> all(std::vector<Task<T>> tasks) {
  rt::BranchScope scope(rt::BranchScope::CancelRest::kOnError);
  std::vector<rt::RootPromise<T>*> branches;
  for (Task<T>& task : tasks) branches.push_back(&scope.add(std::move(task)));
  co_await scope;
  if (scope.decisive() >= 0) branches[scope.decisive()]->take();
  std::vector<T> results;
  results.reserve(branches.size());
  for (rt::RootPromise<T>* branch : branches) results.push_back(branch->take());
  co_return results;
}

// The same for tasks without a result.
inline Task<void> all(std::vector<Task<void>> tasks) {
  rt::BranchScope scope(rt::BranchScope::CancelRest::kOnError);
  std::vector<rt::RootPromise<void>*> branches;
  for (Task<void>& task : tasks) branches.push_back(&scope.add(std::move(task)));
  co_await scope;
  if (scope.decisive() >= 0) branches[scope.decisive()]->take();
  for (rt::RootPromise<void>* branch : branches) branch->take();
}

// Which task was first and what it gave: the common type of the tasks, or a variant of their types.
template <typename... T>
struct RaceResult {
  size_t index;                             // in the list of tasks, from 0
  typename rt::ChoiceOf<T...>::type value;  // std::monostate for void
};

// Runs all tasks until the first one ends; the others are cancelled and have ended when this does.
//
// Errors: what the first one threw.
template <typename... T>
  requires(sizeof...(T) > 0)
Task<RaceResult<T...>> race(Task<T>... tasks) {
  using Choice = typename rt::ChoiceOf<T...>::type;
  rt::BranchScope scope(rt::BranchScope::CancelRest::kOnFirst);
  auto branches = std::tuple<rt::RootPromise<T>&...>(scope.add(std::move(tasks))...);
  co_await scope;
  const size_t winner = static_cast<size_t>(scope.decisive());
  std::optional<Choice> value;
  [&]<size_t... I>(std::index_sequence<I...>) {
    auto take = [&]<size_t N>(std::integral_constant<size_t, N>) {
      if (N != winner) return;
      if constexpr (std::is_same_v<Choice,
                                   rt::Voidless<std::tuple_element_t<N, std::tuple<T...>>>>) {
        value.emplace(rt::take_voidless(std::get<N>(branches)));
      } else {
        value.emplace(std::in_place_index<N>, rt::take_voidless(std::get<N>(branches)));
      }
    };
    (take(std::integral_constant<size_t, I>{}), ...);
  }(std::index_sequence_for<T...>{});
  co_return RaceResult<T...>{winner, std::move(*value)};
}

namespace rt {

template <typename T>
bool branch_succeeded(TaskContext& context) {
  auto& branch = static_cast<RootPromise<T>&>(context);
  if (branch.error) return false;
  if constexpr (std::is_same_v<T, absl::Status>) return branch.value->ok();
  if constexpr (kCarriesStatus<T> && !std::is_same_v<T, absl::Status>) return branch.value->ok();
  return true;
}

}  // namespace rt

// The first task that neither throws nor returns a status that is not ok; the others are cancelled.
//
// Errors: when none succeeds, what the last task of the list gave.
template <typename T, typename... Same>
  requires((std::same_as<T, Same> && ...))
Task<T> any(Task<T> first, Task<Same>... rest) {
  rt::BranchScope scope(rt::BranchScope::CancelRest::kOnSuccess);
  scope.set_success_test(&rt::branch_succeeded<T>);
  std::vector<rt::RootPromise<T>*> branches{&scope.add(std::move(first)),
                                            &scope.add(std::move(rest))...};
  co_await scope;
  const int winner = scope.decisive();
  co_return winner >= 0 ? branches[winner]->take() : branches.back()->take();
}

}  // namespace zsync
