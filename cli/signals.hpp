// Ctrl-C as calls on a thread of our own, instead of the end of the process.
#pragma once

#include <functional>
#include <thread>

namespace zsync::cli {

// While it lives, SIGINT and SIGTERM do not end the process: `received` is called with how many
// came so far. Made before any thread that must not receive them.
//
// Lifetime: the destructor waits until no call of `received` is running, and brings the old mask
// back.
class SignalGuard {
 public:
  explicit SignalGuard(std::function<void(int count)> received);
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

 private:
  struct State;
  State* state_;
  std::thread thread_;
};

}  // namespace zsync::cli
