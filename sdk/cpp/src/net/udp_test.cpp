#include "zsync/udp.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "net/net_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class UdpOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(UdpOnEveryModel);
class UdpOnOneWorker : public EveryModel {};
ZS_FOR_ONE_WORKER_MODELS(UdpOnOneWorker);

UdpSocket bound() { return *UdpSocket::bind(any_port()); }

std::string text_of(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// The next datagram, as text.
Task<std::string> heard(UdpSocket& socket) {
  std::vector<std::byte> buffer(65535);
  const absl::StatusOr<ReceivedDatagram> got = co_await socket.recv_from(buffer);
  EXPECT_TRUE(got.ok()) << got.status();
  co_return got.ok() ? text_of(std::span(buffer).first(got->bytes)) : "";
}

TEST_P(UdpOnEveryModel, DatagramsArriveWholeAndSayWhereTheyAreFrom) {
  run_here([]() -> Task<void> {
    UdpSocket left = bound(), right = bound();
    const SocketAddress to = *right.local_address();
    std::byte buffer[16];
    for (const std::string_view said : {"hello", "", "again"}) {
      EXPECT_TRUE((co_await left.send_to(bytes_of(said), to)).ok());
      const absl::StatusOr<ReceivedDatagram> got = co_await right.recv_from(buffer);
      EXPECT_EQ(text_of(std::span(buffer).first(got->bytes)), said);
      EXPECT_EQ(got->segment_bytes, said.size());
      EXPECT_EQ(got->from, *left.local_address());
    }
    const std::string longest(UdpSocket::kDatagramBytesMax, 'l');
    EXPECT_TRUE((co_await left.send_to(bytes_of(longest), to)).ok());
    EXPECT_TRUE(co_await heard(right) == longest);
  }());
}

TEST_P(UdpOnEveryModel, Ipv6SocketsTalkAndTakeIpv4Too) {
  SKIP_WITHOUT_IPV6();
  run_here([]() -> Task<void> {
    auto six = UdpSocket::bind({IpAddress::any_v6(), 0});
    auto other = UdpSocket::bind(any_port_v6());
    const uint16_t port = six->local_address()->port;
    std::byte buffer[16];
    EXPECT_TRUE((co_await other->send_to(bytes_of("6"), {IpAddress::loopback_v6(), port})).ok());
    EXPECT_EQ((co_await six->recv_from(buffer))->from, *other->local_address());
    UdpSocket four = bound();
    EXPECT_TRUE((co_await four.send_to(bytes_of("4"), {IpAddress::loopback_v4(), port})).ok());
    EXPECT_EQ((co_await six->recv_from(buffer))->from.ip.unmapped(), IpAddress::loopback_v4());
    EXPECT_EQ((co_await four.send_to(bytes_of("x"), *other->local_address())).code(),
              absl::StatusCode::kUnimplemented);
  }());
}

TEST_P(UdpOnEveryModel, ADatagramThatDoesNotFitIsReportedAndNeverGivenInPart) {
  run_here([]() -> Task<void> {
    UdpSocket left = bound(), right = bound();
    const SocketAddress to = *right.local_address();
    EXPECT_TRUE((co_await left.send_to(bytes_of("12345"), to)).ok());
    EXPECT_TRUE((co_await left.send_to(bytes_of("next"), to)).ok());
    std::byte buffer[4];
    EXPECT_EQ((co_await right.recv_from(buffer)).status(),
              absl::OutOfRangeError("receiving a datagram: it had 5 bytes, the buffer 4; it is "
                                    "gone: use a larger buffer"));
    EXPECT_EQ((co_await right.recv_from(buffer))->bytes, 4u);
    const std::string longer(UdpSocket::kDatagramBytesMax + 1, 'x');
    EXPECT_EQ((co_await left.send_to(bytes_of(longer), to)).message(),
              "sending a datagram of 65508 bytes: it is too long; at most 65507 go, and fewer over "
              "networks that do not cut");
  }());
}

TEST_P(UdpOnEveryModel, AConnectedSocketHearsItsPeerOnlyAndThatThereIsNone) {
  run_here([]() -> Task<void> {
    UdpSocket left = bound(), right = bound(), stranger = bound();
    EXPECT_EQ((co_await left.send(bytes_of("x"))).message(),
              "sending a datagram: the socket has no peer; connect() it or use send_to()");
    EXPECT_EQ(left.peer_address().status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(left.connect(*right.local_address()).ok());
    EXPECT_EQ(*left.peer_address(), *right.local_address());
    EXPECT_TRUE((co_await stranger.send_to(bytes_of("s"), *left.local_address())).ok());
    EXPECT_TRUE((co_await right.send_to(bytes_of("r"), *left.local_address())).ok());
    EXPECT_EQ(co_await heard(left), "r");
    EXPECT_TRUE((co_await left.send(bytes_of("l"))).ok());
    EXPECT_EQ(co_await heard(right), "l");
    const int before = open_descriptors();
    right.close();
    co_await descriptors_back_to(before - 1);
    EXPECT_TRUE((co_await left.send(bytes_of("nobody"))).ok());
    std::byte buffer[4];
    EXPECT_EQ((co_await left.recv_from(buffer)).status(),
              absl::UnavailableError("receiving a datagram: Connection refused"));
  }());
}

TEST_P(UdpOnEveryModel, ManyGoAndComeInOneCallEachWithItsPeer) {
  run_here([]() -> Task<void> {
    UdpSocket sender = bound(), one = bound(), two = bound();
    std::vector<std::string> texts;
    for (int i = 0; i < 100; ++i) texts.push_back(std::string(i, 'd') + std::to_string(i));
    std::vector<OutgoingDatagram> out;
    for (int i = 0; i < 100; ++i) {
      out.push_back({bytes_of(texts[i]), *(i % 2 ? two : one).local_address()});
    }
    std::span<const OutgoingDatagram> rest = out;
    EXPECT_EQ(*co_await sender.send_many(rest), UdpSocket::kBatchMax);
    rest = rest.subspan(UdpSocket::kBatchMax);
    while (!rest.empty()) rest = rest.subspan(*co_await sender.send_many(rest));
    EXPECT_EQ(*co_await sender.send_many({}), 0u);
    std::vector<std::byte> memory(80 * 200);
    std::vector<DatagramSlot> slots(80);
    for (size_t i = 0; i < 80; ++i) slots[i].buffer = std::span(memory).subspan(i * 200, 200);
    for (int i = 0; i < 100;) {
      const size_t count = *co_await one.recv_many(slots);
      for (size_t slot = 0; slot < count; ++slot, i += 2) {
        EXPECT_EQ(text_of(slots[slot].buffer.first(slots[slot].received.bytes)), texts[i]);
        EXPECT_EQ(slots[slot].received.from, *sender.local_address());
        EXPECT_EQ(slots[slot].lost_bytes, 0u);
      }
    }
    EXPECT_EQ(co_await heard(two), texts[1]);
    EXPECT_EQ((co_await two.recv_many({})).status().code(), absl::StatusCode::kInvalidArgument);
  }());
}

TEST_P(UdpOnEveryModel, ABatchTellsWhichOfItsDatagramsDidNotFit) {
  run_here([]() -> Task<void> {
    UdpSocket left = bound(), right = bound();
    const SocketAddress to = *right.local_address();
    const OutgoingDatagram out[] = {
        {bytes_of("ab"), to}, {bytes_of("abcdef"), to}, {bytes_of("cd"), to}};
    EXPECT_EQ(*co_await left.send_many(out), 3u);
    std::byte memory[3][4];
    DatagramSlot slots[3] = {{memory[0]}, {memory[1]}, {memory[2]}};
    for (size_t filled = 0; filled < 3;) {
      filled += *co_await right.recv_many(std::span(slots).subspan(filled));
    }
    EXPECT_TRUE(slots[0].received.bytes == 2 && slots[2].received.bytes == 2);
    EXPECT_TRUE(slots[1].received.bytes == 0 && slots[1].lost_bytes == 6);
    // One that is refused ends the batch before it, and is told when it is the first.
    const std::string longer(UdpSocket::kDatagramBytesMax + 1, 'x');
    const OutgoingDatagram bad[] = {{bytes_of("ok"), to}, {bytes_of(longer), to}};
    EXPECT_EQ(*co_await left.send_many(bad), 1u);
    EXPECT_EQ((co_await left.send_many(std::span(bad).subspan(1))).status().code(),
              absl::StatusCode::kInvalidArgument);
  }());
}

// Sends segments and checks that the other side sees the same datagrams, coalesced or not.
Task<void> exchange_segments(bool gro, size_t segment_bytes, size_t total) {
  UdpSocket left = bound(), right = bound();
  if (gro && absl::IsUnimplemented(right.set_gro(true))) co_return;
  std::string sent(total, ' ');
  for (size_t i = 0; i < total; ++i) sent[i] = static_cast<char>('a' + i / segment_bytes % 26);
  const absl::Status status =
      co_await left.send_segmented(bytes_of(sent), segment_bytes, *right.local_address());
  EXPECT_TRUE(status.ok()) << status;
  std::vector<std::byte> buffer(65535);
  std::string got;
  while (got.size() < total) {
    const absl::StatusOr<ReceivedDatagram> part = co_await right.recv_from(buffer);
    EXPECT_TRUE(part.ok()) << part.status();
    if (!part.ok()) co_return;
    EXPECT_EQ(part->segment_bytes, std::min(segment_bytes, total - got.size()));
    if (!gro) EXPECT_EQ(part->bytes, part->segment_bytes);
    got += text_of(std::span(buffer).first(part->bytes));
  }
  EXPECT_TRUE(got == sent);
}

TEST_P(UdpOnEveryModel, SegmentsArriveAsDatagramsOfTheirOwnSize) {
  run_here([]() -> Task<void> {
    for (const bool gro : {false, true}) {
      co_await exchange_segments(gro, 1000, 40'500);
      co_await exchange_segments(gro, 1, 130);          // more than one call takes
      co_await exchange_segments(gro, 100, 100);        // a single one
      co_await exchange_segments(gro, 1472, 1473);      // a last one of a byte
      co_await exchange_segments(gro, 40'000, 90'000);  // too long for two in a call
    }
    UdpSocket socket = bound();
    const SocketAddress to = *socket.local_address();
    EXPECT_EQ((co_await socket.send_segmented(bytes_of("x"), 0, to)).message(),
              "sending segments of 0 bytes: they have 1 to 65507");
    EXPECT_FALSE((co_await socket.send_segmented(bytes_of("x"), 65508, to)).ok());
    EXPECT_TRUE((co_await socket.send_segmented({}, 10, to)).ok());
  }());
}

TEST_P(UdpOnEveryModel, LongSegmentsArriveAsTheyAre) {
  run_here([]() -> Task<void> {
    // Too long for two of them in one packet of the system.
    co_await exchange_segments(false, 32'750, 65'500);
    co_await exchange_segments(false, 20'000, 60'000);
  }());
}

TEST_P(UdpOnEveryModel, AnAddressInUseIsRefusedAndOneThatIsSharedIsNot) {
  run_here([]() -> Task<void> {
    UdpSocket socket = bound();
    EXPECT_EQ(UdpSocket::bind(*socket.local_address()).status().code(),
              absl::StatusCode::kAlreadyExists);
    EXPECT_EQ(UdpSocket::bind({IpAddress::v4({192, 0, 2, 1}), 0}).status().code(),
              absl::StatusCode::kNotFound);
    auto first = UdpSocket::bind(any_port(), {.reuse_port = true});
    auto second = UdpSocket::bind(*first->local_address(), {.reuse_port = true});
    EXPECT_TRUE(second.ok()) << second.status();
    EXPECT_FALSE((co_await UdpSocket().send_to(bytes_of("x"), any_port())).ok());
    EXPECT_FALSE(UdpSocket().set_gro(true).ok());
  }());
}

TEST_P(UdpOnEveryModel, ACancelledReceiveTakesNothingThoughADatagramIsThere) {
  run_here([]() -> Task<void> {
    UdpSocket left = bound(), right = bound();
    std::byte buffer[8];
    EXPECT_TRUE(
        absl::IsDeadlineExceeded((co_await timeout(right.recv_from(buffer), 1ms)).status()));
    EXPECT_TRUE((co_await left.send_to(bytes_of("kept"), *right.local_address())).ok());
    auto early = spawn(right.recv_from(buffer));
    early.cancel();
    const absl::StatusOr<ReceivedDatagram> got = co_await early;
    if (!got.ok()) {
      EXPECT_TRUE(absl::IsCancelled(got.status()));
      EXPECT_EQ(co_await heard(right), "kept");
    }
    DatagramSlot slot[1] = {{buffer}};
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(right.recv_many(slot), 1ms)).status()));
  }());
}

