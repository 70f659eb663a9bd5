// EventLog: the daemon's one typed log of what happened, on disk, readable from any cursor.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

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
  using Clock = std::function<int64_t()>;  // ns since the Unix epoch

  // Errors: those of segment_log::Writer::open.
  static absl::StatusOr<std::unique_ptr<EventLog>> open(const std::string& dir,
                                                        uint64_t retention_bytes_max, Clock clock);

  // Never waits for the disk. What a full disk refuses is counted and told by a gap when space
  // returns.
  void append(std::string type, std::string subject,
              std::map<std::string, std::string> attributes = {}, std::string trace = "");

  uint64_t last_seq() const;
  const std::string& dir() const { return dir_; }  // for segment_log::Reader
  // Changes with every append.
  Notify& appended() { return appended_; }

 private:
  EventLog(std::string dir, uint64_t retention_bytes_max, Clock clock, segment_log::Writer writer)
      : dir_(std::move(dir)),
        retention_bytes_max_(retention_bytes_max),
        clock_(std::move(clock)),
        writer_(std::move(writer)) {}

  const std::string dir_;
  const uint64_t retention_bytes_max_;
  const Clock clock_;
  mutable rt::Lock mutex_;
  segment_log::Writer writer_ ABSL_GUARDED_BY(mutex_);
  uint64_t owed_records_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t owed_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  Notify appended_;
};

}  // namespace zsync::daemon
