#include <algorithm>
#include <chrono>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "zsync/rt/scheduler.hpp"
#include "zsync/trace.hpp"

namespace zsync::trace {
namespace {

// The simulation's where the span belongs to one.
rt::TimePoint steady_now() {
  const rt::TaskContext* const task = rt::current_context();
  return task ? task->scheduler->now() : std::chrono::steady_clock::now();
}

int64_t system_unix_nanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// At most `bytes_max`, and never a part of a character in UTF-8.
std::string cut(std::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return std::string(text);
  size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return std::string(text.substr(0, end));
}

void cut_value(AttributeValue& value, size_t bytes_max) {
  if (auto* text = std::get_if<std::string>(&value); text && text->size() > bytes_max) {
    *text = cut(*text, bytes_max);
  }
}

}  // namespace

bool Sampler::decide(const TraceId& trace, const SpanContext* parent) const {
  if (by_parent_ && parent) return parent->sampled;
  if (share_ >= 1) return true;
  if (!(share_ > 0)) return false;
  constexpr int kRandomBytes = 7;
  uint64_t random = 0;
  for (size_t i = trace.bytes.size() - kRandomBytes; i < trace.bytes.size(); ++i) {
    random = random << 8 | trace.bytes[i];
  }
  const double values = std::ldexp(1.0, 8 * kRandomBytes);
  return static_cast<double>(random) >= (1 - share_) * values;
}

// What is gathered until the span ends.
struct Span::Open {
  SpanRecord record;
  rt::TimePoint start;
};

Span::Span(const Tracer& tracer, SpanContext context, std::unique_ptr<Open> record)
    : tracer_(&tracer), context_(std::move(context)), record_(std::move(record)) {}

Span::Span(Span&& other) noexcept = default;
Span::~Span() { end(); }

Span& Span::operator=(Span&& other) noexcept {
  if (this != &other) {
    end();
    tracer_ = other.tracer_;
    context_ = std::move(other.context_);
    record_ = std::move(other.record_);
  }
  return *this;
}

void Span::set(std::string_view name, AttributeValue value) {
  if (!record_) return;
  const SpanLimits& limits = tracer_->options_.limits;
  cut_value(value, limits.text_bytes);
  std::vector<Attribute>& all = record_->record.attributes;
  const auto old =
      std::find_if(all.begin(), all.end(), [&](const Attribute& a) { return a.first == name; });
  if (old != all.end()) {
    old->second = std::move(value);
  } else if (all.size() < limits.attributes) {
    all.emplace_back(cut(name, limits.text_bytes), std::move(value));
  } else {
    ++record_->record.dropped;
  }
}

void Span::event(std::string_view name, std::vector<Attribute> attributes) {
  if (!record_) return;
  const SpanLimits& limits = tracer_->options_.limits;
  SpanRecord& record = record_->record;
  if (record.events.size() >= limits.events) {
    ++record.dropped;
    return;
  }
  if (attributes.size() > limits.attributes) {
    record.dropped += static_cast<uint32_t>(attributes.size() - limits.attributes);
    attributes.resize(limits.attributes);
  }
  for (Attribute& attribute : attributes) cut_value(attribute.second, limits.text_bytes);
  const auto since =
      std::chrono::duration_cast<std::chrono::nanoseconds>(steady_now() - record_->start);
  record.events.push_back({cut(name, limits.text_bytes), record.start_unix_nanos + since.count(),
                           std::move(attributes)});
}

void Span::link(const SpanContext& other) {
  if (!record_) return;
  std::vector<SpanContext>& links = record_->record.links;
  if (other.valid() && links.size() < tracer_->options_.limits.links) {
    links.push_back(other);
  } else {
    ++record_->record.dropped;
  }
}

void Span::rename(std::string_view name) {
  if (record_) record_->record.name = cut(name, tracer_->options_.limits.text_bytes);
}

void Span::set_status(const absl::Status& status) {
  if (!record_ || record_->record.status == SpanStatus::ok) return;
  SpanRecord& record = record_->record;
  record.status = status.ok() ? SpanStatus::ok : SpanStatus::error;
  record.status_message =
      status.ok() ? "" : cut(std::string(status.message()), tracer_->options_.limits.text_bytes);
}

Span Span::child(std::string_view name, SpanOptions options) const {
  options.parent = context_;
  return tracer_->start(name, std::move(options));
}

void Span::end() noexcept {
  if (!record_) return;
  const std::unique_ptr<Open> open = std::move(record_);
  open->record.duration =
      std::max(std::chrono::nanoseconds(0),
               std::chrono::duration_cast<std::chrono::nanoseconds>(steady_now() - open->start));
  tracer_->sink_.ended(std::move(open->record));
}

Span Tracer::start(std::string_view name, SpanOptions options) const {
  const SpanContext* const parent =
      options.parent && options.parent->valid() ? &*options.parent : nullptr;
  SpanContext context;
  if (parent) {
    context.trace_id = parent->trace_id;
    context.random = parent->random;
    context.state = parent->state;
  } else {
    context.trace_id = TraceId::random();
    context.random = true;
  }
  context.span_id = SpanId::random();
  context.sampled = options_.sampler.decide(context.trace_id, parent);
  if (!context.sampled) return Span(*this, std::move(context), nullptr);

  auto open = std::make_unique<Span::Open>();
  const std::chrono::nanoseconds ago = std::max(
      std::chrono::nanoseconds(0), options.began_ago.value_or(std::chrono::nanoseconds(0)));
  open->start = steady_now() - ago;
  SpanRecord& record = open->record;
  record.context = context;
  if (parent) record.parent = parent->span_id;
  record.name = cut(name, options_.limits.text_bytes);
  record.kind = options.kind;
  record.start_unix_nanos =
      (options_.unix_clock ? options_.unix_clock() : system_unix_nanos()) - ago.count();
  Span span(*this, std::move(context), std::move(open));
  for (const SpanContext& link : options.links) span.link(link);
  return span;
}

}  // namespace zsync::trace
