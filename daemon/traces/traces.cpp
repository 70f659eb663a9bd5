#include "daemon/traces/traces.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "daemon/fault/fault.hpp"
#include "daemon/store/work_span.hpp"
#include "trace/by_start.hpp"

namespace zsync::daemon {
namespace {

constexpr size_t kPrefixMin = 4;  // digits of a trace's id that are enough to look for it
constexpr size_t kCandidatesMax = 5;
constexpr char kPause[] = "wait for the next attempt";

bool is_task_event(const Event& event) {
  return event.type == "task.queued" || event.type == "task.started" ||
         event.type == "task.retrying" || event.type == "task.finished";
}

bool is_settled_event(const Event& event) {
  return event.type == "watch.settled" ||
         (event.type == "trigger.fired" && event.attributes.contains("changed_unix_nano"));
}

bool is_channel_event(const Event& event) {
  return event.type == "channel.waited" || event.type == "channel.received";
}

// A run of a trigger has no id that its event is of: there the span is told.
trace::SpanContext context_of(const Event& event) {
  if (event.type != "trigger.fired") return work_span(event.subject, event.trace);
  return trace::SpanContext::parse(event.trace).value_or(trace::SpanContext());
}

std::string attribute(const Event& event, const std::string& name) {
  const auto found = event.attributes.find(name);
  return found == event.attributes.end() ? std::string() : found->second;
}

int64_t number(const Event& event, const std::string& name) {
  int64_t value = 0;
  (void)absl::SimpleAtoi(attribute(event, name), &value);
  return value;
}

// When the first change came, and when it was quiet.
std::pair<int64_t, int64_t> settling_of(const Event& event) {
  if (event.type == "trigger.fired")
    return {number(event, "changed_unix_nano"), number(event, "settled_unix_nano")};
  return {event.time_unix_nano - number(event, "took_nano"), event.time_unix_nano};
}

bool is_failure(const std::string& state) {
  return state == "failed" || state == "signaled" || state == "timed_out" || state == "lost";
}

std::string name_of(const Event& event) {
  std::string name = attribute(event, "name");
  if (name.empty()) name = attribute(event, "command");
  return name.empty() ? event.subject : name;
}

std::string ending_of(const Event& event) {
  const std::string state = attribute(event, "state");
  const std::string reason = attribute(event, "reason");
  if (!reason.empty()) return reason;
  if (state == "failed") return absl::StrCat("exit code ", attribute(event, "exit_code"));
  return state;
}

}  // namespace

void TraceIndex::add(const Event& event) {
  const bool settled = is_settled_event(event);
  if (!is_task_event(event) && !settled) return;
  const trace::TraceId id = context_of(event).trace_id;
  const auto [place, made] = traces_.try_emplace(id);
  TraceSummary& summary = place->second.summary;
  const int64_t start = settled ? settling_of(event).first : event.time_unix_nano;
  summary.start_unix_nano = made ? start : std::min(summary.start_unix_nano, start);
  summary.id = id;
  place->second.last_seq = event.seq;
  if (traces_.size() > 2 * kTracesMax) forget_oldest();
  if (settled) return;
  if (summary.task.empty()) {
    summary.name = name_of(event);
    summary.task = event.subject;
  }
  const bool first = tasks_.try_emplace(event.subject, id).second;
  if (first) ++summary.tasks;
  // Of a task whose beginning is not kept any more something else is the first.
  if (first || event.type == "task.queued") ++summary.open;
  if (event.type == "task.finished") {
    --summary.open;
    summary.failed |= is_failure(attribute(event, "state"));
  }
  summary.end_unix_nano = std::max(summary.end_unix_nano, event.time_unix_nano);
}

void TraceIndex::forget_oldest() {
  std::vector<uint64_t> seqs;
  for (const auto& [id, entry] : traces_) seqs.push_back(entry.last_seq);
  const auto kept = seqs.end() - kTracesMax;
  std::nth_element(seqs.begin(), kept, seqs.end());
  std::erase_if(traces_, [kept](const auto& item) { return item.second.last_seq < *kept; });
  std::erase_if(tasks_, [this](const auto& item) { return !traces_.contains(item.second); });
}

std::vector<TraceSummary> TraceIndex::latest(size_t max) const {
  std::vector<const Entry*> order;
  for (const auto& [id, entry] : traces_) {
    if (entry.summary.tasks > 0) order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(),
            [](const Entry* a, const Entry* b) { return a->last_seq > b->last_seq; });
  if (order.size() > max) order.resize(max);
  std::vector<TraceSummary> latest;
  for (const Entry* entry : order) latest.push_back(entry->summary);
  return latest;
}

absl::StatusOr<TraceSummary> TraceIndex::find(const std::string& word) const {
  if (word == "last") {
    std::vector<TraceSummary> latest = this->latest(1);
    if (!latest.empty()) return std::move(latest[0]);
    return fault(absl::StatusCode::kNotFound, "there is no trace yet: run something first",
                 {"id", "NO_TRACE", "", "zsyncctl run -- COMMAND", {}});
  }
  if (const auto task = tasks_.find(word); task != tasks_.end()) {
    return traces_.at(task->second).summary;
  }
  std::vector<const Entry*> found;
  std::vector<std::string> ids;
  for (const auto& [id, entry] : traces_) {
    std::string hex = id.to_hex();
    if (word.size() < kPrefixMin || !absl::StartsWith(hex, word)) continue;
    if (entry.summary.tasks == 0) continue;
    found.push_back(&entry);
    if (ids.size() < kCandidatesMax) ids.push_back(std::move(hex));
  }
  if (found.size() == 1) return found[0]->summary;
  if (found.size() > 1) {
    return fault(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat(found.size(), " traces begin with \"", word, "\": give more of its id"),
        {"id", "AMBIGUOUS_TRACE", "", "zsyncctl traces list", ids});
  }
  return fault(absl::StatusCode::kNotFound,
               absl::StrCat("no trace \"", word,
                            "\" in what the event log keeps: give the id of a trace (its first ",
                            kPrefixMin, " digits are enough), of a task, or \"last\""),
               {"id",
                "UNKNOWN_TRACE",
                absl::StrCat("trace_events_max = ", kTraceEventsMax),
                "zsyncctl traces list",
                {}});
}

void TraceSpans::add(const Event& event) {
  if (is_channel_event(event)) return add_channel(event);
  const bool settled = is_settled_event(event);
  if (!is_task_event(event) && !settled) return;
  const trace::SpanContext context = context_of(event);
  if (context.trace_id != id_) return;
  if (settled) return add_settled(event, context);
  Work& work = work_of(event, context);
  if (event.type == "task.queued") {
    work.ended = false;
    begin_part(work, event, wait_span(context, ++work.waits), "wait in the queue");
  } else if (event.type == "task.started") {
    const std::optional<trace::SpanRecord> wait = work.part;
    end_part(work, event, false);
    if (wait) add_waits(*wait, event);
    uint32_t attempt = 0;
    (void)absl::SimpleAtoi(attribute(event, "attempt"), &attempt);
    begin_part(work, event, attempt_span(context, attempt), absl::StrCat("attempt ", attempt));
  } else if (event.type == "task.retrying") {
    end_part(work, event, true);
    begin_part(work, event, wait_span(context, ++work.waits), kPause);
  } else {
    end(work, event, attribute(event, "state"));
  }
}

void TraceSpans::add_channel(const Event& event) {
  const auto sender = trace::SpanContext::parse(event.trace);
  if (!sender.ok() || sender->trace_id != id_) return;
  trace::SpanRecord& span = done_.emplace_back();
  span.context = work_span(absl::StrCat("event ", event.seq), event.trace);
  span.parent = sender->span_id;
  const std::string message = attribute(event, "message");
  span.name = message.empty() ? absl::StrCat("wait for room in channel ", event.subject)
                              : absl::StrCat("message ", message, " in channel ", event.subject);
  span.duration = std::chrono::nanoseconds(number(event, "took_nano"));
  span.start_unix_nanos = event.time_unix_nano - span.duration.count();
  span.attributes.emplace_back("channel", event.subject);
}

// What a batch causes is below the time in which it settled, although it comes after it.
void TraceSpans::add_settled(const Event& event, const trace::SpanContext& context) {
  const auto [start, until] = settling_of(event);
  trace::SpanRecord& span = done_.emplace_back();
  span.context = context;
  span.name = "settle";
  span.start_unix_nanos = start;
  span.duration = std::chrono::nanoseconds(std::max<int64_t>(0, until - start));
  if (event.type == "watch.settled") {
    if (auto caller = trace::SpanContext::parse(event.trace); caller.ok()) {
      span.parent = caller->span_id;
    }
    span.attributes.emplace_back("path", attribute(event, "path"));
    return;
  }
  span.attributes.emplace_back("trigger", event.subject);
  span.attributes.emplace_back("paths", attribute(event, "paths"));
  const std::string behind = attribute(event, "behind");
  if (behind.empty()) return;
  trace::SpanRecord wait;
  wait.context = wait_span(context, 1);
  wait.parent = context.span_id;
  wait.name = absl::StrCat("wait for the end of run ", behind);
  wait.start_unix_nanos = until;
  const int64_t fired = number(event, "fired_unix_nano");
  wait.duration = std::chrono::nanoseconds(std::max<int64_t>(0, fired - until));
  done_.push_back(std::move(wait));
}

// What the wait that ends was for, as far as the start tells.
void TraceSpans::add_waits(const trace::SpanRecord& whole, const Event& event) {
  uint32_t count = 0;
  for (absl::string_view line : absl::StrSplit(attribute(event, "waits"), '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 2));
    int64_t from = 0, until = 0;
    if (words.size() != 3 || !absl::SimpleAtoi(words[0], &from) ||
        !absl::SimpleAtoi(words[1], &until)) {
      continue;
    }
    from = std::max(from, whole.start_unix_nanos);
    until = std::min(until, event.time_unix_nano);
    if (until <= from || (whole.name == kPause && words[2] == "its time")) continue;
    trace::SpanRecord& part = done_.emplace_back();
    part.context = wait_span(whole.context, ++count);
    part.parent = whole.context.span_id;
    part.name = absl::StrCat("for ", words[2]);
    part.start_unix_nanos = from;
    part.duration = std::chrono::nanoseconds(until - from);
  }
}

TraceSpans::Work& TraceSpans::work_of(const Event& event, const trace::SpanContext& context) {
  const auto [place, made] = works_.try_emplace(event.subject);
  trace::SpanRecord& whole = place->second.whole;
  if (!made) return place->second;
  whole.context = context;
  if (auto caller = trace::SpanContext::parse(event.trace); caller.ok()) {
    whole.parent = caller->span_id;
  }
  whole.name = name_of(event);
  whole.start_unix_nanos = event.time_unix_nano;
  whole.attributes.emplace_back("task", event.subject);
  return place->second;
}

void TraceSpans::begin_part(Work& work, const Event& event, const trace::SpanContext& context,
                            std::string name) {
  trace::SpanRecord& part = work.part.emplace();
  part.context = context;
  part.parent = work.whole.context.span_id;
  part.name = std::move(name);
  part.start_unix_nanos = event.time_unix_nano;
}

void TraceSpans::end_part(Work& work, const Event& event, bool failed) {
  if (!work.part) return;
  trace::SpanRecord part = *std::exchange(work.part, std::nullopt);
  part.duration = std::chrono::nanoseconds(event.time_unix_nano - part.start_unix_nanos);
  // What ends in the queue has not failed there.
  if (failed && absl::StartsWith(part.name, "attempt ")) part.status = trace::SpanStatus::error;
  done_.push_back(std::move(part));
}

void TraceSpans::end(Work& work, const Event& event, const std::string& state) {
  const bool failed = is_failure(state);
  end_part(work, event, failed);
  work.ended = true;
  trace::SpanRecord& whole = work.whole;
  whole.duration = std::chrono::nanoseconds(event.time_unix_nano - whole.start_unix_nanos);
  whole.status = failed ? trace::SpanStatus::error : trace::SpanStatus::unset;
  whole.status_message = failed ? ending_of(event) : "";
  whole.attributes.resize(1);  // one that runs again has an older state
  whole.attributes.emplace_back("state", state);
}

std::vector<trace::SpanRecord> TraceSpans::spans(int64_t now_unix_nano) const {
  std::vector<trace::SpanRecord> all;
  const auto add_open = [&all, now_unix_nano](trace::SpanRecord span) {
    const int64_t until = std::max(now_unix_nano, span.start_unix_nanos);
    span.duration = std::chrono::nanoseconds(until - span.start_unix_nanos);
    span.status = trace::SpanStatus::unset;
    span.status_message.clear();
    span.attributes.resize(std::min<size_t>(span.attributes.size(), 1));
    span.attributes.emplace_back("open", true);
    all.push_back(std::move(span));
  };
  // What is whole comes before its parts where both begin together.
  for (const auto& [id, work] : works_) {
    if (work.ended) {
      all.push_back(work.whole);
    } else {
      add_open(work.whole);
    }
  }
  all.insert(all.end(), done_.begin(), done_.end());
  for (const auto& [id, work] : works_) {
    if (work.part) add_open(*work.part);
  }
  trace::sort_by_start(all, [](const trace::SpanRecord& span) { return span.start_unix_nanos; });
  return all;
}

}  // namespace zsync::daemon
