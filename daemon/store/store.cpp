#include "daemon/store/store.hpp"

#include <absl/strings/str_cat.h>
#include <pthread.h>
#include <sqlite3.h>

#include <algorithm>
#include <csignal>
#include <iterator>
#include <utility>

#include "daemon/store/mutex_hold.hpp"

namespace zsync::daemon {
namespace {

constexpr int64_t kKiB = 1024;

absl::Status closed_status(const std::string& path) {
  return absl::UnavailableError(
      absl::StrCat("store ", path, " is closed: zsyncd is stopping, try again once it is back"));
}

absl::Status with_context(const absl::Status& status, absl::string_view context) {
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> Store::open(StoreOptions options) {
  if (options.commit_batch_max == 0 || options.commit_queue_max == 0) {
    return absl::InvalidArgumentError("store: commit_batch_max and commit_queue_max must be >= 1");
  }
  absl::StatusOr<StoreLock> lock = StoreLock::acquire(options.path);
  if (!lock.ok()) return lock.status();
  absl::StatusOr<std::unique_ptr<Database>> writer =
      open_store_file(options.path, options.migrations, options.check_bytes_max);
  if (!writer.ok()) return writer.status();
  absl::StatusOr<std::unique_ptr<Database>> reader =
      Database::open(options.path, Database::Mode::read_only);
  if (!reader.ok()) return reader.status();

  std::unique_ptr<Store> store(
      new Store(std::move(options), *std::move(lock), *std::move(writer), *std::move(reader)));
  const absl::Status status = store->tune();
  if (!status.ok()) return status;
  store->start();
  return store;
}

Store::Store(StoreOptions options, StoreLock lock, std::unique_ptr<Database> writer,
             std::unique_ptr<Database> reader)
    : options_(std::move(options)),
      lock_(std::move(lock)),
      writer_(std::move(writer)),
      fold_at_pages_(options_.wal_pages_max),
      reader_(std::move(reader)) {}

Store::~Store() { close(); }

absl::Status Store::tune() {
  MutexHold write_lock(&writer_mutex_);
  MutexHold read_lock(&reader_mutex_);
  absl::Status status = writer_->execute_script(absl::StrCat(
      "PRAGMA wal_autocheckpoint=0; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-",
      options_.write_cache_bytes / kKiB, "; PRAGMA journal_size_limit=", options_.wal_bytes_kept));
  if (!status.ok()) return status;
  sqlite3_wal_hook(writer_->handle(), &Store::on_log_grown, this);
  return reader_->execute_script(absl::StrCat("PRAGMA temp_store=MEMORY; PRAGMA cache_size=-",
                                              options_.read_cache_bytes / kKiB));
}

void Store::start() {
  // Signals are for the threads that handle them.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  writer_thread_ = std::thread([this] { write_loop(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

int Store::on_log_grown(void* self, sqlite3*, const char*, int pages) {
  static_cast<Store*>(self)->wal_pages_.store(pages, std::memory_order_relaxed);
  return SQLITE_OK;
}

void Store::commit(Work work, Done done) {
  absl::Status refusal;
  {
    MutexHold lock(&queue_mutex_);
    if (!accepting_) {
      refusal = closed_status(options_.path);
    } else if (queue_.size() >= options_.commit_queue_max) {
      refusal = absl::ResourceExhaustedError(
          absl::StrCat("store ", options_.path, ": ", options_.commit_queue_max,
                       " requests wait for the disk already (commit_queue_max); try again later"));
    } else {
      queue_.push_back(Request{std::move(work), std::move(done), absl::OkStatus()});
      queue_filled_.Signal();
      return;
    }
  }
  if (done) done(std::move(refusal));
}

void Store::write_loop() {
  Batch batch;
  while (take_batch(batch)) {
    run_batch(batch);
    for (Request& request : batch) {
      requests_.fetch_add(1, std::memory_order_relaxed);
      if (!request.status.ok()) requests_failed_.fetch_add(1, std::memory_order_relaxed);
      if (request.done) request.done(std::move(request.status));
    }
    batch.clear();
    fold_log_if_long();
  }
}

// Waits for requests; false once the store is closing and every request was taken.
bool Store::take_batch(Batch& batch) {
  MutexHold lock(&queue_mutex_);
  while (queue_.empty() && accepting_) lock.wait(queue_filled_);
  if (queue_.empty()) return false;
  const size_t count = std::min(queue_.size(), options_.commit_batch_max);
  const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(count);
  batch.assign(std::make_move_iterator(queue_.begin()), std::make_move_iterator(end));
  queue_.erase(queue_.begin(), end);
  return true;
}

void Store::run_batch(Batch& batch) {
  MutexHold lock(&writer_mutex_);
  absl::Status status = writer_->run("BEGIN IMMEDIATE");
  if (status.ok()) {
    status = batch.size() == 1 ? run_alone(batch.front()) : run_together(batch);
    if (status.ok()) return;
    roll_back();
  }
  commits_failed_.fetch_add(1, std::memory_order_relaxed);
  status = with_context(status, "nothing was saved");
  for (Request& request : batch) request.status = status;
}

// One request needs no savepoint: its failure takes back the whole transaction.
absl::Status Store::run_alone(Request& request) {
  request.status = request.work(*writer_);
  if (request.status.ok()) return finish_commit();
  roll_back();
  return absl::OkStatus();
}

absl::Status Store::run_together(Batch& batch) {
  for (Request& request : batch) {
    absl::Status status = run_in_savepoint(request);
    if (!status.ok()) return status;
  }
  return finish_commit();
}

// The result is about the transaction; the request's own fate is in request.status.
absl::Status Store::run_in_savepoint(Request& request) {
  absl::Status status = writer_->run("SAVEPOINT request");
  if (!status.ok()) return status;
  request.status = request.work(*writer_);
  if (!writer_->in_transaction()) {
    // SQLite has taken everything back after a disk error, or the work broke its contract.
    return request.status.ok() ? absl::InternalError("a request ended the store's transaction")
                               : request.status;
  }
  if (!request.status.ok()) {
    status = writer_->run("ROLLBACK TO request");
    if (!status.ok()) return status;
  }
  return writer_->run("RELEASE request");
}

absl::Status Store::finish_commit() {
  if (!writer_->in_transaction()) {
    return absl::InternalError("a request ended the store's transaction");
  }
  const auto start = std::chrono::steady_clock::now();
  absl::Status status = writer_->run("COMMIT");
  const std::chrono::nanoseconds spent = std::chrono::steady_clock::now() - start;
  if (!status.ok()) return status;
  last_commit_ns_.store(spent.count(), std::memory_order_relaxed);
  commits_.fetch_add(1, std::memory_order_relaxed);
  return status;
}

void Store::roll_back() {
  if (writer_->in_transaction()) (void)writer_->run("ROLLBACK");
}

// Runs after the answers went out, so that folding the log delays nobody who is told already.
void Store::fold_log_if_long() {
  const int64_t pages = wal_pages_.load(std::memory_order_relaxed);
  MutexHold lock(&writer_mutex_);
  if (pages < fold_at_pages_) return;
  // A reader may hold back a part of the log; once it is four times too long, readers are waited
  // for.
  const absl::Status status = fold_log(pages >= 4 * options_.wal_pages_max);
  // What a reader or the disk refuses now is asked again when the log has grown by as much again.
  const bool folded = status.ok() && wal_pages_.load(std::memory_order_relaxed) == 0;
  fold_at_pages_ = (folded ? 0 : pages) + options_.wal_pages_max;
}

absl::Status Store::fold_log(bool cut) {
  int pages = 0;
  int folded = 0;
  int code = SQLITE_OK;
  if (cut) {
    MutexHold lock(&reader_mutex_);
    code = sqlite3_wal_checkpoint_v2(writer_->handle(), nullptr, SQLITE_CHECKPOINT_TRUNCATE, &pages,
                                     &folded);
  } else {
    code = sqlite3_wal_checkpoint_v2(writer_->handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, &pages,
                                     &folded);
  }
  if (code != SQLITE_OK) return writer_->status_of(code);
  checkpoints_.fetch_add(1, std::memory_order_relaxed);
  // A log that is folded whole starts anew with the next commit.
  if (pages == folded) wal_pages_.store(0, std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status Store::read(const std::function<absl::Status(Database&)>& look) {
  MutexHold lock(&reader_mutex_);
  if (reader_ == nullptr) return closed_status(options_.path);
  absl::Status status = reader_->run("BEGIN");
  if (!status.ok()) return status;
  status = look(*reader_);
  if (reader_->in_transaction()) (void)reader_->run("ROLLBACK");
  return status;
}

absl::Status Store::checkpoint() {
  MutexHold lock(&writer_mutex_);
  if (writer_ == nullptr) return closed_status(options_.path);
  return fold_log(true);
}

void Store::close() {
  MutexHold close_lock(&close_mutex_);
  if (closed_) return;
  closed_ = true;
  // 1. Refuse what comes from now on.
  {
    MutexHold lock(&queue_mutex_);
    accepting_ = false;
    queue_filled_.Signal();
  }
  // 2. Commit and answer what was accepted.
  if (writer_thread_.joinable()) writer_thread_.join();
  // 3. Fold the log into the file; if the disk refuses, the log stays and the next open reads it.
  // 4. Let go of the file: the reader first, so that the writer is the last and removes the log.
  MutexHold write_lock(&writer_mutex_);
  (void)fold_log(true);
  {
    MutexHold read_lock(&reader_mutex_);
    reader_.reset();
  }
  writer_.reset();
  lock_.release();
}

StoreStats Store::stats() const {
  StoreStats stats;
  stats.commits = commits_.load(std::memory_order_relaxed);
  stats.commits_failed = commits_failed_.load(std::memory_order_relaxed);
  stats.requests = requests_.load(std::memory_order_relaxed);
  stats.requests_failed = requests_failed_.load(std::memory_order_relaxed);
  stats.checkpoints = checkpoints_.load(std::memory_order_relaxed);
  stats.wal_pages = wal_pages_.load(std::memory_order_relaxed);
  stats.last_commit = std::chrono::nanoseconds(last_commit_ns_.load(std::memory_order_relaxed));
  MutexHold lock(&queue_mutex_);
  stats.queue_depth = queue_.size();
  return stats;
}

}  // namespace zsync::daemon
