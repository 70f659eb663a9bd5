// A function with a status, run where blocking is allowed.
#pragma once

#include <type_traits>
#include <utility>

#include "io/file_calls.hpp"
#include "zsync/assert.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/runtime.hpp"
#include "zsync/task.hpp"

namespace zsync::rt {

// The files of the running task's process, real or simulated.
inline FileCalls& files_here() {
  TaskContext* context = current_context();
  Driver* const driver = context ? context->scheduler->driver() : nullptr;
  ZS_ASSERT(driver, "a file in a runtime without a kernel: use the real runtime, or a SimHost");
  return driver->files();
}

// Cancel: kCancelled before the function has begun; afterwards its end is awaited and its result
// counts.
template <typename Function>
Task<std::invoke_result_t<Function&>> call_on_disk(Function function) {
  try {
    co_return co_await call_blocking(std::move(function));
  } catch (const Cancelled&) {
    co_return absl::CancelledError();
  }
}

}  // namespace zsync::rt
