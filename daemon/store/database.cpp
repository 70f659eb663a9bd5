#include "daemon/store/database.hpp"

#include <absl/strings/str_cat.h>
#include <sqlite3.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace zsync::daemon {
namespace {

bool is_no_space(int system_errno) { return system_errno == ENOSPC || system_errno == EDQUOT; }

absl::Status constraint_status(int extended, const std::string& what) {
  switch (extended) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
      return absl::AlreadyExistsError(what);
    default:
      return absl::FailedPreconditionError(what);
  }
}

absl::Status full_status(const std::string& path) {
  return absl::ResourceExhaustedError(
      absl::StrCat("store ", path, ": the disk is full; free some space and try again"));
}

absl::Status io_status(const std::string& path, const char* message, int system_errno) {
  std::string reason = message;
  if (system_errno != 0) absl::StrAppend(&reason, " (", std::strerror(system_errno), ")");
  return absl::UnavailableError(absl::StrCat(
      "store ", path, ": ", reason,
      "; check the disk, the mount and the permissions of this directory, then try again"));
}

// A statement holds SQLite's code either at a constraint or at the file; `message` is SQLite's own
// text.
absl::Status make_status(const std::string& path, int extended, const char* message,
                         int system_errno) {
  switch (extended & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
      return absl::OkStatus();
    case SQLITE_FULL:
      return full_status(path);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      if (is_no_space(system_errno)) return full_status(path);
      return io_status(path, message, system_errno);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return io_status(path, message, 0);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(absl::StrCat(
          "store ", path, ": another process holds a lock on it; end that process and try again"));
    case SQLITE_NOMEM:
      return absl::ResourceExhaustedError(absl::StrCat("store ", path, ": out of memory"));
    case SQLITE_TOOBIG:
      return absl::InvalidArgumentError(
          absl::StrCat("store ", path, ": a value is too large to be stored"));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(absl::StrCat("store ", path, ": the file is damaged (", message,
                                              "); stop zsyncd, then restore a backup or move ",
                                              path, "* away to start empty"));
    case SQLITE_CONSTRAINT:
      return constraint_status(extended, absl::StrCat("store ", path, ": ", message));
    case SQLITE_INTERRUPT:
      return absl::CancelledError(absl::StrCat("store ", path, ": interrupted"));
    default:
      return absl::InternalError(absl::StrCat("store ", path, ": ", message));
  }
}

}  // namespace

Statement::Statement(Database* database, sqlite3_stmt* handle, bool* lent)
    : database_(database), handle_(handle), lent_(lent) {}

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_),
      handle_(std::exchange(other.handle_, nullptr)),
      lent_(other.lent_),
      bind_code_(other.bind_code_) {}

Statement::~Statement() {
  if (handle_ == nullptr) return;
  if (lent_ == nullptr) {
    sqlite3_finalize(handle_);
    return;
  }
  sqlite3_reset(handle_);
  sqlite3_clear_bindings(handle_);
  *lent_ = false;
}

void Statement::note(int code) {
  if (bind_code_ == SQLITE_OK) bind_code_ = code;
}

Statement& Statement::bind(int index, int64_t value) {
  note(sqlite3_bind_int64(handle_, index, value));
  return *this;
}

Statement& Statement::bind(int index, double value) {
  note(sqlite3_bind_double(handle_, index, value));
  return *this;
}

