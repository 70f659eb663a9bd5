// ChannelSpans: tells the event log how long sends waited for room, and how long messages lay in
// their channel until they were received, where a message carries a trace. What carries none costs
// nothing.
#pragma once

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "daemon/channels/channel.hpp"
#include "daemon/events/event_log.hpp"
#include "zsync/rt/lock.hpp"

namespace zsync::daemon {

inline constexpr uint32_t kChannelSpansPerSecondMax = 100;  // of all channels; more are not told

// Threads: every member may be called from any thread.
class ChannelSpans {
 public:
  explicit ChannelSpans(EventLog& events) : events_(events) {}

  void waited_for_room(const std::string& channel, const std::string& trace, int64_t took_ns);
  // At `now_unix_nano`, by somebody who receives.
  void received(const std::string& channel, const Delivery& delivery, int64_t now_unix_nano);

 private:
  bool may_tell(int64_t now_unix_nano);

  EventLog& events_;
  rt::Lock lock_;
  int64_t second_ ABSL_GUARDED_BY(lock_) = 0;
  uint32_t told_ ABSL_GUARDED_BY(lock_) = 0;  // in that second
};

}  // namespace zsync::daemon
