#include "cli/channel_stream.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "cli/channel_policy.hpp"
#include "cli/channel_rings.hpp"
#include "cli/errors.hpp"
#include "cli/frames.hpp"
#include "cli/nouns.hpp"
#include "cli/render/json.hpp"
#include "cli/render/text.hpp"
#include "cli/words.hpp"

namespace zsync::cli {
namespace {

constexpr std::size_t kBatchMessagesMax = 1024;
constexpr std::size_t kBatchBytesMax = 256u
                                       << 10;  // reached by one message more, so at most 1.25 MiB
constexpr std::size_t kReadBytes = 64u << 10;

struct SendFlags {
  std::string name;
  bool frames = false;
  std::vector<std::string> messages;
  std::string key, id;
  bool shared_memory = false;
};

struct RecvFlags {
  std::string name;
  bool frames = false;
  std::uint64_t count = 0;
  bool follows = false;
  std::optional<std::uint64_t> follow_from;  // of `recv`
  StartFlags start;                          // of `follow`
  std::string group;
  bool no_ack = false;
  bool shared_memory = false;
};

// Gathers messages into batches of a useful size.
class Batches final : public MessageSink {
 public:
  Batches(client::ChannelSender& sender, const SendFlags& flags) : sender_(sender), flags_(flags) {
    if (const char* trace = std::getenv("TRACEPARENT"); trace != nullptr && is_utf8(trace)) {
      trace_ = trace;
    }
  }

  bool add(std::vector<std::string> messages) override {
    for (std::string& message : messages) {
      bytes_ += message.size();
      batch_.add_messages(std::move(message));
      if (!flags_.key.empty()) batch_.add_keys(flags_.key);
      if (!flags_.id.empty()) batch_.add_ids(flags_.id);
      const auto count = static_cast<std::size_t>(batch_.messages_size());
      if ((count >= kBatchMessagesMax || bytes_ >= kBatchBytesMax) && !send()) return false;
    }
    return true;
  }
  bool send() override {
    bytes_ = 0;
    if (!trace_.empty()) batch_.set_trace(trace_);
    return batch_.messages().empty() || sender_.send(std::exchange(batch_, {}));
  }
  bool flush() override { return send() && sender_.flush(); }

