#include "daemon/store/schema.hpp"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>
#include <utility>

namespace zsync::daemon {
namespace {

constexpr std::string_view kMagic("SQLite format 3\0", 16);
constexpr int kHeaderBytes = 100;
constexpr int kLockRetryMs = 10;

std::string directory_of(const std::string& path) {
  std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

absl::Status system_error(int error, std::string what, absl::string_view cure) {
  absl::StrAppend(&what, ": ", std::strerror(error), "; ", cure);
  if (error == EROFS) return absl::UnavailableError(what);
  return absl::Status(absl::ErrnoToStatusCode(error), what);
}

absl::Status damaged(const std::string& path, absl::string_view reason) {
  return absl::DataLossError(
      absl::StrCat("store ", path, " is damaged (", reason, "): move ", path, ", ", path,
                   "-wal and ", path, "-shm away together, then copy a backup (", path,
                   ".v*.bak) to ", path, ", or start without one for an empty store"));
}

absl::Status foreign(const std::string& path, absl::string_view reason) {
  return absl::DataLossError(absl::StrCat("store ", path, " is not a store of zsyncd (", reason,
                                          "): move it away to start empty"));
}

absl::Status make_directory(const std::string& directory) {
  std::string at;
  for (const auto& part : std::filesystem::path(directory)) {
    at = at.empty() ? part.string() : (std::filesystem::path(at) / part).string();
    if (::mkdir(at.c_str(), 0700) == 0 || errno == EEXIST || errno == EISDIR) continue;
    const int error = errno;
    struct stat status{};
    if (::stat(at.c_str(), &status) == 0) continue;  // EROFS and EACCES also for one that exists
    return system_error(error, absl::StrCat("store: cannot make the directory ", at),
                        "make it, or set another state_dir");
  }
  struct stat status{};
  if (::stat(directory.c_str(), &status) != 0) {
    return system_error(errno, absl::StrCat("store: cannot read the directory ", directory),
                        "set another state_dir");
  }
  if (!S_ISDIR(status.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat("store: ", directory, " is not a directory; set another state_dir"));
  }
  if (status.st_uid != ::geteuid()) {
    return absl::FailedPreconditionError(
        absl::StrCat("store directory ", directory, " belongs to uid ", status.st_uid,
                     " and zsyncd runs as uid ", ::geteuid(),
                     ": run zsyncd as its owner, or set another state_dir"));
  }
  return absl::OkStatus();
}

absl::Status sync_path(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  const bool synced = fd >= 0 && ::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (synced) return absl::OkStatus();
  return system_error(error, absl::StrCat("store: cannot sync ", path), "check the disk");
}

// Puts a finished file in place for good: its bytes first, then its name.
absl::Status publish(const std::string& from, const std::string& to) {
  absl::Status status = sync_path(from, O_RDONLY);
  if (!status.ok()) return status;
  if (::rename(from.c_str(), to.c_str()) != 0) {
    return system_error(errno, absl::StrCat("store: cannot rename ", from, " to ", to),
                        "check the directory");
  }
  return sync_path(directory_of(to), O_RDONLY | O_DIRECTORY);
}

void remove_database(const std::string& path) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    ::unlink(absl::StrCat(path, suffix).c_str());
  }
}

absl::Status check_numbering(const std::vector<Migration>& migrations) {
  int expected = 0;
  for (const Migration& migration : migrations) {
    if (migration.version == ++expected) continue;
    return absl::InvalidArgumentError(absl::StrCat("store: migration ", migration.version,
                                                   " stands where ", expected, " belongs"));
  }
  return absl::OkStatus();
}

absl::Status set_number(Database& database, absl::string_view pragma, int64_t value) {
  return database.execute_script(absl::StrCat("PRAGMA ", pragma, "=", value));
}

absl::Status apply(Database& database, const std::vector<Migration>& migrations, int64_t from) {
  absl::Status status = database.execute_script("BEGIN IMMEDIATE");
  for (const Migration& migration : migrations) {
    if (!status.ok()) break;
    if (migration.version <= from) continue;
    status = database.execute_script(migration.sql);
    if (!status.ok()) {
      status = absl::Status(status.code(), absl::StrCat("migrating to schema ", migration.version,
                                                        ": ", status.message()));
    }
  }
  if (status.ok()) status = set_number(database, "user_version", migrations.back().version);
  if (status.ok()) status = database.execute_script("COMMIT");
  if (!status.ok() && database.in_transaction()) (void)database.execute_script("ROLLBACK");
  return status;
}

absl::Status create_file(const std::string& path, const std::vector<Migration>& migrations) {
  // A log without its database came from one that was moved away; SQLite would replay it into the
  // new file.
  const std::string wal = path + "-wal";
  if (::rename(wal.c_str(), (wal + ".orphan").c_str()) != 0 && errno != ENOENT) {
    return system_error(errno, absl::StrCat("store: cannot move ", wal, " away"),
                        "move it by hand");
  }
  ::unlink((path + "-shm").c_str());

  const std::string fresh = path + ".new";
  remove_database(fresh);
  const int fd = ::open(fresh.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    return system_error(errno, absl::StrCat("store: cannot create ", fresh), "check the directory");
  }
  ::close(fd);
  absl::Status status;
  {
    absl::StatusOr<std::unique_ptr<Database>> database =
        Database::open(fresh, Database::Mode::read_write);
    if (!database.ok()) return database.status();
    status = set_number(**database, "application_id", kStoreApplicationId);
    if (status.ok()) status = (*database)->execute_script("PRAGMA journal_mode=WAL");
    if (status.ok() && !migrations.empty()) status = apply(**database, migrations, 0);
    if (status.ok()) status = (*database)->execute_script("PRAGMA wal_checkpoint(TRUNCATE)");
  }
  if (status.ok()) status = publish(fresh, path);
  if (!status.ok()) remove_database(fresh);
  return status;
}

struct FileState {
  bool exists = false;
  int64_t bytes = 0;
  bool has_log = false;
};

uint32_t big_endian(const unsigned char* bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

// What SQLite itself would forgive or find only later: an empty file, a foreign one, one that is
// too short.
absl::StatusOr<FileState> inspect(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return FileState{};
  if (fd < 0) {
    return system_error(errno, absl::StrCat("store: cannot open ", path),
                        "zsyncd must own it and be able to write it");
  }
  struct stat status{};
  std::array<unsigned char, kHeaderBytes> header{};
  const bool known = ::fstat(fd, &status) == 0;
  const ssize_t got = ::pread(fd, header.data(), header.size(), 0);
  const int error = errno;
  ::close(fd);
  if (!known || got < 0) {
    return system_error(error, absl::StrCat("store: cannot read ", path), "check the disk");
  }
  if (got == 0) return damaged(path, "the file is empty");
  if (std::memcmp(header.data(), kMagic.data(), std::min<size_t>(got, kMagic.size())) != 0) {
    return foreign(path, "it is no SQLite file");
  }
  if (got < kHeaderBytes) return damaged(path, "the file is cut short");

  struct stat log{};
  FileState state{.exists = true, .bytes = status.st_size};
  state.has_log = ::stat((path + "-wal").c_str(), &log) == 0 && log.st_size > 0;
  const uint32_t raw_page = uint32_t{header[16]} << 8 | header[17];
  const int64_t page_bytes = raw_page == 1 ? 65536 : raw_page;
  const bool count_is_valid = big_endian(&header[24]) == big_endian(&header[92]);
  const int64_t expected = page_bytes * big_endian(&header[28]);
  // With a log the header may be ahead of the pages that a checkpoint has still to write.
  if (!state.has_log && count_is_valid && state.bytes < expected) {
    return damaged(path, absl::StrCat("the file is cut short: ", state.bytes, " of ", expected,
                                      " bytes are there"));
  }
  return state;
}

absl::Status check_contents(Database& database, const FileState& state, int64_t check_bytes_max) {
  const std::string& path = database.path();
  absl::StatusOr<int64_t> id = database.query_int("PRAGMA application_id");
  if (!id.ok()) {
    return id.status().code() == absl::StatusCode::kDataLoss ? damaged(path, "its header is wrong")
                                                             : id.status();
  }
  if (*id != kStoreApplicationId) return foreign(path, "it belongs to another program");
  const bool whole = state.bytes <= check_bytes_max;
  absl::StatusOr<Statement> check =
      database.prepare(whole ? "PRAGMA quick_check(1)" : "SELECT 'ok' FROM sqlite_schema LIMIT 1");
  if (!check.ok()) {
    if (check.status().code() != absl::StatusCode::kDataLoss) return check.status();
    return damaged(path, "its schema cannot be read");
  }
  absl::StatusOr<bool> row = check->step();
  if (!row.ok()) {
    if (row.status().code() != absl::StatusCode::kDataLoss) return row.status();
    return damaged(path, "its pages cannot be read");
  }
  if (!*row || check->text_at(0) == "ok") return absl::OkStatus();
  std::string finding(check->text_at(0));
  for (char& letter : finding) {
    if (letter == '\n') letter = ' ';
  }
  return damaged(path, finding);
}

absl::Status make_durable(Database& database) {
  absl::StatusOr<Statement> mode = database.prepare("PRAGMA journal_mode=WAL");
  if (!mode.ok()) return mode.status();
  absl::StatusOr<bool> row = mode->step();
  if (!row.ok()) return row.status();
  if (!*row || mode->text_at(0) != "wal") {
    return absl::FailedPreconditionError(absl::StrCat(
        "store ", database.path(),
        ": this file system cannot hold a write-ahead log; put state_dir on a local one"));
  }
  return database.execute_script("PRAGMA synchronous=FULL");
}

absl::Status migrate(Database& database, const std::vector<Migration>& migrations) {
  const int64_t newest = migrations.empty() ? 0 : migrations.back().version;
  absl::StatusOr<int64_t> version = database.query_int("PRAGMA user_version");
  if (!version.ok()) return version.status();
  const std::string& path = database.path();
  if (*version > newest) {
    return absl::FailedPreconditionError(
        absl::StrCat("store ", path, " has schema ", *version, ", this zsyncd knows up to ", newest,
                     ": install a newer zsyncd, or move the file away to start empty"));
  }
  if (*version == newest) return absl::OkStatus();
  absl::Status status = copy_database(database, absl::StrCat(path, ".v", *version, ".bak"));
  if (!status.ok()) {
    return absl::Status(status.code(), absl::StrCat("backing up before the migration from schema ",
                                                    *version, ": ", status.message()));
  }
  return apply(database, migrations, *version);
}

}  // namespace

absl::StatusOr<StoreLock> StoreLock::acquire(const std::string& store_path) {
  absl::Status status = make_directory(directory_of(store_path));
  if (!status.ok()) return status;
  const std::string path = store_path + ".lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    return system_error(errno, absl::StrCat("store: cannot write ", path),
                        "make the directory writable, or set another state_dir");
  }
  StoreLock lock(fd);
  // A child forked by a killed zsyncd holds the lock until its exec; it is gone within this wait.
  for (int waited = 0; ::flock(fd, LOCK_EX | LOCK_NB) != 0; waited += kLockRetryMs) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return system_error(errno, absl::StrCat("store: cannot lock ", path),
                          "put state_dir on a local file system");
    }
    if (waited >= kWaitMs) {
      return absl::FailedPreconditionError(
          absl::StrCat("store ", store_path,
                       " is in use by another zsyncd: stop that one, or set another state_dir"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kLockRetryMs));
  }
  return lock;
}

