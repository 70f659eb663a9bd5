// Addresses of IP sockets: IPv4 and IPv6, with and without a port. Streams: zsync/tcp.hpp;
// datagrams: zsync/udp.hpp.
//
//   absl::StatusOr<zsync::SocketAddress> address = zsync::SocketAddress::parse("[::1]:8080");
//
// An address is a value: copied, compared, ordered (IPv4 first) and hashed (absl and std). Nothing
// here asks a name server; host names are refused.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

namespace zsync {

// An IPv4 or IPv6 address.
class IpAddress {
 public:
  // 0.0.0.0: every IPv4 address of this machine, for bind.
  constexpr IpAddress() = default;
  // The address of these bytes, in the order in which they are written.
  static constexpr IpAddress v4(std::array<uint8_t, 4> bytes) {
    IpAddress address;
    for (size_t i = 0; i < bytes.size(); ++i) address.bytes_[i] = bytes[i];
    return address;
  }
  // The same for IPv6. `scope` is the number of the interface that a link-local address (fe80::)
  // belongs to; 0: none.
  static constexpr IpAddress v6(std::array<uint8_t, 16> bytes, uint32_t scope = 0) {
    IpAddress address;
    address.v6_ = true;
    address.bytes_ = bytes;
    address.scope_ = scope;
    return address;
  }
  // 0.0.0.0, for bind: every IPv4 address of this machine.
  static constexpr IpAddress any_v4() { return IpAddress(); }
  // ::, for bind: every address of this machine, also those of IPv4 unless v6_only is set.
  static constexpr IpAddress any_v6() { return v6({}); }
  // 127.0.0.1, this machine.
  static constexpr IpAddress loopback_v4() { return v4({127, 0, 0, 1}); }
  // ::1, this machine.
  static constexpr IpAddress loopback_v6() {
    return v6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  }

  // Reads "192.0.2.1" (four decimal numbers without leading zeros), "2001:db8::1" in any form of
  // RFC 4291, or "fe80::1%eth0" with the name or the number of an interface.
  //
  // Errors: kInvalidArgument for anything else.
  static absl::StatusOr<IpAddress> parse(std::string_view text);
  // The text that parse() reads; IPv6 in the form of RFC 5952: lower case, no leading zeros, the
  // first longest run of at least two zero fields as `::`, ::ffff:192.0.2.1 with its IPv4 part in
  // decimal. A scope is written as a number.
  std::string to_string() const;

  // Whether it is an IPv4 address.
  constexpr bool is_v4() const { return !v6_; }
  // Whether it is an IPv6 address.
  constexpr bool is_v6() const { return v6_; }
  // 0.0.0.0 or ::.
  bool is_unspecified() const;
  // 127.0.0.0/8 or ::1; of an IPv4 address mapped into IPv6 as of that address, here and below.
  bool is_loopback() const;
  // 224.0.0.0/4 or ff00::/8.
  bool is_multicast() const;
  // 192.0.2.1 for ::ffff:192.0.2.1, which is how an IPv6 socket shows an IPv4 peer; else itself.
  IpAddress unmapped() const;

  // 4 or 16 bytes, in the order in which they are written.
  std::span<const uint8_t> bytes() const { return std::span(bytes_).first(v6_ ? 16 : 4); }
  // The interface of a link-local IPv6 address; 0: none.
  constexpr uint32_t scope() const { return scope_; }

  friend constexpr auto operator<=>(const IpAddress&, const IpAddress&) = default;
  // For absl's containers.
  template <typename H>
  friend H AbslHashValue(H hash, const IpAddress& address) {
    return H::combine(std::move(hash), address.v6_, address.bytes_, address.scope_);
  }

 private:
  bool v6_ = false;
  std::array<uint8_t, 16> bytes_{};  // IPv4: the first four, the others are 0
  uint32_t scope_ = 0;
};

// Where a socket is: an address and a port.
struct SocketAddress {
  IpAddress ip;       // the machine, or one of its interfaces
  uint16_t port = 0;  // 0, for bind: one that the system chooses

  // Reads "192.0.2.1:80" or "[2001:db8::1]:80"; the port is a decimal number up to 65535.
  //
  // Errors: kInvalidArgument for anything else, with what is missing.
  static absl::StatusOr<SocketAddress> parse(std::string_view text);
  // The text that parse() reads.
  std::string to_string() const;

  friend constexpr auto operator<=>(const SocketAddress&, const SocketAddress&) = default;
  // For absl's containers.
  template <typename H>
  friend H AbslHashValue(H hash, const SocketAddress& address) {
    return H::combine(std::move(hash), address.ip, address.port);
  }
};

}  // namespace zsync

// For the containers of the standard library.
template <>
struct std::hash<zsync::IpAddress> {
  // Equal addresses have equal hashes.
  size_t operator()(const zsync::IpAddress& address) const noexcept;
};
// For the containers of the standard library.
template <>
struct std::hash<zsync::SocketAddress> {
  // Equal addresses have equal hashes.
  size_t operator()(const zsync::SocketAddress& address) const noexcept;
};
