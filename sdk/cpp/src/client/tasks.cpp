#include "zsync/client/tasks.hpp"

#include <utility>

#include "absl/strings/str_cat.h"
#include "connection.hpp"
#include "zsync/v1/tasks.grpc.pb.h"

namespace zsync::client {
namespace {

using internal::Bounds;
using internal::Connection;
using internal::Repeat;
using internal::Try;
using Stub = v1::Tasks::Stub;

constexpr std::size_t kInputChunkBytes = 256u << 10;
constexpr std::chrono::milliseconds kNextAttemptPoll{100};

std::unique_ptr<Stub> stub_of(Connection& connection) {
  return v1::Tasks::NewStub(connection.channel());
}

// Where an output stream stands.
struct Cursor {
  std::uint32_t attempt = 0;  // 0: nothing came yet
  std::uint64_t next_seq = 0;
  std::optional<v1::Task> finished;

  void advance(const v1::TaskOutputBatch& batch) {
    if (batch.attempt() != 0 && batch.attempt() != attempt) {
      if (attempt != 0) next_seq = 0;
      attempt = batch.attempt();
    }
    if (batch.has_gap()) next_seq = batch.gap().to() + 1;
    if (batch.records_size() > 0) next_seq = batch.records().rbegin()->seq() + 1;
    if (batch.has_finished()) finished = batch.finished();
  }
};

}  // namespace

bool is_final(v1::TaskState state) {
  switch (state) {
    case v1::TASK_STATE_UNSPECIFIED:
    case v1::TASK_STATE_QUEUED:
    case v1::TASK_STATE_RUNNING:
      return false;
    default:
      return true;
  }
}

absl::StatusOr<v1::SubmitTasksReply> Tasks::submit(const v1::SubmitTasksRequest& request,
                                                   const CallOptions& options) {
  if (request.ByteSizeLong() > kMessageBytesMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("request of ", request.ByteSizeLong(), " bytes: a message is at most ",
                     kMessageBytesMax, " bytes; submit fewer tasks at once"));
  }
  bool repeatable = true;
  for (const v1::TaskSpec& spec : request.specs()) repeatable &= !spec.idempotency_key().empty();
  return unary(connection_, *stub_of(connection_), &Stub::Submit, request, options,
               repeatable ? Repeat::kSafe : Repeat::kNever);
}

absl::StatusOr<std::string> Tasks::submit(v1::TaskSpec spec, const CallOptions& options) {
  v1::SubmitTasksRequest request;
  *request.add_specs() = std::move(spec);
  absl::StatusOr<v1::SubmitTasksReply> reply = submit(request, options);
  if (!reply.ok()) return reply.status();
  if (reply->ids_size() != 1) return absl::InternalError("the daemon returned no id for the task");
  return reply->ids(0);
}

absl::StatusOr<v1::Task> Tasks::get(const std::string& id, const CallOptions& options) {
  v1::GetTaskRequest request;
  request.set_id(id);
  return unary(connection_, *stub_of(connection_), &Stub::Get, request, options, Repeat::kSafe);
}

absl::StatusOr<v1::ListTasksReply> Tasks::list(const v1::ListTasksRequest& request,
                                               const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::List, request, options, Repeat::kSafe);
}

absl::StatusOr<v1::WaitTasksReply> Tasks::wait(const std::vector<std::string>& ids,
                                               const CallOptions& options) {
  v1::WaitTasksRequest request;
  for (const std::string& id : ids) request.add_ids(id);
  return unary(connection_, *stub_of(connection_), &Stub::Wait, request, options, Repeat::kSafe);
}

absl::StatusOr<v1::Task> Tasks::cancel(const v1::CancelTaskRequest& request,
                                       const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::Cancel, request, options, Repeat::kSafe);
}

absl::StatusOr<v1::Task> Tasks::retry(const std::string& id, const CallOptions& options) {
  v1::RetryTaskRequest request;
  request.set_id(id);
  return unary(connection_, *stub_of(connection_), &Stub::Retry, request, options, Repeat::kNever);
}

absl::StatusOr<v1::Task> Tasks::pause(const std::string& id, const CallOptions& options) {
  v1::PauseTaskRequest request;
  request.set_id(id);
  return unary(connection_, *stub_of(connection_), &Stub::Pause, request, options, Repeat::kSafe);
}

absl::StatusOr<v1::Task> Tasks::resume(const std::string& id, const CallOptions& options) {
  v1::ResumeTaskRequest request;
  request.set_id(id);
  return unary(connection_, *stub_of(connection_), &Stub::Resume, request, options, Repeat::kSafe);
}

