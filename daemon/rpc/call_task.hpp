// CallTask: the task behind one call, and who owns the two.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "daemon/rpc/call.hpp"
#include "daemon/rpc/handover.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/spawn.hpp"

namespace zsync::daemon {

// What every kind of call shares, whatever its messages are: compiled once, not with each rpc.
//
// Two owners hold a call: its task and gRPC (until OnDone); the last one deletes it. A call that
// its client cancelled, or whose client died, cancels its task, whatever that waits for.
//
// Threads: enter() and run() in the reaction that begins the call, the rest from any.
class CallTask {
 public:
  // What the gate knows of the call. Nullopt: it was refused, and that is its answer.
  std::optional<CallContext> enter();
  // Runs `body` as the call's task; what it returns, or throws, ends the call.
  void run(const CallContext& call, Task<absl::Status> body);

 protected:
  CallTask(CallGate& gate, grpc::CallbackServerContext& context) : gate_(gate), context_(context) {}
  virtual ~CallTask() = default;

  virtual void finish(const grpc::Status& status) = 0;  // as this kind of call is ended in gRPC

  // The two reactions of gRPC that end a call.
  void cancelled_in_grpc();
  void done_in_grpc();
  // Before gRPC may run a reaction of this call, and first thing in one.
  void to_grpc() { give_to_grpc(this); }
  void from_grpc() { take_from_grpc(this); }

  grpc::CallbackServerContext& context() { return context_; }

 private:
  static Task<void> drive(CallTask* self, uid_t uid, Task<absl::Status> body);
  static Task<void> cancel_task(CallTask* self);
  void end(const absl::Status& status);
  void release();

  CallGate& gate_;
  grpc::CallbackServerContext& context_;
  std::atomic<int> owners_{2};
  rt::Lock lock_;
  bool cancelled_ ABSL_GUARDED_BY(lock_) = false;
  std::optional<TaskHandle<void>> task_ ABSL_GUARDED_BY(lock_);
};

}  // namespace zsync::daemon
