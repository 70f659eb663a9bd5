// `zsyncctl functions`: who serves what, serving with a command, calling.
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "cli/durations.hpp"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/json.hpp"
#include "cli/render/table.hpp"
#include "cli/render/text.hpp"
#include "cli/reply_command.hpp"
#include "cli/signals.hpp"
#include "cli/words.hpp"

namespace zsync::cli {
namespace {

constexpr int kConcurrencyMax = 64;
constexpr std::chrono::hours kForever{24 * 365};

struct ServeFlags {
  std::string name, content_type;
  int concurrency = 1;
};

struct CallFlags {
  std::string name, payload, content_type, wait, group, deadline, key;
  int priority = 0;
  unsigned retries = 0;
  bool durable = false, detach = false, wait_for_worker = false;
};

absl::StatusOr<std::string> read_all(int fd) {
  std::string all;
  char buffer[64 << 10];
  while (true) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::UnknownError(absl::StrCat("read stdin: ", std::strerror(errno)));
    if (got == 0) return all;
    all.append(buffer, static_cast<std::size_t>(got));
    if (all.size() > 2 * kReplyBytesMax) return all;  // the daemon says how much too much it is
  }
}

absl::StatusOr<int> list(Context& context) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto functions = (*client)->functions().list(*call);
  if (!functions.ok()) return functions.status();
  ListPrinter printer(context);
  Table table({"FUNCTION", "WORKERS", "PLACES", "QUEUED", "RUNNING", "WAITING"});
  for (const v1::Function& function : *functions) {
    if (printer.add(function, function.name())) continue;
    const Cell workers = {absl::StrCat(function.workers()),
                          function.workers() > 0 ? Color::kGood : Color::kDim};
    table.add({{printable(function.name())},
               workers,
               {absl::StrCat(function.places())},
               {absl::StrCat(function.queued())},
               {absl::StrCat(function.running())},
               {absl::StrCat(function.waiting())}});
  }
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names()) {
    context.show_table(table, "no functions: nobody has served any yet");
  }
  return static_cast<int>(kExitOk);
}

absl::StatusOr<v1::FunctionResult> run_command(Context& context, const ServeFlags& flags,
                                               const client::ServedCall& served,
                                               const std::atomic<bool>& killed) {
  const v1::HandedCall& call = served.call();
  ReplyCommand command;
  command.argv = context.command;
  command.time = kForever;  // its time is the daemon's, which says when it is over
  command.env = {"ZSYNC_CONTENT_TYPE=" + call.content_type(), "TRACEPARENT=" + call.traceparent(),
                 "ZSYNC_TASK_ID=" + call.task_id(), absl::StrCat("ZSYNC_ATTEMPT=", call.attempt())};
  std::string said_wrong;
  command.stderr_tail = &said_wrong;
  absl::StatusOr<std::string> said =
      run_for_reply(command, served.payload(), [&] { return served.canceled() || killed; });
  v1::FunctionResult result;
  if (said.ok()) {
    result.set_content_type(flags.content_type);
    result.set_payload(*std::move(said));
    return result;
  }
  result.mutable_error()->set_code(absl::StatusCodeToString(said.status().code()));
  std::string text(said.status().message());
  if (!said_wrong.empty()) absl::StrAppend(&text, ": ", said_wrong);
  if (!is_utf8(text)) text = printable(text);
  context.note(printable(text));
  result.mutable_error()->set_message(std::move(text));
  return result;
}

absl::StatusOr<int> serve(Context& context, const ServeFlags& flags) {
  if (context.command.empty()) {
    return usage_error("which command? zsyncctl functions serve NAME -- COMMAND");
  }
  std::atomic<bool> killed{false};
  // The first one lets commands end that run, the second one ends them. Before any thread of the
  // client.
  const SignalGuard signals([&](int count) {
    if (count > 1) killed = true;
    context.stop.cancel();
  });
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  client::ServeOptions options;
  options.concurrency = flags.concurrency;
  const absl::Status served = (*client)->functions().serve(
      flags.name,
      [&](const client::ServedCall& one) { return run_command(context, flags, one, killed); },
      options, *call);
  if (!served.ok()) return served;
  return static_cast<int>(context.stop.cancelled() ? kExitInterrupted : kExitOk);
}

