// One lookup's c-ares: its sockets in an epoll that the asking task waits on, its timeouts as ours.
#pragma once

#include <ares.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/dns.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/task.hpp"

namespace zsync::net {

// Lifetime: what is asked through it outlives it: its end calls every callback that is due.
// Threads:  the task that has it.
class DnsChannel {
 public:
  // To be called in a task.
  static absl::StatusOr<std::unique_ptr<DnsChannel>> open(const ResolverOptions& options);
  ~DnsChannel();
  DnsChannel(const DnsChannel&) = delete;
  DnsChannel& operator=(const DnsChannel&) = delete;

  ares_channel get() const { return channel_; }
  // Completes when a callback has set `done`. Cancel: kCancelled.
  Task<absl::Status> drive(const bool& done);
  // What c-ares says about `what`, in our words; `record` is what was asked for.
  absl::Status status_of(int code, const std::string& what, const char* record) const;

 private:
  explicit DnsChannel(rt::Fd epoll) : epoll_(std::move(epoll)) {}
  absl::Status start(const ResolverOptions& options);
  static void on_socket(void* self, ares_socket_t socket, int readable, int writable);
  void process();
  // "192.0.2.1:53 and 192.0.2.2:53".
  std::string servers() const;

  rt::Fd epoll_;
  ares_channel channel_ = nullptr;
  absl::Status failure_;  // of watching a socket
};

}  // namespace zsync::net