absl::StatusOr<v1::Task> Tasks::signal(const std::string& id, int number,
                                       const CallOptions& options) {
  v1::SignalTaskRequest request;
  request.set_id(id);
  request.set_signal(number);
  return unary(connection_, *stub_of(connection_), &Stub::Signal, request, options, Repeat::kNever);
}

absl::Status Tasks::remove(const std::string& id, const CallOptions& options) {
  v1::RemoveTaskRequest request;
  request.set_id(id);
  return unary(connection_, *stub_of(connection_), &Stub::Remove, request, options, Repeat::kNever)
      .status();
}

absl::StatusOr<v1::WhyTaskReply> Tasks::why(const std::string& id, const CallOptions& options) {
  v1::WhyTaskRequest request;
  request.set_id(id);
  return unary(connection_, *stub_of(connection_), &Stub::Why, request, options, Repeat::kSafe);
}

absl::Status Tasks::output(const v1::TaskOutputRequest& request, const OutputCallback& callback,
                           const CallOptions& options) {
  return follow_attempts(request, callback, options);
}

absl::Status Tasks::output(const std::string& id, std::uint64_t from_seq, bool follow,
                           const OutputCallback& callback, const CallOptions& options) {
  v1::TaskOutputRequest request;
  request.set_id(id);
  request.set_from_seq(from_seq);
  request.set_follow(follow);
  return follow_attempts(std::move(request), callback, options);
}

// After a break the stream names its attempt, because seq starts anew with each; the daemon then
// ends it with that attempt, and the later ones are asked for one by one.
absl::Status Tasks::follow_attempts(v1::TaskOutputRequest request, const OutputCallback& callback,
                                    const CallOptions& options) {
  const bool every_attempt = request.attempt() == 0 && request.follow();
  const Bounds bounds = connection_.bounds(options);
  const std::unique_ptr<Stub> stub = stub_of(connection_);
  StopSource never;
  const StopSource& stop = bounds.stop != nullptr ? *bounds.stop : never;
  while (true) {
    Cursor cursor;
    bool stopped = false;
    const absl::Status status = connection_.resuming(bounds, [&](bool& progressed) {
      if (cursor.attempt != 0) {
        request.set_attempt(cursor.attempt);
        if (cursor.next_seq != 0) request.set_from_seq(cursor.next_seq);
      }
      Try call(bounds);
      auto reader = stub->Output(&call.context(), request);
      return internal::read_all<grpc::ClientReader<v1::TaskOutputBatch>, v1::TaskOutputBatch>(
          call, *reader, [&](const v1::TaskOutputBatch& batch) {
            progressed = true;
            cursor.advance(batch);
            stopped = !callback(batch);
            return !stopped;
          });
    });
    if (stopped || !every_attempt || request.attempt() == 0) return status;
    if (!status.ok() && !(absl::IsNotFound(status) && cursor.attempt == 0)) return status;
    const absl::StatusOr<v1::Task> task = get(request.id(), options);
    if (!task.ok()) return task.status();
    if (status.ok() && is_final(task->state()) && task->attempt() <= request.attempt()) {
      return status;
    }
    if (status.ok()) request.set_attempt(request.attempt() + 1);
    request.set_from_seq(1);
    if (task->attempt() >= request.attempt()) continue;
    if (is_final(task->state())) return status.ok() ? absl::OkStatus() : status;
    if (stop.wait_for(kNextAttemptPoll)) return absl::CancelledError("cancelled");
    if (bounds.deadline.has_value() && internal::Clock::now() >= *bounds.deadline) {
      return absl::DeadlineExceededError("deadline passed while waiting for the next attempt");
    }
  }
}

absl::StatusOr<v1::ListGroupsReply> Tasks::list_groups(const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::ListGroups, v1::ListGroupsRequest(),
               options, Repeat::kSafe);
}

absl::StatusOr<v1::TaskGroup> Tasks::set_group(const std::string& name, std::uint32_t parallel,
                                               const CallOptions& options) {
  v1::SetGroupRequest request;
  request.set_name(name);
  request.set_parallel(parallel);
  return set_group(request, options);
}

absl::StatusOr<v1::TaskGroup> Tasks::set_group(const v1::SetGroupRequest& request,
                                               const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::SetGroup, request, options,
               Repeat::kSafe);
}

absl::StatusOr<v1::ListResourcesReply> Tasks::list_resources(const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::ListResources, v1::ListResourcesRequest(),
               options, Repeat::kSafe);
}

