#include "zsync/dns.hpp"

#include <set>

#include "net/dns_hosts.hpp"
#include "net/dns_server_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class DnsOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(DnsOnEveryModel);

constexpr char kOwner[] = "192.0.2.1";

DnsServer::Zone usual_zone() {
  return {
      {{"both.test", ns_t_a}, {.records = {wire_address(kOwner), wire_address("192.0.2.2")}}},
      {{"both.test", ns_t_aaaa}, {.records = {wire_address("2001:db8::1")}}},
      {{"four.test", ns_t_a}, {.records = {wire_address(kOwner)}}},
      {{"text.test", ns_t_txt},
       {.records = {wire_text("v=one ") + wire_text("two"), wire_text("other")}}},
      {{"_web._tcp.test", ns_t_srv},
       {.records = {wire16(20) + wire16(0) + wire16(81) + wire_name("late.test"),
                    wire16(10) + wire16(5) + wire16(80) + wire_name("early.test")}}},
      {{"mail.test", ns_t_mx}, {.records = {wire16(10) + wire_name("mx.test")}}},
      {{"1.2.0.192.in-addr.arpa", ns_t_ptr}, {.records = {wire_name("both.test")}}},
      {{"failing.test", ns_t_a}, {.code = ns_r_servfail}},
      {{"failing.test", ns_t_aaaa}, {.code = ns_r_servfail}},
      {{"failing.test", ns_t_txt}, {.code = ns_r_refused}},
      {{"silent.test", ns_t_a}, {.silent = true}},
      {{"silent.test", ns_t_aaaa}, {.silent = true}},
      {{"silent.test", ns_t_txt}, {.silent = true}},
      {{"garbage.test", ns_t_txt}, {.records = {wire_text("cut off")}, .garbage = true}},
  };
}

std::set<std::string> texts(const std::vector<SocketAddress>& addresses) {
  std::set<std::string> result;
  for (const SocketAddress& address : addresses) result.insert(address.to_string());
  return result;
}

TEST_P(DnsOnEveryModel, ANameHasTheAddressesOfBothFamilies) {
  const DnsServer server(usual_zone());
  run_here([](const DnsServer& asked) -> Task<void> {
    const auto found = co_await asked.resolver().resolve("Both.Test", 443);
    EXPECT_TRUE(found.ok()) << found.status();
    if (!found.ok()) co_return;
    EXPECT_EQ(texts(*found),
              (std::set<std::string>{"192.0.2.1:443", "192.0.2.2:443", "[2001:db8::1]:443"}));
    const auto one_family = co_await asked.resolver().resolve("four.test.", 1);
    EXPECT_TRUE(one_family.ok()) << one_family.status();
    if (one_family.ok()) {
      EXPECT_EQ(texts(*one_family), std::set<std::string>{"192.0.2.1:1"});
    }
  }(server));
}

TEST_P(DnsOnEveryModel, AnAddressInTextIsAnsweredWithoutAQuestion) {
  const DnsServer server(usual_zone());
  run_here([](const DnsServer& asked) -> Task<void> {
    const Resolver resolver = asked.resolver();
    EXPECT_EQ(texts(*co_await resolver.resolve("192.0.2.7", 80)),
              std::set<std::string>{"192.0.2.7:80"});
    EXPECT_EQ(texts(*co_await resolver.resolve("2001:DB8:0::7", 80)),
              std::set<std::string>{"[2001:db8::7]:80"});
    EXPECT_EQ(texts(*co_await resolve("127.0.0.1", 5)), std::set<std::string>{"127.0.0.1:5"});
    EXPECT_EQ(asked.asked_by_udp(), 0);
  }(server));
}