 private:
  client::ChannelSender& sender_;
  const SendFlags& flags_;
  std::string trace_;  // of the task that sends, if it is one
  v1::SendRequest batch_;
  std::size_t bytes_ = 0;
};

absl::StatusOr<int> send(Context& context, const SendFlags& flags) {
  if (!flags.id.empty() && flags.messages.size() != 1) {
    return usage_error("--id names one message: give one --message");
  }
  if (flags.shared_memory) {
    return send_to_ring(context, flags.name, flags.frames, flags.messages);
  }
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  client::ChannelSender sender = (*client)->channels().send(flags.name, *call);
  Batches batches(sender, flags);
  absl::Status cut;
  if (flags.messages.empty()) {
    cut = send_stdin(context.in, flags.frames, batches);
  } else {
    (void)(batches.add(flags.messages) && batches.send());
  }
  const absl::StatusOr<v1::SendReply> total = sender.finish();
  if (!total.ok()) return total.status();
  if (!cut.ok()) return cut;
  if (context.json() || context.jsonl()) {
    context.show(*total, "", [] { return std::string(); });
  } else if (context.err.is_terminal()) {
    context.note(absl::StrCat("sent ", total->accepted(), " messages",
                              total->duplicates() ? ", which were there already" : ""));
  }
  return static_cast<int>(kExitOk);
}

absl::StatusOr<v1::FollowChannelRequest> follow_request(const RecvFlags& flags) {
  const absl::StatusOr<Start> start = start_of(flags.start);
  if (!start.ok()) return start.status();
  v1::FollowChannelRequest request;
  request.set_channel(flags.name);
  request.set_from_seq(flags.follow_from.value_or(start->seq));
  request.set_from_start(start->start);
  request.set_from_time_unix_nano(start->time_unix_nano);
  return request;
}

absl::StatusOr<int> receive(Context& context, const RecvFlags& flags) {
  if (flags.shared_memory) {
    return receive_from_ring(context, flags.name, flags.frames, flags.count);
  }
  const bool follows = flags.follows || flags.follow_from.has_value();
  const absl::StatusOr<v1::FollowChannelRequest> follow = follow_request(flags);
  if (!follow.ok()) return follow.status();
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  ListPrinter printer(context);
  std::uint64_t left = flags.count;
  bool enough = false;
  const auto write = [&](const v1::Record& record) {
    if ((context.json() || context.jsonl()) && printer.add(record, "")) return;
    if (flags.frames) context.out.write(frame_header(record.data().size()));
    context.out.write(record.data());
    if (!flags.frames) context.out.write("\n");
  };
  const auto take = [&](const v1::RecvBatch& batch) {
    if (batch.has_gap()) {
      context.out.flush();
      context.note(absl::StrCat("messages ", batch.gap().from(), " to ", batch.gap().to(),
                                " are missing (", printable(batch.gap().reason()), ")"));
    }
    for (const v1::Record& record : batch.records()) {
      if (enough) break;
      write(record);
      enough = flags.count != 0 && --left == 0;
    }
    // A competing receiver ends by its limit; an observer has none and is ended here.
    return context.out.flush() && !(enough && follows);
  };
  const HangupGuard guard(context.out.fd(), [&] { context.stop.cancel(); });
  client::Channels channels = (*client)->channels();
  absl::Status status;
  if (follows) {
    status = channels.follow(*follow, take, *call);
  } else if (!flags.group.empty()) {
    const client::Acks acks = flags.no_ack ? client::Acks::kByHand : client::Acks::kOnReturn;
    status = channels.consume(flags.name, flags.group, flags.count, acks, take, *call);
  } else {
    status = channels.recv(flags.name, flags.count, take, *call);
  }
  if (context.out.broken() || context.stop.cancelled()) return static_cast<int>(kExitPipeClosed);
  if (!status.ok()) return status;
  printer.end();
  return static_cast<int>(kExitOk);
}

void add_output_flags(Command& app, RecvFlags& flags) {
  app.add_option("NAME", flags.name, "Name of the channel")->required();
  app.add_option("-n,--count", flags.count, "End after this many messages")->type_name("COUNT");
  app.add_flag(
      "--frames", flags.frames,
      "A length of 4 bytes, big endian, before each message instead of a newline after it");
}

}  // namespace

absl::Status send_stdin(int fd, bool frames, MessageSink& sink) {
  MessageReader reader(frames);
  std::vector<char> buffer(kReadBytes);
  while (true) {
    if (wait_readable(fd, -1, 0) == Readable::kNo) {
      if (!sink.flush()) return absl::OkStatus();
      wait_readable(fd, -1, -1);
    }
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return absl::UnknownError(absl::StrCat("read stdin: ", std::strerror(errno)));
    std::vector<std::string> messages;
    const std::string_view bytes(buffer.data(), static_cast<std::size_t>(got));
    const absl::Status cut = got == 0 ? reader.finish(messages) : reader.feed(bytes, messages);
    if (!sink.add(std::move(messages))) return absl::OkStatus();
    if (!cut.ok() || got == 0) {
      (void)sink.send();
      return cut;
    }
  }
}

void add_channel_streams(Command& channels, Context& context) {
  auto send_flags = std::make_shared<SendFlags>();
  Command* sending = add_leaf(channels, context, "send", "Send each line of stdin as a message",
                              [&context, send_flags] { return send(context, *send_flags); });
  sending->add_option("NAME", send_flags->name, "Name of the channel")->required();
  auto* message = sending
                      ->add_option("-m,--message", send_flags->messages,
                                   "This message instead of stdin; may be repeated")
                      ->allow_extra_args(false)
                      ->type_name("TEXT");
  sending
      ->add_flag("--frames", send_flags->frames,
                 "Stdin holds frames: a length of 4 bytes, big endian, before each message")
      ->excludes(message);
  auto* key = sending
                  ->add_option(
                      "--key", send_flags->key,
                      "Groups have messages of one key in one consumer's hands at a time, in order")
                  ->type_name("KEY");
  auto* id = sending
                 ->add_option("--id", send_flags->id,
                              "Of the message: sent again within the channel's --dedup-window, it "
                              "is not kept twice")
                 ->type_name("ID");
  sending
      ->add_flag("--shared-memory", send_flags->shared_memory,
                 "Straight into the receiver's memory: as the sender of a channel of the form ring")
      ->excludes(key)
      ->excludes(id);

  auto recv_flags = std::make_shared<RecvFlags>();
  Command* recv = add_leaf(channels, context, "recv",
                           "Take messages, each for one receiver, until the channel is closed",
                           [&context, recv_flags] { return receive(context, *recv_flags); });
  add_output_flags(*recv, *recv_flags);
  auto* from = recv->add_option("--follow-from", recv_flags->follow_from,
                                "Observe from this message on and take nothing away")
                   ->type_name("SEQ");
  auto* group =
      recv->add_option("-g,--group", recv_flags->group,
                       "As a consumer of this group; acknowledges what was written to stdout")
          ->excludes(from)
          ->type_name("GROUP");
  recv->add_flag("--no-ack", recv_flags->no_ack,
                 "Acknowledge nothing: `channels ack` does, as long as this command runs")
      ->needs(group);
  recv->add_flag("--shared-memory", recv_flags->shared_memory,
                 "Straight from the sender's memory: as the receiver of a channel of the form ring")
      ->excludes(from)
      ->excludes(group);

  auto follow_flags = std::make_shared<RecvFlags>();
  follow_flags->follows = true;
  Command* follow = add_leaf(channels, context, "follow",
                             "Observe messages and take nothing away, until the channel is closed",
                             [&context, follow_flags] { return receive(context, *follow_flags); });
  add_output_flags(*follow, *follow_flags);
  add_start_flags(*follow, follow_flags->start, "what comes from now on");
}

}  // namespace zsync::cli
