#include "daemon/tasks/task_store.hpp"

#include <memory>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"

namespace zsync::daemon {
namespace {

BlobView blob(const std::string& bytes) { return std::as_bytes(std::span(bytes)); }

int64_t stored(uint64_t value) { return static_cast<int64_t>(value); }

// Of the six columns from `first` on.
shim::Usage usage_at(Statement& row, int first) {
  const auto number = [&](int column) { return static_cast<uint64_t>(row.int_at(first + column)); };
  return {number(0), number(1), number(2), number(4), number(5), row.int_at(first + 3) != 0};
}

std::string_view text(BlobView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

const char kTaskSchemaV1[] = R"sql(
  CREATE TABLE task(
    id TEXT PRIMARY KEY, ord INTEGER NOT NULL, state INTEGER NOT NULL, attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL, exit_code INTEGER NOT NULL, signal INTEGER NOT NULL,
    reason TEXT NOT NULL, created INTEGER NOT NULL, started INTEGER NOT NULL,
    finished INTEGER NOT NULL, cancel_requested INTEGER NOT NULL, output_bytes INTEGER NOT NULL,
    output_records INTEGER NOT NULL, submitter_uid INTEGER NOT NULL,
    submitter_pid INTEGER NOT NULL, boot_id TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE task_spec(id TEXT PRIMARY KEY, spec BLOB NOT NULL);
  CREATE TABLE task_group(name TEXT PRIMARY KEY, parallel INTEGER NOT NULL) WITHOUT ROWID;
)sql";

const char kTaskSchemaV4[] = R"sql(
  ALTER TABLE task ADD COLUMN not_before INTEGER NOT NULL DEFAULT 0;
  CREATE TABLE task_attempt(
    id TEXT NOT NULL, attempt INTEGER NOT NULL, state INTEGER NOT NULL, exit_code INTEGER NOT NULL,
    signal INTEGER NOT NULL, reason TEXT NOT NULL, started INTEGER NOT NULL,
    finished INTEGER NOT NULL, output_bytes INTEGER NOT NULL, output_records INTEGER NOT NULL,
    PRIMARY KEY(id, attempt)) WITHOUT ROWID;
)sql";

// What an attempt has used.
const char kTaskSchemaV5[] = R"sql(
  ALTER TABLE task ADD COLUMN cpu_user_us INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task ADD COLUMN cpu_system_us INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task ADD COLUMN memory_peak INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task ADD COLUMN memory_is_tree INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task ADD COLUMN io_read INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task ADD COLUMN io_written INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task ADD COLUMN limits_note TEXT NOT NULL DEFAULT '';
  ALTER TABLE task_attempt ADD COLUMN cpu_user_us INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task_attempt ADD COLUMN cpu_system_us INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task_attempt ADD COLUMN memory_peak INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task_attempt ADD COLUMN memory_is_tree INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task_attempt ADD COLUMN io_read INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task_attempt ADD COLUMN io_written INTEGER NOT NULL DEFAULT 0;
)sql";

const char kTaskSchemaV6[] = R"sql(
  ALTER TABLE task_group ADD COLUMN by_deadline INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task_group ADD COLUMN overload INTEGER NOT NULL DEFAULT 1;
  ALTER TABLE task_group ADD COLUMN queued_max INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task_group ADD COLUMN paused_since INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task_group ADD COLUMN paused_uid INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task_group ADD COLUMN paused_pid INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task_group ADD COLUMN drained_since INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task_group ADD COLUMN drained_uid INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task_group ADD COLUMN drained_pid INTEGER NOT NULL DEFAULT 0;
  CREATE TABLE task_resource(name TEXT PRIMARY KEY, capacity INTEGER NOT NULL) WITHOUT ROWID;
)sql";

// Functions: what their calls ended with, and which there are.
const char kTaskSchemaV9[] = R"sql(
  ALTER TABLE task ADD COLUMN lost_workers INTEGER NOT NULL DEFAULT 0;
  CREATE TABLE task_result(
    id TEXT PRIMARY KEY, content_type TEXT NOT NULL, failed INTEGER NOT NULL,
    error_code TEXT NOT NULL, error_message TEXT NOT NULL, permanent INTEGER NOT NULL,
    payload BLOB NOT NULL);
  CREATE TABLE task_function(name TEXT PRIMARY KEY, served INTEGER NOT NULL) WITHOUT ROWID;
)sql";

