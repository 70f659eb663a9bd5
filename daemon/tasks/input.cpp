// What is typed, piped or sent into tasks.
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/tasks/engine.hpp"

namespace zsync::daemon {
namespace {

constexpr char kEndOfTransmission = 4;  // Ctrl-D

}  // namespace

Task<absl::Status> TasksEngine::input(std::string id, std::string bytes, bool eof) {
  EntryPtr entry;
  std::optional<Channel<ShimOrder>> input;
  bool terminal = false;
  {
    rt::LockGuard guard(mutex_);
    absl::StatusOr<EntryPtr> found = find(id);
    if (!found.ok()) co_return found.status();
    entry = *found;
    const TaskSpec& spec = *entry->task.record.spec;
    if (!spec.takes_input() || !entry->input || entry->input_closed) {
      co_return fault(
          absl::StatusCode::kFailedPrecondition,
          absl::StrCat(entry->task.record.id,
                       entry->input_closed ? ": its stdin is closed" : " takes no stdin stream"),
          {"id", "NO_STDIN", "", "submit with stdin_stream, and feed it once", {}});
    }
    terminal = spec.terminal.rows != 0;
    input = *entry->input;
    if (eof && !terminal) entry->input_closed = true;
  }
  if (eof && terminal) bytes += kEndOfTransmission;
  std::string_view rest = bytes;
  while (!rest.empty()) {
    std::string part(rest.substr(0, shim::kStdinFrameBytesMax));
    rest.remove_prefix(part.size());
    // A task that has ended reads no more; that is not the sender's error.
    if (absl::IsUnavailable(co_await input->send({ShimOrder::Kind::kStdin, std::move(part)})))
      break;
  }
  if (eof && !terminal) input->close();
  co_return absl::OkStatus();
}

Task<void> TasksEngine::abandon_input(std::string id) {
  {
    rt::LockGuard guard(mutex_);
    absl::StatusOr<EntryPtr> found = find(id);
    if (!found.ok() || (*found)->task.record.spec->terminal.rows != 0) co_return;
  }
  (void)co_await input(std::move(id), "", true);
}

absl::Status TasksEngine::resize(const std::string& id, shim::TerminalSize size) {
  rt::LockGuard guard(mutex_);
  absl::StatusOr<EntryPtr> found = find(id);
  if (!found.ok()) return found.status();
  const EntryPtr& entry = *found;
  if (entry->task.record.spec->terminal.rows == 0) {
    return fault(absl::StatusCode::kFailedPrecondition,
                 absl::StrCat(entry->task.record.id, " has no terminal"),
                 {"resize", "NO_TERMINAL", "", "submit it with a terminal", {}});
  }
  return entry->orders ? order(entry, shim::encode_frame(size)) : absl::OkStatus();
}

}  // namespace zsync::daemon
