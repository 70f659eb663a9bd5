#include "cli/task_stream.hpp"

#include <optional>

#include "absl/strings/str_cat.h"
#include "cli/durations.hpp"
#include "cli/errors.hpp"
#include "cli/render/text.hpp"

namespace zsync::cli {

// How long Ctrl-C waits for a daemon that is just being restarted.
constexpr std::chrono::seconds kCancelTimeout{3};

void RecordWriter::write(const v1::Record& record) {
  const bool is_error = record.stream() == v1::STREAM_STDERR;
  Out& to = is_error ? context_.err : context_.out;
  // What was read first is written first, whatever stream it goes to.
  (is_error ? context_.out : context_.err).flush();
  if (!timestamps_) {
    to.write(record.data());
    return;
  }
  const std::string prefix = utc_time(record.time_unix_nano()) + " ";
  bool& line_start = line_start_[is_error ? 1 : 0];
  for (std::size_t at = 0; at < record.data().size();) {
    const std::size_t newline = record.data().find('\n', at);
    const std::size_t end = newline == std::string::npos ? record.data().size() : newline + 1;
    if (line_start) to.write(prefix);
    to.write(std::string_view(record.data()).substr(at, end - at));
    line_start = newline != std::string::npos;
    at = end;
  }
}

void RecordWriter::write(const v1::Gap& gap) {
  context_.out.flush();
  std::string text = absl::StrCat("records ", gap.from(), " to ", gap.to(), " are missing (",
                                  printable(gap.reason()));
  if (gap.bytes() > 0) absl::StrAppend(&text, ", ", gap.bytes(), " bytes");
  context_.note(text + ")");
}

bool RecordWriter::flush() {
  context_.err.flush();
  return context_.out.flush();
}

absl::StatusOr<v1::Task> stream_task(Context& context, client::Client& client,
                                     const std::string& id, const client::CallOptions& call) {
  RecordWriter writer(context, false);
  std::optional<v1::Task> finished;
  absl::Status status = client.tasks().output(
      id, 1, true,
      [&](const v1::TaskOutputBatch& batch) {
        if (batch.has_gap()) writer.write(batch.gap());
        for (const v1::Record& record : batch.records()) writer.write(record);
        if (batch.has_finished()) finished = batch.finished();
        return writer.flush();
      },
      call);
  if (context.out.broken()) return absl::CancelledError("the reader of stdout is gone");
  if (!status.ok()) return status;
  if (finished.has_value() && client::is_final(finished->state())) return *std::move(finished);
  return client.tasks().get(id, call);
}

void explain_end(Context& context, const v1::Task& task) {
  const std::string reason = task.reason().empty() ? "" : ": " + printable(task.reason());
  const std::string about = absl::StrCat("task ", task.id(), " ");
  switch (task.state()) {
    case v1::TASK_STATE_FAILED:
      if (!task.reason().empty()) context.note(about + "failed" + reason);
      return;
    case v1::TASK_STATE_SIGNALED:
      context.note(absl::StrCat(about, "was ended by signal ", task.signal(), reason));
      return;
    case v1::TASK_STATE_TIMED_OUT:
      context.note(about + "timed out" + reason);
      return;
    case v1::TASK_STATE_CANCELED:
      context.note(about + "was canceled" + reason);
      return;
    case v1::TASK_STATE_LOST:
      context.note(about + "was lost" + reason);
      return;
    case v1::TASK_STATE_SKIPPED:
      context.note(about + "was skipped" + reason);
      return;
    default:
      return;
  }
}

absl::Status request_cancel(client::Client& client, const std::string& id, bool kill) {
  v1::CancelTaskRequest request;
  request.set_id(id);
  if (kill) set_duration(std::chrono::nanoseconds(0), *request.mutable_kill_grace());
  client::CallOptions call;
  call.timeout = kCancelTimeout;
  return client.tasks().cancel(request, call).status();
}

}  // namespace zsync::cli
