// The traces of what the daemon did, made of its event log when somebody asks: nothing is recorded
// besides.
//
// A task is a span below its caller's, or the first of a trace of its own; its waits (in the queue,
// with what it waited for; for the next attempt) and its attempts are spans below it. A batch of
// changes that a task is caused by is a span above it, from the first change until they were quiet.
// So is the time for which a send of a task waited for room in a channel, and that for which its
// message lay there, below the task's attempt. What is not over yet lasts until now.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/events/event_log.hpp"
#include "zsync/trace/span_store.hpp"

namespace zsync::daemon {

// What is told of a trace in a list.
struct TraceSummary {
  trace::TraceId id;
  std::string name;  // of its first task: the task's name, or its id
  std::string task;  // its id
  int64_t start_unix_nano = 0;
  int64_t end_unix_nano = 0;  // of what happened last
  uint32_t tasks = 0;
  uint32_t open = 0;  // tasks that have not ended
  bool failed = false;
};

// Which traces there are, by the events in their order.
class TraceIndex {
 public:
  static constexpr size_t kTracesMax = 10'000;  // those where nothing happened for longest go first

  void add(const Event& event);
  // Those where something happened last come first.
  std::vector<TraceSummary> latest(size_t max) const;
  // `word`: "last", a trace id or the beginning of one (4 digits or more), or a task's id.
  //
  // Errors: kNotFound; kInvalidArgument where several begin so.
  absl::StatusOr<TraceSummary> find(const std::string& word) const;

 private:
  struct Entry {
    TraceSummary summary;
    uint64_t last_seq = 0;
  };
  void forget_oldest();

  std::map<trace::TraceId, Entry> traces_;
  std::map<std::string, trace::TraceId> tasks_;
};

// The spans of one trace, of its events in their order.
class TraceSpans {
 public:
  explicit TraceSpans(const trace::TraceId& id) : id_(id) {}

  void add(const Event& event);
  // In the order of their starts. What is open ends at `now_unix_nano` and has the attribute
  // "open".
  std::vector<trace::SpanRecord> spans(int64_t now_unix_nano) const;

 private:
  struct Work {
    trace::SpanRecord whole;
    std::optional<trace::SpanRecord> part;  // the wait or the attempt that goes on
    uint32_t waits = 0;
    bool ended = false;
  };
  void add_channel(const Event& event);
  void add_settled(const Event& event, const trace::SpanContext& context);
  void add_waits(const trace::SpanRecord& whole, const Event& event);
  Work& work_of(const Event& event, const trace::SpanContext& context);
  static void begin_part(Work& work, const Event& event, const trace::SpanContext& context,
                         std::string name);
  void end_part(Work& work, const Event& event, bool failed);
  void end(Work& work, const Event& event, const std::string& state);

  const trace::TraceId id_;
  std::map<std::string, Work> works_;
  std::vector<trace::SpanRecord> done_;
};

inline constexpr uint64_t kTraceEventsMax = 200'000;  // the latest events, which are looked at

// Reads the latest events of a log into something with add(). Blocks on the disk.
//
// Errors: those of reading the log.
template <typename Into>
absl::Status read_events(const std::string& dir, uint64_t last_seq, Into& into) {
  const uint64_t from = last_seq > kTraceEventsMax ? last_seq - kTraceEventsMax + 1 : 1;
  absl::StatusOr<segment_log::Reader> reader = segment_log::Reader::open(dir, from);
  if (!reader.ok()) return reader.status();
  while (true) {
    absl::StatusOr<segment_log::Batch> batch = reader->read();
    if (!batch.ok()) return batch.status();
    for (const segment_log::Record& record : batch->records) {
      if (record.gap) continue;
      if (const std::optional<Event> event = decode_event(record)) into.add(*event);
    }
    if (batch->at_end) return absl::OkStatus();
  }
}

}  // namespace zsync::daemon