TEST_P(UdpOnEveryModel, ACancelThatRacesAReceiveLosesNoDatagram) {
  run_here([]() -> Task<void> {
    UdpSocket left = bound(), right = bound();
    const int before = open_descriptors();
    std::string got;
    for (int round = 0; round < 120; ++round) {
      auto receiving = spawn(
          [](UdpSocket& from, std::string& into, bool many) -> Task<absl::Status> {
            std::byte byte[1];
            DatagramSlot slot[1] = {{byte}};
            absl::Status status = many ? (co_await from.recv_many(slot)).status()
                                       : (co_await from.recv_from(byte)).status();
            if (status.ok()) into += text_of(byte);
            co_return status;
          },
          std::ref(right), std::ref(got), round % 2 == 0);
      if (round % 5 == 0) receiving.cancel();
      for (int i = 0; i < round % 4; ++i) co_await yield_now();
      const char byte = static_cast<char>(round);
      EXPECT_TRUE((co_await left.send_to(bytes_of({&byte, 1}), *right.local_address())).ok());
      if (round % 3 != 0) co_await yield_now();
      receiving.cancel();
      (void)co_await receiving;
    }
    while (got.size() < 120) got += co_await heard(right);
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], static_cast<char>(i));
    EXPECT_EQ(open_descriptors(), before);
  }());
}