TEST_P(DnsOnEveryModel, TheHostsFileAnswersFirstAndLocalhostIsAlwaysThisMachine) {
  const DnsServer server(usual_zone());
  const ScratchDir dir;
  dir.write("hosts",
            "# 192.0.2.99 db.test\n10.0.0.1\tdb.test  DB  # trailing\nnonsense db.test\n"
            "::1 db.test\n10.0.0.1 db.test\n");
  run_here([](const DnsServer& asked, std::string hosts) -> Task<void> {
    ResolverOptions options = asked.options();
    options.hosts_file = hosts;
    const Resolver resolver = *Resolver::open(options);
    EXPECT_EQ(
        *co_await resolver.resolve("db.test", 5432),
        (std::vector{*SocketAddress::parse("10.0.0.1:5432"), *SocketAddress::parse("[::1]:5432")}));
    EXPECT_EQ(texts(*co_await resolver.resolve("db", 1)), std::set<std::string>{"10.0.0.1:1"});
    for (const char* name : {"localhost", "LOCALHOST.", "app.localhost"}) {
      EXPECT_EQ(texts(*co_await resolver.resolve(name, 1)),
                (std::set<std::string>{"127.0.0.1:1", "[::1]:1"}));
    }
    EXPECT_EQ(asked.asked_by_udp(), 0);
    EXPECT_TRUE((co_await resolver.resolve("four.test", 1)).ok());
  }(server, dir / "hosts"));
}

TEST_P(DnsOnEveryModel, AnUnknownNameAndANameWithoutAddressesAreNotFound) {
  const DnsServer server(usual_zone());
  run_here([](const DnsServer& asked) -> Task<void> {
    const std::string at = asked.address().to_string();
    EXPECT_EQ((co_await asked.resolver().resolve("nobody.test", 1)).status(),
              absl::NotFoundError("resolve \"nobody.test\": there is no such name, says " + at +
                                  "; check its spelling and its domain"));
    EXPECT_EQ((co_await asked.resolver().resolve("text.test", 1)).status(),
              absl::NotFoundError("resolve \"text.test\": the name has no address, says " + at +
                                  "; check what its owner publishes"));
    EXPECT_EQ((co_await asked.resolver().mx("four.test")).status().code(),
              absl::StatusCode::kNotFound);
  }(server));
}

TEST_P(DnsOnEveryModel, AServerThatFailsOrIsNotThereIsUnavailable) {
  const DnsServer server(usual_zone());
  run_here([](const DnsServer& asked) -> Task<void> {
    const absl::Status failed = (co_await asked.resolver().resolve("failing.test", 1)).status();
    EXPECT_EQ(failed.code(), absl::StatusCode::kUnavailable) << failed;
    EXPECT_NE(failed.message().find(asked.address().to_string()), std::string::npos) << failed;
    EXPECT_EQ((co_await asked.resolver().txt("failing.test")).status().code(),
              absl::StatusCode::kUnavailable);
    const UniqueFd bound(
        net::new_bound_socket(rt::kernel_sockets(), "test", any_port(), SOCK_STREAM, {})
            ->release());
    ResolverOptions nobody = asked.options();
    nobody.servers = {
        *net::local_address(rt::kernel_sockets(), bound.get())};  // TCP: no UDP socket is there
    const absl::Status refused = (co_await Resolver::open(nobody)->txt("x.test")).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable) << refused;
    EXPECT_NE(refused.message().find("nobody answers DNS at 127.0.0.1:"), std::string::npos)
        << refused;
  }(server));
}

TEST_P(DnsOnEveryModel, ASilentServerIsAskedAgainAndThenNamed) {
  const DnsServer server(usual_zone());
  run_here([](const DnsServer& asked) -> Task<void> {
    ResolverOptions options = asked.options();
    options.timeout = 5ms;
    options.attempts = 2;
    const absl::Status late = (co_await Resolver::open(options)->txt("silent.test")).status();
    EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded) << late;
    EXPECT_NE(late.message().find("no answer from " + asked.address().to_string()),
              std::string::npos)
        << late;
    co_await asked.asked(2);
    EXPECT_EQ(asked.asked_by_udp(), 2);
  }(server));
}

