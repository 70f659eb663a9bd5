// SpanRecord: a span that has ended. SpanStore: the latest of them, in memory.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iosfwd>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "zsync/rt/lock.hpp"
#include "zsync/trace/context.hpp"

namespace zsync::trace {

// Which side of what a span is (OpenTelemetry, SpanKind).
enum class SpanKind : uint8_t { internal, server, client, producer, consumer };

// How it ended; unset: well, as far as anybody said.
enum class SpanStatus : uint8_t { unset, ok, error };

// What an attribute may hold.
using AttributeValue = std::variant<bool, int64_t, double, std::string>;
// A name and its value.
using Attribute = std::pair<std::string, AttributeValue>;

// Something that happened at one moment of a span.
struct SpanEvent {
  std::string name;                   // low in variety
  int64_t unix_nanos = 0;             // when, UTC
  std::vector<Attribute> attributes;  // what varies
};

// What an ended span tells.
struct SpanRecord {
  SpanContext context;                    // its own
  SpanId parent;                          // not valid: the first of its trace
  std::string name;                       // "task run", low in variety; what varies is an attribute
  SpanKind kind = SpanKind::internal;     // which side of a call it is
  int64_t start_unix_nanos = 0;           // UTC
  std::chrono::nanoseconds duration{0};   // of the steady clock
  SpanStatus status = SpanStatus::unset;  // how it ended
  std::string status_message;             // of an error
  std::vector<Attribute> attributes;      // each name once
  std::vector<SpanEvent> events;          // in the order in which they happened
  std::vector<SpanContext> links;         // other spans that it has to do with
  uint32_t dropped = 0;                   // attributes, events and links beyond SpanLimits

  // What it holds in memory, about.
  size_t bytes() const;
};

// Where ended spans go.
//
// Threads: any; ended() is called on the thread that ends the span, so it must neither block nor
// fail.
class SpanSink {
 public:
  virtual ~SpanSink() = default;
  // Takes the record, or counts it as lost.
  virtual void ended(SpanRecord record) noexcept = 0;
};

// The latest spans, up to a number of bytes; the oldest go first.
//
// Threads: any.
class SpanStore final : public SpanSink {
 public:
  static constexpr size_t kBytesMax = 64 * 1024 * 1024;  // bytes, where nothing else is said

  // `bytes_max`: of all records together, as SpanRecord::bytes() counts them.
  explicit SpanStore(size_t bytes_max = kBytesMax) : bytes_max_(bytes_max) {}

  void ended(SpanRecord record) noexcept override;

  // A trace in short.
  struct Trace {
    TraceId id;                            // as SpanContext::trace_id
    std::string name;                      // of its first span, or of the earliest that is known
    int64_t start_unix_nanos = 0;          // of the earliest
    std::chrono::nanoseconds duration{0};  // from the earliest start to the latest end
    size_t spans = 0;                      // that are known
    bool failed = false;                   // a span of it has SpanStatus::error
  };
  // The traces that ended something last come first; at most `max`.
  std::vector<Trace> traces(size_t max = 100) const;
  // Every span of a trace that is still there, in the order of their starts.
  std::vector<SpanRecord> spans(const TraceId& id) const;
  // Spans that were pushed out by later ones, or did not fit.
  uint64_t dropped() const;
  // Spans that are there.
  size_t size() const;
  // What they hold, as SpanRecord::bytes() counts it.
  size_t bytes() const;

 private:
  const size_t bytes_max_;
  mutable rt::Lock lock_;
  std::deque<SpanRecord> records_ ABSL_GUARDED_BY(lock_);  // in the order in which they ended
  size_t bytes_ ABSL_GUARDED_BY(lock_) = 0;
  uint64_t dropped_ ABSL_GUARDED_BY(lock_) = 0;
};

// How a waterfall is drawn.
struct WaterfallOptions {
  size_t width = 100;  // columns; at least 60 are taken
};

// A trace as lines, one a span, children below their parents, with a bar for the time that each
// took. What is foreign in a name (control characters) is shown, not obeyed.
void print_waterfall(std::ostream& out, const std::vector<SpanRecord>& spans,
                     WaterfallOptions options = {});

}  // namespace zsync::trace
