#include "daemon/channels/channel.hpp"

#include <algorithm>
#include <cctype>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {

absl::Status validate_channel_name(const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '_' || c == '-';
  });
  if (!name.empty() && name.size() <= kChannelNameBytesMax && plain && name[0] != '.') {
    return absl::OkStatus();
  }
  return fault(
      absl::StatusCode::kInvalidArgument,
      absl::StrCat("channel name \"", absl::CHexEscape(name.substr(0, 200)), "\" is not allowed"),
      {"name",
       "INVALID",
       absl::StrCat("channel_name_bytes_max = ", kChannelNameBytesMax),
       "use 1 to 128 of A-Z a-z 0-9 . _ - and no leading dot",
       {}});
}

std::string encode_message(const std::string& trace, const std::string& data) {
  std::string out;
  out.reserve(1 + trace.size() + data.size());
  out.push_back(static_cast<char>(std::min<size_t>(trace.size(), 255)));
  out.append(trace, 0, 255);
  out.append(data);
  return out;
}

std::optional<Message> decode_message(const segment_log::Record& record) {
  if (record.payload.empty()) return std::nullopt;
  const size_t trace = static_cast<unsigned char>(record.payload[0]);
  if (record.payload.size() < 1 + trace) return std::nullopt;
  return Message{record.seq, record.time_unix_nano, std::string(record.payload.substr(1, trace)),
                 std::string(record.payload.substr(1 + trace))};
}

}  // namespace zsync::daemon
