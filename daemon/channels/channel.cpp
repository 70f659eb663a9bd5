#include "daemon/channels/channel.hpp"

#include <algorithm>
#include <cctype>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/store/varint.hpp"

namespace zsync::daemon {

absl::Status validate_channel_name(const std::string& name, const char* field) {
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '_' || c == '-';
  });
  if (!name.empty() && name.size() <= kChannelNameBytesMax && plain && name[0] != '.') {
    return absl::OkStatus();
  }
  return fault(
      absl::StatusCode::kInvalidArgument,
      absl::StrCat("the name \"", absl::CHexEscape(name.substr(0, 200)), "\" is not allowed"),
      {field,
       "INVALID",
       absl::StrCat("channel_name_bytes_max = ", kChannelNameBytesMax),
       "use 1 to 128 of A-Z a-z 0-9 . _ - and no leading dot",
       {}});
}

namespace {

constexpr uint64_t kHasDead = 1;

std::string encode_extra(const MessageExtra& extra) {
  std::string out;
  put_varint(out, extra.dead ? kHasDead : 0);
  put_text(out, extra.key);
  put_text(out, extra.id);
  if (extra.dead) {
    put_text(out, extra.dead->channel);
    put_text(out, extra.dead->group);
    put_varint(out, extra.dead->seq);
    put_varint(out, static_cast<uint64_t>(extra.dead->time_unix_nano));
    put_varint(out, extra.dead->deliveries);
    put_text(out, extra.dead->reason);
  }
  return out;
}

std::string next_text(VarintReader& in) { return std::string(in.take(in.next())); }

std::optional<MessageExtra> decode_extra(std::string_view bytes) {
  VarintReader in(bytes);
  MessageExtra extra;
  const uint64_t flags = in.next();
  extra.key = next_text(in);
  extra.id = next_text(in);
  if (flags & kHasDead) {
    DeadOrigin dead;
    dead.channel = next_text(in);
    dead.group = next_text(in);
    dead.seq = in.next();
    dead.time_unix_nano = static_cast<int64_t>(in.next());
    dead.deliveries = static_cast<uint32_t>(in.next());
    dead.reason = next_text(in);
    extra.dead = std::move(dead);
  }
  if (!in.ok()) return std::nullopt;
  return extra;
}

}  // namespace

std::string encode_message(const std::string& trace, const std::string& data,
                           const MessageExtra* extra) {
  std::string out;
  out.reserve(1 + trace.size() + data.size());
  out.push_back(static_cast<char>(std::min<size_t>(trace.size(), 255)));
  out.append(trace, 0, 255);
  if (extra) put_text(out, encode_extra(*extra));
  out.append(data);
  return out;
}

std::optional<Message> decode_message(const segment_log::Record& record) {
  if (record.payload.empty()) return std::nullopt;
  const size_t trace = static_cast<unsigned char>(record.payload[0]);
  if (record.payload.size() < 1 + trace) return std::nullopt;
  Message message{
      record.seq, record.time_unix_nano, std::string(record.payload.substr(1, trace)), {}, nullptr};
  VarintReader rest(record.payload.substr(1 + trace));
  if (record.stream == kExtraStream) {
    std::optional<MessageExtra> extra = decode_extra(rest.take(rest.next()));
    if (!extra || !rest.ok()) return std::nullopt;
    message.extra = std::make_shared<const MessageExtra>(std::move(*extra));
  }
  message.data = std::string(rest.rest());
  return message;
}

}  // namespace zsync::daemon
