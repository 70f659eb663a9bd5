#include "daemon/rpc/call.hpp"

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {

absl::StatusOr<CallContext> CallGate::enter(grpc::CallbackServerContext& context) {
  calls_total_.fetch_add(1, std::memory_order_relaxed);
  absl::StatusOr<Peer> peer = peer_of_call(context.peer());
  if (!peer.ok()) return peer.status();
  if (absl::Status status = may_call(*peer, daemon_uid_); !status.ok()) return status;
  if (draining_.load()) {
    return fault(absl::StatusCode::kUnavailable, "another program takes over from this zsyncd",
                 {"", "DRAINING", "", "make the call again in a moment", {}});
  }
  {
    rt::LockGuard guard(mutex_);
    uint32_t& open = open_by_uid_[peer->uid];
    if (open >= calls_per_uid_max_) {
      return fault(absl::StatusCode::kResourceExhausted,
                   absl::StrCat(describe(*peer), " has ", open, " calls open"),
                   {"",
                    "LIMIT",
                    absl::StrCat("calls_per_uid_max = ", calls_per_uid_max_),
                    "end some calls, or raise calls_per_uid_max",
                    {}});
    }
    ++open;
  }
  calls_open_.fetch_add(1, std::memory_order_relaxed);
  return CallContext{*peer, traceparent_of(context)};
}

std::string traceparent_of(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto trace = metadata.find("traceparent");
  if (trace == metadata.end()) return "";
  return std::string(trace->second.data(), trace->second.size());
}

void CallGate::leave(uid_t uid) {
  calls_open_.fetch_sub(1, std::memory_order_relaxed);
  rt::LockGuard guard(mutex_);
  auto open = open_by_uid_.find(uid);
  if (open != open_by_uid_.end() && --open->second == 0) open_by_uid_.erase(open);
}

}  // namespace zsync::daemon
