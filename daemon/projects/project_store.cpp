#include "daemon/projects/project_store.hpp"

#include <utility>

#include "absl/strings/str_cat.h"

namespace zsync::daemon {

const char kProjectSchemaV10[] = R"sql(
  CREATE TABLE project(
    id TEXT PRIMARY KEY, uid INTEGER NOT NULL, name TEXT NOT NULL UNIQUE,
    root TEXT NOT NULL UNIQUE, file TEXT NOT NULL, text TEXT NOT NULL, created INTEGER NOT NULL);
  CREATE TABLE project_env(
    project TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY(project, name));
  CREATE TABLE project_unit(
    project TEXT NOT NULL, unit TEXT NOT NULL, wanted INTEGER NOT NULL,
    generation INTEGER NOT NULL, live INTEGER NOT NULL, ready INTEGER NOT NULL,
    started_as TEXT NOT NULL, port INTEGER NOT NULL, failures INTEGER NOT NULL,
    restarts INTEGER NOT NULL, failed TEXT NOT NULL, halted TEXT NOT NULL,
    PRIMARY KEY(project, unit));
)sql";

const char kProjectSchemaV14[] = R"sql(
  ALTER TABLE project_unit ADD COLUMN inputs TEXT NOT NULL DEFAULT '';
  ALTER TABLE project_unit ADD COLUMN again INTEGER NOT NULL DEFAULT 0;
)sql";

absl::Status put_project(Database& db, const ProjectRecord& r) {
  absl::Status status = db.run("INSERT OR REPLACE INTO project VALUES(?,?,?,?,?,?,?)", r.id, r.uid,
                               r.name, r.root, r.file, r.text, r.created_unix_nano);
  if (status.ok()) status = db.run("DELETE FROM project_env WHERE project=?", r.id);
  for (const auto& [name, value] : r.env) {
    if (!status.ok()) return status;
    status = db.run("INSERT INTO project_env VALUES(?,?,?)", r.id, name, value);
  }
  return status;
}

absl::Status put_unit(Database& db, const std::string& project_id, const UnitRow& r) {
  return db.run("INSERT OR REPLACE INTO project_unit VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                project_id, r.unit, r.wanted ? 1 : 0, static_cast<int64_t>(r.generation),
                r.live ? 1 : 0, r.ready ? 1 : 0, r.started_as, static_cast<int>(r.port), r.failures,
                static_cast<int64_t>(r.restarts), r.failed, r.halted, r.inputs, r.again ? 1 : 0);
}

absl::Status delete_unit(Database& db, const std::string& project_id, const std::string& unit) {
  return db.run("DELETE FROM project_unit WHERE project=? AND unit=?", project_id, unit);
}

absl::Status delete_project(Database& db, const std::string& project_id) {
  absl::Status status = db.run("DELETE FROM project_unit WHERE project=?", project_id);
  if (status.ok()) status = db.run("DELETE FROM project_env WHERE project=?", project_id);
  if (status.ok()) status = db.run("DELETE FROM project WHERE id=?", project_id);
  return status;
}

namespace {

absl::Status load_env(Database& db, ProjectRecord& record) {
  absl::StatusOr<Statement> rows =
      db.query("SELECT name,value FROM project_env WHERE project=?", record.id);
  if (!rows.ok()) return rows.status();
  while (true) {
    absl::StatusOr<bool> more = rows->step();
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    record.env.emplace(rows->text_at(0), rows->text_at(1));
  }
}

absl::Status load_units(Database& db, const std::string& id, std::vector<UnitRow>& units) {
  absl::StatusOr<Statement> rows = db.query(
      "SELECT unit,wanted,generation,live,ready,started_as,port,failures,restarts,failed,halted,"
      "inputs,again FROM project_unit WHERE project=? ORDER BY unit",
      id);
  if (!rows.ok()) return rows.status();
  while (true) {
    absl::StatusOr<bool> more = rows->step();
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    UnitRow& r = units.emplace_back();
    r.unit = rows->text_at(0);
    r.wanted = rows->int_at(1) != 0;
    r.generation = static_cast<uint64_t>(rows->int_at(2));
    r.live = rows->int_at(3) != 0;
    r.ready = rows->int_at(4) != 0;
    r.started_as = rows->text_at(5);
    r.port = static_cast<uint16_t>(rows->int_at(6));
    r.failures = static_cast<uint32_t>(rows->int_at(7));
    r.restarts = static_cast<uint64_t>(rows->int_at(8));
    r.failed = rows->text_at(9);
    r.halted = rows->text_at(10);
    r.inputs = rows->text_at(11);
    r.again = rows->int_at(12) != 0;
  }
}

}  // namespace

absl::Status load_projects(
    Database& db, const std::function<absl::Status(ProjectRecord, std::vector<UnitRow>)>& take) {
  absl::StatusOr<Statement> rows =
      db.query("SELECT id,uid,name,root,file,text,created FROM project ORDER BY name");
  if (!rows.ok()) return rows.status();
  while (true) {
    absl::StatusOr<bool> more = rows->step();
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    ProjectRecord r;
    r.id = rows->text_at(0);
    r.uid = static_cast<uint32_t>(rows->int_at(1));
    r.name = rows->text_at(2);
    r.root = rows->text_at(3);
    r.file = rows->text_at(4);
    r.text = rows->text_at(5);
    r.created_unix_nano = rows->int_at(6);
    std::vector<UnitRow> units;
    absl::Status status = load_env(db, r);
    if (status.ok()) status = load_units(db, r.id, units);
    if (status.ok()) status = take(std::move(r), std::move(units));
    if (!status.ok()) return status;
  }
}

}  // namespace zsync::daemon
