#include <chrono>

#include "absl/strings/str_cat.h"
#include "daemon/events/event_log.hpp"
#include "daemon/store/work_span.hpp"
#include "daemon/watch/engine.hpp"
#include "watch/utf8.hpp"

namespace zsync::daemon {

std::string tell_settled(WatchEngine& engine, EventLog& events, const std::string& path,
                         const watching::Told& told, const std::string& caller_traceparent) {
  if (!told.first_change) return "";
  const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - *told.first_change;
  const std::string id = absl::StrCat("batch_", engine.new_id());
  events.append("watch.settled", id,
                {{"path", watching::to_utf8(path)},
                 {"changes", absl::StrCat(told.batch.changes.size())},
                 {"took_nano", absl::StrCat(took.count())}},
                caller_traceparent);
  return work_span(id, caller_traceparent).to_traceparent();
}

}  // namespace zsync::daemon
