#include "cli/logs.hpp"

#include <memory>

#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/projects.hpp"
#include "cli/render/json.hpp"
#include "cli/task_stream.hpp"

namespace zsync::cli {
namespace {

struct LogsFlags {
  std::string id;
  bool follow = false;
  std::uint64_t since_seq = 0;
  unsigned attempt = 0;
  std::string stream;
  bool timestamps = false;

  bool wants(const v1::Record& record) const {
    if (stream.empty()) return true;
    return (record.stream() == v1::STREAM_STDERR) == (stream == "stderr");
  }
};

absl::StatusOr<int> logs(Context& context, const LogsFlags& flags) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  v1::TaskOutputRequest request;
  request.set_id(flags.id);
  request.set_from_seq(flags.since_seq);
  request.set_follow(flags.follow);
  request.set_attempt(flags.attempt);
  RecordWriter writer(context, flags.timestamps);
  ListPrinter printer(context);
  const bool structured = context.json() || context.jsonl();
  const HangupGuard guard(context.out.fd(), [&] { context.stop.cancel(); });
  const absl::Status status = (*client)->tasks().output(
      request,
      [&](const v1::TaskOutputBatch& batch) {
        if (batch.has_gap()) writer.write(batch.gap());
        for (const v1::Record& record : batch.records()) {
          if (!flags.wants(record)) continue;
          if (!structured || !printer.add(record, "")) writer.write(record);
        }
        return writer.flush();
      },
      *call);
  if (context.out.broken() || context.stop.cancelled()) return static_cast<int>(kExitPipeClosed);
  if (absl::IsNotFound(status)) {
    const std::optional<v1::ProjectUnit> unit = unit_nearby(context, flags.id);
    if (unit && flags.follow) return project_logs(context, "", {unit->name()}, true);
    if (unit && !unit->task().empty() && unit->task() != flags.id) {
      LogsFlags of_task = flags;
      of_task.id = unit->task();
      return logs(context, of_task);
    }
  }
  if (!status.ok()) return status;
  printer.end();
  return static_cast<int>(kExitOk);
}

}  // namespace

void add_logs(Command& parent, Context& context, const std::string& name) {
  auto flags = std::make_shared<LogsFlags>();
  Command* leaf =
      add_leaf(parent, context, name, "Output of a task or service, on the streams it came from",
               [&context, flags] { return logs(context, *flags); });
  leaf->add_option("ID", flags->id,
                   "Id, unique prefix of one, or name; a service of the zsync.yaml nearby")
      ->required();
  leaf->add_flag("-f,--follow", flags->follow, "Stay until the task has ended");
  leaf->add_option("--since-seq", flags->since_seq, "First record wanted")->type_name("N");
  leaf->add_option("--attempt", flags->attempt, "Which attempt (default: the newest)")
      ->type_name("N");
  leaf->add_option("--stream", flags->stream, "Only one stream")
      ->one_of({"stdout", "stderr"})
      ->type_name("NAME");
  leaf->add_flag("-t,--timestamps", flags->timestamps, "The time before each line");
}

}  // namespace zsync::cli
