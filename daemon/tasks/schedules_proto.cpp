#include "daemon/tasks/schedules_proto.hpp"

#include <utility>

#include "daemon/fault/fault.hpp"
#include "daemon/tasks/tasks_proto.hpp"

namespace zsync::daemon {

absl::StatusOr<ScheduleSpec> from_proto(v1::ScheduleSpec proto) {
  ScheduleSpec spec;
  spec.name = std::move(*proto.mutable_name());
  if (proto.has_every()) {
    absl::StatusOr<uint64_t> ms = to_ms(proto.every(), "spec.every");
    if (!ms.ok()) return ms.status();
    spec.every_ms = *ms;
  }
  spec.cron = std::move(*proto.mutable_cron());
  spec.time_zone = std::move(*proto.mutable_time_zone());
  if (proto.missed() == v1::MISSED_RUNS_ONCE) spec.missed = MissedRuns::kOnce;
  if (proto.missed() == v1::MISSED_RUNS_ALL) spec.missed = MissedRuns::kAll;
  if (proto.missed_max() != 0) spec.missed_max = proto.missed_max();
  if (proto.overlap() == v1::OVERLAP_POLICY_QUEUE) spec.overlap = OverlapPolicy::kQueue;
  if (proto.task().has_array()) {
    return fault(absl::StatusCode::kInvalidArgument, "a schedule submits one task, not an array",
                 {"spec.task.array", "INVALID", "", "let the task submit the array", {}});
  }
  absl::StatusOr<TaskSpec> task = from_proto(std::move(*proto.mutable_task()));
  if (!task.ok()) return task.status();
  if (proto.guaranteed()) {
    if (absl::Status status = check_guaranteed(spec, *task); !status.ok()) return status;
    task->period_ms = spec.every_ms;
    if (!task->kill_grace_ms) task->kill_grace_ms = kGuaranteedGraceMs;
    if (task->deadline_ms == 0 && task->deadline_unix_nano == 0) task->deadline_ms = spec.every_ms;
  }
  spec.task = std::make_shared<const TaskSpec>(std::move(*task));
  return spec;
}

v1::Schedule to_proto(const ScheduleView& view) {
  const ScheduleRecord& record = view.record;
  v1::Schedule proto;
  v1::ScheduleSpec& spec = *proto.mutable_spec();
  spec.set_name(record.spec.name);
  if (record.spec.every_ms != 0) {
    spec.mutable_every()->set_seconds(static_cast<int64_t>(record.spec.every_ms / 1000));
    spec.mutable_every()->set_nanos(static_cast<int32_t>(record.spec.every_ms % 1000 * 1'000'000));
  }
  spec.set_cron(record.spec.cron);
  spec.set_time_zone(record.spec.time_zone);
  spec.set_missed(static_cast<v1::MissedRuns>(record.spec.missed));
  spec.set_missed_max(record.spec.missed_max);
  spec.set_overlap(static_cast<v1::OverlapPolicy>(record.spec.overlap));
  *spec.mutable_task() = spec_to_proto(*record.spec.task);
  spec.set_guaranteed(record.spec.guaranteed());
  if (view.guarantee) {
    proto.mutable_guarantee()->set_utilization(view.guarantee->utilization);
    if (const std::optional<int64_t> most = view.guarantee->response_max_ms) {
      google::protobuf::Duration& response = *proto.mutable_guarantee()->mutable_response_max();
      response.set_seconds(*most / 1000);
      response.set_nanos(static_cast<int32_t>(*most % 1000 * 1'000'000));
    }
  }
  proto.set_created_unix_nano(record.created_unix_nano);
  proto.set_next_unix_nano(view.next_unix_nano.value_or(0));
  if (record.paused.on()) {
    proto.mutable_paused()->set_since_unix_nano(record.paused.since_unix_nano);
    proto.mutable_paused()->set_uid(record.paused.uid);
    proto.mutable_paused()->set_pid(record.paused.pid);
  }
  proto.set_last_unix_nano(record.last_unix_nano);
  proto.set_last_task(record.last_task);
  proto.set_runs(record.runs);
  proto.set_missed(record.missed);
  proto.set_overlapped(record.overlapped);
  proto.set_refused(record.refused);
  proto.set_last_refusal(record.last_refusal);
  return proto;
}

}  // namespace zsync::daemon