StoreLock::StoreLock(StoreLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

StoreLock& StoreLock::operator=(StoreLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

StoreLock::~StoreLock() { release(); }

void StoreLock::release() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

absl::StatusOr<std::unique_ptr<Database>> open_store_file(const std::string& path,
                                                          const std::vector<Migration>& migrations,
                                                          int64_t check_bytes_max) {
  absl::Status status = check_numbering(migrations);
  if (!status.ok()) return status;
  absl::StatusOr<FileState> state = inspect(path);
  if (!state.ok()) return state.status();
  if (!state->exists) {
    status = create_file(path, migrations);
    if (!status.ok()) return status;
  }
  absl::StatusOr<std::unique_ptr<Database>> database =
      Database::open(path, Database::Mode::read_write);
  if (!database.ok()) return database.status();
  if (state->exists) status = check_contents(**database, *state, check_bytes_max);
  // Before the migration, so that its commit is as durable as every other one.
  if (status.ok()) status = make_durable(**database);
  if (status.ok() && state->exists) status = migrate(**database, migrations);
  if (status.ok()) status = (*database)->execute_script("PRAGMA foreign_keys=ON");
  if (!status.ok()) return status;
  return database;
}

absl::StatusOr<bool> undo_migration(const std::string& path,
                                    const std::vector<Migration>& migrations) {
  const int64_t newest = migrations.empty() ? 0 : migrations.back().version;
  {
    absl::StatusOr<std::unique_ptr<Database>> database =
        Database::open(path, Database::Mode::read_write);
    if (!database.ok()) return database.status();
    absl::StatusOr<int64_t> version = (*database)->query_int("PRAGMA user_version");
    if (!version.ok()) return version.status();
    if (*version <= newest) return false;
  }
  const std::string copy = absl::StrCat(path, ".v", newest, ".bak");
  if (::access(copy.c_str(), R_OK) != 0) {
    return absl::NotFoundError(absl::StrCat("store ", path, " has a newer schema, and there is no ",
                                            copy, " to go back to"));
  }
  // The log belongs to the file that goes.
  ::unlink((path + "-wal").c_str());
  ::unlink((path + "-shm").c_str());
  if (::rename(copy.c_str(), path.c_str()) != 0) {
    return system_error(errno, absl::StrCat("store: cannot put back ", copy), "do it by hand");
  }
  return true;
}

absl::Status copy_database(Database& source, const std::string& target) {
  const std::string unfinished = target + ".tmp";
  remove_database(unfinished);
  const int fd = ::open(unfinished.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    return system_error(errno, absl::StrCat("store: cannot create ", unfinished),
                        "make the directory writable");
  }
  ::close(fd);
  absl::Status status;
  {
    absl::StatusOr<std::unique_ptr<Database>> copy =
        Database::open(unfinished, Database::Mode::read_write);
    if (!copy.ok()) return copy.status();
    sqlite3_backup* backup =
        sqlite3_backup_init((*copy)->handle(), "main", source.handle(), "main");
    int code = SQLITE_NOMEM;
    if (backup != nullptr) {
      sqlite3_backup_step(backup, -1);
      code = sqlite3_backup_finish(backup);
    }
    status = (*copy)->status_of(code);
  }
  if (status.ok()) status = publish(unfinished, target);
  if (!status.ok()) remove_database(unfinished);
  return status;
}

}  // namespace zsync::daemon