TEST_P(DnsOnEveryModel, TheNextServerIsAskedWhenTheFirstIsSilent) {
  const DnsServer silent(
      {{{"four.test", ns_t_a}, {.silent = true}}, {{"four.test", ns_t_aaaa}, {.silent = true}}});
  const DnsServer server(usual_zone());
  run_here([](const DnsServer& first, const DnsServer& second) -> Task<void> {
    ResolverOptions options = first.options();
    options.servers.push_back(second.address());
    options.timeout = 10ms;
    const auto found = co_await Resolver::open(options)->resolve("four.test", 1);
    EXPECT_TRUE(found.ok()) << found.status();
    co_await first.asked(1);
  }(silent, server));
}

TEST_P(DnsOnEveryModel, AnAnswerThatIsTooLargeForUdpComesByTcp) {
  DnsReply large{.tcp_only = true};
  for (int i = 0; i < 200; ++i)
    large.records.push_back(wire_address("10.0.0." + std::to_string(i)));
  const DnsServer server({{{"large.test", ns_t_a}, large}});
  run_here([](const DnsServer& asked) -> Task<void> {
    const auto found = co_await asked.resolver().resolve("large.test", 1);
    EXPECT_TRUE(found.ok()) << found.status();
    if (found.ok()) EXPECT_EQ(found->size(), 200u);
    EXPECT_EQ(asked.asked_by_tcp(), 1);
  }(server));
}

TEST_P(DnsOnEveryModel, RecordsOfOtherKindsAreRead) {
  const DnsServer server(usual_zone());
  run_here([](const DnsServer& asked) -> Task<void> {
    const Resolver resolver = asked.resolver();
    EXPECT_EQ(*co_await resolver.txt("text.test"),
              (std::vector<std::string>{"v=one two", "other"}));
    EXPECT_EQ(*co_await resolver.srv("_web._tcp.test"),
              (std::vector<SrvRecord>{{"early.test", 80, 10, 5}, {"late.test", 81, 20, 0}}));
    EXPECT_EQ(*co_await resolver.mx("mail.test"), (std::vector<MxRecord>{{"mx.test", 10}}));
    EXPECT_EQ(*co_await resolver.ptr(*IpAddress::parse(kOwner)),
              std::vector<std::string>{"both.test"});
    const absl::Status nobody = (co_await resolver.ptr(*IpAddress::parse("2001:db8::1"))).status();
    EXPECT_EQ(nobody.code(), absl::StatusCode::kNotFound);
    EXPECT_NE(nobody.message().find(".0.0.8.b.d.0.1.0.0.2.ip6.arpa\""), std::string::npos)
        << nobody;
    EXPECT_EQ((co_await resolver.txt("garbage.test")).status().code(), absl::StatusCode::kDataLoss);
  }(server));
}

TEST_P(DnsOnEveryModel, AShortNameIsTriedInTheSearchDomains) {
  const DnsServer server(usual_zone());
  run_here([](const DnsServer& asked) -> Task<void> {
    ResolverOptions options = asked.options();
    options.search = std::vector<std::string>{"elsewhere.test", "test"};
    const auto found = co_await Resolver::open(options)->resolve("four", 1);
    EXPECT_TRUE(found.ok()) << found.status();
  }(server));
}

TEST_P(DnsOnEveryModel, WhatCannotBeANameIsRefusedWithTheReason) {
  run_here([]() -> Task<void> {
    EXPECT_EQ((co_await resolve("", 1)).status(),
              absl::InvalidArgumentError(
                  "resolve \"\": the name is empty; give a host name or an address"));
    const std::string names[] = {"a..b",
                                 std::string(64, 'a') + ".test",
                                 std::string(300, 'a'),
                                 "two words",
                                 "b\xc3\xbc"
                                 "cher.test",
                                 std::string("nul\0", 4),
                                 "back\\046slash",
                                 "."};
    for (const std::string& name : names) {
      EXPECT_EQ((co_await resolve(name, 1)).status().code(), absl::StatusCode::kInvalidArgument)
          << name;
      EXPECT_EQ((co_await Resolver().txt(name)).status().code(),
                absl::StatusCode::kInvalidArgument);
    }
  }());
}

