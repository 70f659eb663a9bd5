// How a task is made of a callable and its arguments, so that they live as long as it.
#pragma once

#include <functional>
#include <type_traits>
#include <utility>

#include "zsync/task.hpp"

namespace zsync::rt {

// Keeps them in a frame of its own.
template <typename Function, typename... Args>
auto call_in_frame(Function function, Args... args)
    -> Task<typename std::invoke_result_t<Function&, Args...>::value_type>
  requires kIsTask<std::invoke_result_t<Function&, Args...>>
{
  co_return co_await std::invoke(function, std::move(args)...);
}

template <typename Function, typename... Args>
auto call_in_frame(Function function, Args... args)
    -> Task<std::invoke_result_t<Function&, Args...>>
  requires(!kIsTask<std::invoke_result_t<Function&, Args...>>)
{
  co_return std::invoke(function, std::move(args)...);
}

// The parameters of a callable that has no state and one signature.
template <typename... P>
struct Parameters {};
template <typename Signature>
struct ParametersOf {
  using type = void;  // not known
};
template <typename R, typename... P>
struct ParametersOf<R (*)(P...)> {
  using type = Parameters<P...>;
};
template <typename R, typename... P>
struct ParametersOf<R (*)(P...) noexcept> : ParametersOf<R (*)(P...)> {};
template <typename R, typename Closure, typename... P>
struct ParametersOf<R (Closure::*)(P...) const> : ParametersOf<R (*)(P...)> {};
template <typename R, typename Closure, typename... P>
struct ParametersOf<R (Closure::*)(P...) const noexcept> : ParametersOf<R (*)(P...)> {};
template <typename Closure>
  requires(std::is_class_v<Closure> && std::is_empty_v<Closure> &&
           requires { &Closure::operator(); })
struct ParametersOf<Closure> : ParametersOf<decltype(&Closure::operator())> {};

template <typename Arg>
inline constexpr bool kIsReferenceWrapper = false;
template <typename T>
inline constexpr bool kIsReferenceWrapper<std::reference_wrapper<T>> = true;

// Whether a parameter holds all of its argument: it is that value, or what std::ref() names. A
// std::string_view, say, would go on to refer to an argument that is gone.
template <typename P, typename Arg>
inline constexpr bool kHolds =
    std::is_reference_v<P> ? kIsReferenceWrapper<Arg>
                           : std::is_same_v<std::remove_cv_t<P>, Arg> ||
                                 (std::is_arithmetic_v<P> && std::is_arithmetic_v<Arg>);

template <typename Known, typename... Args>
inline constexpr bool kAllHeld = false;
template <typename... P, typename... Args>
  requires(sizeof...(P) == sizeof...(Args))
inline constexpr bool kAllHeld<Parameters<P...>, Args...> = (kHolds<P, Args> && ...);

// A task that calls it. Where its own frame holds the arguments anyway, no other is made.
template <typename Function, typename... Args>
auto start_call(Function&& function, Args&&... args) {
  using Called = std::decay_t<Function>;
  if constexpr (kIsTask<std::invoke_result_t<Called&, std::decay_t<Args>...>> &&
                kAllHeld<typename ParametersOf<Called>::type, std::decay_t<Args>...>) {
    return std::invoke(function, std::forward<Args>(args)...);
  } else {
    return call_in_frame<Called, std::decay_t<Args>...>(std::forward<Function>(function),
                                                        std::forward<Args>(args)...);
  }
}

}  // namespace zsync::rt
