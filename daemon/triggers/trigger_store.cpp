#include "daemon/triggers/trigger_store.hpp"

#include <span>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace zsync::daemon {
namespace {

BlobView blob(const std::string& bytes) { return std::as_bytes(std::span(bytes)); }

std::string_view text(const BlobView& blob) {
  return {reinterpret_cast<const char*>(blob.data()), blob.size()};
}

}  // namespace

// `state` is encode_trigger(), `task` encode_task_spec().
const char kTriggerSchemaV12[] = R"sql(
  CREATE TABLE watch_trigger(
    name TEXT PRIMARY KEY, id TEXT NOT NULL, task BLOB NOT NULL, state BLOB NOT NULL);
)sql";

absl::Status put_trigger(Database& db, const TriggerRecord& record) {
  const std::string task = encode_task_spec(*record.spec.task);
  const std::string state = encode_trigger(record);
  return db.run("INSERT OR REPLACE INTO watch_trigger VALUES(?,?,?,?)", record.spec.name, record.id,
                blob(task), blob(state));
}

absl::Status delete_trigger(Database& db, const std::string& name) {
  return db.run("DELETE FROM watch_trigger WHERE name=?", name);
}

absl::Status load_triggers(Database& db, const std::function<absl::Status(TriggerRecord)>& take) {
  absl::StatusOr<Statement> rows =
      db.query("SELECT name,id,task,state FROM watch_trigger ORDER BY name");
  if (!rows.ok()) return rows.status();
  while (true) {
    absl::StatusOr<bool> more = rows->step();
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    TriggerRecord record;
    record.spec.name = rows->text_at(0);
    record.id = rows->text_at(1);
    std::optional<TaskSpec> task = decode_task_spec(text(rows->blob_at(2)));
    if (!task || !decode_trigger(text(rows->blob_at(3)), record)) {
      return absl::DataLossError(
          absl::StrCat("the record of trigger \"", record.spec.name, "\" is damaged"));
    }
    record.spec.task = std::make_shared<const TaskSpec>(std::move(*task));
    if (absl::Status status = take(std::move(record)); !status.ok()) return status;
  }
}

}  // namespace zsync::daemon