absl::StatusOr<v1::TaskResource> Tasks::set_resource(const std::string& name,
                                                     std::uint32_t capacity,
                                                     const CallOptions& options) {
  v1::SetResourceRequest request;
  request.set_name(name);
  request.set_capacity(capacity);
  return unary(connection_, *stub_of(connection_), &Stub::SetResource, request, options,
               Repeat::kSafe);
}

absl::StatusOr<v1::CancelArrayReply> Tasks::cancel_array(const v1::CancelArrayRequest& request,
                                                         const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::CancelArray, request, options,
               Repeat::kSafe);
}

absl::StatusOr<v1::Schedule> Tasks::create_schedule(const v1::CreateScheduleRequest& request,
                                                    const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::CreateSchedule, request, options,
               Repeat::kNever);
}

absl::StatusOr<v1::Schedule> Tasks::get_schedule(const std::string& name,
                                                 const CallOptions& options) {
  v1::GetScheduleRequest request;
  request.set_name(name);
  return unary(connection_, *stub_of(connection_), &Stub::GetSchedule, request, options,
               Repeat::kSafe);
}

absl::StatusOr<v1::ListSchedulesReply> Tasks::list_schedules(const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::ListSchedules, v1::ListSchedulesRequest(),
               options, Repeat::kSafe);
}

absl::StatusOr<v1::Schedule> Tasks::pause_schedule(const std::string& name, bool paused,
                                                   const CallOptions& options) {
  v1::PauseScheduleRequest request;
  request.set_name(name);
  request.set_paused(paused);
  return unary(connection_, *stub_of(connection_), &Stub::PauseSchedule, request, options,
               Repeat::kSafe);
}

absl::Status Tasks::remove_schedule(const std::string& name, const CallOptions& options) {
  v1::RemoveScheduleRequest request;
  request.set_name(name);
  return unary(connection_, *stub_of(connection_), &Stub::RemoveSchedule, request, options,
               Repeat::kNever)
      .status();
}

absl::StatusOr<v1::UpcomingRunsReply> Tasks::upcoming_runs(const std::string& name,
                                                           std::uint32_t count,
                                                           const CallOptions& options) {
  v1::UpcomingRunsRequest request;
  request.set_name(name);
  request.set_count(count);
  return unary(connection_, *stub_of(connection_), &Stub::UpcomingRuns, request, options,
               Repeat::kSafe);
}

struct TaskInput::Impl {
  Impl(Connection& connection, std::string task_id, const CallOptions& options)
      : stub(stub_of(connection)), call(connection.bounds(options)), id(std::move(task_id)) {
    writer = stub->Input(&call.context(), &reply);
  }
  ~Impl() {
    if (finished) return;
    call.context().TryCancel();
    writer->Finish();
  }

  bool write(v1::TaskInputChunk chunk) {
    if (!id.empty()) chunk.set_id(std::exchange(id, ""));
    return writer->Write(chunk);
  }

  std::unique_ptr<Stub> stub;
  Try call;
  std::string id;  // until it was sent with the first chunk
  v1::TaskInputReply reply;
  std::unique_ptr<grpc::ClientWriter<v1::TaskInputChunk>> writer;
  bool finished = false;
};

TaskInput::TaskInput(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TaskInput::TaskInput(TaskInput&&) noexcept = default;
TaskInput::~TaskInput() = default;

bool TaskInput::write(std::string_view data) {
  while (!data.empty()) {
    v1::TaskInputChunk chunk;
    const std::string_view part = data.substr(0, kInputChunkBytes);
    chunk.set_data(part.data(), part.size());
    if (!impl_->write(std::move(chunk))) return false;
    data.remove_prefix(part.size());
  }
  return true;
}

bool TaskInput::resize(std::uint32_t rows, std::uint32_t columns) {
  v1::TaskInputChunk chunk;
  chunk.mutable_resize()->set_rows(rows);
  chunk.mutable_resize()->set_columns(columns);
  return impl_->write(std::move(chunk));
}

absl::StatusOr<std::uint64_t> TaskInput::finish(bool eof) {
  if (impl_->finished) return absl::FailedPreconditionError("task input is finished already");
  if (eof) {
    v1::TaskInputChunk last;
    last.set_eof(true);
    impl_->write(std::move(last));
  }
  impl_->writer->WritesDone();
  impl_->finished = true;
  absl::Status status = impl_->call.status(impl_->writer->Finish());
  if (!status.ok()) return status;
  return impl_->reply.bytes();
}

TaskInput Tasks::input(const std::string& id, const CallOptions& options) {
  return TaskInput(std::make_unique<TaskInput::Impl>(connection_, id, options));
}

}  // namespace zsync::client
