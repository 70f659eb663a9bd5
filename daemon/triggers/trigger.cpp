#include "daemon/triggers/trigger.hpp"

#include <algorithm>
#include <chrono>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/fault/fault.hpp"
#include "daemon/store/varint.hpp"
#include "daemon/store/work_span.hpp"

namespace zsync::daemon {
namespace {

constexpr uint64_t kVersion = 1;

absl::Status check_name(const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  });
  if (plain && !name.empty() && name.size() <= kNameBytesMax && name[0] != '.') {
    return absl::OkStatus();
  }
  return fault(
      absl::StatusCode::kInvalidArgument,
      absl::StrCat("the name \"", absl::CHexEscape(name.substr(0, 200)), "\" is not allowed"),
      {"spec.name",
       "INVALID",
       absl::StrCat("name_bytes_max = ", kNameBytesMax),
       "use 1 to 128 of A-Z a-z 0-9 . _ - and no leading dot",
       {}});
}

void put_list(std::string& out, const std::vector<std::string>& list) {
  put_varint(out, list.size());
  for (const std::string& one : list) put_text(out, one);
}

void put_number(std::string& out, int64_t number) {
  put_varint(out, static_cast<uint64_t>(number));
}

void put_watch(std::string& out, const WatchRequest& watch) {
  put_text(out, watch.path);
  put_list(out, watch.globs);
  put_list(out, watch.ignore);
  put_varint(out, watch.gitignore);
  put_number(out, watch.settle.count());
  put_number(out, watch.max_wait.count());
  put_list(out, watch.defer);
  put_list(out, watch.drop);
  put_varint(out, watch.changed_content);
}

void put_run(std::string& out, const TriggerRun& run) {
  put_varint(out, run.number);
  put_number(out, run.fired_unix_nano);
  put_varint(out, run.by_hand);
  put_varint(out, run.paths);
  put_list(out, run.changed);
  put_text(out, run.task);
  put_varint(out, run.state ? static_cast<uint64_t>(*run.state) : 0);
  put_number(out, run.exit_code);
  put_text(out, run.reason);
  put_number(out, run.ended_unix_nano);
}

void put_memory(std::string& out, const watching::Trigger::Memory& memory) {
  put_varint(out, memory.seen.size());
  for (const auto& [path, mark] : memory.seen) {
    put_text(out, path);
    put_text(out, mark);
  }
  put_number(out, memory.following_runs);
  put_list(out, {memory.common.begin(), memory.common.end()});
}

std::string next_text(VarintReader& in) { return std::string(in.take(in.next())); }

std::vector<std::string> next_list(VarintReader& in) {
  std::vector<std::string> list;
  for (uint64_t left = in.next(); left > 0 && in.ok(); --left) list.push_back(next_text(in));
  return list;
}

int64_t next_number(VarintReader& in) { return static_cast<int64_t>(in.next()); }

WatchRequest next_watch(VarintReader& in) {
  WatchRequest watch;
  watch.path = next_text(in);
  watch.globs = next_list(in);
  watch.ignore = next_list(in);
  watch.gitignore = in.next() != 0;
  watch.settle = std::chrono::nanoseconds(next_number(in));
  watch.max_wait = std::chrono::nanoseconds(next_number(in));
  watch.defer = next_list(in);
  watch.drop = next_list(in);
  watch.changed_content = in.next() != 0;
  return watch;
}

TriggerRun next_run(VarintReader& in) {
  TriggerRun run;
  run.number = in.next();
  run.fired_unix_nano = next_number(in);
  run.by_hand = in.next() != 0;
  run.paths = in.next();
  run.changed = next_list(in);
  run.task = next_text(in);
  if (const uint64_t state = in.next(); state != 0) run.state = static_cast<TaskState>(state);
  run.exit_code = static_cast<int32_t>(next_number(in));
  run.reason = next_text(in);
  run.ended_unix_nano = next_number(in);
  return run;
}

watching::Trigger::Memory next_memory(VarintReader& in) {
  watching::Trigger::Memory memory;
  for (uint64_t left = in.next(); left > 0 && in.ok(); --left) {
    std::string path = next_text(in);
    memory.seen[std::move(path)] = next_text(in);
  }
  memory.following_runs = static_cast<int>(next_number(in));
  const std::vector<std::string> common = next_list(in);
  memory.common = {common.begin(), common.end()};
  return memory;
}