// What the running tasks of a group may have together.
const char kTaskSchemaV11[] = R"sql(
  ALTER TABLE task_group ADD COLUMN memory_bytes_max INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE task_group ADD COLUMN cpu_millis_max INTEGER NOT NULL DEFAULT 0;
)sql";

absl::Status insert_task(Database& db, const StoredTask& task, const std::string& encoded_spec) {
  const TaskRecord& r = task.record;
  absl::Status status = db.run(
      "INSERT INTO task(id,ord,state,attempt,failures,exit_code,signal,reason,created,"
      "started,finished,cancel_requested,output_bytes,output_records,submitter_uid,"
      "submitter_pid,boot_id,not_before) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
      r.id, static_cast<int64_t>(task.order), static_cast<int>(r.state), r.attempt, task.failures,
      r.exit_code, r.signal, r.reason, r.created_unix_nano, r.started_unix_nano,
      r.finished_unix_nano, r.cancel_requested, static_cast<int64_t>(r.output_bytes),
      static_cast<int64_t>(r.output_records), r.submitter_uid, r.submitter_pid, task.boot_id,
      r.not_before_unix_nano);
  if (!status.ok()) return status;
  return db.run("INSERT INTO task_spec VALUES(?,?)", r.id, blob(encoded_spec));
}

absl::Status update_task(Database& db, const StoredTask& task) {
  const TaskRecord& r = task.record;
  return db.run(
      "UPDATE task SET state=?,attempt=?,failures=?,exit_code=?,signal=?,reason=?,started=?,"
      "finished=?,cancel_requested=?,output_bytes=?,output_records=?,boot_id=?,not_before=?,"
      "limits_note=?,cpu_user_us=?,cpu_system_us=?,memory_peak=?,memory_is_tree=?,io_read=?,"
      "io_written=?,lost_workers=? WHERE id=?",
      static_cast<int>(r.state), r.attempt, task.failures, r.exit_code, r.signal, r.reason,
      r.started_unix_nano, r.finished_unix_nano, r.cancel_requested,
      static_cast<int64_t>(r.output_bytes), static_cast<int64_t>(r.output_records), task.boot_id,
      r.not_before_unix_nano, r.limits_note, stored(r.usage.cpu_user_us),
      stored(r.usage.cpu_system_us), stored(r.usage.memory_peak_bytes), r.usage.memory_is_tree,
      stored(r.usage.io_read_bytes), stored(r.usage.io_written_bytes), task.lost_workers, r.id);
}

absl::Status insert_attempt(Database& db, const std::string& id, const TaskAttempt& a) {
  return db.run(
      "INSERT OR REPLACE INTO task_attempt VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", id, a.attempt,
      static_cast<int>(a.state), a.exit_code, a.signal, a.reason, a.started_unix_nano,
      a.finished_unix_nano, stored(a.output_bytes), stored(a.output_records),
      stored(a.usage.cpu_user_us), stored(a.usage.cpu_system_us), stored(a.usage.memory_peak_bytes),
      a.usage.memory_is_tree, stored(a.usage.io_read_bytes), stored(a.usage.io_written_bytes));
}

absl::Status delete_task(Database& db, const std::string& id) {
  absl::Status status = db.run("DELETE FROM task WHERE id=?", id);
  if (!status.ok()) return status;
  status = db.run("DELETE FROM task_attempt WHERE id=?", id);
  if (!status.ok()) return status;
  status = delete_result(db, id);
  if (!status.ok()) return status;
  return db.run("DELETE FROM task_spec WHERE id=?", id);
}

absl::Status put_result(Database& db, const std::string& id, const FunctionResult& r) {
  return db.run("INSERT OR REPLACE INTO task_result VALUES(?,?,?,?,?,?,?)", id, r.content_type,
                r.failed, r.error_code, r.error_message, r.permanent, blob(r.payload));
}

absl::Status delete_result(Database& db, const std::string& id) {
  return db.run("DELETE FROM task_result WHERE id=?", id);
}

absl::StatusOr<std::string> load_result_payload(Database& db, const std::string& id) {
  absl::StatusOr<Statement> rows = db.query("SELECT payload FROM task_result WHERE id=?", id);
  if (!rows.ok()) return rows.status();
  absl::StatusOr<bool> found = rows->step();
  if (!found.ok()) return found.status();
  if (!*found) return absl::NotFoundError(absl::StrCat("no result of ", id));
  return std::string(text(rows->blob_at(0)));
}

