#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "zsync/trace/context.hpp"

namespace zsync::trace {
namespace {

constexpr size_t kKeyBytesMax = 256;
constexpr size_t kValueBytesMax = 256;

absl::string_view inner(std::string_view text) { return {text.data(), text.size()}; }

bool key_character(char c) {
  return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_' || c == '-' || c == '*' ||
         c == '/' || c == '@';
}

bool key_is_good(absl::string_view key) {
  if (key.empty() || key.size() > kKeyBytesMax) return false;
  if (!absl::ascii_islower(key[0]) && !absl::ascii_isdigit(key[0])) return false;
  return std::all_of(key.begin(), key.end(), key_character) &&
         std::count(key.begin(), key.end(), '@') <= 1;
}

bool value_is_good(absl::string_view value) {
  if (value.empty() || value.size() > kValueBytesMax || value.back() == ' ') return false;
  return std::all_of(value.begin(), value.end(),
                     [](char c) { return c >= 0x20 && c <= 0x7e && c != ',' && c != '='; });
}

absl::string_view key_of(absl::string_view member) { return member.substr(0, member.find('=')); }

absl::Status refused(absl::string_view member, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("tracestate: \"", absl::CHexEscape(member.substr(0, 64)), "\": ", why));
}

absl::Status check_member(absl::string_view member) {
  const size_t equals = member.find('=');
  if (equals == member.npos) return refused(member, "not key=value");
  if (!key_is_good(member.substr(0, equals))) {
    return refused(member,
                   "a key is up to 256 of a-z 0-9 _ - * / @ and begins with a letter or digit");
  }
  if (!value_is_good(member.substr(equals + 1))) {
    return refused(member, "a value is up to 256 printable characters without , and =");
  }
  return absl::OkStatus();
}

std::vector<absl::string_view> split(absl::string_view header) {
  std::vector<absl::string_view> members;
  for (absl::string_view member : absl::StrSplit(header, ',')) {
    member = absl::StripAsciiWhitespace(member);
    if (!member.empty()) members.push_back(member);
  }
  return members;
}

size_t joined_bytes(const std::vector<absl::string_view>& members) {
  size_t bytes = members.empty() ? 0 : members.size() - 1;
  for (const absl::string_view member : members) bytes += member.size();
  return bytes;
}

// Long members go first, then the last ones: those in front were written last.
std::string join_what_fits(std::vector<absl::string_view> members) {
  while (joined_bytes(members) > TraceState::kBytesMax) {
    auto gone = std::find_if(members.rbegin(), members.rend(), [](absl::string_view member) {
      return member.size() > TraceState::kLongMember;
    });
    if (gone == members.rend()) gone = members.rbegin();
    members.erase(std::next(gone).base());
  }
  return absl::StrJoin(members, ",");
}

}  // namespace

absl::StatusOr<TraceState> TraceState::parse(std::string_view header) {
  const std::vector<absl::string_view> members = split(inner(header));
  if (members.size() > kMembersMax) {
    return refused(members[kMembersMax], absl::StrCat("more than ", kMembersMax, " members"));
  }
  for (size_t i = 0; i < members.size(); ++i) {
    if (absl::Status status = check_member(members[i]); !status.ok()) return status;
    for (size_t k = 0; k < i; ++k) {
      if (key_of(members[k]) == key_of(members[i]))
        return refused(members[i], "its key is there twice");
    }
  }
  TraceState state;
  state.header_ = join_what_fits(members);
  return state;
}

std::optional<std::string_view> TraceState::get(std::string_view key) const {
  for (const absl::string_view member : split(header_)) {
    if (key_of(member) == inner(key)) {
      return std::string_view(member.data(), member.size()).substr(key.size() + 1);
    }
  }
  return std::nullopt;
}

absl::Status TraceState::set(std::string_view outer_key, std::string_view outer_value) {
  const absl::string_view key = inner(outer_key);
  const absl::string_view value = inner(outer_value);
  const std::string written = absl::StrCat(key, "=", value);
  if (!key_is_good(key) || !value_is_good(value)) {
    if (absl::Status status = check_member(written); !status.ok()) return status;
    return refused(written, "not key=value");
  }
  std::vector<absl::string_view> members = split(header_);
  std::erase_if(members, [key](absl::string_view member) { return key_of(member) == key; });
  members.insert(members.begin(), written);
  if (members.size() > kMembersMax) members.pop_back();
  header_ = join_what_fits(std::move(members));
  return absl::OkStatus();
}

}  // namespace zsync::trace