auto seen_by(const WatchRequest& watch) {
  return std::tie(watch.path, watch.globs, watch.ignore, watch.gitignore);
}

}  // namespace

absl::Status validate(const TriggerSpec& spec) {
  if (absl::Status status = check_name(spec.name); !status.ok()) return status;
  if (absl::Status globs = watching::GlobSet::compile(spec.writes).status(); !globs.ok()) {
    return fault(absl::StatusCode::kInvalidArgument, std::string(globs.message()),
                 {"spec.writes",
                  "INVALID",
                  absl::StrCat("globs_max = ", watching::kGlobCountMax),
                  "*, ?, **, {a,b} and [a-z] are understood",
                  {}});
  }
  if (!spec.task) {
    return fault(absl::StatusCode::kInvalidArgument, "there is no task to run",
                 {"spec.task", "INVALID", "", "give a command", {}});
  }
  if (absl::Status status = validate_template(*spec.task); !status.ok()) return status;
  TriggerRecord largest;
  largest.spec = spec;
  largest.spec.watch.path = "/";  // whether it is there is for the watch to say
  largest.id = std::string(31, 'i');
  largest.last.number = UINT64_MAX;
  largest.last.changed = {std::string(watching::kChangedBytesMax, 'c')};
  return validate(task_of(largest));
}

bool same_watch(const WatchRequest& a, const WatchRequest& b) { return seen_by(a) == seen_by(b); }

bool same(const TriggerSpec& a, const TriggerSpec& b) {
  std::string first, second;
  put_watch(first, a.watch);
  put_watch(second, b.watch);
  return a.name == b.name && a.writes == b.writes && first == second &&
         encode_task_spec(*a.task) == encode_task_spec(*b.task);
}

std::string settle_traceparent(const TriggerRecord& record) {
  return work_span(absl::StrCat(record.id, " ", record.last.number), "").to_traceparent();
}

TaskSpec task_of(const TriggerRecord& record) {
  TaskSpec task = *record.spec.task;
  if (task.name.empty()) task.name = record.spec.name;
  if (task.cwd.empty()) task.cwd = record.spec.watch.path;
  task.labels.edit()[kTriggerLabel] = record.spec.name;
  task.idempotency_key = absl::StrCat("trigger ", record.id, " ", record.last.number);
  if (!record.last.by_hand) task.traceparent = settle_traceparent(record);
  task.env.set("ZSYNC_TRIGGER", record.spec.name);
  task.env.set("ZSYNC_CHANGED", absl::StrJoin(record.last.changed, "\n"));
  return task;
}

std::string encode_trigger(const TriggerRecord& r) {
  std::string out;
  put_varint(out, kVersion);
  put_varint(out, r.uid);
  put_text(out, r.project);
  put_watch(out, r.spec.watch);
  put_list(out, r.spec.writes);
  put_number(out, r.created_unix_nano);
  put_number(out, r.paused.since_unix_nano);
  put_varint(out, r.paused.uid);
  put_number(out, r.paused.pid);
  put_text(out, r.clock);
  put_run(out, r.last);
  put_list(out, r.loop);
  put_varint(out, r.run_follows);
  put_varint(out, r.refused);
  put_text(out, r.last_refusal);
  put_memory(out, r.memory ? *r.memory : watching::Trigger::Memory());
  return out;
}

bool decode_trigger(std::string_view bytes, TriggerRecord& r) {
  VarintReader in(bytes);
  if (in.next() != kVersion) return false;
  r.uid = static_cast<uint32_t>(in.next());
  r.project = next_text(in);
  r.spec.watch = next_watch(in);
  r.spec.writes = next_list(in);
  r.created_unix_nano = next_number(in);
  r.paused.since_unix_nano = next_number(in);
  r.paused.uid = static_cast<uint32_t>(in.next());
  r.paused.pid = static_cast<int32_t>(next_number(in));
  r.clock = next_text(in);
  r.last = next_run(in);
  r.loop = next_list(in);
  r.run_follows = in.next() != 0;
  r.refused = in.next();
  r.last_refusal = next_text(in);
  r.memory = std::make_shared<const watching::Trigger::Memory>(next_memory(in));
  return in.ok();
}

}  // namespace zsync::daemon
