#include "cli/channel_requests.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/durations.hpp"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/text.hpp"
#include "cli/reply_command.hpp"
#include "cli/signals.hpp"

namespace zsync::cli {
namespace {

constexpr int kJobsMax = 64;

struct RequestFlags {
  std::string name, timeout;
  std::string message;
  bool has_message = false;
};

struct ReplyFlags {
  std::string name;
  int jobs = 1;
};

absl::StatusOr<std::string> read_all(int fd) {
  std::string all;
  std::vector<char> buffer(64 << 10);
  while (true) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::UnknownError(absl::StrCat("read stdin: ", std::strerror(errno)));
    if (got == 0) return all;
    all.append(buffer.data(), static_cast<std::size_t>(got));
    // More than a request may have; the daemon says how much that is.
    if (all.size() > 2 * kReplyBytesMax) return all;
  }
}

absl::StatusOr<int> request(Context& context, const RequestFlags& flags) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  if (!flags.timeout.empty()) {
    google::protobuf::Duration timeout;
    if (absl::Status set = set_duration(flags.timeout, "--wait", timeout); !set.ok()) return set;
    call->timeout = to_nanoseconds(timeout);
  }
  absl::StatusOr<std::string> body =
      flags.has_message ? absl::StatusOr<std::string>(flags.message) : read_all(context.in);
  if (!body.ok()) return body.status();
  const auto reply = (*client)->channels().request(flags.name, std::move(*body), *call);
  if (!reply.ok()) return reply.status();
  context.out.write(*reply);
  context.out.flush();
  return static_cast<int>(kExitOk);
}

// A command goes on for so long after its request waits no more: ended at the same moment, it would
// now and then be heard of in the place of the deadline.
constexpr std::chrono::milliseconds kAfterTheWait{250};

absl::StatusOr<std::string> answer(Context& context, const v1::Inquiry& inquiry) {
  absl::StatusOr<std::string> said = run_for_reply(
      context.command, inquiry.body(), to_nanoseconds(inquiry.time_left()) + kAfterTheWait,
      [&context] { return context.stop.cancelled(); });
  if (!said.ok()) context.note(printable(std::string(said.status().message())));
  return said;
}

absl::StatusOr<int> reply(Context& context, const ReplyFlags& flags) {
  if (context.command.empty()) {
    return usage_error("which command? zsyncctl channels reply NAME -- COMMAND");
  }
  // A command that runs is ended with its request. Before any thread of the client.
  const SignalGuard signals([&context](int) { context.stop.cancel(); });
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  std::vector<absl::Status> ended(static_cast<std::size_t>(flags.jobs));
  std::vector<std::thread> threads;
  for (absl::Status& status : ended) {
    threads.emplace_back([&] {
      status = (*client)->channels().reply(
          flags.name, [&](const v1::Inquiry& inquiry) { return answer(context, inquiry); }, *call);
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (context.stop.cancelled()) return static_cast<int>(kExitInterrupted);
  for (const absl::Status& status : ended) {
    if (!status.ok()) return status;
  }
  return static_cast<int>(kExitOk);
}

}  // namespace

void add_channel_requests(Command& channels, Context& context) {
  auto asked = std::make_shared<RequestFlags>();
  Command* ask = nullptr;
  ask = add_leaf(channels, context, "request",
                 "Ask one responder: stdin is the request, the reply comes to stdout",
                 [&context, asked] { return request(context, *asked); });
  ask->add_option("NAME", asked->name, "Name of the channel")->required();
  ask->add_option_function(
         "-m,--message",
         [asked](const std::string& text) {
           asked->message = text;
           asked->has_message = true;
         },
         "This request instead of stdin")
      ->type_name("TEXT");
  ask->add_option("--wait", asked->timeout, "For the reply (default 30s)")->type_name("DURATION");

  auto flags = std::make_shared<ReplyFlags>();
  Command* leaf = add_leaf(channels, context, "reply",
                           "Run -- COMMAND for each request: its stdin is the request, its stdout "
                           "the reply, until the channel is closed",
                           [&context, flags] { return reply(context, *flags); });
  leaf->add_option("NAME", flags->name, "Name of the channel")->required();
  leaf->add_option("-j,--jobs", flags->jobs, "Requests at once (default 1)")
      ->between(1, kJobsMax)
      ->type_name("N");
}

}  // namespace zsync::cli
