#include "zsync/socket.hpp"

#include <gtest/gtest.h>

#include <string>
#include <unordered_set>

#include "absl/container/flat_hash_set.h"

namespace zsync {
namespace {

std::string shown(std::string_view text) {
  const absl::StatusOr<IpAddress> address = IpAddress::parse(text);
  return address.ok() ? address->to_string() : std::string(address.status().message());
}

TEST(IpAddress, Ipv6IsWrittenAsRfc5952Says) {
  EXPECT_EQ(shown("2001:0DB8:0000:0000:0000:0000:0002:0001"), "2001:db8::2:1");
  EXPECT_EQ(shown("2001:db8:0:1:1:1:1:1"), "2001:db8:0:1:1:1:1:1");  // one field stays
  EXPECT_EQ(shown("2001:0:0:1:0:0:0:1"), "2001:0:0:1::1");           // the longest run
  EXPECT_EQ(shown("2001:db8:0:0:1:0:0:1"), "2001:db8::1:0:0:1");     // the first of equal ones
  EXPECT_EQ(shown("::"), "::");
  EXPECT_EQ(shown("::1"), "::1");
  EXPECT_EQ(shown("1::"), "1::");
  EXPECT_EQ(shown("0:1:2:3:4:5:0:0"), "0:1:2:3:4:5::");
  EXPECT_EQ(shown("::1:2"), "::1:2");
  EXPECT_EQ(shown("::ffff:c000:201"), "::ffff:192.0.2.1");
  EXPECT_EQ(shown("::ffff:192.0.2.1"), "::ffff:192.0.2.1");
  EXPECT_EQ(shown("FE80::A%1"), "fe80::a%1");
  EXPECT_EQ(shown("fe80::a%lo"), "fe80::a%1");
}

TEST(IpAddress, WhatIsNoAddressIsRefusedAndNamed) {
  for (const std::string_view text :
       {"", "1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "1.2.3.4 ", "localhost", ":::", "1:2:3",
        "1:2:3:4:5:6:7:8:9", "12345::", "[::1]", "g::", "::1%"}) {
    EXPECT_EQ(IpAddress::parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(IpAddress::parse(std::string_view("1.2.3.4\0", 8)).ok());
  EXPECT_FALSE(IpAddress::parse(std::string(100'000, '1')).ok());
  EXPECT_EQ(shown("host"),
            "address \"host\": neither IPv4 (192.0.2.1) nor IPv6 (2001:db8::1); names are not "
            "looked up");
  EXPECT_EQ(shown("fe80::1%nosuch0"),
            "address \"fe80::1%nosuch0\": there is no interface \"nosuch0\" here");
}

TEST(IpAddress, KindsAreKnownAndAMappedAddressCountsAsWhatItMaps) {
  EXPECT_TRUE(IpAddress::parse("127.1.2.3")->is_loopback());
  EXPECT_TRUE(IpAddress::loopback_v6().is_loopback());
  EXPECT_TRUE(IpAddress::parse("::ffff:127.0.0.1")->is_loopback());
  EXPECT_FALSE(IpAddress::parse("::127.0.0.1")->is_loopback());
  EXPECT_TRUE(IpAddress::any_v4().is_unspecified() && IpAddress::any_v6().is_unspecified());
  EXPECT_TRUE(IpAddress::parse("239.1.1.1")->is_multicast());
  EXPECT_TRUE(IpAddress::parse("ff02::1")->is_multicast());
  EXPECT_FALSE(IpAddress::parse("223.1.1.1")->is_multicast());
  EXPECT_EQ(IpAddress::parse("::ffff:192.0.2.1")->unmapped(), IpAddress::v4({192, 0, 2, 1}));
  EXPECT_EQ(IpAddress::loopback_v6().unmapped(), IpAddress::loopback_v6());
}

TEST(SocketAddress, TheTextThatIsWrittenIsReadAgain) {
  for (const std::string_view text :
       {"127.0.0.1:80", "[::1]:80", "0.0.0.0:0", "[2001:db8::1]:65535", "[fe80::1%1]:9"}) {
    const absl::StatusOr<SocketAddress> address = SocketAddress::parse(text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->to_string(), text);
  }
}

TEST(SocketAddress, WhatIsMissingIsSaid) {
  const auto message = [](std::string_view text) {
    return std::string(SocketAddress::parse(text).status().message());
  };
  EXPECT_EQ(message("127.0.0.1"),
            "address \"127.0.0.1\": the port is missing; write 192.0.2.1:80 or [2001:db8::1]:80");
  EXPECT_EQ(message("[::1]"),
            "address \"[::1]\": the port is missing; write 192.0.2.1:80 or [2001:db8::1]:80");
  EXPECT_EQ(message("::1:80"),
            "address \"::1:80\": an IPv6 address with a port stands in brackets: [2001:db8::1]:80");
  EXPECT_EQ(message("127.0.0.1:65536"),
            "address \"127.0.0.1:65536\": the port is a number from 0 to 65535");
  EXPECT_EQ(message("[127.0.0.1]:1"),
            "address \"[127.0.0.1]:1\": only IPv6 addresses stand in brackets");
  for (const std::string_view text :
       {"", ":", ":80", "1.2.3.4:", "1.2.3.4:+1", "1.2.3.4: 1", "[]:1", "[::1:1", "::1]:1",
        "1.2.3.4:99999999999999999999", "localhost:80"}) {
    EXPECT_EQ(SocketAddress::parse(text).status().code(), absl::StatusCode::kInvalidArgument)
        << text;
  }
}

TEST(SocketAddress, AddressesAreComparedOrderedAndHashed) {
  const SocketAddress a = *SocketAddress::parse("127.0.0.1:80");
  const SocketAddress b = *SocketAddress::parse("127.0.0.1:81");
  const SocketAddress c = *SocketAddress::parse("[::1]:80");
  const SocketAddress mapped = *SocketAddress::parse("[::ffff:127.0.0.1]:80");
  EXPECT_TRUE(a < b && b < c);
  EXPECT_NE(a, mapped);
  EXPECT_EQ(a, (SocketAddress{mapped.ip.unmapped(), 80}));
  EXPECT_EQ((absl::flat_hash_set<SocketAddress>{a, b, c, mapped, a}.size()), 4u);
  EXPECT_EQ((std::unordered_set<SocketAddress>{a, b, c, mapped, a}.size()), 4u);
  EXPECT_EQ((std::unordered_set<IpAddress>{a.ip, b.ip, c.ip}.size()), 2u);
}

}  // namespace
}  // namespace zsync
