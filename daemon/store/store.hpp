// The daemon's durable state: one SQLite file, one writer thread, group commit.
//
// Everyone who must remember something hands the store a piece of work. The writer thread takes
// what is queued, runs each piece in its own savepoint of one transaction, commits once (one
// fsync), and then tells everybody. So an answer means "on disk", and many callers share the price
// of one fsync. A call that is alone is committed at once; nobody waits for company.
//
//   store->commit(
//       [id](Database& db) { return db.run("INSERT INTO task(id) VALUES(?)", id); },
//       [reply](absl::Status status) { reply.post(status); });
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/synchronization/mutex.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "daemon/store/database.hpp"
#include "daemon/store/schema.hpp"

namespace zsync::daemon {

struct StoreOptions {
  std::string path;                   // .../store.db; its directory is made 0700 when missing
  std::vector<Migration> migrations;  // numbered 1, 2, 3 ...
  size_t commit_batch_max = 1024;     // requests in one transaction
  size_t commit_queue_max = 65536;    // requests waiting; one more is refused
  int64_t check_bytes_max = int64_t{32}
                            << 20;  // files up to this size are checked whole when opened
  int64_t wal_pages_max = 1000;     // pages of 4 KiB in the log before it is folded into the file
  int64_t wal_bytes_kept = int64_t{8} << 20;  // the log file is cut back to this after folding
  int64_t write_cache_bytes = int64_t{2} << 20;
  int64_t read_cache_bytes = int64_t{1} << 20;
};

struct StoreStats {
  uint64_t commits = 0;                     // transactions committed: at most one fsync each
  uint64_t commits_failed = 0;              // transactions that the disk refused
  uint64_t requests = 0;                    // requests taken from the queue
  uint64_t requests_failed = 0;             // of these, how many got an error
  uint64_t checkpoints = 0;                 // times the log was folded into the file
  size_t queue_depth = 0;                   // requests waiting now
  int64_t wal_pages = 0;                    // pages in the log after the last commit
  std::chrono::nanoseconds last_commit{0};  // duration of the last COMMIT, which is its fsync
};

// Lifetime: create it with open(), end it with close(); neither copied nor moved.
// Threads:  every member may be called from any thread, except where a member says otherwise.
class Store {
 public:
  // One request's changes. Runs on the writer thread; must not block, begin or end a transaction,
  // or call checkpoint() or close(). A status other than ok takes back its own changes and nobody
  // else's.
  using Work = std::function<absl::Status(Database&)>;
  // Told once per request, after the disk has it. Runs on the writer thread and holds up every
  // other request, so it must be quick: usually it posts to the runtime. It may call commit().
  using Done = std::function<void(absl::Status)>;

  // Locks, creates or checks, and migrates the file, then starts the writer thread.
  //
  // Errors:  kFailedPrecondition (open already, directory of another user, newer schema), kDataLoss
  // (damaged or
  //          foreign file), kPermissionDenied, kUnavailable (read-only), kResourceExhausted (full):
  //          one line each, with the path and what to do; the file is as it was.
  static absl::StatusOr<std::unique_ptr<Store>> open(StoreOptions options);

  // Calls close().
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Queues `work`; never blocks. Works run, and their `done`s are called, in the order of the
  // commit() calls.
  //
  // Errors (given to `done`): the work's own status; kResourceExhausted (disk full) or kUnavailable
  // (I/O error,
  //          read-only) when the commit failed: every request of that transaction gets it and none
  //          of their changes is kept; later requests are tried afresh, so the store goes on when
  //          the disk does. kResourceExhausted when commit_queue_max requests wait and kUnavailable
  //          after close(): the work did not run, and `done` is called before commit() returns, on
  //          the caller's thread.
  void commit(Work work, Done done);

  // Runs `look` on a second, read-only connection, on the caller's thread, in one snapshot that
  // holds everything committed before. For start-up and rare look-ups: callers queue for the one
  // connection.
  //
  // Errors:  those of `look`, kUnavailable after close(). `look` must not
  //          call read() again, nor wait for a commit (the writer may be waiting for it).
  absl::Status read(const std::function<absl::Status(Database&)>& look);

  // Folds the log into the file and cuts it to nothing; waits for the running transaction.
  // Threads: not from a Work, nor from within read().
  absl::Status checkpoint();

  // Refuses new requests, commits and answers the queued ones, folds the log, lets go of the file.
  // Idempotent; a second call waits for the first. Not from a Work or a Done.
  void close();

  StoreStats stats() const;
  const std::string& path() const { return options_.path; }

 private:
  struct Request {
    Work work;
    Done done;
    absl::Status status;
  };
  using Batch = std::vector<Request>;

  Store(StoreOptions options, StoreLock lock, std::unique_ptr<Database> writer,
        std::unique_ptr<Database> reader);
  absl::Status tune();
  void start();
  void write_loop();
  bool take_batch(Batch& batch);
  void run_batch(Batch& batch);
  absl::Status run_alone(Request& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  absl::Status run_together(Batch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  absl::Status run_in_savepoint(Request& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  absl::Status finish_commit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  void roll_back() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  void fold_log_if_long();
  absl::Status fold_log(bool cut) ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  static int on_log_grown(void* self, sqlite3*, const char*, int pages);

  const StoreOptions options_;

  // 1. Lock order: close_mutex_, writer_mutex_, reader_mutex_, queue_mutex_.
  // 2. `done`s are called with no lock held; a Work runs under writer_mutex_ only.
  absl::Mutex close_mutex_;
  bool closed_ ABSL_GUARDED_BY(close_mutex_) = false;
  StoreLock lock_ ABSL_GUARDED_BY(close_mutex_);

  absl::Mutex writer_mutex_;
  std::unique_ptr<Database> writer_ ABSL_GUARDED_BY(writer_mutex_);  // null once closed
  int64_t fold_at_pages_ ABSL_GUARDED_BY(writer_mutex_);

  absl::Mutex reader_mutex_;
  std::unique_ptr<Database> reader_ ABSL_GUARDED_BY(reader_mutex_);  // null once closed

  mutable absl::Mutex queue_mutex_;
  absl::CondVar queue_filled_;
  std::deque<Request> queue_ ABSL_GUARDED_BY(queue_mutex_);
  bool accepting_ ABSL_GUARDED_BY(queue_mutex_) = true;

  // Written by the writer thread, read by stats().
  std::atomic<uint64_t> commits_{0};
  std::atomic<uint64_t> commits_failed_{0};
  std::atomic<uint64_t> requests_{0};
  std::atomic<uint64_t> requests_failed_{0};
  std::atomic<uint64_t> checkpoints_{0};
  std::atomic<int64_t> wal_pages_{0};
  std::atomic<int64_t> last_commit_ns_{0};

  std::thread writer_thread_;  // joined in close()
};

}  // namespace zsync::daemon
