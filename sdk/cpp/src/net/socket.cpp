#include "zsync/socket.hpp"

#include <arpa/inet.h>
#include <net/if.h>

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace zsync {
namespace {

constexpr size_t kTextBytesMax = 80;  // of an address in text, its scope and port included
constexpr size_t kFields = 8;         // 16 bits each, of an IPv6 address
constexpr size_t kMappedPrefixBytes = 12;

// absl's string functions do not take std's views everywhere.
absl::string_view view(std::string_view text) { return {text.data(), text.size()}; }

absl::Status no_address(std::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("address \"", view(text.substr(0, kTextBytesMax)),
                   "\": neither IPv4 (192.0.2.1) nor IPv6 (2001:db8::1); names are not looked up"));
}

bool is_decimal(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

// -> 0 for an interface that is not there.
uint32_t scope_of(std::string_view text) {
  uint32_t number = 0;
  if (is_decimal(text)) return absl::SimpleAtoi(view(text), &number) ? number : 0;
  return ::if_nametoindex(std::string(text).c_str());
}

bool is_mapped(const IpAddress& address) {
  const std::span<const uint8_t> bytes = address.bytes();
  return address.is_v6() && bytes[10] == 0xff && bytes[11] == 0xff &&
         std::all_of(bytes.begin(), bytes.begin() + 10, [](uint8_t byte) { return byte == 0; });
}

std::string v4_text(std::span<const uint8_t> bytes) {
  return absl::StrCat(bytes[0], ".", bytes[1], ".", bytes[2], ".", bytes[3]);
}

// RFC 5952, section 4.
std::string v6_text(std::span<const uint8_t> bytes) {
  std::array<uint16_t, kFields> fields;
  for (size_t i = 0; i < kFields; ++i) {
    fields[i] = static_cast<uint16_t>(bytes[2 * i] << 8 | bytes[2 * i + 1]);
  }
  size_t run_begin = kFields, run_length = 1;  // a single zero field is not shortened
  for (size_t begin = 0; begin < kFields; ++begin) {
    size_t end = begin;
    while (end < kFields && fields[end] == 0) ++end;
    if (end - begin > run_length) run_begin = begin, run_length = end - begin;
  }
  std::string text;
  for (size_t i = 0; i < kFields; ++i) {
    if (i == run_begin) {
      text += "::";
      i += run_length - 1;
      continue;
    }
    if (!text.empty() && text.back() != ':') text += ':';
    absl::StrAppend(&text, absl::Hex(fields[i]));
  }
  return text;
}

}  // namespace

absl::StatusOr<IpAddress> IpAddress::parse(std::string_view text) {
  if (text.size() > kTextBytesMax || text.find('\0') != std::string_view::npos) {
    return no_address(text);
  }
  std::array<uint8_t, 4> four;
  if (::inet_pton(AF_INET, std::string(text).c_str(), four.data()) == 1) return v4(four);
  const size_t percent = text.find('%');
  std::array<uint8_t, 16> sixteen;
  if (::inet_pton(AF_INET6, std::string(text.substr(0, percent)).c_str(), sixteen.data()) != 1) {
    return no_address(text);
  }
  if (percent == std::string_view::npos) return v6(sixteen);
  const uint32_t scope = scope_of(text.substr(percent + 1));
  if (scope == 0) {
    return absl::InvalidArgumentError(absl::StrCat("address \"", view(text),
                                                   "\": there is no interface \"",
                                                   view(text.substr(percent + 1)), "\" here"));
  }
  return v6(sixteen, scope);
}

std::string IpAddress::to_string() const {
  if (is_v4()) return v4_text(bytes());
  std::string text = is_mapped(*this)
                         ? absl::StrCat("::ffff:", v4_text(bytes().subspan(kMappedPrefixBytes)))
                         : v6_text(bytes());
  if (scope_ != 0) absl::StrAppend(&text, "%", scope_);
  return text;
}

bool IpAddress::is_unspecified() const {
  const IpAddress plain = unmapped();
  return std::all_of(plain.bytes_.begin(), plain.bytes_.end(), [](uint8_t b) { return b == 0; });
}

bool IpAddress::is_loopback() const {
  const IpAddress plain = unmapped();
  return plain.is_v4() ? plain.bytes_[0] == 127 : plain.bytes_ == loopback_v6().bytes_;
}

bool IpAddress::is_multicast() const {
  const IpAddress plain = unmapped();
  return plain.is_v4() ? plain.bytes_[0] >> 4 == 0xe : plain.bytes_[0] == 0xff;
}

IpAddress IpAddress::unmapped() const {
  if (!is_mapped(*this)) return *this;
  return v4({bytes_[12], bytes_[13], bytes_[14], bytes_[15]});
}

absl::StatusOr<SocketAddress> SocketAddress::parse(std::string_view text) {
  const size_t colon = text.rfind(':');
  const std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  const auto refused = [text](std::string_view reason) {
    return absl::InvalidArgumentError(
        absl::StrCat("address \"", view(text.substr(0, kTextBytesMax)), "\": ", view(reason)));
  };
  if (colon == std::string_view::npos || text.back() == ']') {
    return refused("the port is missing; write 192.0.2.1:80 or [2001:db8::1]:80");
  }
  if (!bracketed && host.find(':') != std::string_view::npos) {
    return refused("an IPv6 address with a port stands in brackets: [2001:db8::1]:80");
  }
  const std::string_view digits = text.substr(colon + 1);
  uint32_t port = 0;
  if (!is_decimal(digits) || !absl::SimpleAtoi(view(digits), &port) || port > UINT16_MAX) {
    return refused("the port is a number from 0 to 65535");
  }
  absl::StatusOr<IpAddress> ip =
      IpAddress::parse(bracketed ? host.substr(1, host.size() - 2) : host);
  if (!ip.ok()) return ip.status();
  if (bracketed && ip->is_v4()) return refused("only IPv6 addresses stand in brackets");
  return SocketAddress{*ip, static_cast<uint16_t>(port)};
}

std::string SocketAddress::to_string() const {
  return ip.is_v4() ? absl::StrCat(ip.to_string(), ":", port)
                    : absl::StrCat("[", ip.to_string(), "]:", port);
}

}  // namespace zsync

size_t std::hash<zsync::IpAddress>::operator()(const zsync::IpAddress& address) const noexcept {
  const std::span<const uint8_t> bytes = address.bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return std::hash<std::string_view>{}(text) ^ address.scope();
}

size_t std::hash<zsync::SocketAddress>::operator()(
    const zsync::SocketAddress& address) const noexcept {
  return std::hash<zsync::IpAddress>{}(address.ip) * 31 + address.port;
}
