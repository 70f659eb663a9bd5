// EventLog: the daemon's one typed log of what happened, on disk, readable from any cursor.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/store/segment_log.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/lock.hpp"

namespace zsync::daemon {

struct Event {
  uint64_t seq = 0;
  int64_t time_unix_nano = 0;
  std::string type;     // "task.started"
  std::string subject;  // id or name
  std::map<std::string, std::string> attributes;
  std::string trace;  // W3C traceparent
};

std::string encode_event(const Event& event);
std::optional<Event> decode_event(const segment_log::Record& record);

// Threads: every member may be called from any thread.
class EventLog {
 public:
  using Clock = std::function<int64_t()>;         // ns since the Unix epoch
  static constexpr size_t kPendingMax = 100'000;  // events, while one caller writes

  // Errors: those of segment_log::Writer::open.
  static absl::StatusOr<std::unique_ptr<EventLog>> open(const std::string& dir,
                                                        uint64_t retention_bytes_max, Clock clock);

  // Never waits for the disk to sync. One caller writes at a time and takes along what others
  // append meanwhile. What a full disk refuses, and what is beyond kPendingMax on one that stalls,
  // is counted and told by a gap when space returns.
  void append(std::string type, std::string subject,
              std::map<std::string, std::string> attributes = {}, std::string trace = "");

  // While one lives, what is appended is gathered; its end writes it together.
  class Together {
   public:
    explicit Together(EventLog& log);
    Together(const Together&) = delete;
    Together& operator=(const Together&) = delete;
    ~Together();

   private:
    EventLog& log_;
    bool writes_ = false;  // somebody else does otherwise
  };

  uint64_t last_seq() const;
  const std::string& dir() const { return dir_; }  // for segment_log::Reader
  // Changes with every append.
  Notify& appended() { return appended_; }

 private:
  EventLog(std::string dir, uint64_t retention_bytes_max, Clock clock, segment_log::Writer writer)
      : dir_(std::move(dir)),
        retention_bytes_max_(retention_bytes_max),
        clock_(std::move(clock)),
        writer_(std::move(writer)),
        last_seq_(writer_.next_seq() - 1) {}

  struct Pending {
    int64_t time_unix_nano = 0;
    std::string payload;
  };
  struct Owed {
    uint64_t records = 0;
    uint64_t bytes = 0;
  };

  void write_pending();
  void write(const std::vector<Pending>& batch, int64_t now);

  const std::string dir_;
  const uint64_t retention_bytes_max_;
  const Clock clock_;
  // Of the caller that has set writing_.
  segment_log::Writer writer_;
  Owed owed_;

  mutable rt::Lock lock_;
  bool writing_ ABSL_GUARDED_BY(lock_) = false;
  std::vector<Pending> pending_ ABSL_GUARDED_BY(lock_);
  Owed refused_ ABSL_GUARDED_BY(lock_);  // beyond kPendingMax
  uint64_t last_seq_ ABSL_GUARDED_BY(lock_) = 0;
  Notify appended_;
};

}  // namespace zsync::daemon
