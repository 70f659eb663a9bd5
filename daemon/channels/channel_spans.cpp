#include "daemon/channels/channel_spans.hpp"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace zsync::daemon {

bool ChannelSpans::may_tell(int64_t now_unix_nano) {
  const int64_t second = now_unix_nano / kSecondNs;
  rt::LockGuard guard(lock_);
  if (second != second_) {
    second_ = second;
    told_ = 0;
  }
  if (told_ >= kChannelSpansPerSecondMax) return false;
  ++told_;
  return true;
}

void ChannelSpans::waited_for_room(const std::string& channel, const std::string& trace,
                                   int64_t took_ns) {
  if (trace.empty() || took_ns == 0 || !may_tell(absl::GetCurrentTimeNanos())) return;
  events_.append("channel.waited", channel, {{"took_nano", absl::StrCat(took_ns)}}, trace);
}

void ChannelSpans::received(const std::string& channel, const Delivery& delivery,
                            int64_t now_unix_nano) {
  for (const Message& message : delivery.messages) {
    if (message.trace.empty()) continue;
    if (!may_tell(now_unix_nano)) return;
    const int64_t lay = std::max<int64_t>(0, now_unix_nano - message.time_unix_nano);
    events_.append("channel.received", channel,
                   {{"message", absl::StrCat(message.seq)}, {"took_nano", absl::StrCat(lay)}},
                   message.trace);
  }
}

}  // namespace zsync::daemon
