#include "cli/channel_groups.hpp"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/channel_policy.hpp"
#include "cli/durations.hpp"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/text.hpp"

namespace zsync::cli {
namespace {

constexpr const char* kChannelHelp = "Name of the channel";
constexpr const char* kGroupHelp = "Name of the group";

struct GroupFlags {
  std::string channel, group, ack_wait;
  std::uint32_t max_deliveries = 0, in_flight_max = 0;
  StartFlags start;
  bool from_now = false;
};

struct SettleFlags {
  std::string channel, group, delay, reason;
  std::vector<std::string> messages;
};

template <typename Method, typename Request>
auto call_channels(Context& context, Method method, const Request& request)
    -> decltype((std::declval<client::Channels>().*method)(request, {})) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  client::Channels channels = (*client)->channels();
  return (channels.*method)(request, *call);
}

absl::StatusOr<int> add_group(Context& context, const GroupFlags& flags) {
  v1::CreateGroupRequest request;
  request.set_channel(flags.channel);
  request.mutable_spec()->set_name(flags.group);
  request.mutable_spec()->set_max_deliveries(flags.max_deliveries);
  request.mutable_spec()->set_in_flight_max(flags.in_flight_max);
  const absl::StatusOr<Start> start = start_of(flags.start);
  if (!start.ok()) return start.status();
  request.set_from_seq(start->seq);
  request.set_from_start(start->start);
  request.set_from_time_unix_nano(start->time_unix_nano);
  request.set_from_now(flags.from_now || start->end);
  if (!flags.ack_wait.empty()) {
    absl::Status set =
        set_duration(flags.ack_wait, "--ack-wait", *request.mutable_spec()->mutable_ack_wait());
    if (!set.ok()) return set;
  }
  const auto group = call_channels(context, &client::Channels::create_group, request);
  if (!group.ok()) return group.status();
  context.show(*group, group->spec().name(),
               [&] { return absl::StrCat(group->channel(), " ", group->spec().name(), "\n"); });
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> list_groups(Context& context, const std::string& name) {
  const auto channel = call_channels(context, &client::Channels::get, name);
  if (!channel.ok()) return channel.status();
  Table table({"GROUP", "LAG", "IN HAND", "AGAIN", "DEAD", "CONSUMERS", "WHY"});
  ListPrinter printer(context);
  for (const v1::ChannelGroup& group : channel->groups()) {
    if (printer.add(group, group.spec().name())) continue;
    table.add({{group.spec().name()},
               {absl::StrCat(group.lag())},
               {absl::StrCat(group.in_hand())},
               {absl::StrCat(group.ready() + group.delayed())},
               {absl::StrCat(group.dead())},
               {absl::StrCat(group.consumers())},
               {printable(group.why())}});
  }
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names())
    context.show_table(table, "no groups");
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> remove_group(Context& context, const GroupFlags& flags) {
  if (!context.confirm(absl::StrCat("forget how far ", flags.group, " came?"))) {
    return static_cast<int>(kExitFailed);
  }
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  absl::Status removed = (*client)->channels().remove_group(flags.channel, flags.group, *call);
  if (!removed.ok()) return removed;
  return static_cast<int>(kExitOk);
}

// SEQ, or SEQ:DELIVERY for one delivery only.
template <typename Request>
absl::StatusOr<Request> settling(const SettleFlags& flags) {
  Request request;
  request.set_channel(flags.channel);
  request.set_group(flags.group);
  for (const std::string& word : flags.messages) {
    const std::vector<std::string> parts = absl::StrSplit(word, ':');
    v1::Delivered& one = *request.add_messages();
    std::uint64_t seq = 0;
    std::uint32_t delivery = 0;
    if (parts.size() > 2 || !absl::SimpleAtoi(parts[0], &seq) ||
        (parts.size() == 2 && !absl::SimpleAtoi(parts[1], &delivery))) {
      return usage_error(absl::StrCat("\"", word, "\" is no message: give SEQ or SEQ:DELIVERY"));
    }
    one.set_seq(seq);
    one.set_delivery(delivery);
  }
  return request;
}

template <typename Request, typename Method>
absl::StatusOr<int> settle(Context& context, const Request& request, Method method) {
  const auto reply = call_channels(context, method, request);
  if (!reply.ok()) return reply.status();
  if (context.json() || context.jsonl()) context.show(*reply, "", [] { return std::string(); });
  for (const v1::AckRefusal& refused : reply->refused()) {
    context.note(printable(refused.message()));
  }
  return static_cast<int>(reply->refused().empty() ? kExitOk : kExitConflict);
}

void add_settling_arguments(Command& leaf, SettleFlags& flags) {
  leaf.add_option("NAME", flags.channel, kChannelHelp)->required();
  leaf.add_option("GROUP", flags.group, kGroupHelp)->required();
  leaf.add_option("SEQ", flags.messages, "Messages; SEQ:DELIVERY means that delivery and no later")
      ->required();
}

void add_settling(Command& channels, Context& context) {
  auto ack = std::make_shared<SettleFlags>();
  add_settling_arguments(*add_leaf(channels, context, "ack", "Settle messages of a group for good",
                                   [&context, ack]() -> absl::StatusOr<int> {
                                     const auto request = settling<v1::AckRequest>(*ack);
                                     if (!request.ok()) return request.status();
                                     return settle(context, *request, &client::Channels::ack);
                                   }),
                         *ack);
  auto extend = std::make_shared<SettleFlags>();
  add_settling_arguments(
      *add_leaf(channels, context, "extend", "Begin the ack wait of messages anew",
                [&context, extend]() -> absl::StatusOr<int> {
                  const auto request = settling<v1::ExtendRequest>(*extend);
                  if (!request.ok()) return request.status();
                  return settle(context, *request, &client::Channels::extend);
                }),
      *extend);
  auto nack = std::make_shared<SettleFlags>();
  Command* leaf = add_leaf(channels, context, "nack", "Give messages back, to be delivered again",
                           [&context, nack]() -> absl::StatusOr<int> {
                             auto request = settling<v1::NackRequest>(*nack);
                             if (!request.ok()) return request.status();
                             request->set_reason(nack->reason);
                             if (!nack->delay.empty()) {
                               absl::Status set =
                                   set_duration(nack->delay, "--delay", *request->mutable_delay());
                               if (!set.ok()) return set;
                             }
                             return settle(context, *request, &client::Channels::nack);
                           });
  add_settling_arguments(*leaf, *nack);
  leaf->add_option("--delay", nack->delay, "Not before this time")->type_name("DURATION");
  leaf->add_option("--reason", nack->reason, "What a dead letter will say")->type_name("TEXT");
}

}  // namespace

void add_channel_groups(Command& channels, Context& context) {
  auto flags = std::make_shared<GroupFlags>();
  Command* add = add_leaf(channels, context, "add-group",
                          "Make a consumer group: each message to one of its consumers, again "
                          "until it is acknowledged",
                          [&context, flags] { return add_group(context, *flags); });
  add->add_option("NAME", flags->channel, kChannelHelp)->required();
  add->add_option("GROUP", flags->group, kGroupHelp)->required();
  add->add_option("--ack-wait", flags->ack_wait,
                  "Until an unacknowledged message is delivered again (default 30s)")
      ->type_name("DURATION");
  add->add_option("--max-deliveries", flags->max_deliveries,
                  "Then a message goes to NAME.dead (default 5)")
      ->type_name("N");
  add->add_option("--in-flight", flags->in_flight_max,
                  "Unacknowledged messages of one consumer (default 1000)")
      ->type_name("N");
  add_start_flags(*add, flags->start, "the oldest that was not received");
  add->add_flag("--from-now", flags->from_now, "Only what is sent from now on: --from end")
      ->excludes(add->find_flag("--from"))
      ->excludes(add->find_flag("--from-time"));

  auto list = std::make_shared<std::string>();
  add_leaf(channels, context, "groups", "Groups of a channel, and why they wait or lag",
           [&context, list] { return list_groups(context, *list); })
      ->add_option("NAME", *list, kChannelHelp)
      ->required();

  auto gone = std::make_shared<GroupFlags>();
  Command* remove = add_leaf(channels, context, "remove-group", "Forget how far a group came",
                             [&context, gone] { return remove_group(context, *gone); });
  remove->add_option("NAME", gone->channel, kChannelHelp)->required();
  remove->add_option("GROUP", gone->group, kGroupHelp)->required();
  add_settling(channels, context);
}

}  // namespace zsync::cli
