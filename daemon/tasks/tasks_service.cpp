#include "daemon/tasks/tasks_service.hpp"

#include <iterator>
#include <utility>

#include "daemon/diagnostics/engine.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/rpc/bridge.hpp"
#include "daemon/tasks/engine.hpp"
#include "daemon/tasks/live_usage.hpp"
#include "daemon/tasks/schedules_proto.hpp"
#include "daemon/tasks/tasks_proto.hpp"
#include "zsync/stop_token.hpp"
#include "zsync/timeout.hpp"
#include "zsync/v1/tasks.grpc.pb.h"

namespace zsync::daemon {
namespace {

constexpr uint32_t kPageDefault = 100;  // tasks
constexpr uint32_t kPageMax = 1000;
constexpr uint64_t kResultsBytesMax = 3 << 20;  // in one reply of Wait

using Context = grpc::CallbackServerContext;

void add_record(v1::TaskOutputBatch& batch, const segment_log::Record& record) {
  v1::Record& proto = *batch.add_records();
  proto.set_seq(record.seq);
  proto.set_time_unix_nano(record.time_unix_nano);
  proto.set_stream(static_cast<v1::Stream>(record.stream));
  proto.set_data(record.payload.data(), record.payload.size());
  proto.set_offset(record.offset);
}

Task<absl::Status> send_chunk(StreamWriter<v1::TaskOutputBatch>& out, OutputChunk chunk) {
  v1::TaskOutputBatch batch;
  batch.set_attempt(chunk.attempt);
  for (const segment_log::Record& record : chunk.batch.records) {
    if (!record.gap) {
      add_record(batch, record);
      continue;
    }
    // A gap comes before the records of its batch, so it begins a new one.
    if (batch.records_size() > 0 || batch.has_gap()) {
      if (absl::Status status = co_await out.write(std::move(batch)); !status.ok())
        co_return status;
      batch = v1::TaskOutputBatch();
      batch.set_attempt(chunk.attempt);
    }
    v1::Gap& gap = *batch.mutable_gap();
    gap.set_from(record.gap->from);
    gap.set_to(record.gap->to);
    gap.set_reason(std::string(segment_log::gap_reason_name(record.gap->reason)));
    gap.set_bytes(record.gap->bytes);
  }
  if (chunk.finished) *batch.mutable_finished() = to_proto(*chunk.finished);
  co_return co_await out.write(std::move(batch));
}

Task<absl::StatusOr<v1::SubmitTasksReply>> submit(TasksEngine& engine, CallContext call,
                                                  v1::SubmitTasksRequest request) {
  std::vector<TaskSpec> specs;
  Environment likely;
  v1::SubmitTasksReply reply;
  for (v1::TaskSpec& proto : *request.mutable_specs()) {
    const std::optional<ArraySpec> array =
        proto.has_array() ? std::optional(array_from_proto(proto.array())) : std::nullopt;
    // The tasks of one call mostly have one environment.
    absl::StatusOr<TaskSpec> spec = from_proto(std::move(proto), likely);
    if (!spec.ok()) co_return spec.status();
    likely = spec->env;
    if (spec->traceparent.empty()) spec->traceparent = call.traceparent;
    if (!array) {
      specs.push_back(std::move(*spec));
      continue;
    }
    if (spec->function) {
      co_return fault(
          absl::StatusCode::kInvalidArgument, "a function call cannot be an array",
          {"spec.array", "INVALID", "", "submit a spec for each call, in one batch", {}});
    }
    absl::StatusOr<std::vector<TaskSpec>> members = engine.members_of(*spec, *array);
    if (!members.ok()) co_return members.status();
    reply.add_array_ids(members->front().array->id);
    std::move(members->begin(), members->end(), std::back_inserter(specs));
  }
  absl::StatusOr<std::vector<Submitted>> submitted =
      co_await engine.submit(std::move(specs), {call.peer.uid, call.peer.pid});
  if (!submitted.ok()) co_return submitted.status();
  for (const Submitted& task : *submitted) {
    reply.add_ids(task.id);
    reply.add_existing(task.existing);
  }
  co_return reply;
}

absl::StatusOr<v1::ListTasksReply> list(TasksEngine& engine, const v1::ListTasksRequest& request) {
  TaskFilter filter;
  for (int state : request.states()) filter.states.push_back(static_cast<TaskState>(state));
  filter.group = request.group();
  filter.name = request.name();
  filter.labels.insert(request.labels().begin(), request.labels().end());
  filter.array = request.array();
  filter.oldest_first = request.oldest_first();
  filter.after = request.page_token();
  const uint32_t size = request.page_size() ? request.page_size() : kPageDefault;
  if (size > kPageMax) {
    return fault(absl::StatusCode::kInvalidArgument, absl::StrCat("a page of ", size, " tasks"),
                 {"page_size",
                  "LIMIT",
                  absl::StrCat("page_size_max = ", kPageMax),
                  "ask for at most 1000 and use next_page_token",
                  {}});
  }
  filter.limit = size;
  v1::ListTasksReply reply;
  for (const TaskRecord& record : engine.list(filter)) *reply.add_tasks() = to_proto(record);
  if (reply.tasks_size() == static_cast<int>(size)) {
    reply.set_next_page_token(reply.tasks(reply.tasks_size() - 1).id());
  }
  return reply;
}

Task<absl::StatusOr<v1::Task>> cancel(TasksEngine& engine, v1::CancelTaskRequest request) {
  std::optional<uint64_t> grace;
  if (request.has_kill_grace()) {
    absl::StatusOr<uint64_t> ms = to_ms(request.kill_grace(), "kill_grace");
    if (!ms.ok()) co_return ms.status();
    grace = *ms;
  }
  absl::StatusOr<TaskRecord> record = co_await engine.cancel(request.id(), request.wait(), grace);
  if (!record.ok()) co_return record.status();
  co_return to_proto(*record);
}

// Tells all of them first, and waits then.
Task<absl::StatusOr<v1::CancelArrayReply>> cancel_array(TasksEngine& engine,
                                                        v1::CancelArrayRequest request) {
  std::optional<uint64_t> grace;
  if (request.has_kill_grace()) {
    absl::StatusOr<uint64_t> ms = to_ms(request.kill_grace(), "kill_grace");
    if (!ms.ok()) co_return ms.status();
    grace = *ms;
  }
  TaskFilter filter;
  filter.array = request.id();
  filter.oldest_first = true;
  filter.limit = SIZE_MAX;
  std::vector<std::string> ids;
  if (!request.id().empty()) {
    for (const TaskRecord& task : engine.list(filter)) ids.push_back(task.id);
  }
  if (ids.empty()) {
    co_return fault(
        absl::StatusCode::kNotFound, absl::StrCat("no array \"", request.id(), "\""),
        {"id", "NOT_FOUND", "", "`zsyncctl tasks get` of one of its tasks names it", {}});
  }
  v1::CancelArrayReply reply;
  for (const std::string& id : ids) {
    absl::StatusOr<TaskRecord> record = co_await engine.cancel(id, false, grace);
    if (!record.ok() && !absl::IsNotFound(record.status())) co_return record.status();
    if (record.ok() && !request.wait()) *reply.add_tasks() = to_proto(*record);
  }
  if (!request.wait()) co_return reply;
  absl::StatusOr<std::vector<TaskRecord>> ended = co_await engine.wait(ids);
  if (!ended.ok()) co_return ended.status();
  for (const TaskRecord& record : *ended) *reply.add_tasks() = to_proto(record);
  co_return reply;
}

Task<absl::StatusOr<v1::TaskInputReply>> feed(TasksEngine& engine,
                                              StreamReader<v1::TaskInputChunk>& chunks) {
  v1::TaskInputReply reply;
  std::string id;
  while (std::optional<v1::TaskInputChunk> chunk = co_await chunks.read()) {
    if (id.empty()) id = chunk->id();
    const uint64_t size = chunk->data().size();
    absl::Status status;
    if (chunk->has_resize()) {
      absl::StatusOr<shim::TerminalSize> terminal = to_terminal_size(chunk->resize(), "resize");
      status = terminal.ok() ? engine.resize(id, *terminal) : terminal.status();
    }
    if (status.ok()) {
      status = co_await engine.input(id, std::move(*chunk->mutable_data()), chunk->eof());
    }
    if (!status.ok()) co_return status;
    reply.set_bytes(reply.bytes() + size);
    if (chunk->eof()) co_return reply;
  }
  // A client that has finished leaves stdin to another one, unless it said eof.
  const bool gone = StopToken::current().stop_requested();
  if (gone && !id.empty()) co_await shield(engine.abandon_input(id));
  co_return reply;
}

// Whether a command runs, of which /proc tells more than the record.
bool uses_machine(const TaskRecord& record) {
  return record.state == TaskState::kRunning && record.pid > 0 && !record.spec->function;
}

class Service final : public v1::Tasks::CallbackService {
 public:
  Service(CallGate& gate, TasksEngine& engine, Schedules& schedules, DiagnosticsEngine& diagnostics)
      : gate_(gate), engine_(engine), schedules_(schedules), diagnostics_(diagnostics) {}

