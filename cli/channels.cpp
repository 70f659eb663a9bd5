// `zsyncctl channels`.
#include <memory>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "cli/channel_groups.hpp"
#include "cli/channel_policy.hpp"
#include "cli/channel_requests.hpp"
#include "cli/channel_select.hpp"
#include "cli/channel_show.hpp"
#include "cli/channel_stream.hpp"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/text.hpp"

namespace zsync::cli {
namespace {

constexpr const char* kNameHelp = "Name of the channel";
constexpr std::uint32_t kPageSize = 1000;

struct CreateFlags {
  v1::CreateChannelRequest request;
  std::string name;
  std::uint64_t capacity = 0;
  std::uint64_t bytes_max = 0;
  std::optional<std::uint64_t> disk_bytes_max;
  std::string overflow = "block", form = "queue";
  bool unbounded = false, durable = false, if_absent = false;
  PolicyFlags policy;
};

using OneChannel = absl::StatusOr<v1::Channel> (client::Channels::*)(const std::string&,
                                                                     const client::CallOptions&);

// `get` and `close`: a name in, the channel out.
Command* add_one(Command& channels, Context& context, const char* verb, const char* help,
                 OneChannel method) {
  auto name = std::make_shared<std::string>();
  Command* leaf =
      add_leaf(channels, context, verb, help, [&context, name, method]() -> absl::StatusOr<int> {
        absl::StatusOr<client::Client*> client = context.client();
        if (!client.ok()) return client.status();
        const absl::StatusOr<client::CallOptions> call = context.call();
        if (!call.ok()) return call.status();
        client::Channels handle = (*client)->channels();
        const auto channel = (handle.*method)(*name, *call);
        if (!channel.ok()) return channel.status();
        context.show(*channel, channel->spec().name(),
                     [&] { return channel_details(*channel, context.color()); });
        return static_cast<int>(kExitOk);
      });
  leaf->add_option("NAME", *name, kNameHelp)->required();
  return leaf;
}

absl::StatusOr<int> create(Context& context, const CreateFlags& flags) {
  v1::CreateChannelRequest request;
  v1::ChannelSpec& spec = *request.mutable_spec();
  spec.set_name(flags.name);
  spec.set_capacity(flags.capacity);
  spec.set_unbounded(flags.unbounded);
  spec.set_bytes_max(flags.bytes_max);
  if (flags.disk_bytes_max) spec.set_disk_bytes_max(*flags.disk_bytes_max);
  spec.set_overflow(flags.overflow == "error"         ? v1::OVERFLOW_ERROR
                    : flags.overflow == "drop_oldest" ? v1::OVERFLOW_DROP_OLDEST
                                                      : v1::OVERFLOW_BLOCK);
  spec.set_class_(flags.durable ? v1::CHANNEL_CLASS_DURABLE : v1::CHANNEL_CLASS_MEMORY);
  v1::ChannelForm form = v1::CHANNEL_FORM_QUEUE;
  v1::ChannelForm_Parse(absl::StrCat("CHANNEL_FORM_", absl::AsciiStrToUpper(flags.form)), &form);
  spec.set_form(form);
  request.set_if_absent(flags.if_absent);
  if (absl::Status set = set_policy(flags.policy, *spec.mutable_policy()); !set.ok()) return set;
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto channel = (*client)->channels().create(request, *call);
  if (!channel.ok()) return channel.status();
  context.show(*channel, channel->spec().name(), [&] { return channel->spec().name() + "\n"; });
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> list(Context& context) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  Table table({"NAME", "CLASS", "STATE", "HELD", "CAPACITY", "SENT", "RECEIVED", "WAITING"});
  ListPrinter printer(context);
  v1::ListChannelsRequest request;
  request.set_page_size(kPageSize);
  do {
    const auto reply = (*client)->channels().list(request, *call);
    if (!reply.ok()) return reply.status();
    for (const v1::Channel& channel : reply->channels()) {
      if (printer.add(channel, channel.spec().name())) continue;
      table.add(
          {{channel.spec().name()},
           {kind_of(channel.spec())},
           {channel.closed() ? "closed" : "open", channel.closed() ? Color::kDim : Color::kGood},
           {absl::StrCat(channel.depth())},
           {channel.spec().unbounded() ? "-" : capacity_words(channel.spec())},
           {absl::StrCat(channel.sent())},
           {absl::StrCat(channel.received())},
           {absl::StrCat(channel.senders_waiting(), "/", channel.receivers_waiting())}});
    }
    request.set_page_token(reply->next_page_token());
  } while (!request.page_token().empty());
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names())
    context.show_table(table, "no channels");
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> remove(Context& context, const std::vector<std::string>& names) {
  if (!context.confirm(absl::StrCat("forget ", names.size(), " channels and what is in them?"))) {
    return static_cast<int>(kExitFailed);
  }
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  for (const std::string& name : names) {
    if (absl::Status status = (*client)->channels().remove(name, *call); !status.ok())
      return status;
  }
  return static_cast<int>(kExitOk);
}

void add_create(Command& channels, Context& context) {
  auto flags = std::make_shared<CreateFlags>();
  Command* leaf = add_leaf(channels, context, "create", "Make a channel",
                           [&context, flags] { return create(context, *flags); });
  leaf->add_option("NAME", flags->name, "1..128 bytes of [A-Za-z0-9._-]")->required();
  auto* capacity = leaf->add_option("--capacity", flags->capacity,
                                    "Messages held before senders wait (default 1024)")
                       ->type_name("N");
  leaf->add_flag("--unbounded", flags->unbounded, "Only the byte ceiling holds senders back")
      ->excludes(capacity);
  leaf->add_option("--bytes-max", flags->bytes_max, "Ceiling of what is held (default 256MiB)")
      ->in_bytes()
      ->type_name("SIZE");
  leaf->add_option("--disk-max", flags->disk_bytes_max,
                   "What an unbounded memory channel puts on disk beyond that (default 1GiB); 0: "
                   "nothing")
      ->in_bytes()
      ->type_name("SIZE");
  leaf->add_option("--overflow", flags->overflow,
                   "What a full channel does: block, error or drop_oldest")
      ->one_of({"block", "error", "drop_oldest"})
      ->type_name("WHAT");
  leaf->add_option("--form", flags->form,
                   "queue: each message to one receiver; latest: the newest of each key; "
                   "broadcast: all to every follower; request: questions and answers; ring: shared "
                   "memory between one sender and one receiver")
      ->one_of({"queue", "latest", "broadcast", "request", "ring"})
      ->type_name("FORM");
  leaf->add_flag("--durable", flags->durable, "Accepted means on disk");
  leaf->add_flag("--if-absent", flags->if_absent, "An equal channel that exists is a success");
  add_policy_flags(*leaf, flags->policy);
}

}  // namespace

void add_channels(Command& app, Context& context) {
  add_noun(app, "channels", "channel", "Named message streams between processes",
           [&context](Command& channels) {
             add_create(channels, context);
             add_channel_streams(channels, context);
             add_channel_select(channels, context);
             add_channel_groups(channels, context);
             add_channel_set(channels, context);
             add_channel_requests(channels, context);
             add_leaf(channels, context, "list", "Every channel",
                      [&context] { return list(context); });
             add_one(channels, context, "get",
                     "One channel in full, and what each of its consumers waits for (show)",
                     &client::Channels::get)
                 ->alias("show");
             add_one(channels, context, "close", "Later sends fail, receivers drain what is there",
                     &client::Channels::close);
             auto names = std::make_shared<std::vector<std::string>>();
             add_leaf(channels, context, "remove", "Forget channels and what is in them",
                      [&context, names] { return remove(context, *names); })
                 ->add_option("NAME", *names, kNameHelp)
                 ->required();
           });
}

}  // namespace zsync::cli
