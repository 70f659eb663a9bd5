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
    TaskContext& context = strand_of(handle);
    cancelled_ = context.cancelled_here();
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
    prepare(*strand_of(handle).scheduler);
    return suspend(strand_of(handle), handle);
  }
  const char* wait_kind() const noexcept final { return "sleep"; }
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
[[gnu::always_inline]] inline Voidless<T> take_voidless(Task<T>& branch) {
  if constexpr (std::is_void_v<T>) {
    take_last(branch);
    return {};
  } else {
    return take_last(branch);
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

namespace rt {

// Calls it with each task.
template <typename Add, typename... T>
[[gnu::always_inline]] inline void each_task(std::tuple<Task<T>...>& tasks, const Add& add) {
  [&]<size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
    (add(std::get<I>(tasks)), ...);
  }(std::index_sequence_for<T...>{});
}
template <typename... T>
constexpr uint32_t number_of(const std::tuple<T...>&) {
  return sizeof...(T);
}
template <typename T>
uint32_t number_of(const std::vector<T>& tasks) {
  return static_cast<uint32_t>(tasks.size());
}
template <typename Add, typename T>
void each_task(std::vector<Task<T>>& tasks, const Add& add) {
  for (Task<T>& task : tasks) add(task);
}

// Rethrows what the task `failed` threw.
template <typename... T>
[[gnu::noinline]] void rethrow_of(std::tuple<Task<T>...>& tasks, int failed) {
  [&]<size_t... I>(std::index_sequence<I...>) {
    ((I == static_cast<size_t>(failed) ? std::get<I>(tasks).block().rethrow() : void()), ...);
  }(std::index_sequence_for<T...>{});
}
// `failed`: the task whose exception is to be rethrown, -1 for none.
template <typename Result, typename... T>
[[gnu::always_inline]] inline Result take_all(std::tuple<Task<T>...>& tasks, int failed) {
  if (failed >= 0) [[unlikely]]
    rethrow_of(tasks, failed);
  return [&]<size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
    return Result{take_voidless(std::get<I>(tasks))...};
  }(std::index_sequence_for<T...>{});
}
template <typename Result, typename T>
Result take_all(std::vector<Task<T>>& tasks, int failed) {
  if (failed >= 0) tasks[static_cast<size_t>(failed)].block().rethrow();
  if constexpr (std::is_void_v<T>) {
    for (Task<T>& task : tasks) take_voidless(task);
  } else {
    Result results;
    results.reserve(tasks.size());
    for (Task<T>& task : tasks) results.push_back(take_voidless(task));
    return results;
  }
}

template <typename Result, typename Tasks>
class AllTasks;
template <typename Result, typename Tasks>
Task<Result> await_all(AllTasks<Result, Tasks> all) {
  co_return co_await std::move(all);
}

// What all() gives: tasks that run when it is awaited, as branches of the awaiting strand. They and
// everything that waiting for them needs are in the awaiting frame.
template <typename Result, typename Tasks>
class [[nodiscard]] AllTasks {
 public:
  // The type that co_await gives.
  using value_type = Result;

  template <typename... Parts>
  explicit AllTasks(std::in_place_t, Parts&&... parts) : tasks_(std::forward<Parts>(parts)...) {}

  auto operator co_await() && { return Awaiter(tasks_); }

  // As a task of its own. Implicit: all(...) may stand where a Task may.
  operator Task<Result>() && { return await_all(std::move(*this)); }

 private:
  class Awaiter : public BranchScope {
   public:
    explicit Awaiter(Tasks& tasks) : BranchScope(CancelRest::kOnError), tasks_(tasks) {}
    template <typename Promise>
    [[gnu::always_inline]] std::coroutine_handle<> await_suspend(
        std::coroutine_handle<Promise> handle) {
      TaskContext& parent = strand_of(handle);
      each_task(tasks_, [&](auto& task) __attribute__((always_inline)) { add_of(parent, task); });
      return begin(parent, handle, number_of(tasks_));
    }
    [[gnu::always_inline]] Result await_resume() {
      BranchScope::await_resume();
      return take_all<Result>(tasks_, decisive());
    }

   private:
    Tasks& tasks_;
  };

  Tasks tasks_;
};

}  // namespace rt

