// A synchronous client of zsyncd: C++17, no coroutine, any compiler.
//
//   auto client = zsync::client::Client::connect({});
//   if (!client.ok()) return fail(client.status());
//   zsync::v1::TaskSpec spec;
//   spec.add_argv("make");
//   auto id = (*client)->tasks().submit(std::move(spec));
//   (*client)->tasks().output(*id, 1, true, print_batch);
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "zsync/client/channels.hpp"
#include "zsync/client/daemon.hpp"
#include "zsync/client/diagnostics.hpp"
#include "zsync/client/endpoint.hpp"
#include "zsync/client/error.hpp"
#include "zsync/client/events.hpp"
#include "zsync/client/functions.hpp"
#include "zsync/client/options.hpp"
#include "zsync/client/projects.hpp"
#include "zsync/client/tasks.hpp"
#include "zsync/client/traces.hpp"
#include "zsync/client/triggers.hpp"
#include "zsync/client/watch.hpp"

namespace zsync::client {

// One connection, shared by every call made through it.
//
// Threads:  every member may be called from any thread, calls run side by side.
// Lifetime: outlives its nouns' handles, streams and calls.
class Client {
 public:
  // Checks with a plain connect() that a daemon listens (and starts one when asked to), so that a
  // missing daemon is one clear line at once; the first call opens the real connection.
  //
  // Errors: as probe() and ensure_daemon(); kInvalidArgument for a socket path that is too long.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Client>> connect(Options options);

  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Commands under the daemon's supervision. A noun is a handle: cheap to make, nothing to close.
  [[nodiscard]] Tasks tasks() { return Tasks(*connection_); }
  // Named message streams between processes.
  [[nodiscard]] Channels channels() { return Channels(*connection_); }
  // Named work that one client does for others.
  [[nodiscard]] Functions functions() { return Functions(*connection_); }
  // Changes of files below directories.
  [[nodiscard]] Watch watch() { return Watch(*connection_); }
  // Tasks that such changes submit.
  [[nodiscard]] Triggers triggers() { return Triggers(*connection_); }
  // The daemon itself: what it is, has to do, is set to.
  [[nodiscard]] Daemon daemon() { return Daemon(*connection_); }
  // The daemon's log of what happened.
  [[nodiscard]] Events events() { return Events(*connection_); }
  // What led to what.
  [[nodiscard]] Traces traces() { return Traces(*connection_); }
  // What the tools that tasks ran have said about places of files.
  [[nodiscard]] Diagnostics diagnostics() { return Diagnostics(*connection_); }
  // Steps and services of a zsync.yaml.
  [[nodiscard]] Projects projects() { return Projects(*connection_); }

  // The path that was connected to.
  [[nodiscard]] const std::string& socket() const;

 private:
  explicit Client(std::unique_ptr<internal::Connection> connection);

  std::unique_ptr<internal::Connection> connection_;
};

}  // namespace zsync::client
