#include "daemon/diagnostics/diagnostic_store.hpp"

#include <span>
#include <utility>

#include "daemon/store/varint.hpp"

namespace zsync::daemon {

const char kDiagnosticsSchemaV13[] = R"sql(
  CREATE TABLE diagnostic_set(
    path TEXT NOT NULL, source TEXT NOT NULL, version INTEGER NOT NULL, task TEXT NOT NULL,
    changed INTEGER NOT NULL, diagnostics BLOB NOT NULL, PRIMARY KEY(path, source)) WITHOUT ROWID;
  CREATE TABLE diagnostic_run(
    task TEXT PRIMARY KEY, attempt INTEGER NOT NULL, errors INTEGER NOT NULL, warnings INTEGER NOT NULL,
    notes INTEGER NOT NULL, left_out INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE diagnostic_generation(
    id INTEGER PRIMARY KEY CHECK(id = 1), generation INTEGER NOT NULL);
)sql";

namespace {

constexpr char kVersion = 1;

// Without the path, which is the set's.
std::string encode(const std::vector<Diagnostic>& diagnostics) {
  std::string out{kVersion};
  for (const Diagnostic& d : diagnostics) {
    for (const uint32_t number :
         {d.line, d.column, d.end_line, d.end_column, static_cast<uint32_t>(d.severity)}) {
      put_varint(out, number);
    }
    put_text(out, d.message);
    put_text(out, d.code);
    put_text(out, d.matcher);
    put_varint(out, d.related.size());
    for (const RelatedPlace& place : d.related) {
      put_text(out, place.path);
      put_varint(out, place.line);
      put_varint(out, place.column);
      put_text(out, place.message);
    }
  }
  return out;
}

// What is damaged reads as nothing from there on.
std::vector<Diagnostic> decode(std::string_view bytes, const std::string& path) {
  std::vector<Diagnostic> diagnostics;
  if (bytes.empty() || bytes.front() != kVersion) return diagnostics;
  VarintReader in(bytes.substr(1));
  const auto number = [&in] { return static_cast<uint32_t>(in.next()); };
  const auto text = [&in] { return std::string(in.take(in.next())); };
  while (!in.at_end()) {
    Diagnostic d;
    d.path = path;
    d.line = number();
    d.column = number();
    d.end_line = number();
    d.end_column = number();
    d.severity = static_cast<Severity>(number());
    d.message = text();
    d.code = text();
    d.matcher = text();
    for (uint64_t left = in.next(); left > 0 && in.ok(); --left) {
      RelatedPlace place;
      place.path = text();
      place.line = number();
      place.column = number();
      place.message = text();
      d.related.push_back(std::move(place));
    }
    if (in.ok()) diagnostics.push_back(std::move(d));
  }
  return diagnostics;
}

absl::Status each_row(absl::StatusOr<Statement> rows,
                      const std::function<void(const Statement&)>& take) {
  if (!rows.ok()) return rows.status();
  while (true) {
    absl::StatusOr<bool> more = rows->step();
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    take(*rows);
  }
}

}  // namespace

absl::Status put_set(Database& db, const DiagnosticSet& set) {
  if (set.diagnostics.empty()) {
    return db.run("DELETE FROM diagnostic_set WHERE path=? AND source=?", set.key.path,
                  set.key.source);
  }
  const std::string bytes = encode(set.diagnostics);
  return db.run("INSERT OR REPLACE INTO diagnostic_set VALUES(?,?,?,?,?,?)", set.key.path,
                set.key.source, static_cast<int64_t>(set.version), set.task, set.changed_unix_nano,
                std::as_bytes(std::span(bytes)));
}

absl::Status put_run(Database& db, const std::string& task, const RunRow& row) {
  return db.run("INSERT OR REPLACE INTO diagnostic_run VALUES(?,?,?,?,?,?)", task, row.attempt,
                row.counts.errors, row.counts.warnings, row.counts.notes, row.counts.left_out);
}

absl::Status delete_run(Database& db, const std::string& task) {
  return db.run("DELETE FROM diagnostic_run WHERE task=?", task);
}

absl::Status load_sets(Database& db, const std::function<void(DiagnosticSet)>& take) {
  return each_row(db.query("SELECT path,source,version,task,changed,diagnostics FROM diagnostic_set"
                           " ORDER BY version"),
                  [&take](const Statement& row) {
                    DiagnosticSet set;
                    set.key = {std::string(row.text_at(0)), std::string(row.text_at(1))};
                    set.version = static_cast<uint64_t>(row.int_at(2));
                    set.task = row.text_at(3);
                    set.changed_unix_nano = row.int_at(4);
                    const BlobView blob = row.blob_at(5);
                    set.diagnostics = decode(
                        {reinterpret_cast<const char*>(blob.data()), blob.size()}, set.key.path);
                    if (!set.diagnostics.empty()) take(std::move(set));
                  });
}

absl::Status load_runs(Database& db,
                       const std::function<void(const std::string& task, RunRow)>& take) {
  return each_row(
      db.query("SELECT task,attempt,errors,warnings,notes,left_out FROM diagnostic_run"),
      [&take](const Statement& row) {
        auto count = [&row](int column) { return static_cast<uint32_t>(row.int_at(column)); };
        take(std::string(row.text_at(0)), {count(1), {count(2), count(3), count(4), count(5)}});
      });
}

absl::StatusOr<uint64_t> load_generation(Database& db) {
  absl::StatusOr<int64_t> generation = db.query_int("SELECT generation FROM diagnostic_generation");
  if (absl::IsNotFound(generation.status())) return 0;
  if (!generation.ok()) return generation.status();
  return static_cast<uint64_t>(*generation);
}

absl::Status put_generation(Database& db, uint64_t generation) {
  return db.run("INSERT OR REPLACE INTO diagnostic_generation VALUES(1,?)",
                static_cast<int64_t>(generation));
}

}  // namespace zsync::daemon