// Runs all tasks concurrently -> a tuple of their results (std::monostate for void).
//
// On a worker the first one starts at once on this thread and idle workers may take the others; no
// memory is taken besides the tasks' frames. What is awaited may also stand where a Task may: in
// spawn(), run(), timeout(), shield(), race(), any() or another all().
// Errors: the first exception cancels the rest, waits for them, and is rethrown. A status that a
//         task returns is a result like any other.
template <rt::TaskOrGroup... Tasks>
auto all(Tasks... tasks) {
  using Result = std::tuple<rt::Voidless<typename Tasks::value_type>...>;
  using Parts = std::tuple<Task<typename Tasks::value_type>...>;
  return rt::AllTasks<Result, Parts>(std::in_place, rt::as_task(std::move(tasks))...);
}

// The same for a list of tasks -> their results in order; nothing for tasks without a result.
template <typename T>
auto all(std::vector<Task<T>> tasks) {
  using Result = std::conditional_t<std::is_void_v<T>, void, std::vector<rt::Voidless<T>>>;
  return rt::AllTasks<Result, std::vector<Task<T>>>(std::in_place, std::move(tasks));
}

// Which task was first and what it gave: the common type of the tasks, or a variant of their types.
template <typename... T>
struct RaceResult {
  size_t index;                             // in the list of tasks, from 0
  typename rt::ChoiceOf<T...>::type value;  // std::monostate for void
};

namespace rt {

template <typename... T>
Task<RaceResult<T...>> race_tasks(Task<T>... tasks) {
  using Choice = typename ChoiceOf<T...>::type;
  BranchScope scope(BranchScope::CancelRest::kOnFirst);
  (scope.add(tasks), ...);
  co_await scope;
  const size_t winner = static_cast<size_t>(scope.decisive());
  std::optional<Choice> value;
  [&]<size_t... I>(std::index_sequence<I...>) {
    auto take = [&]<size_t N>(std::integral_constant<size_t, N>, auto& task) {
      if (N != winner) return;
      if constexpr (std::is_same_v<Choice, Voidless<std::tuple_element_t<N, std::tuple<T...>>>>) {
        value.emplace(take_voidless(task));
      } else {
        value.emplace(std::in_place_index<N>, take_voidless(task));
      }
    };
    (take(std::integral_constant<size_t, I>{}, tasks), ...);
  }(std::index_sequence_for<T...>{});
  co_return RaceResult<T...>{winner, std::move(*value)};
}

template <typename T>
bool branch_succeeded(TaskContext& strand) {
  if (strand.error()) return false;
  if constexpr (kCarriesStatus<T>) return FrameBlock::of(strand).value<T>().ok();
  return true;
}

template <typename T, typename... Same>
Task<T> any_task(Task<T> first, Same... rest) {
  BranchScope scope(BranchScope::CancelRest::kOnSuccess);
  scope.set_success_test(&branch_succeeded<T>);
  TaskContext* const branches[] = {&scope.add(first), &scope.add(rest)...};
  co_await scope;
  const size_t chosen = scope.decisive() >= 0 ? scope.decisive() : sizeof...(rest);
  co_return take_result<T>(FrameBlock::of(*branches[chosen]));
}

}  // namespace rt

// Runs all tasks until the first one ends; the others are cancelled and have ended when this does.
//
// Errors: what the first one threw.
template <rt::TaskOrGroup... Tasks>
  requires(sizeof...(Tasks) > 0)
auto race(Tasks... tasks) {
  return rt::race_tasks(rt::as_task(std::move(tasks))...);
}

// The first task that neither throws nor returns a status that is not ok; the others are cancelled.
//
// Errors: when none succeeds, what the last task of the list gave.
template <rt::TaskOrGroup First, rt::TaskOrGroup... Rest>
  requires((std::same_as<typename First::value_type, typename Rest::value_type> && ...))
auto any(First first, Rest... rest) {
  return rt::any_task(rt::as_task(std::move(first)), rt::as_task(std::move(rest))...);
}

}  // namespace zsync
