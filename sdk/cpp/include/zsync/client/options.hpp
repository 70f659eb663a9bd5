// How a client reaches its daemon, and what bounds a call.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace zsync::client {

// One message on the wire, either way. A larger request fails with kResourceExhausted.
inline constexpr std::size_t kMessageBytesMax = 4u << 20;
// How long starting a daemon may take before its clients give up.
inline constexpr std::chrono::seconds kStartTimeout{5};

namespace internal {
class StopState;
}

// Ends blocking calls from another thread.
//
// Lifetime: outlives every call it was passed to.
// Threads:  every member may be called from any thread, cancel() not from a signal handler.
class StopSource {
 public:
  StopSource();
  ~StopSource();
  StopSource(const StopSource&) = delete;
  StopSource& operator=(const StopSource&) = delete;

  // Every call that was given this source, now or later, ends with kCancelled. Idempotent.
  void cancel();
  // Whether cancel() was called.
  [[nodiscard]] bool cancelled() const;

  // Blocks until cancel() or until `limit` has passed; true when cancelled.
  bool wait_for(std::chrono::nanoseconds limit) const;

  // What calls share with it; of no use outside the library.
  const std::shared_ptr<internal::StopState>& state() const { return state_; }

 private:
  std::shared_ptr<internal::StopState> state_;
};

// Bounds of one blocking call.
struct CallOptions {
  std::optional<std::chrono::nanoseconds> timeout = std::nullopt;  // absent: Options::timeout
  StopSource* stop = nullptr;                                      // null: only the timeout ends it
};

// How a client finds its daemon, and how patient it is.
struct Options {
  // Path of the daemon's socket; empty: ZSYNC_SOCKET, else $XDG_RUNTIME_DIR/zsync/zsyncd.sock, else
  // zsyncd.sock in the state directory.
  std::string socket;
  // Start a daemon when none answers.
  bool autostart = false;
  // The zsyncd to start; empty: beside the own executable, else in PATH.
  std::string daemon_path;
  // Told after a daemon was started; may be empty.
  std::function<void(long pid)> on_started;
  // Bounds every call that has no timeout of its own; absent: calls wait as long as the daemon
  // does.
  std::optional<std::chrono::nanoseconds> timeout = std::nullopt;
  // Follow streams and calls that change nothing survive a restart of the daemon: they come back at
  // their cursor, without hole or duplicate. Off: they end with kUnavailable.
  bool resume = false;
  // How long a broken connection is tried again before the call ends with kUnavailable.
  std::chrono::nanoseconds resume_timeout = std::chrono::seconds(30);
};

}  // namespace zsync::client
