#include "daemon/events/event_log.hpp"

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace zsync::daemon {
namespace {

constexpr uint64_t kSegmentBytes = 8ull << 20;

void put(std::string& out, std::string_view text) {
  const uint32_t size = static_cast<uint32_t>(text.size());
  out.append(reinterpret_cast<const char*>(&size), sizeof size);
  out.append(text);
}

bool take(std::string_view& in, std::string& out) {
  uint32_t size = 0;
  if (in.size() < sizeof size) return false;
  std::memcpy(&size, in.data(), sizeof size);
  in.remove_prefix(sizeof size);
  if (in.size() < size) return false;
  out.assign(in.substr(0, size));
  in.remove_prefix(size);
  return true;
}

}  // namespace

// type, subject, trace, then name and value of each attribute; each as size:u32 and bytes.
std::string encode_event(const Event& event) {
  std::string out;
  put(out, event.type);
  put(out, event.subject);
  put(out, event.trace);
  for (const auto& [name, value] : event.attributes) {
    put(out, name);
    put(out, value);
  }
  return out;
}

std::optional<Event> decode_event(const segment_log::Record& record) {
  Event event{record.seq, record.time_unix_nano, {}, {}, {}, {}};
  std::string_view in = record.payload;
  if (!take(in, event.type) || !take(in, event.subject) || !take(in, event.trace)) {
    return std::nullopt;
  }
  std::string name;
  std::string value;
  while (!in.empty()) {
    if (!take(in, name) || !take(in, value)) return std::nullopt;
    event.attributes[name] = value;
  }
  return event;
}

absl::StatusOr<std::unique_ptr<EventLog>> EventLog::open(const std::string& dir,
                                                         uint64_t retention_bytes_max,
                                                         Clock clock) {
  segment_log::WriterOptions options;
  options.segment_bytes = kSegmentBytes;
  absl::StatusOr<segment_log::Writer> writer = segment_log::Writer::open(dir, options);
  if (!writer.ok()) return writer.status();
  return std::unique_ptr<EventLog>(
      new EventLog(dir, retention_bytes_max, std::move(clock), std::move(*writer)));
}

void EventLog::append(std::string type, std::string subject,
                      std::map<std::string, std::string> attributes, std::string trace) {
  const int64_t now = clock_();
  std::string payload = encode_event(
      {0, now, std::move(type), std::move(subject), std::move(attributes), std::move(trace)});
  {
    rt::LockGuard guard(lock_);
    if (pending_.size() == kPendingMax) {
      ++refused_.records;
      refused_.bytes += payload.size();
    } else {
      pending_.push_back({now, std::move(payload)});
    }
    if (writing_) return;
    writing_ = true;
  }
  write_pending();
}

EventLog::Together::Together(EventLog& log) : log_(log) {
  rt::LockGuard guard(log_.lock_);
  writes_ = !std::exchange(log_.writing_, true);
}

EventLog::Together::~Together() {
  if (writes_) log_.write_pending();
}

void EventLog::write_pending() {
  std::vector<Pending> batch;
  while (true) {
    Owed refused;  // after the batch, which was full by then
    {
      rt::LockGuard guard(lock_);
      last_seq_ = writer_.next_seq() - 1;
      batch.clear();
      batch.swap(pending_);
      refused = std::exchange(refused_, {});
      if (batch.empty()) {
        writing_ = false;
        return;
      }
    }
    write(batch, batch.back().time_unix_nano);
    owed_.records += refused.records;
    owed_.bytes += refused.bytes;
    appended_.notify_all();
  }
}

// The owed gap goes first, so that the log stays in the order of what happened.
void EventLog::write(const std::vector<Pending>& batch, int64_t now) {
  if (owed_.records > 0 &&
      writer_.append_gap(segment_log::GapReason::kDiskFull, owed_.records, owed_.bytes, now).ok()) {
    owed_ = {};
  }
  std::vector<segment_log::Entry> entries;
  entries.reserve(batch.size());
  for (const Pending& event : batch) entries.push_back({event.time_unix_nano, 0, event.payload, 0});
  const size_t written = owed_.records > 0 ? 0 : writer_.append(entries).count;
  for (size_t i = written; i < batch.size(); ++i) {
    ++owed_.records;
    owed_.bytes += batch[i].payload.size();
  }
  while (writer_.disk_bytes() > retention_bytes_max_) {
    absl::StatusOr<uint64_t> freed = writer_.drop_oldest();
    if (!freed.ok() || *freed == 0) break;
  }
}

uint64_t EventLog::last_seq() const {
  rt::LockGuard guard(lock_);
  return last_seq_;
}

}  // namespace zsync::daemon
