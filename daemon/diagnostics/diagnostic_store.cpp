#include "daemon/diagnostics/diagnostic_store.hpp"

#include <cstring>
#include <optional>
#include <span>
#include <utility>

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

// Numbers are little endian, u32; texts are their size and their bytes.
class Encoder {
 public:
  void number(uint32_t value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(std::string_view value) {
    number(static_cast<uint32_t>(value.size()));
    bytes_.append(value);
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_{kVersion};
};

// What is damaged reads as nothing from there on.
class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : bytes_(bytes) {}
  uint32_t number() {
    uint32_t value = 0;
    if (bytes_.size() < sizeof value) {
      bytes_ = {};
      failed_ = true;
      return 0;
    }
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_.remove_prefix(sizeof value);
    return value;
  }
  std::string text() {
    const size_t size = number();
    if (bytes_.size() < size) {
      bytes_ = {};
      failed_ = true;
      return "";
    }
    std::string value(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return value;
  }
  bool more() const { return !bytes_.empty() && !failed_; }
  bool failed() const { return failed_; }

 private:
  std::string_view bytes_;
  bool failed_ = false;
};

// Without the path, which is the set's.
std::string encode(const std::vector<Diagnostic>& diagnostics) {
  Encoder out;
  for (const Diagnostic& d : diagnostics) {
    for (const uint32_t number :
         {d.line, d.column, d.end_line, d.end_column, static_cast<uint32_t>(d.severity)}) {
      out.number(number);
    }
    out.text(d.message);
    out.text(d.code);
    out.text(d.matcher);
    out.number(static_cast<uint32_t>(d.related.size()));
    for (const RelatedPlace& place : d.related) {
      out.text(place.path);
      out.number(place.line);
      out.number(place.column);
      out.text(place.message);
    }
  }
  return out.take();
}

std::vector<Diagnostic> decode(std::string_view bytes, const std::string& path) {
  std::vector<Diagnostic> diagnostics;
  if (bytes.empty() || bytes.front() != kVersion) return diagnostics;
  Decoder in(bytes.substr(1));
  while (in.more()) {
    Diagnostic d;
    d.path = path;
    d.line = in.number();
    d.column = in.number();
    d.end_line = in.number();
    d.end_column = in.number();
    d.severity = static_cast<Severity>(in.number());
    d.message = in.text();
    d.code = in.text();
    d.matcher = in.text();
    const uint32_t places = in.number();
    for (uint32_t i = 0; i < places && !in.failed(); ++i) {
      RelatedPlace place;
      place.path = in.text();
      place.line = in.number();
      place.column = in.number();
      place.message = in.text();
      d.related.push_back(std::move(place));
    }
    if (!in.failed()) diagnostics.push_back(std::move(d));
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