absl::StatusOr<int> print_result(Context& context, const v1::FunctionResult& result) {
  if (context.json() || context.jsonl()) {
    context.out.write(to_json(result, context.json()));
  } else {
    context.out.write(result.payload());
  }
  context.out.flush();
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> call_as_task(Context& context, const CallFlags& flags,
                                 v1::FunctionCall function) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  v1::TaskSpec spec;
  *spec.mutable_function() = std::move(function);
  spec.set_group(flags.group);
  spec.set_priority(flags.priority);
  spec.set_retries(flags.retries);
  spec.set_idempotency_key(flags.key);
  if (!flags.deadline.empty()) {
    if (absl::Status set = set_duration(flags.deadline, "--deadline", *spec.mutable_deadline());
        !set.ok()) {
      return set;
    }
  }
  const absl::StatusOr<std::string> id = (*client)->tasks().submit(std::move(spec), *call);
  if (!id.ok()) return id.status();
  if (flags.detach) {
    context.out.write(*id + "\n");
    return static_cast<int>(kExitOk);
  }
  const auto ended = (*client)->tasks().wait({*id}, *call);
  if (!ended.ok()) return ended.status();
  const v1::Task& task = ended->tasks(0);
  if (task.state() == v1::TASK_STATE_SUCCEEDED) return print_result(context, task.result());
  const v1::FunctionError& error = task.result().error();
  return absl::AbortedError(
      absl::StrCat(task.id(), " ", state_word(task.state()), ": ",
                   printable(error.message().empty() ? task.reason() : error.message())));
}

absl::StatusOr<int> call(Context& context, const CallFlags& flags) {
  const bool as_task = flags.durable || flags.detach || !flags.group.empty() ||
                       !flags.deadline.empty() || !flags.key.empty() || flags.priority != 0 ||
                       flags.retries != 0;
  absl::StatusOr<std::string> payload =
      flags.payload == "-" ? read_all(context.in) : absl::StatusOr<std::string>(flags.payload);
  if (!payload.ok()) return payload.status();
  v1::FunctionCall function;
  function.set_name(flags.name);
  function.set_payload(*std::move(payload));
  function.set_content_type(flags.content_type);
  function.set_wait_for_worker(flags.wait_for_worker);
  if (as_task && !flags.wait.empty()) {
    return usage_error(
        "--wait is for a direct call; a task has --deadline, or --timeout of this command");
  }
  if (as_task) return call_as_task(context, flags, std::move(function));
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  absl::StatusOr<client::CallOptions> options = context.call();
  if (!options.ok()) return options.status();
  if (!flags.wait.empty()) {
    google::protobuf::Duration wait;
    if (absl::Status set = set_duration(flags.wait, "--wait", wait); !set.ok()) return set;
    options->timeout = to_nanoseconds(wait);
  }
  const auto result = (*client)->functions().call(std::move(function), *options);
  if (!result.ok()) return result.status();
  return print_result(context, *result);
}

void add_call(Command& functions, Context& context) {
  auto flags = std::make_shared<CallFlags>();
  Command* leaf = add_leaf(functions, context, "call",
                           "Call one: its result comes to stdout. Direct, in memory only, unless "
                           "a flag of tasks is given",
                           [&context, flags] { return call(context, *flags); });
  leaf->add_option("FUNCTION", flags->name, "Name of the function")->required();
  leaf->add_option("PAYLOAD", flags->payload, "What it gets; - takes stdin (default: nothing)");
  leaf->add_option("--content-type", flags->content_type, "Of the payload")->type_name("TYPE");
  leaf->add_option("--wait", flags->wait, "For the result of a direct call (default 30s)")
      ->type_name("DURATION");
  leaf->add_flag("--wait-for-worker", flags->wait_for_worker,
                 "Also if nobody ever served that function");
  leaf->add_flag("--durable", flags->durable, "As a task: on disk before it is acknowledged");
  leaf->add_flag("-d,--detach", flags->detach, "As a task; print its id and do not wait");
  leaf->add_option("-g,--group", flags->group, "As a task of this group")->type_name("GROUP");
  leaf->add_option("-p,--priority", flags->priority, "As a task: -1000..1000, higher first");
  leaf->add_option("--retries", flags->retries, "As a task: further attempts after a failure")
      ->type_name("N");
  leaf->add_option("--deadline", flags->deadline, "As a task that has ended by then")
      ->type_name("DURATION");
  leaf->add_option("--idempotency-key", flags->key,
                   "As a task: the same key within 24 h is the same call")
      ->type_name("KEY");
}

}  // namespace

void add_functions(Command& app, Context& context) {
  add_noun(app, "functions", "function", "Named work that clients do for others: serve it, call it",
           [&context](Command& functions) {
             add_leaf(functions, context, "list", "Who serves what, and what waits",
                      [&context] { return list(context); });
             auto flags = std::make_shared<ServeFlags>();
             Command* leaf =
                 add_leaf(functions, context, "serve",
                          "Run -- COMMAND for each call: its stdin is the payload, its stdout "
                          "the result; another exit code than 0 is a failure",
                          [&context, flags] { return serve(context, *flags); });
             leaf->add_option("FUNCTION", flags->name, "Name of the function")->required();
             leaf->add_option("-j,--concurrency", flags->concurrency, "Calls at once (default 1)")
                 ->between(1, kConcurrencyMax)
                 ->type_name("N");
             leaf->add_option("--content-type", flags->content_type, "Of the results")
                 ->type_name("TYPE");
             add_call(functions, context);
           });
}

}  // namespace zsync::cli