absl::Status put_function(Database& db, const std::string& name, int64_t served_unix_nano) {
  absl::Status status =
      db.run("DELETE FROM task_function WHERE served<?", served_unix_nano - kFunctionForgottenNs);
  if (!status.ok()) return status;
  return db.run("INSERT OR REPLACE INTO task_function VALUES(?,?)", name, served_unix_nano);
}

absl::Status load_functions(Database& db,
                            const std::function<void(const std::string&, int64_t)>& take) {
  absl::StatusOr<Statement> rows = db.query("SELECT name,served FROM task_function");
  if (!rows.ok()) return rows.status();
  while (true) {
    absl::StatusOr<bool> more = rows->step();
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    take(std::string(rows->text_at(0)), rows->int_at(1));
  }
}

absl::Status put_group(Database& db, const std::string& name, const GroupSettings& g) {
  return db.run("INSERT OR REPLACE INTO task_group VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)", name,
                g.parallel, static_cast<int>(g.order), static_cast<int>(g.overload), g.queued_max,
                g.paused.since_unix_nano, g.paused.uid, g.paused.pid, g.drained.since_unix_nano,
                g.drained.uid, g.drained.pid, static_cast<int64_t>(g.memory_bytes_max),
                g.cpu_millis_max);
}

absl::Status put_resource(Database& db, const std::string& name, uint32_t capacity) {
  return db.run("INSERT OR REPLACE INTO task_resource VALUES(?,?)", name, capacity);
}

namespace {

using Attempts = std::unordered_map<std::string, std::vector<TaskAttempt>>;

absl::StatusOr<Attempts> load_attempts(Database& db) {
  absl::StatusOr<Statement> rows = db.query(
      "SELECT id,attempt,state,exit_code,signal,reason,started,finished,output_bytes,"
      "output_records,cpu_user_us,cpu_system_us,memory_peak,memory_is_tree,io_read,io_written "
      "FROM task_attempt ORDER BY id,attempt");
  if (!rows.ok()) return rows.status();
  Attempts attempts;
  while (true) {
    absl::StatusOr<bool> more = rows->step();
    if (!more.ok()) return more.status();
    if (!*more) return attempts;
    TaskAttempt& a = attempts[std::string(rows->text_at(0))].emplace_back();
    a.attempt = static_cast<uint32_t>(rows->int_at(1));
    a.state = static_cast<TaskState>(rows->int_at(2));
    a.exit_code = static_cast<int32_t>(rows->int_at(3));
    a.signal = static_cast<int32_t>(rows->int_at(4));
    a.reason = rows->text_at(5);
    a.started_unix_nano = rows->int_at(6);
    a.finished_unix_nano = rows->int_at(7);
    a.output_bytes = static_cast<uint64_t>(rows->int_at(8));
    a.output_records = static_cast<uint64_t>(rows->int_at(9));
    a.usage = usage_at(*rows, 10);
  }
}

// Of the six columns from `first` on; null: there is none.
std::shared_ptr<const FunctionResult> result_at(Statement& row, int first, uint64_t bytes) {
  auto result = std::make_shared<FunctionResult>();
  result->content_type = row.text_at(first);
  result->failed = row.int_at(first + 1) != 0;
  result->error_code = row.text_at(first + 2);
  result->error_message = row.text_at(first + 3);
  result->permanent = row.int_at(first + 4) != 0;
  result->payload = text(row.blob_at(first + 5));
  result->payload_bytes = bytes;
  result->payload_here = result->payload.size() == bytes;
  return result;
}

}  // namespace

