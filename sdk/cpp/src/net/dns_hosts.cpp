#include "net/dns_hosts.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "zsync/dns.hpp"
#include "zsync/fd.hpp"

namespace zsync::net {
namespace {

constexpr size_t kLabelBytesMax = 63;

absl::string_view view(std::string_view text) { return {text.data(), text.size()}; }

std::string_view without_last_dot(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  return name;
}

// A backslash begins an escape of c-ares.
bool may_stand_in_name(char byte) { return absl::ascii_isgraph(byte) && byte != '\\'; }

std::string read_file(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  std::string text(file ? kHostsFileBytesMax : 0, '\0');
  size_t filled = 0;
  while (filled < text.size()) {
    const ssize_t count = ::read(file.get(), text.data() + filled, text.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    filled += static_cast<size_t>(count);
  }
  text.resize(filled);
  return text;
}

}  // namespace

absl::Status check_host_name(std::string_view name) {
  const auto refused = [name](absl::string_view reason) {
    return absl::InvalidArgumentError(absl::StrCat(
        "resolve \"", absl::CHexEscape(view(name.substr(0, kHostNameBytesMax))), "\": ", reason));
  };
  const std::string_view plain = without_last_dot(name);
  if (plain.empty()) return refused("the name is empty; give a host name or an address");
  if (plain.size() > kHostNameBytesMax) {
    return refused(absl::StrCat("the name has ", plain.size(), " bytes, a host name at most ",
                                kHostNameBytesMax));
  }
  if (!std::all_of(plain.begin(), plain.end(), may_stand_in_name)) {
    return refused(
        "a name has no spaces, backslashes and control characters, and its other letters are "
        "written in ASCII (xn--)");
  }
  for (const absl::string_view label : absl::StrSplit(view(plain), '.')) {
    if (label.empty()) return refused("a label between two dots is empty");
    if (label.size() > kLabelBytesMax) {
      return refused(absl::StrCat("the label \"", label, "\" has ", label.size(),
                                  " bytes, one has at most ", kLabelBytesMax));
    }
  }
  return absl::OkStatus();
}

std::vector<IpAddress> hosts_addresses(std::string_view text, std::string_view host) {
  const absl::string_view wanted = view(without_last_dot(host));
  std::vector<IpAddress> addresses;
  for (absl::string_view line : absl::StrSplit(view(text), '\n')) {
    line = line.substr(0, line.find('#'));
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    const auto names_it = [wanted](absl::string_view word) {
      return absl::EqualsIgnoreCase(word, wanted);
    };
    if (words.empty() || std::none_of(words.begin() + 1, words.end(), names_it)) continue;
    const absl::StatusOr<IpAddress> address =
        IpAddress::parse(std::string_view(words[0].data(), words[0].size()));
    if (!address.ok()) continue;
    if (std::find(addresses.begin(), addresses.end(), *address) == addresses.end()) {
      addresses.push_back(*address);
    }
  }
  return addresses;
}

std::vector<IpAddress> hosts_file_addresses(const std::string& path, std::string_view host) {
  if (path.empty()) return {};
  return hosts_addresses(read_file(path), host);
}

bool is_localhost(std::string_view host) {
  const absl::string_view plain = view(without_last_dot(host));
  return absl::EqualsIgnoreCase(plain, "localhost") ||
         absl::EndsWithIgnoreCase(plain, ".localhost");
}

}  // namespace zsync::net
