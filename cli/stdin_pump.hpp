// Our stdin into a task, on a thread of its own.
#pragma once

#include <string>
#include <thread>

#include "absl/status/status.h"
#include "zsync/client.hpp"

namespace zsync::cli {

// Whether stdin holds something for a command: not a terminal, not /dev/null, not closed.
bool stdin_is_fed(int fd);

// Lifetime: the destructor ends the stream, also in the middle, and waits for its thread.
class StdinPump {
 public:
  StdinPump(client::Client& client, std::string id, int fd);
  ~StdinPump();
  StdinPump(const StdinPump&) = delete;
  StdinPump& operator=(const StdinPump&) = delete;

  // Waits until all of stdin was handed over (or the stream ended); how many bytes.
  absl::StatusOr<std::uint64_t> wait();

 private:
  void run(client::Client& client, const std::string& id, int fd);

  client::StopSource stop_;
  int wake_;
  absl::StatusOr<std::uint64_t> result_ = absl::UnknownError("");
  std::thread thread_;
};

}  // namespace zsync::cli
