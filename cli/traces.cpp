// `zsyncctl traces`: what led to what, as a waterfall.
#include <algorithm>
#include <memory>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/table.hpp"
#include "cli/render/text.hpp"
#include "zsync/trace/span_store.hpp"

namespace zsync::cli {
namespace {

std::chrono::nanoseconds time_of(const google::protobuf::Duration& duration) {
  return std::chrono::seconds(duration.seconds()) + std::chrono::nanoseconds(duration.nanos());
}

// The id's bytes; what is no id stays zero, and the span stands by itself.
trace::SpanId id_of(const std::string& hex) {
  trace::SpanId id;
  if (hex.size() != trace::SpanId::kHexLength) return id;
  for (std::size_t i = 0; i < id.bytes.size(); ++i) {
    id.bytes[i] = static_cast<std::uint8_t>(std::stoul("0" + hex.substr(2 * i, 2), nullptr, 16));
  }
  return id;
}

bool is_hex(const std::string& text) {
  return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::vector<trace::SpanRecord> records_of(const v1::Trace& trace) {
  std::vector<trace::SpanRecord> records;
  for (const v1::Span& span : trace.spans()) {
    trace::SpanRecord& record = records.emplace_back();
    if (is_hex(span.id())) record.context.span_id = id_of(span.id());
    if (is_hex(span.parent_id())) record.parent = id_of(span.parent_id());
    record.name = span.open() ? absl::StrCat(span.name(), " …") : span.name();
    record.start_unix_nanos = span.start_unix_nano();
    record.duration = time_of(span.duration());
    if (span.failed()) record.status = trace::SpanStatus::error;
    record.status_message = span.message();
  }
  return records;
}

std::string heading(const v1::TraceSummary& summary, bool color) {
  const std::string state = summary.open() > 0 ? "goes on" : summary.failed() ? "failed" : "ended";
  return absl::StrCat(paint(summary.id(), Color::kDim, color), "  ",
                      paint(printable(summary.name()), Color::kBold, color), "  ",
                      utc_time(summary.start_unix_nano()), "  ",
                      human_duration(time_of(summary.duration())), "  ", summary.tasks(),
                      summary.tasks() == 1 ? " task" : " tasks", ", ", state, "\n");
}

absl::StatusOr<int> show(Context& context, const std::string& id) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const absl::StatusOr<v1::Trace> trace = (*client)->traces().get(id, *call);
  if (!trace.ok()) return trace.status();
  context.show(*trace, trace->summary().id(), [&] {
    std::ostringstream lines;
    const int width = context.out.width();
    trace::print_waterfall(lines, records_of(*trace),
                           {.width = width > 0 ? static_cast<std::size_t>(width) : 100});
    return heading(trace->summary(), context.color()) + lines.str();
  });
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> list(Context& context, std::uint32_t limit) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto traces = (*client)->traces().list(limit, *call);
  if (!traces.ok()) return traces.status();
  ListPrinter printer(context);
  Table table({"TRACE", "STARTED", "TOOK", "TASKS", "STATE", "NAME"});
  for (const v1::TraceSummary& summary : *traces) {
    if (printer.add(summary, summary.id())) continue;
    const Cell state = summary.open() > 0 ? Cell{"open", Color::kBusy}
                       : summary.failed() ? Cell{"failed", Color::kBad}
                                          : Cell{"ended", Color::kGood};
    table.add({{summary.id()},
               {utc_time(summary.start_unix_nano())},
               {human_duration(time_of(summary.duration()))},
               {absl::StrCat(summary.tasks())},
               state,
               {printable(summary.name())}});
  }
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names()) {
    context.show_table(table, "no traces: nothing has run yet");
  }
  return static_cast<int>(kExitOk);
}

}  // namespace

void add_traces(Command& app, Context& context) {
  add_noun(
      app, "traces", "trace", "What led to what, and how long each part took",
      [&context](Command& traces) {
        add_leaf(traces, context, "last", "The trace where something happened last, as a waterfall",
                 [&context] { return show(context, "last"); });
        const auto id = std::make_shared<std::string>();
        Command* one = add_leaf(traces, context, "show", "One trace, as a waterfall",
                                [&context, id] { return show(context, *id); });
        one->add_option("ID", *id, "Id of a trace, or its first digits; or of a task")->required();
        const auto limit = std::make_shared<std::uint32_t>(0);
        Command* all = add_leaf(traces, context, "list", "The latest traces",
                                [&context, limit] { return list(context, *limit); });
        all->add_option("--limit", *limit, "How many at most (default: 20)")->type_name("N");
      });
}

}  // namespace zsync::cli