absl::Status load_tasks(Database& db, EnvironmentPool& environments,
                        const std::function<void(StoredTask)>& take) {
  absl::StatusOr<Attempts> attempts = load_attempts(db);
  if (!attempts.ok()) return attempts.status();
  absl::StatusOr<Statement> rows = db.query(
      "SELECT task.id,ord,state,attempt,failures,exit_code,signal,reason,created,started,finished,"
      "cancel_requested,output_bytes,output_records,submitter_uid,submitter_pid,boot_id,spec,"
      "not_before,limits_note,cpu_user_us,cpu_system_us,memory_peak,memory_is_tree,io_read,"
      "io_written,lost_workers,task_result.id IS NOT NULL,content_type,failed,error_code,"
      "error_message,permanent,CASE WHEN length(payload)<=? THEN payload ELSE x'' END "
      "FROM task JOIN task_spec USING(id) LEFT JOIN task_result USING(id) ORDER BY ord",
      static_cast<int64_t>(kResultInMemoryBytesMax));
  if (!rows.ok()) return rows.status();
  while (true) {
    absl::StatusOr<bool> more = rows->step();
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    StoredTask task;
    TaskRecord& r = task.record;
    r.id = rows->text_at(0);
    task.order = static_cast<uint64_t>(rows->int_at(1));
    r.state = static_cast<TaskState>(rows->int_at(2));
    r.attempt = static_cast<uint32_t>(rows->int_at(3));
    task.failures = static_cast<uint32_t>(rows->int_at(4));
    r.exit_code = static_cast<int32_t>(rows->int_at(5));
    r.signal = static_cast<int32_t>(rows->int_at(6));
    r.reason = rows->text_at(7);
    r.created_unix_nano = rows->int_at(8);
    r.started_unix_nano = rows->int_at(9);
    r.finished_unix_nano = rows->int_at(10);
    r.cancel_requested = rows->int_at(11) != 0;
    r.output_bytes = static_cast<uint64_t>(rows->int_at(12));
    r.output_records = static_cast<uint64_t>(rows->int_at(13));
    r.submitter_uid = static_cast<uint32_t>(rows->int_at(14));
    r.submitter_pid = static_cast<int32_t>(rows->int_at(15));
    task.boot_id = rows->text_at(16);
    std::optional<TaskSpec> spec = decode_task_spec(text(rows->blob_at(17)));
    if (!spec)
      return absl::DataLossError(absl::StrCat("the specification of ", r.id, " is damaged"));
    environments.share(spec->env);
    r.spec = std::make_shared<const TaskSpec>(std::move(*spec));
    r.not_before_unix_nano = rows->int_at(18);
    r.limits_note = rows->text_at(19);
    r.usage = usage_at(*rows, 20);
    task.lost_workers = static_cast<uint32_t>(rows->int_at(26));
    if (is_final(r.state) && rows->int_at(27) != 0) r.result = result_at(*rows, 28, r.output_bytes);
    if (auto found = attempts->find(r.id); found != attempts->end()) {
      r.attempts = std::move(found->second);
    }
    take(std::move(task));
  }
}

absl::Status load_groups(
    Database& db, const std::function<void(const std::string&, const GroupSettings&)>& take) {
  absl::StatusOr<Statement> rows = db.query(
      "SELECT name,parallel,by_deadline,overload,queued_max,paused_since,paused_uid,paused_pid,"
      "drained_since,drained_uid,drained_pid,memory_bytes_max,cpu_millis_max FROM task_group");
  if (!rows.ok()) return rows.status();
  auto hold_at = [&rows](int column) {
    return GroupHold{rows->int_at(column), static_cast<uint32_t>(rows->int_at(column + 1)),
                     static_cast<int32_t>(rows->int_at(column + 2))};
  };
  while (true) {
    absl::StatusOr<bool> more = rows->step();
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    GroupSettings g;
    g.parallel = static_cast<uint32_t>(rows->int_at(1));
    g.order = static_cast<StartOrder>(rows->int_at(2));
    g.overload = static_cast<OverloadPolicy>(rows->int_at(3));
    g.queued_max = static_cast<uint32_t>(rows->int_at(4));
    g.paused = hold_at(5);
    g.drained = hold_at(8);
    g.memory_bytes_max = static_cast<uint64_t>(rows->int_at(11));
    g.cpu_millis_max = static_cast<uint32_t>(rows->int_at(12));
    take(std::string(rows->text_at(0)), g);
  }
}

absl::Status load_resources(Database& db,
                            const std::function<void(const std::string&, uint32_t)>& take) {
  absl::StatusOr<Statement> rows = db.query("SELECT name,capacity FROM task_resource");
  if (!rows.ok()) return rows.status();
  while (true) {
    absl::StatusOr<bool> more = rows->step();
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    take(std::string(rows->text_at(0)), static_cast<uint32_t>(rows->int_at(1)));
  }
}

absl::StatusOr<TaskSpec> load_task_spec(Database& db, const std::string& id) {
  absl::StatusOr<Statement> rows = db.query("SELECT spec FROM task_spec WHERE id=?", id);
  if (!rows.ok()) return rows.status();
  absl::StatusOr<bool> found = rows->step();
  if (!found.ok()) return found.status();
  if (!*found) return absl::NotFoundError(absl::StrCat("no task ", id));
  std::optional<TaskSpec> spec = decode_task_spec(text(rows->blob_at(0)));
  if (!spec) return absl::DataLossError(absl::StrCat("the specification of ", id, " is damaged"));
  return std::move(*spec);
}

}  // namespace zsync::daemon
