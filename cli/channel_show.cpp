#include "cli/channel_show.hpp"

#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/channel_policy.hpp"
#include "cli/render/table.hpp"
#include "cli/render/text.hpp"

namespace zsync::cli {
namespace {

std::string class_word(const v1::ChannelSpec& spec) {
  return spec.class_() == v1::CHANNEL_CLASS_DURABLE ? "durable" : "memory";
}

std::string overflow_word(v1::Overflow overflow) {
  if (overflow == v1::OVERFLOW_UNSPECIFIED) return "block";
  return absl::AsciiStrToLower(absl::StripPrefix(v1::Overflow_Name(overflow), "OVERFLOW_"));
}

std::string form_word(v1::ChannelForm form) {
  if (form == v1::CHANNEL_FORM_UNSPECIFIED) return "queue";
  return absl::AsciiStrToLower(absl::StripPrefix(v1::ChannelForm_Name(form), "CHANNEL_FORM_"));
}

std::string capacity_of(const v1::ChannelSpec& spec) {
  if (spec.unbounded()) return "unbounded";
  if (spec.form() == v1::CHANNEL_FORM_RING) return capacity_words(spec);
  const char* what = spec.form() == v1::CHANNEL_FORM_LATEST    ? " keys"
                     : spec.form() == v1::CHANNEL_FORM_REQUEST ? " requests"
                                                               : " messages";
  return absl::StrCat(spec.capacity(), what);
}

std::string requests_line(const v1::RequestFigures& requests) {
  return absl::StrCat(requests.responders(), " responders, ", requests.waiting(), " waiting, ",
                      requests.in_hand(), " in hand, ", requests.answered(), " answered, ",
                      requests.late(), " answered too late");
}

std::string place_line(std::int64_t pid) { return pid == 0 ? "none" : absl::StrCat("pid ", pid); }

std::string group_line(const v1::ChannelGroup& group) {
  return absl::StrCat(group.lag(), " unsettled, ", group.in_hand(), " in hand, ", group.consumers(),
                      " consumers: ", printable(group.why()));
}

std::string held_line(const v1::Channel& channel) {
  std::string line = absl::StrCat(channel.depth(), " messages, ", human_bytes(channel.bytes()));
  if (channel.disk_messages() == 0) return line;
  return absl::StrCat(line, " in memory; ", channel.disk_messages(), " of them on disk, ",
                      human_bytes(channel.disk_bytes()));
}

// "pid 4711 (python3), ".
template <typename Attending>
std::string who(const Attending& one) {
  if (one.pid() == 0) return "";
  const std::string name =
      one.command().empty() ? "" : absl::StrCat(" (", printable(one.command()), ")");
  return absl::StrCat("pid ", one.pid(), name, ", ");
}

std::string line_of(const v1::ChannelConsumer& consumer) {
  return absl::StrCat(who(consumer), consumer.delivered(), " given, ", consumer.in_hand(),
                      " in hand: ", printable(consumer.why()));
}

std::string line_of(const v1::ChannelFollower& follower) {
  const std::string missed =
      follower.missed() == 0 ? "" : absl::StrCat(follower.missed(), " missed, ");
  return absl::StrCat(who(follower), follower.delivered(), " given, ", missed, "next is ",
                      follower.position(), ": ", printable(follower.why()));
}

std::string line_of(const v1::ChannelResponder& responder) {
  return absl::StrCat(who(responder), responder.delivered(), " given, ", responder.answered(),
                      " answered: ", printable(responder.why()));
}

using Rows = std::vector<std::pair<std::string, std::string>>;

// `connected`: how many there are, also of those that are not told.
template <typename Attending>
void add_attending(const Attending& attending, const char* title, uint64_t connected, Rows& rows) {
  for (const auto& one : attending) rows.push_back({absl::StrCat(title, one.id()), line_of(one)});
  const auto told = static_cast<uint64_t>(attending.size());
  if (connected <= told) return;
  rows.push_back({absl::StrCat(title, "..."), absl::StrCat("and ", connected - told, " more")});
}

}  // namespace

std::string capacity_words(const v1::ChannelSpec& spec) {
  return spec.form() == v1::CHANNEL_FORM_RING ? human_bytes(spec.bytes_max())
                                              : absl::StrCat(spec.capacity());
}

std::string kind_of(const v1::ChannelSpec& spec) {
  const std::string form = form_word(spec.form());
  return form == "queue" ? class_word(spec) : absl::StrCat(class_word(spec), " ", form);
}

std::string channel_details(const v1::Channel& channel, bool color) {
  const v1::ChannelSpec& spec = channel.spec();
  Rows rows = {{"name", spec.name()},
               {"id", channel.id()},
               {"class", class_word(spec)},
               {"form", form_word(spec.form())},
               {"capacity", capacity_of(spec)},
               {"overflow", overflow_word(spec.overflow())},
               {"state", channel.closed() ? "closed" : "open"},
               {"held", held_line(channel)},
               {"next seq", absl::StrCat(channel.next_seq())},
               {"sent", absl::StrCat(channel.sent())},
               {"received", absl::StrCat(channel.received())},
               {"dropped", absl::StrCat(channel.dropped())},
               {"waiting", absl::StrCat(channel.senders_waiting(), " senders, ",
                                        channel.receivers_waiting(), " receivers")},
               {"created", utc_time(channel.created_unix_nano())}};
  if (channel.has_ring()) {
    rows.push_back({"sender", place_line(channel.ring().sender_pid())});
    rows.push_back({"receiver", place_line(channel.ring().receiver_pid())});
  }
  if (channel.has_requests()) rows.push_back({"requests", requests_line(channel.requests())});
  describe_policy(channel, rows);
  if (!channel.why().empty()) rows.push_back({"why", printable(channel.why())});
  add_attending(channel.consumers(), "receiver ", channel.receivers_connected(), rows);
  add_attending(channel.followers(), "follower ", channel.followers_connected(), rows);
  add_attending(channel.responders(), "responder ", channel.requests().responders(), rows);
  for (const v1::ChannelGroup& group : channel.groups()) {
    rows.push_back({absl::StrCat("group ", group.spec().name()), group_line(group)});
    add_attending(group.attending(), "  consumer ", group.consumers(), rows);
  }
  return key_values(rows, color);
}

}  // namespace zsync::cli
