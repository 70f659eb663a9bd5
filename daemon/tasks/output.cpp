// Output of tasks: following it, and forgetting the oldest.
#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/store/commit.hpp"
#include "daemon/tasks/engine.hpp"
#include "zsync/flow.hpp"

namespace zsync::daemon {
namespace {

// Counts a follower for as long as it lives.
class Following {
 public:
  Following(rt::Lock& mutex, int& count) : mutex_(mutex), count_(count) {
    rt::LockGuard guard(mutex_);
    ++count_;
  }
  ~Following() {
    rt::LockGuard guard(mutex_);
    --count_;
  }
  Following(const Following&) = delete;
  Following& operator=(const Following&) = delete;

 private:
  rt::Lock& mutex_;
  int& count_;
};

}  // namespace

Task<absl::Status> TasksEngine::output(std::string id, uint64_t from_seq, uint32_t attempt,
                                       bool follow,
                                       std::function<Task<absl::Status>(OutputChunk)> sink) {
  EntryPtr entry;
  {
    rt::LockGuard guard(mutex_);
    absl::StatusOr<EntryPtr> found = find(id);
    if (!found.ok()) co_return found.status();
    entry = *found;
    const TaskRecord& record = entry->task.record;
    if (attempt > record.attempt) {
      co_return fault(absl::StatusCode::kOutOfRange,
                      absl::StrCat(record.id, " has had ", record.attempt, " attempts"),
                      {"attempt", "NOT_FOUND", "", "leave it out for the newest", {}});
    }
  }
  const bool fixed_attempt = attempt != 0;
  Following following(mutex_, entry->followers);
  std::optional<segment_log::Reader> reader;
  uint32_t reading = attempt;
  while (true) {
    const uint64_t seen = entry->changed.epoch();
    const TaskRecord record = snapshot(entry).record;  // before the read: what it names is there
    if (reading == 0) reading = record.attempt;
    if (!reader && reading > 0 && !record.spec->function) {  // a call has no output
      absl::StatusOr<segment_log::Reader> opened = segment_log::Reader::open(
          shim::log_dir(attempt_dir(record.id, reading)), std::max<uint64_t>(from_seq, 1));
      if (!opened.ok()) co_return opened.status();
      reader = std::move(*opened);
    }
    bool at_end = true;
    if (reader) {
      absl::StatusOr<segment_log::Batch> batch = reader->read();
      if (!batch.ok()) co_return batch.status();
      at_end = batch->at_end;
      if (!batch->records.empty()) {
        OutputChunk chunk;
        chunk.batch = std::move(*batch);
        chunk.attempt = reading;
        if (absl::Status status = co_await sink(std::move(chunk)); !status.ok()) co_return status;
      }
    }
    if (!at_end) continue;
    if (!fixed_attempt && record.attempt > reading && reading > 0) {
      reader.reset();  // it was tried again meanwhile
      reading = record.attempt;
      from_seq = 1;
      continue;
    }
    const bool over = is_final(record.state) || (fixed_attempt && record.attempt > reading);
    if (over || !follow) {
      OutputChunk last;
      last.attempt = reading;
      if (over && follow) last.finished = record;
      if (last.finished) co_return co_await sink(std::move(last));
      co_return absl::OkStatus();
    }
    co_await entry->changed.changed(seen);
  }
}

// Removes the oldest finished tasks that nobody follows while their output together is over the
// limit, and those that finished too long ago.
Task<void> TasksEngine::keep_retention() {
  std::vector<std::string> expired;
  {
    rt::LockGuard guard(mutex_);
    if (retaining_ || stopping_) co_return;
    retaining_ = true;
    expired = retention_.due(clock_(), [this](const std::string& id) {
      mutex_.assert_held();
      const auto found = tasks_.find(id);
      return found != tasks_.end() && ((*found)->followers > 0 || (*found)->skipping > 0);
    });
  }
  for (const std::string& id : expired) (void)co_await remove(id);
  rt::LockGuard guard(mutex_);
  retaining_ = false;
}

}  // namespace zsync::daemon
