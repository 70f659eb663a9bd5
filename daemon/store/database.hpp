// One SQLite connection, thin: prepared statements that are kept, values bound by type, rows read
// by column.
//
// What it adds to SQLite: every result code becomes an absl::Status that names the file and the
// cure, statements are prepared once and reused, and nothing has to be finalised by hand.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace zsync::daemon {

class Database;

// A value of a BLOB column; text is bound as std::string_view.
using BlobView = std::span<const std::byte>;

// A prepared statement on loan from its Database, returned (reset, bindings cleared) when it is
// destroyed.
//
// Bound text and blobs are copied, so the caller's buffers may go at once. The first failed bind is
// remembered and returned by the next step(), so that a chain needs one check only.
//
// Lifetime: not longer than its Database; a work or read callback keeps none after it returns.
// Threads:  those of the Database: one at a time.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  // Binds parameter `index`, counted from 1.
  Statement& bind(int index, int64_t value);
  Statement& bind(int index, double value);
  Statement& bind(int index, std::string_view value);
  Statement& bind(int index, BlobView value);
  Statement& bind(int index, std::nullptr_t);
  Statement& bind(int index, int value) { return bind(index, int64_t{value}); }
  Statement& bind(int index, uint32_t value) { return bind(index, int64_t{value}); }
  Statement& bind(int index, bool value) { return bind(index, int64_t{value}); }
  Statement& bind(int index, const char* value) { return bind(index, std::string_view(value)); }
  Statement& bind(int index, const std::string& value) {
    return bind(index, std::string_view(value));
  }
  template <typename T>
  Statement& bind(int index, const std::optional<T>& value) {
    return value.has_value() ? bind(index, *value) : bind(index, nullptr);
  }

  // Binds parameters 1..n in order.
  template <typename... Values>
  Statement& bind_all(const Values&... values) {
    int index = 0;
    (bind(++index, values), ...);
    return *this;
  }

  // Advances to the next row: true when there is one, false at the end.
  //
  // Errors:  kAlreadyExists (unique or primary key), kFailedPrecondition (other constraints, wrong
  // use),
  //          kResourceExhausted (disk full), kUnavailable (I/O, read-only, busy), kDataLoss
  //          (corrupt file).
  [[nodiscard]] absl::StatusOr<bool> step();

  // Steps to the end and ignores rows.
  [[nodiscard]] absl::Status run();

  // Makes the statement ready to run again; bindings are kept.
  void reset();

  // The current row's columns, counted from 0. Valid after step() gave true; views until the next
  // step().
  int column_count() const;
  bool is_null(int column) const;
  int64_t int_at(int column) const;
  double real_at(int column) const;
  std::string_view text_at(int column) const;
  BlobView blob_at(int column) const;

 private:
  friend class Database;
  Statement(Database* database, sqlite3_stmt* handle, bool* lent);
  void note(int code);

  Database* database_;
  sqlite3_stmt* handle_;
  bool* lent_;  // the cache's flag; null when the statement is not cached and is finalised here
  int bind_code_ = 0;
};

// Lifetime: outlives its statements. Neither copied nor moved.
// Threads:  one at a time; the connection takes no lock of its own.
class Database {
 public:
  enum class Mode { create, read_write, read_only };

  // Statements kept prepared; the one unused for longest goes first.
  static constexpr size_t kStatementCacheMax = 128;
  // How long a statement waits for another process that holds a lock, in milliseconds.
  static constexpr int kBusyWaitMs = 5000;

  // Errors:  kUnavailable, kDataLoss and kResourceExhausted as SQLite finds the file.
  static absl::StatusOr<std::unique_ptr<Database>> open(const std::string& path, Mode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Gives the statement for one SQL text. A second loan of the same text at once is prepared
  // afresh.
  //
  // Errors:  kInternal for a text that SQLite does not accept: our bug; kDataLoss for a corrupt
  // schema.
  [[nodiscard]] absl::StatusOr<Statement> prepare(std::string_view sql);

  // prepare, bind in order: for a query whose rows are read by step().
  template <typename... Values>
  [[nodiscard]] absl::StatusOr<Statement> query(std::string_view sql, const Values&... values) {
    absl::StatusOr<Statement> statement = prepare(sql);
    if (statement.ok()) statement->bind_all(values...);
    return statement;
  }

  // prepare, bind in order, run to the end.
  template <typename... Values>
  [[nodiscard]] absl::Status run(std::string_view sql, const Values&... values) {
    absl::StatusOr<Statement> statement = prepare(sql);
    if (!statement.ok()) return statement.status();
    return statement->bind_all(values...).run();
  }

  // The first column of the first row as a number: for counts and PRAGMAs.
  //
  // Errors:  kNotFound when there is no row.
  template <typename... Values>
  [[nodiscard]] absl::StatusOr<int64_t> query_int(std::string_view sql, const Values&... values) {
    absl::StatusOr<Statement> statement = query(sql, values...);
    if (!statement.ok()) return statement.status();
    return first_int(*statement);
  }

  // Runs a script of several statements; rows are ignored, nothing is cached.
  [[nodiscard]] absl::Status execute_script(const std::string& sql);

  // Rows changed by the last INSERT, UPDATE or DELETE, and the rowid of the last INSERT.
  int64_t changes() const;
  int64_t last_insert_rowid() const;
  // True between BEGIN and its end; SQLite ends a transaction by itself after some I/O errors.
  bool in_transaction() const;

  const std::string& path() const { return path_; }
  sqlite3* handle() { return handle_; }

  // The status of an SQLite result code of this connection: names the file and says what to do.
  absl::Status status_of(int code) const;

 private:
  friend class Statement;
  struct Cached {
    std::string sql;
    sqlite3_stmt* handle = nullptr;
    bool lent = false;
  };

  Database(std::string path, sqlite3* handle);
  static absl::StatusOr<int64_t> first_int(Statement& statement);
  absl::StatusOr<sqlite3_stmt*> compile(std::string_view sql, bool keep);
  bool make_room();

  std::string path_;
  sqlite3* handle_;
  std::list<Cached> cache_;  // most recently used first; `by_sql_` views the texts kept here
  absl::flat_hash_map<std::string_view, std::list<Cached>::iterator> by_sql_;
};

}  // namespace zsync::daemon