TEST_P(DnsOnEveryModel, ManyLookupsAtOnceGetTheirOwnAnswers) {
  DnsServer::Zone zone;
  constexpr int kLookups = 50;
  for (int i = 0; i < kLookups; ++i) {
    zone[{"n" + std::to_string(i) + ".test", ns_t_txt}] = {
        .records = {wire_text(std::to_string(i))}};
  }
  const DnsServer server(zone);
  run_here([](const DnsServer& asked) -> Task<void> {
    co_await Executor::scope([&asked](Executor& group) -> Task<void> {
      for (int i = 0; i < kLookups; ++i) {
        group.spawn(
            [](Resolver resolver, int number) -> Task<void> {
              const auto text = co_await resolver.txt("n" + std::to_string(number) + ".test");
              EXPECT_TRUE(text.ok()) << text.status();
              if (text.ok()) EXPECT_EQ(text->front(), std::to_string(number));
            },
            asked.resolver(), i);
      }
      co_return;
    });
  }(server));
}

TEST_P(DnsOnEveryModel, ACancelledLookupIsGoneWithItsSockets) {
  const DnsServer server(usual_zone());
  run_here([](const DnsServer& asked) -> Task<void> {
    const int before = open_descriptors();
    auto addresses = spawn(asked.resolver().resolve("silent.test", 1));
    co_await asked.asked(1);
    addresses.cancel();
    EXPECT_EQ((co_await addresses).status().code(), absl::StatusCode::kCancelled);
    auto text = spawn(asked.resolver().txt("silent.test"));
    co_await asked.asked(3);
    text.cancel();
    EXPECT_EQ((co_await text).status().code(), absl::StatusCode::kCancelled);
    const absl::Status late = (co_await timeout(asked.resolver().txt("silent.test"), 5ms)).status();
    EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded);
    co_await descriptors_back_to(before);
  }(server));
}

TEST_P(DnsOnEveryModel, ALookupOfATaskThatIsCancelledAlreadyAsksNobody) {
  const DnsServer server(usual_zone());
  run_here([](const DnsServer& asked) -> Task<void> {
    auto handle = spawn(
        [](Resolver resolver) -> Task<void> {
          try {
            co_await sleep(1h);
          } catch (const Cancelled&) {
          }
          EXPECT_TRUE(absl::IsCancelled((co_await resolver.resolve("four.test", 1)).status()));
          EXPECT_TRUE(absl::IsCancelled((co_await resolver.txt("text.test")).status()));
          EXPECT_TRUE(absl::IsCancelled((co_await connect_tcp("127.0.0.1", 1)).status()));
        },
        asked.resolver());
    co_await yield_now();
    handle.cancel();
    try {
      co_await handle;
    } catch (const Cancelled&) {
    }
    EXPECT_EQ(asked.asked_by_udp(), 0);
  }(server));
}

TEST(Dns, OptionsOutOfTheirRangeAreRefused) {
  EXPECT_EQ(Resolver::open({.timeout = 0ms}).status(),
            absl::InvalidArgumentError("opening a resolver: timeout is 1 to 60000 ms, not 0"));
  EXPECT_FALSE(Resolver::open({.timeout = kDnsTimeoutMax + 1ms}).ok());
  EXPECT_FALSE(Resolver::open({.attempts = 0}).ok());
  EXPECT_FALSE(Resolver::open({.attempts = kDnsAttemptsMax + 1}).ok());
  EXPECT_FALSE(Resolver::open({.servers = std::vector<SocketAddress>(kDnsServersMax + 1)}).ok());
  EXPECT_FALSE(Resolver::open({.servers = {{IpAddress::v6({0xfe, 0x80}, 1), 53}}}).ok());
  EXPECT_FALSE(Resolver::open({.search = std::vector<std::string>{"a b"}}).ok());
  EXPECT_TRUE(Resolver::open({}).ok());
}

TEST(DnsDeathTest, ALookupNeedsAKernel) {
  EXPECT_DEATH(
      testing::SimRuntime(1).run([]() -> Task<void> { (void)co_await resolve("localhost", 1); }()),
      "a simulation has no kernel");
}

}  // namespace
}  // namespace zsync