Statement& Statement::bind(int index, std::string_view value) {
  // A null pointer would store NULL; an empty text is not NULL.
  const char* bytes = value.data() == nullptr ? "" : value.data();
  note(sqlite3_bind_text64(handle_, index, bytes, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind(int index, BlobView value) {
  const void* bytes = value.data() == nullptr ? static_cast<const void*>("") : value.data();
  note(sqlite3_bind_blob64(handle_, index, bytes, value.size(), SQLITE_TRANSIENT));
  return *this;
}

Statement& Statement::bind(int index, std::nullptr_t) {
  note(sqlite3_bind_null(handle_, index));
  return *this;
}

absl::StatusOr<bool> Statement::step() {
  if (bind_code_ != SQLITE_OK) {
    if (bind_code_ == SQLITE_TOOBIG) return database_->status_of(bind_code_);
    return absl::InternalError(absl::StrCat("store ", database_->path(), ": cannot bind to \"",
                                            sqlite3_sql(handle_),
                                            "\": ", sqlite3_errstr(bind_code_)));
  }
  const int code = sqlite3_step(handle_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return database_->status_of(code);
}

absl::Status Statement::run() {
  for (;;) {
    absl::StatusOr<bool> row = step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
  }
}

void Statement::reset() { sqlite3_reset(handle_); }

int Statement::column_count() const { return sqlite3_column_count(handle_); }

bool Statement::is_null(int column) const {
  return sqlite3_column_type(handle_, column) == SQLITE_NULL;
}

int64_t Statement::int_at(int column) const { return sqlite3_column_int64(handle_, column); }

double Statement::real_at(int column) const { return sqlite3_column_double(handle_, column); }

std::string_view Statement::text_at(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(handle_, column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<size_t>(sqlite3_column_bytes(handle_, column))};
}

BlobView Statement::blob_at(int column) const {
  const auto* bytes = static_cast<const std::byte*>(sqlite3_column_blob(handle_, column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<size_t>(sqlite3_column_bytes(handle_, column))};
}

absl::StatusOr<std::unique_ptr<Database>> Database::open(const std::string& path, Mode mode) {
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  switch (mode) {
    case Mode::create:
      flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
      break;
    case Mode::read_write:
      flags |= SQLITE_OPEN_READWRITE;
      break;
    case Mode::read_only:
      flags |= SQLITE_OPEN_READONLY;
      break;
  }
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  if (handle == nullptr) return absl::ResourceExhaustedError("store: out of memory");
  std::unique_ptr<Database> database(new Database(path, handle));
  if (code != SQLITE_OK) return database->status_of(code);
  sqlite3_busy_timeout(handle, kBusyWaitMs);
  return database;
}

Database::Database(std::string path, sqlite3* handle) : path_(std::move(path)), handle_(handle) {}

Database::~Database() {
  for (Cached& cached : cache_) sqlite3_finalize(cached.handle);
  sqlite3_close_v2(handle_);
}

absl::StatusOr<sqlite3_stmt*> Database::compile(std::string_view sql, bool keep) {
  sqlite3_stmt* handle = nullptr;
  const char* rest = nullptr;
  const int code = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                                      keep ? SQLITE_PREPARE_PERSISTENT : 0, &handle, &rest);
  if (code != SQLITE_OK) return status_of(code);
  if (handle == nullptr) {
    return absl::InternalError(absl::StrCat("store ", path_, ": empty statement"));
  }
  for (const char* at = rest; at < sql.data() + sql.size(); ++at) {
    if (std::strchr(" \t\r\n;", *at) != nullptr) continue;
    sqlite3_finalize(handle);
    return absl::InternalError(
        absl::StrCat("store ", path_, ": more than one statement in \"", std::string(sql), "\""));
  }
  return handle;
}

// True when there is a free place in the cache: drops the statement that was unused for longest.
bool Database::make_room() {
  if (cache_.size() < kStatementCacheMax) return true;
  for (auto it = cache_.end(); it != cache_.begin();) {
    --it;
    if (it->lent) continue;
    by_sql_.erase(it->sql);
    sqlite3_finalize(it->handle);
    cache_.erase(it);
    return true;
  }
  return false;
}

absl::StatusOr<Statement> Database::prepare(std::string_view sql) {
  const auto found = by_sql_.find(sql);
  if (found != by_sql_.end() && !found->second->lent) {
    cache_.splice(cache_.begin(), cache_, found->second);
    Cached& cached = cache_.front();
    cached.lent = true;
    return Statement(this, cached.handle, &cached.lent);
  }
  const bool keep = found == by_sql_.end() && make_room();
  absl::StatusOr<sqlite3_stmt*> handle = compile(sql, keep);
  if (!handle.ok()) return handle.status();
  if (!keep) return Statement(this, *handle, nullptr);
  cache_.push_front(Cached{std::string(sql), *handle, true});
  by_sql_.emplace(cache_.front().sql, cache_.begin());
  return Statement(this, *handle, &cache_.front().lent);
}

absl::StatusOr<int64_t> Database::first_int(Statement& statement) {
  absl::StatusOr<bool> row = statement.step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::NotFoundError("no such row");
  return statement.int_at(0);
}

absl::Status Database::execute_script(const std::string& sql) {
  return status_of(sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr));
}

int64_t Database::changes() const { return sqlite3_changes64(handle_); }

int64_t Database::last_insert_rowid() const { return sqlite3_last_insert_rowid(handle_); }

bool Database::in_transaction() const { return sqlite3_get_autocommit(handle_) == 0; }

absl::Status Database::status_of(int code) const {
  if (code == SQLITE_OK) return absl::OkStatus();
  const int last = sqlite3_extended_errcode(handle_);
  // The connection's message belongs to its last code; another code speaks with its generic text.
  const bool same = (last & 0xff) == (code & 0xff);
  return make_status(path_, same ? last : code,
                     same ? sqlite3_errmsg(handle_) : sqlite3_errstr(code),
                     sqlite3_system_errno(handle_));
}

}  // namespace zsync::daemon