TEST_P(UdpOnEveryModel, ACancelledSendHasSentNothingOrOneWholeDatagram) {
  run_here([]() -> Task<void> {
    UdpSocket left = bound(), right = bound();
    const SocketAddress to = *right.local_address();
    size_t sent = 0;
    for (int round = 0; round < 60; ++round) {
      auto sending = spawn(
          [](UdpSocket& from, SocketAddress peer, int kind) -> Task<absl::Status> {
            const std::string bytes = "datagram";
            const OutgoingDatagram out[] = {{bytes_of(bytes), peer}};
            if (kind == 0) co_return co_await from.send_to(bytes_of(bytes), peer);
            if (kind == 1) co_return (co_await from.send_many(out)).status();
            co_return co_await from.send_segmented(bytes_of(bytes), 8, peer);
          },
          std::ref(left), to, round % 3);
      for (int i = 0; i < round / 3 % 3; ++i) co_await yield_now();
      sending.cancel();
      const absl::Status status = co_await sending;
      EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
      if (status.ok()) ++sent;
    }
    for (; sent > 0; --sent) EXPECT_EQ(co_await heard(right), "datagram");
    std::byte buffer[16];
    EXPECT_TRUE(
        absl::IsDeadlineExceeded((co_await timeout(right.recv_from(buffer), 1ms)).status()));
  }());
}

TEST_P(UdpOnOneWorker, ClosingEndsAPendingReceiveAndAReleasedSocketCanBeAdopted) {
  run_here([]() -> Task<void> {
    UdpSocket left = bound(), right = bound();
    const SocketAddress to = *right.local_address();
    auto again = UdpSocket::adopt(*right.release());
    EXPECT_FALSE(right);
    EXPECT_TRUE((co_await left.send_to(bytes_of("moved"), to)).ok());
    EXPECT_EQ(co_await heard(*again), "moved");
    std::byte buffer[8];
    auto receiving = spawn(again->recv_from(buffer));
    for (int i = 0; i < 3; ++i) co_await yield_now();
    again->close();
    EXPECT_EQ((co_await receiving).status().code(), absl::StatusCode::kFailedPrecondition);
  }());
}

TEST(UdpDeathTest, ASimulationHasNoSockets) {
  EXPECT_DEATH(testing::SimRuntime(1).run([]() -> Task<void> {
    (void)UdpSocket::bind(any_port());
    co_return;
  }()),
               "a simulation has no kernel");
}

}  // namespace
}  // namespace zsync
