// async(): the synchronous client's calls, awaited.
//
//   absl::StatusOr<v1::Task> task = co_await client::async([&](const client::CallOptions& call) {
//     return daemon.tasks().get("build", call);
//   });
//
// One function for every call there is and will be. What a callback is given crosses into tasks
// through a channel: `(void)channel.send_blocking(batch)` in the callback, `co_await
// channel.recv()` outside, and a full channel holds the daemon back.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "zsync/client/options.hpp"
#include "zsync/runtime.hpp"
#include "zsync/task.hpp"

namespace zsync::client {

// Runs `call` on a thread where blocking is allowed. `call` takes the CallOptions that it hands on
// to the client, and returns a Status or a StatusOr. `timeout` absent: Options::timeout.
//
// Errors:   those of the call.
// Cancel:   kCancelled; the call on the wire is cancelled and has ended before the task goes on.
// Lifetime: the client, and what `call` refers to, outlive the await.
// Cost:     one thread while it waits; many long waits want a client over fewer, larger calls.
template <typename Call>
Task<std::invoke_result_t<Call&, const CallOptions&>> async(
    Call call, std::optional<std::chrono::nanoseconds> timeout = std::nullopt) {
  auto stop = std::make_shared<StopSource>();
  try {
    co_return co_await rt::call_blocking(
        [stop, timeout, call = std::move(call)]() mutable {
          return call(CallOptions{timeout, stop.get()});
        },
        [stop]() noexcept { stop->cancel(); });
  } catch (const Cancelled&) {  // before it had begun
    co_return absl::CancelledError();
  }
}

}  // namespace zsync::client
