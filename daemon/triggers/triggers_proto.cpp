#include "daemon/triggers/triggers_proto.hpp"

#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/tasks/tasks_proto.hpp"
#include "daemon/watch/watch_proto.hpp"
#include "watch/utf8.hpp"

namespace zsync::daemon {
namespace {

// File names need not be text.
void add_text(std::string text, google::protobuf::RepeatedPtrField<std::string>& list) {
  *list.Add() = watching::to_utf8(text);
}

void put_run(const TriggerRun& run, v1::TriggerRun& proto) {
  proto.set_number(run.number);
  proto.set_fired_unix_nano(run.fired_unix_nano);
  proto.set_by_hand(run.by_hand);
  proto.set_paths(run.paths);
  for (const std::string& path : run.changed) proto.add_changed(path);
  proto.set_task(run.task);
  if (run.state) proto.set_state(static_cast<v1::TaskState>(*run.state));
  proto.set_exit_code(run.exit_code);
  proto.set_reason(run.reason);
  proto.set_ended_unix_nano(run.ended_unix_nano);
}

}  // namespace

absl::StatusOr<TriggerSpec> from_proto(v1::TriggerSpec proto) {
  TriggerSpec spec;
  spec.name = std::move(*proto.mutable_name());
  spec.watch.path = std::move(*proto.mutable_path());
  if (absl::Status taken = take_filter(std::move(*proto.mutable_filter()), spec.watch);
      !taken.ok()) {
    return taken;
  }
  spec.writes.assign(proto.writes().begin(), proto.writes().end());
  if (proto.task().has_array()) {
    return fault(absl::StatusCode::kInvalidArgument, "a trigger submits one task, not an array",
                 {"spec.task.array", "INVALID", "", "let the task submit the array", {}});
  }
  absl::StatusOr<TaskSpec> task = from_proto(std::move(*proto.mutable_task()));
  if (!task.ok()) return task.status();
  spec.task = std::make_shared<const TaskSpec>(std::move(*task));
  return spec;
}

v1::Trigger to_proto(const TriggerView& view) {
  const TriggerRecord& record = view.record;
  v1::Trigger proto;
  v1::TriggerSpec& spec = *proto.mutable_spec();
  spec.set_name(record.spec.name);
  spec.set_path(watching::to_utf8(record.spec.watch.path));
  *spec.mutable_filter() = filter_to_proto(record.spec.watch);
  for (const std::string& glob : record.spec.writes) spec.add_writes(glob);
  *spec.mutable_task() = spec_to_proto(*record.spec.task);
  proto.set_id(record.id);
  proto.set_state(static_cast<v1::TriggerState>(view.state));
  proto.set_reason(watching::to_utf8(view.reason));
  proto.set_next(view.next);
  proto.set_created_unix_nano(record.created_unix_nano);
  if (record.paused.on()) {
    proto.mutable_paused()->set_since_unix_nano(record.paused.since_unix_nano);
    proto.mutable_paused()->set_uid(record.paused.uid);
    proto.mutable_paused()->set_pid(record.paused.pid);
  }
  for (const std::string& path : record.loop) add_text(path, *proto.mutable_loop());
  proto.set_cure(watching::to_utf8(view.cure));
  proto.set_runs(record.last.number);
  if (record.last.number != 0) put_run(record.last, *proto.mutable_last());
  proto.set_pending(view.pending);
  proto.set_run_follows(record.run_follows);
  proto.set_refused(record.refused);
  proto.set_last_refusal(record.last_refusal);
  proto.set_clock(record.clock);
  proto.set_project(record.project);
  return proto;
}

}  // namespace zsync::daemon
