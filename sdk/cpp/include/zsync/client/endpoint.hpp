// Where the daemon is, whether it answers, and how it is started on demand.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/client/options.hpp"

namespace zsync::client {

// Bytes that fit in sockaddr_un, without the closing NUL.
inline constexpr std::size_t kSocketPathBytesMax = 107;

// ZSYNC_STATE_DIR, else $XDG_STATE_HOME/zsync, else $HOME/.local/state/zsync.
//
// Errors: kFailedPrecondition when none of the three is set.
[[nodiscard]] absl::StatusOr<std::string> state_directory();

// `wanted` when not empty, else ZSYNC_SOCKET, else $XDG_RUNTIME_DIR/zsync/zsyncd.sock, else
// zsyncd.sock in the state directory; always absolute.
//
// Errors: kInvalidArgument when the path is longer than kSocketPathBytesMax.
[[nodiscard]] absl::StatusOr<std::string> socket_path(const std::string& wanted);

// Connects and hangs up: says within microseconds whether somebody listens at `path`.
//
// Errors: kUnavailable when nobody does, kPermissionDenied when the caller may not connect.
[[nodiscard]] absl::Status probe(const std::string& path);

// What ensure_daemon() had to do.
struct StartedDaemon {
  bool started = false;  // false: one was there already, or another client started it meanwhile
  long pid = 0;          // of the daemon that was started; 0: the user's service manager did it
};

// Makes sure that a daemon accepts at `path`. For the default path, where the user's service
// manager runs and knows it, starts the unit zsyncd.socket; else starts zsyncd (`program`, else
// beside the own executable, else in PATH) in a session of its own, its stdio in STATE/zsyncd.log,
// and waits until it accepts. However many clients do this at once, one daemon is started: they
// meet at a flock beside the socket.
//
// Errors: kNotFound when there is no zsyncd to start, kUnavailable when it ended at once,
//         kDeadlineExceeded when it did not accept within kStartTimeout.
// Threads: any.
[[nodiscard]] absl::StatusOr<StartedDaemon> ensure_daemon(const std::string& path,
                                                          const std::string& program);

}  // namespace zsync::client
