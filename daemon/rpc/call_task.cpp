#include "daemon/rpc/call_task.hpp"

#include <exception>
#include <utility>

#include "daemon/rpc/status.hpp"

namespace zsync::daemon {

std::optional<CallContext> CallTask::enter() {
  absl::StatusOr<CallContext> call = gate_.enter(context_);
  if (call.ok()) return *std::move(call);
  end(call.status());
  return std::nullopt;
}

void CallTask::run(const CallContext& call, Task<absl::Status> body) {
  SpawnOptions options;
  options.name = "call";
  {
    rt::LockGuard guard(lock_);
    task_.emplace(
        gate_.runtime().spawn(std::move(options), drive(this, call.peer.uid, std::move(body))));
    if (cancelled_) task_->cancel();
  }
  to_grpc();  // gRPC calls OnDone() only after it was given the reactor
}

Task<void> CallTask::drive(CallTask* self, uid_t uid, Task<absl::Status> body) {
  absl::Status status;
  try {
    status = co_await std::move(body);
  } catch (const Cancelled&) {
    status = absl::CancelledError("the call was cancelled");
  } catch (const std::exception& error) {
    status = absl::InternalError(error.what());
  }
  self->gate_.leave(uid);
  self->end(status);
}

// The caller may be this call's own task, in the middle of an operation: the cancel is left to
// another one.
void CallTask::cancelled_in_grpc() {
  from_grpc();
  owners_.fetch_add(1, std::memory_order_relaxed);
  gate_.runtime().spawn(cancel_task(this)).detach();
  to_grpc();
}

Task<void> CallTask::cancel_task(CallTask* self) {
  {
    rt::LockGuard guard(self->lock_);
    self->cancelled_ = true;
    if (self->task_) self->task_->cancel();
  }
  self->release();
  co_return;
}

void CallTask::done_in_grpc() {
  from_grpc();
  release();
}

void CallTask::end(const absl::Status& status) {
  to_grpc();
  finish(daemon::to_grpc(status, context_));
  release();
}

void CallTask::release() {
  if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

}  // namespace zsync::daemon
