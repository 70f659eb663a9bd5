// Tracer and Span: what a program did, when, for how long and because of what.
//
//   zsync::trace::SpanStore store;
//   zsync::trace::Tracer tracer(store);
//   zsync::trace::Span request = tracer.start("request", {.parent = parent_of(headers)});
//   zsync::trace::Span query = request.child("query");
//   query.set("rows", 3);
//   query.end();                               // or its destructor
//
// Contexts are passed on by hand: a span's context() goes into the header of a call, into the
// environment of a child, beside a message. A span that is not sampled costs a few words and no
// allocation; its context is passed on all the same.
//
// The model is OpenTelemetry's (Trace API and SDK, 1.x); what crosses processes is W3C Trace
// Context (zsync/trace/context.hpp).
#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "zsync/trace/context.hpp"
#include "zsync/trace/span_store.hpp"

namespace zsync::trace {

// Which traces are recorded. A value; copies decide alike.
class Sampler {
 public:
  // Everything.
  static Sampler always_on() { return Sampler(1, false); }
  // Nothing.
  static Sampler always_off() { return Sampler(0, false); }
  // A share of the traces, 0 to 1, the same ones in every process that uses the same ratio: by the
  // last 7 bytes of the trace's id (OpenTelemetry, consistent probability sampling). Values outside
  // are taken as the nearest inside.
  static Sampler ratio(double share) { return Sampler(share, false); }
  // What has a parent is recorded when that was; what begins a trace, as `root` says. The default.
  static Sampler parent_based(const Sampler& root = always_on()) {
    return Sampler(root.share_, true);
  }

  // Whether a span is recorded. `parent`: nullptr begins a trace.
  bool decide(const TraceId& trace, const SpanContext* parent) const;

 private:
  Sampler(double share, bool by_parent) : share_(share), by_parent_(by_parent) {}
  double share_;
  bool by_parent_;
};

// What one span may hold; more is counted in SpanRecord::dropped.
struct SpanLimits {
  size_t attributes = 128;  // of the span, and of each event
  size_t events = 128;      // things that happened
  size_t links = 128;       // other spans
  size_t text_bytes =
      8192;  // of a name, a message or a text value; longer ones are cut at a character
};

// How a Tracer works.
struct TracerOptions {
  Sampler sampler = Sampler::parent_based();  // which spans are recorded
  SpanLimits limits;                          // of each span
  // Nanoseconds since 1970, UTC; empty: the system's clock. Durations are the steady clock's, or a
  // simulation's.
  std::function<int64_t()> unix_clock;
};

// How a span begins.
struct SpanOptions {
  std::optional<SpanContext> parent;   // empty, or not valid: begins a trace
  SpanKind kind = SpanKind::internal;  // which side of a call it is
  std::vector<SpanContext> links;      // other spans that it has to do with
  // When it began, where that was before now: time waited in a queue, for example.
  std::optional<std::chrono::nanoseconds> began_ago;
};

class Tracer;

// Lifetime: ends when end() is called, else when it is destroyed, also by an exception or a cancel
// that unwinds its task; the
//           tracer outlives it.
// Threads:  one at a time; that may change.
class [[nodiscard]] Span {
 public:
  Span(Span&& other) noexcept;
  Span& operator=(Span&& other) noexcept;
  ~Span();

  // What to pass on.
  const SpanContext& context() const { return context_; }
  // Whether somebody will see what is set here.
  bool recorded() const { return record_ != nullptr; }

  // Writes an attribute, in the place of an older one of that name.
  void set(std::string_view name, AttributeValue value);
  // The same for text.
  template <typename Text>
    requires std::convertible_to<const Text&, std::string_view>
  void set(std::string_view name, const Text& text) {
    set(name, AttributeValue(std::string(std::string_view(text))));
  }
  // The same for numbers: whole ones as int64_t, others as double.
  template <typename Number>
    requires std::is_arithmetic_v<Number>
  void set(std::string_view name, Number value) {
    if constexpr (std::is_same_v<Number, bool>) {
      set(name, AttributeValue(value));
    } else if constexpr (std::is_integral_v<Number>) {
      set(name, AttributeValue(static_cast<int64_t>(value)));
    } else {
      set(name, AttributeValue(static_cast<double>(value)));
    }
  }
  // Tells that something happened now.
  void event(std::string_view name, std::vector<Attribute> attributes = {});
  // Names another span that this one has to do with.
  void link(const SpanContext& other);
  // Replaces the name that it began with.
  void rename(std::string_view name);
  // How it ends. A status that is ok becomes SpanStatus::ok, any other SpanStatus::error with its
  // text; ok is not taken back.
  void set_status(const absl::Status& status);

  // Begins a span that this one caused.
  Span child(std::string_view name, SpanOptions options = {}) const;
  // Ends it now. Idempotent; what is set afterwards is lost.
  void end() noexcept;

 private:
  friend class Tracer;
  struct Open;
  Span(const Tracer& tracer, SpanContext context, std::unique_ptr<Open> record);

  const Tracer* tracer_;
  SpanContext context_;
  std::unique_ptr<Open> record_;  // nullptr: not sampled, or ended
};

// Lifetime: outlives its spans; the sink outlives it.
// Threads:  any.
class Tracer {
 public:
  // Spans go to `sink` when they end.
  explicit Tracer(SpanSink& sink, TracerOptions options = {})
      : sink_(sink), options_(std::move(options)) {}
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  // Begins a span now.
  Span start(std::string_view name, SpanOptions options = {}) const;

 private:
  friend class Span;
  SpanSink& sink_;
  const TracerOptions options_;
};

}  // namespace zsync::trace
