// The store's file before it is in use: who may open it, whether it is sound, which schema it has.
//
// Files, all in one directory of mode 0700 that belongs to the user of zsyncd:
//   store.db              the database; made as store.db.new and renamed, so it is whole or absent
//   store.db-wal, -shm    SQLite's own; they belong to store.db and move only together with it
//   store.db.lock         held (flock) while a Store is open; its presence means nothing
//   store.db.v<OLD>.bak   a whole copy, made before the schema moved on from version OLD
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "daemon/store/database.hpp"

namespace zsync::daemon {

// One step forward of the schema; `sql` is a script that runs inside the migration's transaction.
struct Migration {
  int version = 0;
  std::string sql;
};

// "ZSYN" in the file's application_id field: keeps other programs' SQLite files out.
inline constexpr int64_t kStoreApplicationId = 0x5a53594e;

// The exclusive right to a store's file, until destroyed; a killed process gives it up at once.
class StoreLock {
 public:
  // How long a holder that is just ending is waited for, in milliseconds.
  static constexpr int kWaitMs = 200;

  // Makes the directory (0700) when it is missing.
  //
  // Errors:  kFailedPrecondition when the directory is not a directory, belongs to another user, or
  // a
  //          store is open already; else what the file system says (kPermissionDenied,
  //          kUnavailable, ...).
  static absl::StatusOr<StoreLock> acquire(const std::string& store_path);
  StoreLock(StoreLock&& other) noexcept;
  StoreLock& operator=(StoreLock&& other) noexcept;
  ~StoreLock();
  void release();

 private:
  explicit StoreLock(int fd) : fd_(fd) {}
  int fd_;
};

// Brings the file at `path` to the newest of `migrations` and gives the writing connection: WAL,
// synchronous=FULL, foreign keys on. A missing file is created. The caller holds the StoreLock.
//
// Files up to `check_bytes_max` get SQLite's quick_check; larger ones a check of header, length and
// schema, so that the time to open stays bounded.
//
// Errors:  kDataLoss for a damaged, truncated or foreign file, kFailedPrecondition for a newer
// schema,
//          kInvalidArgument for migrations that are not numbered 1, 2, 3 ...; in each case nothing
//          was changed.
absl::StatusOr<std::unique_ptr<Database>> open_store_file(const std::string& path,
                                                          const std::vector<Migration>& migrations,
                                                          int64_t check_bytes_max);

// Undoes a migration that nothing was written after: where the file's schema is newer than
// `migrations` know, the copy that was made before it moved on takes its place -> whether it did.
// The caller knows that nobody has the store open.
//
// Errors:  kNotFound when there is no such copy, else what the file system says; nothing was
// changed.
absl::StatusOr<bool> undo_migration(const std::string& path,
                                    const std::vector<Migration>& migrations);

// Writes a whole, consistent copy of an open database to `target` (by way of target.tmp and rename;
// synced).
absl::Status copy_database(Database& source, const std::string& target);

}  // namespace zsync::daemon
