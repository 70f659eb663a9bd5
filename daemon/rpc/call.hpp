// CallGate: the door that every call goes through: identity, policy, caps, counts.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "daemon/rpc/identity.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/runtime.hpp"

namespace zsync::daemon {

struct CallContext {
  Peer peer;
  std::string traceparent;  // W3C, from metadata, or empty
};

// The W3C traceparent in a call's metadata, or empty.
std::string traceparent_of(const grpc::CallbackServerContext& context);

// Threads: every member may be called from any thread.
class CallGate {
 public:
  CallGate(Runtime& runtime, uid_t daemon_uid, uint32_t calls_per_uid_max)
      : runtime_(runtime), daemon_uid_(daemon_uid), calls_per_uid_max_(calls_per_uid_max) {}

  // Lets a call in, or says why not. Whoever was let in leaves, under the same user.
  absl::StatusOr<CallContext> enter(grpc::CallbackServerContext& context);
  void leave(uid_t uid);
  // From now on every call is refused, with the reason DRAINING: nothing was done, and it may be
  // made again as soon as the next program serves.
  void drain() { draining_.store(true); }

  Runtime& runtime() { return runtime_; }
  uint64_t calls_total() const { return calls_total_.load(std::memory_order_relaxed); }
  uint64_t calls_open() const { return calls_open_.load(std::memory_order_relaxed); }

 private:
  Runtime& runtime_;
  const uid_t daemon_uid_;
  const uint32_t calls_per_uid_max_;
  std::atomic<uint64_t> calls_total_{0};
  std::atomic<uint64_t> calls_open_{0};
  std::atomic<bool> draining_{false};
  rt::Lock mutex_;
  absl::flat_hash_map<uid_t, uint32_t> open_by_uid_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace zsync::daemon
