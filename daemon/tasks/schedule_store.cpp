#include "daemon/tasks/schedule_store.hpp"

#include <span>
#include <utility>

#include "absl/strings/str_cat.h"

namespace zsync::daemon {

const char kScheduleSchemaV8[] = R"sql(
  CREATE TABLE schedule(
    name TEXT PRIMARY KEY, id TEXT NOT NULL, uid INTEGER NOT NULL, every_ms INTEGER NOT NULL,
    cron TEXT NOT NULL, time_zone TEXT NOT NULL, missed_policy INTEGER NOT NULL,
    missed_max INTEGER NOT NULL, overlap INTEGER NOT NULL, task BLOB NOT NULL,
    created INTEGER NOT NULL, paused_since INTEGER NOT NULL, paused_uid INTEGER NOT NULL,
    paused_pid INTEGER NOT NULL, seen INTEGER NOT NULL, last INTEGER NOT NULL,
    last_task TEXT NOT NULL, runs INTEGER NOT NULL, missed INTEGER NOT NULL,
    overlapped INTEGER NOT NULL, refused INTEGER NOT NULL, last_refusal TEXT NOT NULL);
)sql";

absl::Status put_schedule(Database& db, const ScheduleRecord& r) {
  const ScheduleSpec& s = r.spec;
  const std::string task = encode_task_spec(*s.task);
  return db.run(
      "INSERT OR REPLACE INTO schedule VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", s.name,
      r.id, r.uid, static_cast<int64_t>(s.every_ms), s.cron, s.time_zone,
      static_cast<int>(s.missed), s.missed_max, static_cast<int>(s.overlap),
      BlobView(std::as_bytes(std::span(task))), r.created_unix_nano, r.paused.since_unix_nano,
      r.paused.uid, r.paused.pid, r.seen_unix_nano, r.last_unix_nano, r.last_task,
      static_cast<int64_t>(r.runs), static_cast<int64_t>(r.missed),
      static_cast<int64_t>(r.overlapped), static_cast<int64_t>(r.refused), r.last_refusal);
}

absl::Status delete_schedule(Database& db, const std::string& name) {
  return db.run("DELETE FROM schedule WHERE name=?", name);
}

absl::Status load_schedules(Database& db, const std::function<absl::Status(ScheduleRecord)>& take) {
  absl::StatusOr<Statement> rows = db.query(
      "SELECT name,id,uid,every_ms,cron,time_zone,missed_policy,missed_max,overlap,task,created,"
      "paused_since,paused_uid,paused_pid,seen,last,last_task,runs,missed,overlapped,refused,"
      "last_refusal FROM schedule ORDER BY name");
  if (!rows.ok()) return rows.status();
  while (true) {
    absl::StatusOr<bool> more = rows->step();
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    ScheduleRecord r;
    ScheduleSpec& s = r.spec;
    s.name = rows->text_at(0);
    r.id = rows->text_at(1);
    r.uid = static_cast<uint32_t>(rows->int_at(2));
    s.every_ms = static_cast<uint64_t>(rows->int_at(3));
    s.cron = rows->text_at(4);
    s.time_zone = rows->text_at(5);
    s.missed = static_cast<MissedRuns>(rows->int_at(6));
    s.missed_max = static_cast<uint32_t>(rows->int_at(7));
    s.overlap = static_cast<OverlapPolicy>(rows->int_at(8));
    const BlobView task = rows->blob_at(9);
    std::optional<TaskSpec> decoded =
        decode_task_spec({reinterpret_cast<const char*>(task.data()), task.size()});
    if (!decoded) {
      return absl::DataLossError(absl::StrCat("the task of schedule \"", s.name, "\" is damaged"));
    }
    s.task = std::make_shared<const TaskSpec>(std::move(*decoded));
    r.created_unix_nano = rows->int_at(10);
    r.paused = {rows->int_at(11), static_cast<uint32_t>(rows->int_at(12)),
                static_cast<int32_t>(rows->int_at(13))};
    r.seen_unix_nano = rows->int_at(14);
    r.last_unix_nano = rows->int_at(15);
    r.last_task = rows->text_at(16);
    r.runs = static_cast<uint64_t>(rows->int_at(17));
    r.missed = static_cast<uint64_t>(rows->int_at(18));
    r.overlapped = static_cast<uint64_t>(rows->int_at(19));
    r.refused = static_cast<uint64_t>(rows->int_at(20));
    r.last_refusal = rows->text_at(21);
    if (absl::Status status = take(std::move(r)); !status.ok()) return status;
  }
}

}  // namespace zsync::daemon