  grpc::ServerUnaryReactor* Submit(Context* context, const v1::SubmitTasksRequest* request,
                                   v1::SubmitTasksReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext call, v1::SubmitTasksRequest request) {
                        return submit(engine_, std::move(call), std::move(request));
                      });
  }
  grpc::ServerUnaryReactor* Get(Context* context, const v1::GetTaskRequest* request,
                                v1::Task* reply) override {
    // A large result is on the disk, and what a running command uses in /proc: neither is read by
    // gRPC's reaction.
    const absl::StatusOr<TaskRecord> record = engine_.get(request->id());
    if (record.ok() && ((record->result && !record->result->payload_here) ||
                        uses_machine(*record) || !record->spec->matchers.empty())) {
      return unary_call(gate_, context, request, reply,
                        [this](CallContext, v1::GetTaskRequest request) {
                          return whole(engine_, diagnostics_, request.id());
                        });
    }
    return immediate_call(gate_, context, request, reply,
                          [this](const v1::GetTaskRequest& request) -> absl::StatusOr<v1::Task> {
                            return translated(engine_.get(request.id()));
                          });
  }
  grpc::ServerUnaryReactor* List(Context* context, const v1::ListTasksRequest* request,
                                 v1::ListTasksReply* reply) override {
    return immediate_call(
        gate_, context, request, reply,
        [this](const v1::ListTasksRequest& request) { return list(engine_, request); });
  }
  grpc::ServerUnaryReactor* Wait(Context* context, const v1::WaitTasksRequest* request,
                                 v1::WaitTasksReply* reply) override {
    return unary_call(
        gate_, context, request, reply,
        [this](CallContext,
               v1::WaitTasksRequest request) -> Task<absl::StatusOr<v1::WaitTasksReply>> {
          return wait(engine_, std::move(request));
        });
  }
  grpc::ServerUnaryReactor* Cancel(Context* context, const v1::CancelTaskRequest* request,
                                   v1::Task* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::CancelTaskRequest request) {
                        return cancel(engine_, std::move(request));
                      });
  }
  grpc::ServerUnaryReactor* Retry(Context* context, const v1::RetryTaskRequest* request,
                                  v1::Task* reply) override {
    return unary_call(
        gate_, context, request, reply,
        [this](CallContext, v1::RetryTaskRequest request) { return retry(engine_, request.id()); });
  }
  grpc::ServerUnaryReactor* Remove(Context* context, const v1::RemoveTaskRequest* request,
                                   v1::RemoveTaskReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::RemoveTaskRequest request) {
                        return remove(engine_, request.id());
                      });
  }
  grpc::ServerWriteReactor<v1::TaskOutputBatch>* Output(
      Context* context, const v1::TaskOutputRequest* request) override {
    return stream_call<v1::TaskOutputRequest, v1::TaskOutputBatch>(
        gate_, context, request,
        [this](CallContext, v1::TaskOutputRequest request, StreamWriter<v1::TaskOutputBatch>& out) {
          return engine_.output(
              request.id(), request.from_seq(), request.attempt(), request.follow(),
              [&out](OutputChunk chunk) { return send_chunk(out, std::move(chunk)); });
        });
  }
  grpc::ServerReadReactor<v1::TaskInputChunk>* Input(Context* context,
                                                     v1::TaskInputReply* reply) override {
    return upload_call<v1::TaskInputChunk, v1::TaskInputReply>(
        gate_, context, reply, [this](CallContext, StreamReader<v1::TaskInputChunk>& chunks) {
          return feed(engine_, chunks);
        });
  }
  grpc::ServerUnaryReactor* Pause(Context* context, const v1::PauseTaskRequest* request,
                                  v1::Task* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::PauseTaskRequest request) {
                        return pause(engine_, request.id(), true);
                      });
  }
  grpc::ServerUnaryReactor* Resume(Context* context, const v1::ResumeTaskRequest* request,
                                   v1::Task* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::ResumeTaskRequest request) {
                        return pause(engine_, request.id(), false);
                      });
  }
  grpc::ServerUnaryReactor* Signal(Context* context, const v1::SignalTaskRequest* request,
                                   v1::Task* reply) override {
    return immediate_call(gate_, context, request, reply,
                          [this](const v1::SignalTaskRequest& request) -> absl::StatusOr<v1::Task> {
                            return translated(engine_.signal(request.id(), request.signal()));
                          });
  }
  grpc::ServerUnaryReactor* Why(Context* context, const v1::WhyTaskRequest* request,
                                v1::WhyTaskReply* reply) override {
    return immediate_call(gate_, context, request, reply,
                          [this](const v1::WhyTaskRequest& request) { return why(request); });
  }
  grpc::ServerUnaryReactor* ListGroups(Context* context, const v1::ListGroupsRequest* request,
                                       v1::ListGroupsReply* reply) override {
    return immediate_call(
        gate_, context, request, reply,
        [this](const v1::ListGroupsRequest&) -> absl::StatusOr<v1::ListGroupsReply> {
          v1::ListGroupsReply groups;
          for (const GroupRecord& group : engine_.groups()) *groups.add_groups() = to_proto(group);
          return groups;
        });
  }
  grpc::ServerUnaryReactor* SetGroup(Context* context, const v1::SetGroupRequest* request,
                                     v1::TaskGroup* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext call, v1::SetGroupRequest request) {
                        return set_group(engine_, std::move(call), std::move(request));
                      });
  }
  grpc::ServerUnaryReactor* ListResources(Context* context, const v1::ListResourcesRequest* request,
                                          v1::ListResourcesReply* reply) override {
    return immediate_call(
        gate_, context, request, reply,
        [this](const v1::ListResourcesRequest&) -> absl::StatusOr<v1::ListResourcesReply> {
          v1::ListResourcesReply resources;
          for (const ResourceRecord& resource : engine_.resources()) {
            *resources.add_resources() = shown(engine_, resource);
          }
          return resources;
        });
  }
  grpc::ServerUnaryReactor* SetResource(Context* context, const v1::SetResourceRequest* request,
                                        v1::TaskResource* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::SetResourceRequest request) {
                        return set_resource(engine_, std::move(request));
                      });
  }
  grpc::ServerUnaryReactor* CancelArray(Context* context, const v1::CancelArrayRequest* request,
                                        v1::CancelArrayReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::CancelArrayRequest request) {
                        return cancel_array(engine_, std::move(request));
                      });
  }
  grpc::ServerUnaryReactor* CreateSchedule(Context* context,
                                           const v1::CreateScheduleRequest* request,
                                           v1::Schedule* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext call, v1::CreateScheduleRequest request) {
                        return create_schedule(schedules_, std::move(call), std::move(request));
                      });
  }
  grpc::ServerUnaryReactor* GetSchedule(Context* context, const v1::GetScheduleRequest* request,
                                        v1::Schedule* reply) override {
    return immediate_call(
        gate_, context, request, reply,
        [this](const v1::GetScheduleRequest& request) -> absl::StatusOr<v1::Schedule> {
          return shown(schedules_.get(request.name()));
        });
  }
  grpc::ServerUnaryReactor* ListSchedules(Context* context, const v1::ListSchedulesRequest* request,
                                          v1::ListSchedulesReply* reply) override {
    return immediate_call(
        gate_, context, request, reply,
        [this](const v1::ListSchedulesRequest&) -> absl::StatusOr<v1::ListSchedulesReply> {
          v1::ListSchedulesReply schedules;
          for (const ScheduleView& view : schedules_.list()) {
            *schedules.add_schedules() = to_proto(view);
          }
          return schedules;
        });
  }
  grpc::ServerUnaryReactor* PauseSchedule(Context* context, const v1::PauseScheduleRequest* request,
                                          v1::Schedule* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext call, v1::PauseScheduleRequest request) {
                        return pause_schedule(schedules_, std::move(call), std::move(request));
                      });
  }
  grpc::ServerUnaryReactor* RemoveSchedule(Context* context,
                                           const v1::RemoveScheduleRequest* request,
                                           v1::RemoveScheduleReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::RemoveScheduleRequest request) {
                        return remove_schedule(schedules_, request.name());
                      });
  }
  grpc::ServerUnaryReactor* UpcomingRuns(Context* context, const v1::UpcomingRunsRequest* request,
                                         v1::UpcomingRunsReply* reply) override {
    return immediate_call(
        gate_, context, request, reply,
        [this](const v1::UpcomingRunsRequest& request) -> absl::StatusOr<v1::UpcomingRunsReply> {
          absl::StatusOr<std::vector<int64_t>> times =
              schedules_.upcoming(request.name(), request.count() ? request.count() : 5);
          if (!times.ok()) return times.status();
          v1::UpcomingRunsReply upcoming;
          for (int64_t time : *times) upcoming.add_times_unix_nano(time);
          return upcoming;
        });
  }

 private:
  static absl::StatusOr<v1::Schedule> shown(const absl::StatusOr<ScheduleView>& view) {
    if (!view.ok()) return view.status();
    return to_proto(*view);
  }
  static Task<absl::StatusOr<v1::Schedule>> create_schedule(Schedules& schedules, CallContext call,
                                                            v1::CreateScheduleRequest request) {
    absl::StatusOr<ScheduleSpec> spec = from_proto(std::move(*request.mutable_spec()));
    if (!spec.ok()) co_return spec.status();
    co_return shown(co_await schedules.create(std::move(*spec), request.replace(),
                                              {call.peer.uid, call.peer.pid}));
  }
  static Task<absl::StatusOr<v1::Schedule>> pause_schedule(Schedules& schedules, CallContext call,
                                                           v1::PauseScheduleRequest request) {
    co_return shown(co_await schedules.set_paused(request.name(), request.paused(),
                                                  {call.peer.uid, call.peer.pid}));
  }
  static Task<absl::StatusOr<v1::RemoveScheduleReply>> remove_schedule(Schedules& schedules,
                                                                       std::string name) {
    absl::Status status = co_await schedules.remove(std::move(name));
    if (!status.ok()) co_return status;
    co_return v1::RemoveScheduleReply();
  }
  static absl::StatusOr<v1::Task> translated(const absl::StatusOr<TaskRecord>& record) {
    if (!record.ok()) return record.status();
    return to_full_proto(*record);
  }
  static Task<absl::StatusOr<v1::WaitTasksReply>> wait(TasksEngine& engine,
                                                       v1::WaitTasksRequest request) {
    absl::StatusOr<std::vector<TaskRecord>> records =
        co_await engine.wait({request.ids().begin(), request.ids().end()});
    if (!records.ok()) co_return records.status();
    v1::WaitTasksReply reply;
    uint64_t left = kResultsBytesMax;
    for (TaskRecord& record : *records) {
      v1::Task& task = *reply.add_tasks() = to_proto(record);
      if (!record.result || record.result->payload_bytes > left) continue;
      left -= record.result->payload_bytes;
      const absl::StatusOr<TaskRecord> all = engine.with_result(std::move(record));
      if (!all.ok()) co_return all.status();
      add_result(task, *all);
    }
    co_return reply;
  }
  static Task<absl::StatusOr<v1::Task>> whole(TasksEngine& engine, DiagnosticsEngine& diagnostics,
                                              std::string id) {
    absl::StatusOr<TaskRecord> record = engine.get(id);
    if (record.ok()) record = engine.with_result(std::move(*record));
    absl::StatusOr<v1::Task> task = translated(record);
    if (task.ok()) co_await add_counts(diagnostics, *record, *task);
    if (!task.ok() || !uses_machine(*record)) co_return task;
    const pid_t pid = static_cast<pid_t>(record->pid);
    add_live_usage(*task, co_await rt::call_blocking([pid] { return live_usage(pid); }));
    co_return task;
  }
  static Task<void> add_counts(DiagnosticsEngine& diagnostics, const TaskRecord& record,
                               v1::Task& task) {
    if (record.spec->matchers.empty() || record.attempt == 0) co_return;
    const std::optional<DiagnosticCounts> counts = co_await diagnostics.counts_of(record.id);
    if (!counts) co_return;
    v1::DiagnosticCounts& proto = *task.mutable_diagnostics();
    proto.set_errors(counts->errors);
    proto.set_warnings(counts->warnings);
    proto.set_notes(counts->notes);
    proto.set_left_out(counts->left_out);
  }
  static Task<absl::StatusOr<v1::Task>> retry(TasksEngine& engine, std::string id) {
    co_return translated(co_await engine.retry(std::move(id)));
  }
  static Task<absl::StatusOr<v1::Task>> pause(TasksEngine& engine, std::string id, bool paused) {
    co_return translated(co_await engine.pause(std::move(id), paused));
  }
  static Task<absl::StatusOr<v1::RemoveTaskReply>> remove(TasksEngine& engine, std::string id) {
    absl::Status status = co_await engine.remove(std::move(id));
    if (!status.ok()) co_return status;
    co_return v1::RemoveTaskReply();
  }
  static Task<absl::StatusOr<v1::TaskGroup>> set_group(TasksEngine& engine, CallContext call,
                                                       v1::SetGroupRequest request) {
    absl::StatusOr<GroupRecord> group = co_await engine.set_group(
        request.name(), from_proto(request), {call.peer.uid, call.peer.pid});
    if (!group.ok()) co_return group.status();
    co_return to_proto(*group);
  }
  static v1::TaskResource shown(TasksEngine& engine, const ResourceRecord& resource) {
    v1::TaskResource proto;
    proto.set_name(resource.name);
    proto.set_lock(resource.lock);
    proto.set_capacity(resource.capacity);
    proto.set_used(resource.used);
    for (uint64_t holder : resource.holders) {
      if (std::string id = engine.id_of(holder); !id.empty()) proto.add_holders(std::move(id));
    }
    return proto;
  }
  static Task<absl::StatusOr<v1::TaskResource>> set_resource(TasksEngine& engine,
                                                             v1::SetResourceRequest request) {
    absl::StatusOr<ResourceRecord> resource =
        co_await engine.set_resource(request.name(), request.capacity());
    if (!resource.ok()) co_return resource.status();
    co_return shown(engine, *resource);
  }
  absl::StatusOr<v1::WhyTaskReply> why(const v1::WhyTaskRequest& request) {
    absl::StatusOr<TaskRecord> record = engine_.get(request.id());
    if (!record.ok()) return record.status();
    absl::StatusOr<std::vector<std::string>> reasons = engine_.why(record->id);
    if (!reasons.ok()) return reasons.status();
    v1::WhyTaskReply reply;
    *reply.mutable_task() = to_full_proto(*record);
    for (std::string& reason : *reasons) reply.add_reasons(std::move(reason));
    return reply;
  }

  CallGate& gate_;
  TasksEngine& engine_;
  Schedules& schedules_;
  DiagnosticsEngine& diagnostics_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_tasks_service(CallGate& gate, TasksEngine& engine,
                                                  Schedules& schedules,
                                                  DiagnosticsEngine& diagnostics) {
  return std::make_unique<Service>(gate, engine, schedules, diagnostics);
}

}  // namespace zsync::daemon
