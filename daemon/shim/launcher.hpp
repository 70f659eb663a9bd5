// How zsyncd starts shims: through a fork server of its own, or each by itself.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "daemon/store/segment_log.hpp"

namespace zsync::daemon::shim {

struct SpawnedShim {
  pid_t pid = 0;               // a child of the caller, who has to reap it
  segment_log::Fd pidfd;       // readable once it has ended
  segment_log::Fd connection;  // non-blocking; Hello comes first
};

// Starts `program` (zsync-shim) on the attempt `dir` in a session of its own, without copying the
// caller's page tables. The shim decides by the claim whether it executes anything.
//
// Errors: kNotFound when the program does not exist; the errno's code otherwise.
absl::StatusOr<SpawnedShim> spawn_shim(const std::string& program, const std::string& dir);

// The server is started with the first attempt and used once it has said that it is ready; before
// that, and whenever it cannot be reached, shims are executed. One that ends without having been
// ready (a zsync-shim that knows no servers) is not tried again; one that ends later, or stands
// still, is replaced.
//
// Threads: launch() from any.
class Launcher {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  // How long the server may leave an attempt unread.
  static constexpr std::chrono::milliseconds kServerSilenceMax{2000};

  explicit Launcher(std::string program, Clock clock = std::chrono::steady_clock::now)
      : program_(std::move(program)), clock_(std::move(clock)) {}

  // Starts a shim on the attempt `dir`; the connection to it, non-blocking. The claim decides
  // whether it executes anything; a connection that ends without a word means that there is none.
  //
  // Errors: those of spawn_shim.
  absl::StatusOr<segment_log::Fd> launch(const std::string& dir);

 private:
  void start_server(const std::string& dir);
  bool server_ready();
  bool server_stands_still() const;
  absl::StatusOr<segment_log::Fd> fork_shim(const std::string& dir);

  const std::string program_;
  const Clock clock_;
  std::mutex mutex_;
  segment_log::Fd server_;
  size_t room_ = 0;  // bytes of a directory that the server's children can show
  std::chrono::steady_clock::time_point asked_at_;  // for the newest shim
  bool ready_ = false;
  bool given_up_ = false;
};

// Lets a held attempt start. A shim that is gone is noticed by whoever reads the connection.
void say_go(const segment_log::Fd& connection);

}  // namespace zsync::daemon::shim
