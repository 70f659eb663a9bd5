// LaterCall: a call that is answered later, by whoever has the answer, in its own thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "daemon/rpc/call.hpp"
#include "daemon/rpc/handover.hpp"
#include "daemon/rpc/status.hpp"
#include "zsync/rt/lock.hpp"

namespace zsync::daemon {

// For calls whose latency is a wake-up of a task too long: it has no task.
//
// Lifetime: gRPC holds it until OnDone, and whoever will answer.
// Threads:  every member may be called from any thread.
template <typename Reply>
class LaterCall final : public grpc::ServerUnaryReactor,
                        public std::enable_shared_from_this<LaterCall<Reply>> {
 public:
  using Ptr = std::shared_ptr<LaterCall>;

  // begin(CallContext, Ptr) in the reaction: bounded, thread-safe, no I/O.
  template <typename Begin>
  static grpc::ServerUnaryReactor* start(CallGate& gate, grpc::CallbackServerContext* context,
                                         Reply* reply, const Begin& begin) {
    const Ptr call(new LaterCall(gate, *context, reply));
    call->self_ = call;
    absl::StatusOr<CallContext> entered = gate.enter(*context);
    if (!entered.ok()) {
      call->answered_ = true;
      give_to_grpc(call.get());
      call->Finish(to_grpc(entered.status(), *context));
      return call.get();
    }
    call->uid_ = entered->peer.uid;
    begin(std::move(*entered), call);
    return call.get();
  }

  // The first answer is the call's; true for that one.
  bool answer(absl::StatusOr<Reply> answer) {
    if (answered_.exchange(true)) return false;
    if (answer.ok()) *reply_ = std::move(*answer);
    gate_.leave(uid_);
    give_to_grpc(this);
    Finish(to_grpc(answer.status(), context_));
    return true;
  }
  // Called when the caller has gone, or has gone already; at most once.
  void on_gone(std::function<void()> gone) {
    {
      rt::LockGuard guard(lock_);
      if (!is_gone_) {
        gone_ = std::move(gone);
        return;
      }
    }
    gone();
  }

  bool InternalInlineable() override { return true; }  // as BridgedCall's
  void OnCancel() override {
    take_from_grpc(this);
    std::function<void()> gone;
    {
      rt::LockGuard guard(lock_);
      is_gone_ = true;
      gone = std::exchange(gone_, nullptr);
    }
    if (gone) gone();
    answer(absl::CancelledError("the call was cancelled"));
  }
  void OnDone() override {
    take_from_grpc(this);
    {
      rt::LockGuard guard(lock_);
      gone_ = nullptr;
    }
    const Ptr last = std::exchange(self_, nullptr);
  }

 private:
  LaterCall(CallGate& gate, grpc::CallbackServerContext& context, Reply* reply)
      : gate_(gate), context_(context), reply_(reply) {}

  CallGate& gate_;
  grpc::CallbackServerContext& context_;
  Reply* const reply_;
  uid_t uid_ = 0;
  std::atomic<bool> answered_{false};
  Ptr self_;  // until OnDone
  rt::Lock lock_;
  bool is_gone_ ABSL_GUARDED_BY(lock_) = false;
  std::function<void()> gone_ ABSL_GUARDED_BY(lock_);
};

}  // namespace zsync::daemon
