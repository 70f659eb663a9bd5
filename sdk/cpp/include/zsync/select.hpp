// select(op...): waits for several operations and commits exactly one of them.
//
//   auto chosen = co_await zsync::select(commands.recv(), ticks.recv(), zsync::sleep(1s));
//   switch (chosen.index) { case 0: handle(std::get<0>(chosen.value)); ... }
//
// Unlike race() it never loses a message: an operation that is not chosen has not happened.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "zsync/flow.hpp"
#include "zsync/rt/operation.hpp"

namespace zsync {

// Which operation was ready first and what it gave (std::monostate for void).
template <typename... Result>
struct Selected {
  size_t index;                                 // in the list of operations, from 0
  std::variant<rt::Voidless<Result>...> value;  // std::get<index>(value)
};

namespace rt {

template <typename... Ops>
class SelectOperation final : public LeafOperation {
 public:
  using Result = Selected<decltype(std::declval<Ops&>().await_resume())...>;

  explicit SelectOperation(Ops... operations) : operations_(std::move(operations)...) {}

  Start start() final {
    if (!context()->publish(*this)) {
      set_cancelled();
      return Start::kFinished;
    }
    if (!start_all(std::index_sequence_for<Ops...>{})) {
      if (state_.begin_waiting()) return Start::kWaiting;
      const bool withdrawn = state_.winner() == sizeof...(Ops);
      if (!withdrawn && !state_.arrive()) return Start::kWaiting;  // its completer comes later
    }
    context()->retract();
    return Start::kFinished;
  }

  bool withdraw() noexcept final {
    return state_.claim(sizeof...(Ops)) == SelectState::Claim::kWonWhileWaiting;
  }
  const char* wait_kind() const noexcept final { return "select"; }
  void tell_wait(WaitInfo& info) const noexcept final {
    info.parts_count = sizeof...(Ops);
    size_t part = 0;
    const auto add = [&](const Operation& operation) {
      if (part < WaitInfo::kPartsMax) info.parts[part++] = operation.wait_kind();
    };
    std::apply([&](const auto&... operation) { (add(operation), ...); }, operations_);
  }

  Result await_resume() {
    // The losers leave their lists; for the winner this waits until its completer let go of it.
    std::apply([](auto&... operation) { ((void)operation.withdraw(), ...); }, operations_);
    if (cancelled() || state_.winner() == sizeof...(Ops)) throw Cancelled();
    return take(std::index_sequence_for<Ops...>{});
  }

 private:
  // In order, until one has finished: the first ready operation in the list wins. False when none
  // has finished by itself; another thread may have completed one.
  template <size_t... I>
  bool start_all(std::index_sequence<I...>) {
    bool finished = false;
    (void)((finished = start_one<I>() == Start::kFinished, finished || state_.claimed()) || ...);
    return finished;
  }
  template <size_t I>
  Start start_one() {
    auto& operation = std::get<I>(operations_);
    state_.bind(operation, context(), I);
    if constexpr (requires { operation.prepare(*context()->scheduler); }) {
      operation.prepare(*context()->scheduler);
    }
    return operation.start();
  }

  template <size_t... I>
  Result take(std::index_sequence<I...>) {
    std::optional<Result> result;
    (void)((take_one<I>(result)) || ...);
    return std::move(*result);
  }
  template <size_t I>
  bool take_one(std::optional<Result>& result) {
    if (state_.winner() != I) return false;
    auto& operation = std::get<I>(operations_);
    if constexpr (std::is_void_v<decltype(operation.await_resume())>) {
      operation.await_resume();
      result.emplace(Result{I, decltype(Result::value)(std::in_place_index<I>)});
    } else {
      result.emplace(
          Result{I, decltype(Result::value)(std::in_place_index<I>, operation.await_resume())});
    }
    return true;
  }

  std::tuple<Ops...> operations_;
  SelectState state_;
};

// An operation that ends together with others cannot be taken back once it has been chosen.
template <typename Op>
inline constexpr bool kMayBeSelected = !requires { typename Op::EndsWithOthers; };

template <typename Op>
  requires std::derived_from<std::remove_cvref_t<Op>, Operation>
std::remove_cvref_t<Op> as_operation(Op&& operation) {
  static_assert(kMayBeSelected<std::remove_cvref_t<Op>>,
                "select() cannot wait for a Barrier: bound it with timeout(), or race() tasks");
  return std::forward<Op>(operation);
}
// A TaskHandle or a Future, borrowed.
template <typename Awaitable>
  requires std::derived_from<decltype(std::declval<Awaitable&>().operator co_await()), Operation>
auto as_operation(Awaitable& awaitable) {
  return awaitable.operator co_await();
}

}  // namespace rt

// Completes with the first operation that is ready, in the order of the list where several are.
// Operations: send and recv of channels, changed, sleep, tick, acquire, lock, read, write,
// notified, a TaskHandle&, a Future&.
//
// Cancel: throws Cancelled; no operation has happened then.
template <typename... Ops>
auto select(Ops&&... operations) {
  return rt::SelectOperation<decltype(rt::as_operation(std::forward<Ops>(operations)))...>(
      rt::as_operation(std::forward<Ops>(operations))...);
}

}  // namespace zsync
