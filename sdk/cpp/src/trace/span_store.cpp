#include "zsync/trace/span_store.hpp"

#include <algorithm>
#include <map>

#include "trace/by_start.hpp"

namespace zsync::trace {
namespace {

size_t bytes_of(const std::vector<Attribute>& attributes) {
  size_t bytes = attributes.capacity() * sizeof(Attribute);
  for (const Attribute& attribute : attributes) {
    bytes += attribute.first.size();
    if (const auto* text = std::get_if<std::string>(&attribute.second)) bytes += text->size();
  }
  return bytes;
}

int64_t end_of(const SpanRecord& record) {
  return record.start_unix_nanos + record.duration.count();
}

}  // namespace

size_t SpanRecord::bytes() const {
  size_t bytes = sizeof(SpanRecord) + name.size() + status_message.size() +
                 context.state.to_header().size() + bytes_of(attributes);
  for (const SpanEvent& event : events) {
    bytes += sizeof(SpanEvent) + event.name.size() + bytes_of(event.attributes);
  }
  for (const SpanContext& link : links)
    bytes += sizeof(SpanContext) + link.state.to_header().size();
  return bytes;
}

void SpanStore::ended(SpanRecord record) noexcept {
  const size_t bytes = record.bytes();
  std::deque<SpanRecord> gone;  // destroyed without the lock
  rt::LockGuard guard(lock_);
  if (bytes > bytes_max_) {
    ++dropped_;
    return;
  }
  while (bytes_ + bytes > bytes_max_) {
    bytes_ -= records_.front().bytes();
    gone.push_back(std::move(records_.front()));
    records_.pop_front();
    ++dropped_;
  }
  bytes_ += bytes;
  records_.push_back(std::move(record));
}

std::vector<SpanStore::Trace> SpanStore::traces(size_t max) const {
  struct Seen {
    Trace trace;
    int64_t end = 0;
    bool has_root = false;
    size_t last = 0;  // its place among the records: which trace ended something last
  };
  std::map<TraceId, Seen> seen;
  {
    rt::LockGuard guard(lock_);
    for (size_t i = 0; i < records_.size(); ++i) {
      const SpanRecord& record = records_[i];
      Seen& entry = seen[record.context.trace_id];
      Trace& trace = entry.trace;
      const bool root = !record.parent.valid();
      const bool earliest = trace.spans == 0 || record.start_unix_nanos < trace.start_unix_nanos;
      if (root || (!entry.has_root && earliest)) trace.name = record.name;
      entry.has_root |= root;
      if (earliest) trace.start_unix_nanos = record.start_unix_nanos;
      entry.end = std::max(entry.end, end_of(record));
      trace.failed |= record.status == SpanStatus::error;
      ++trace.spans;
      entry.last = i;
    }
  }
  std::vector<std::pair<size_t, Trace>> order;
  for (auto& [id, entry] : seen) {
    entry.trace.id = id;
    entry.trace.duration = std::chrono::nanoseconds(entry.end - entry.trace.start_unix_nanos);
    order.emplace_back(entry.last, std::move(entry.trace));
  }
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  if (order.size() > max) order.resize(max);
  std::vector<Trace> traces;
  for (auto& entry : order) traces.push_back(std::move(entry.second));
  return traces;
}

std::vector<SpanRecord> SpanStore::spans(const TraceId& id) const {
  std::vector<SpanRecord> spans;
  {
    rt::LockGuard guard(lock_);
    for (const SpanRecord& record : records_) {
      if (record.context.trace_id == id) spans.push_back(record);
    }
  }
  sort_by_start(spans, [](const SpanRecord& span) { return span.start_unix_nanos; });
  return spans;
}

uint64_t SpanStore::dropped() const {
  rt::LockGuard guard(lock_);
  return dropped_;
}
size_t SpanStore::size() const {
  rt::LockGuard guard(lock_);
  return records_.size();
}
size_t SpanStore::bytes() const {
  rt::LockGuard guard(lock_);
  return bytes_;
}

}  // namespace zsync::trace
