// A function with a status, run where blocking is allowed.
#pragma once

#include <type_traits>
#include <utility>

#include "zsync/rt/fd.hpp"
#include "zsync/runtime.hpp"
#include "zsync/task.hpp"

namespace zsync::rt {

// Cancel: kCancelled before the function has begun; afterwards its end is awaited and its result
// counts.
template <typename Function>
Task<std::invoke_result_t<Function&>> call_on_disk(Function function) {
  require_kernel("a file in a runtime without a kernel: use the real runtime");
  try {
    co_return co_await call_blocking(std::move(function));
  } catch (const Cancelled&) {
    co_return absl::CancelledError();
  }
}

}  // namespace zsync::rt
