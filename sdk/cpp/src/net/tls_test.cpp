#include "net/tls_test.hpp"

#include <vector>

#include "zsync/dns.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class TlsOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(TlsOnEveryModel);

constexpr char kHost[] = "a.test";

Task<void> say_both_ways(TlsStream& one, TlsStream& other) {
  EXPECT_TRUE((co_await one.write_all("ping")).ok());
  EXPECT_EQ(co_await read_text(other, 4), "ping");
  EXPECT_TRUE((co_await other.write_all("pong")).ok());
  EXPECT_EQ(co_await read_text(one, 4), "pong");
}

TEST_P(TlsOnEveryModel, TwoEndsShakeHandsOverTcpAndKnowEachOther) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    auto [tcp_server, tcp_client] =
        co_await all(listener->accept(), connect_tcp({*listener->local_address()}));
    auto [server, client] =
        co_await all(TlsStream::accept(of.server_context(), *std::move(tcp_server)),
                     TlsStream::connect(of.client_context(), *std::move(tcp_client), kHost));
    EXPECT_TRUE(server.ok() && client.ok()) << server.status() << client.status();
    if (!server.ok() || !client.ok()) co_return;
    co_await say_both_ways(*client, *server);
    EXPECT_EQ(client->version(), "TLSv1.3");
    EXPECT_EQ(client->cipher(), server->cipher());
    EXPECT_EQ(client->alpn(), "");
    EXPECT_FALSE(client->resumed());
    EXPECT_FALSE(server->peer_certificate().has_value());
    const std::optional<TlsCertificate> peer = client->peer_certificate();
    EXPECT_TRUE(peer.has_value());
    if (!peer) co_return;
    EXPECT_EQ(peer->subject, "CN=a.test");
    EXPECT_EQ(peer->issuer, "CN=Test Root");
    EXPECT_EQ(peer->names, (std::vector<std::string>{"a.test", "*.b.test", "127.0.0.1"}));
    EXPECT_EQ(peer->sha256.size(), 64u);
    EXPECT_FALSE(peer->serial.empty());
    const auto now = std::chrono::system_clock::now();
    EXPECT_LT(peer->not_before, now);
    EXPECT_GT(peer->not_after, now);
  }(house));
}

TEST_P(TlsOnEveryModel, TheServerChoosesAmongTheProtocolsOfBoth) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    TlsServerOptions server_options = of.server_options();
    server_options.alpn = {"h2", "http/1.1"};
    const TlsContext server = *TlsContext::server(server_options);
    TlsClientOptions client_options = of.client_options();
    client_options.alpn = {"http/1.1", "h2"};
    BothEnds both = co_await handshake(server, *TlsContext::client(client_options), kHost);
    EXPECT_TRUE(both.client.ok() && both.server.ok());
    if (both.client.ok()) EXPECT_EQ(both.client->alpn(), "h2");
    if (both.server.ok()) EXPECT_EQ(both.server->alpn(), "h2");

    BothEnds silent = co_await handshake(server, of.client_context(), kHost);
    EXPECT_TRUE(silent.client.ok());
    if (silent.server.ok()) EXPECT_EQ(silent.server->alpn(), "");

    client_options.alpn = {"smtp"};
    BothEnds none = co_await handshake(server, *TlsContext::client(client_options), kHost);
    EXPECT_EQ(none.client.status(),
              absl::FailedPreconditionError("tls to \"a.test\": the two ends have no protocol in "
                                            "common; look at their `alpn` lists"));
    EXPECT_EQ(none.server.status().code(), absl::StatusCode::kFailedPrecondition);
  }(house));
}

// -> whether it was resumed, by either's word.
Task<std::pair<bool, bool>> visit(TlsContext server, TlsContext client) {
  BothEnds both = co_await handshake(server, client, kHost);
  EXPECT_TRUE(both.client.ok() && both.server.ok()) << both.client.status();
  co_await say_both_ways(*both.client, *both.server);  // tickets come with the first bytes
  co_return std::pair(both.client->resumed(), both.server->resumed());
}

TEST_P(TlsOnEveryModel, ASessionIsTakenUpAgain) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    const TlsContext server = of.server_context(), client = of.client_context();
    EXPECT_EQ(co_await visit(server, client), std::pair(false, false));
    for (int i = 0; i < 5; ++i) EXPECT_EQ(co_await visit(server, client), std::pair(true, true));
    BothEnds both = co_await handshake(server, client, kHost);
    EXPECT_TRUE(both.client->resumed());
    EXPECT_EQ(both.client->peer_certificate()->subject, "CN=a.test");
    // Another host has sessions of its own, another server does not know the ticket.
    EXPECT_FALSE((co_await handshake(server, client, "x.b.test")).client->resumed());
    EXPECT_EQ(co_await visit(of.server_context(), client), std::pair(false, false));
  }(house));
}

TEST_P(TlsOnEveryModel, WithoutResumeEverySessionIsNew) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    TlsServerOptions server_options = of.server_options();
    server_options.resume = false;
    TlsClientOptions client_options = of.client_options();
    const TlsContext server = *TlsContext::server(server_options);
    const TlsContext client = *TlsContext::client(client_options);
    client_options.resume = false;
    const TlsContext forgetful = *TlsContext::client(client_options);
    const TlsContext generous = of.server_context();
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(co_await visit(server, client), std::pair(false, false));
      EXPECT_EQ(co_await visit(generous, forgetful), std::pair(false, false));
    }
  }(house));
}

Task<absl::Status> refused_by_client(const Identity& server, TlsClientOptions options,
                                     std::string host) {
  const TlsContext context =
      *TlsContext::server({.certificate = server.certificate(), .key = server.key()});
  BothEnds both = co_await handshake(context, *TlsContext::client(std::move(options)), host);
  if (!both.client.ok()) {
    // TLS 1.3 tells the server with its first read.
    absl::Status told = both.server.status();
    std::byte byte[1];
    if (told.ok()) told = (co_await both.server->read_some(byte)).status();
    EXPECT_EQ(told.code(), absl::StatusCode::kUnauthenticated) << told;
  }
  co_return both.client.status();
}

TEST_P(TlsOnEveryModel, ACertificateForAnotherHostIsRefusedWithItsNames) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    EXPECT_EQ(co_await refused_by_client(of.server, of.client_options(), "other.test"),
              absl::UnauthenticatedError(
                  "tls to \"other.test\": the certificate is for a.test, *.b.test, 127.0.0.1, not "
                  "for \"other.test\"; ask for a name that stands in it, or have one made for this "
                  "one"));
    EXPECT_EQ((co_await refused_by_client(of.server, of.client_options(), "127.0.0.2")).code(),
              absl::StatusCode::kUnauthenticated);
    EXPECT_EQ((co_await refused_by_client(of.server, of.client_options(), "x.y.b.test")).code(),
              absl::StatusCode::kUnauthenticated);
    for (const char* name : {"127.0.0.1", "x.b.test", "A.TEST"}) {
      EXPECT_TRUE((co_await refused_by_client(of.server, of.client_options(), name)).ok()) << name;
    }
  }(house));
}

TEST_P(TlsOnEveryModel, ACertificateOutOfItsTimeOrOfAnUnknownIssuerIsRefusedWithTheCure) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    const Identity old(
        {.common_name = "a.test", .names = "DNS:a.test", .valid_from = -48h, .valid_until = -24h},
        &of.root);
    const absl::Status expired = co_await refused_by_client(old, of.client_options(), kHost);
    EXPECT_EQ(expired.code(), absl::StatusCode::kUnauthenticated);
    EXPECT_NE(
        expired.message().find("certificate of \"CN=a.test\" has expired (it was valid until 2"),
        std::string::npos)
        << expired;
    const Identity young(
        {.common_name = "a.test", .names = "DNS:a.test", .valid_from = 24h, .valid_until = 48h},
        &of.root);
    const absl::Status early = co_await refused_by_client(young, of.client_options(), kHost);
    EXPECT_NE(early.message().find("is not valid yet (from 2"), std::string::npos) << early;

    const Identity other_root({.common_name = "Other Root"});
    const Identity stranger({.common_name = "a.test", .names = "DNS:a.test"}, &other_root);
    const absl::Status unknown = co_await refused_by_client(stranger, of.client_options(), kHost);
    EXPECT_EQ(unknown.code(), absl::StatusCode::kUnauthenticated);
    EXPECT_NE(unknown.message().find("issuer \"CN=Other Root\" is not trusted here"),
              std::string::npos)
        << unknown;
    // A root of the same name is another one.
    const House namesake;
    const absl::Status forged =
        (co_await handshake(namesake.server_context(), of.client_context(), kHost)).client.status();
    EXPECT_EQ(forged.code(), absl::StatusCode::kUnauthenticated);
    EXPECT_NE(forged.message().find("signature failure"), std::string::npos) << forged;
    // The system's roots do not know it either.
    EXPECT_EQ((co_await refused_by_client(of.server, {}, kHost)).code(),
              absl::StatusCode::kUnauthenticated);
    const Identity alone({.common_name = "a.test", .names = "DNS:a.test"});
    EXPECT_EQ((co_await refused_by_client(alone, of.client_options(), kHost)).code(),
              absl::StatusCode::kUnauthenticated);
    EXPECT_TRUE((co_await refused_by_client(alone, {.verify = false}, kHost)).ok());
    EXPECT_TRUE((co_await refused_by_client(old, {.verify = false}, "")).ok());
  }(house));
}

TEST_P(TlsOnEveryModel, AServerCanAskItsClientsWhoTheyAre) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    TlsServerOptions server_options = of.server_options();
    server_options.client_roots = of.root.certificate();
    const TlsContext server = *TlsContext::server(server_options);
    const Identity user({.common_name = "user", .names = "DNS:user.test"}, &of.root);
    TlsClientOptions known = of.client_options();
    known.certificate = user.certificate();
    known.key = user.key();
    BothEnds both = co_await handshake(server, *TlsContext::client(known), kHost);
    EXPECT_TRUE(both.server.ok()) << both.server.status();
    if (both.server.ok()) EXPECT_EQ(both.server->peer_certificate()->subject, "CN=user");

    BothEnds nameless = co_await handshake(server, of.client_context(), kHost);
    EXPECT_EQ(nameless.server.status().code(), absl::StatusCode::kUnauthenticated)
        << nameless.server.status();
    EXPECT_TRUE(nameless.client.ok());  // it hears of it with its first read
    std::byte byte[1];
    const absl::Status told = (co_await nameless.client->read_some(byte)).status();
    EXPECT_EQ(told.code(), absl::StatusCode::kUnauthenticated) << told;
    EXPECT_EQ((co_await nameless.client->read_some(byte)).status(), told);
    EXPECT_EQ(co_await nameless.client->write_all("late"), told);

    const House stranger;
    known.certificate = stranger.server.certificate();
    known.key = stranger.server.key();
    EXPECT_EQ(
        (co_await handshake(server, *TlsContext::client(known), kHost)).server.status().code(),
        absl::StatusCode::kUnauthenticated);
  }(house));
}

TEST_P(TlsOnEveryModel, APeerThatSpeaksNoTlsIsTold) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    auto first = UnixStream::pair();
    EXPECT_TRUE((co_await first->first.write_all("HTTP/1.1 400 Bad Request\r\n\r\n")).ok());
    const absl::Status plain_server =
        (co_await TlsStream::connect(of.client_context(), std::move(first->second), kHost))
            .status();
    EXPECT_EQ(plain_server.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(plain_server.message().find("does not speak TLS here"), std::string::npos)
        << plain_server;

    auto second = UnixStream::pair();
    EXPECT_TRUE((co_await second->first.write_all("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")).ok());
    const absl::Status plain_client =
        (co_await TlsStream::accept(of.server_context(), std::move(second->second))).status();
    EXPECT_EQ(plain_client.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(plain_client.message().find("does not speak TLS here"), std::string::npos)
        << plain_client;

    auto third = UnixStream::pair();
    third->first.close();
    EXPECT_EQ((co_await TlsStream::connect(of.client_context(), std::move(third->second), kHost))
                  .status()
                  .code(),
              absl::StatusCode::kUnavailable);
  }(house));
}

TEST_P(TlsOnEveryModel, ACleanEndIsToldFromOneThatCutsOff) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    BothEnds clean = co_await handshake(of.server_context(), of.client_context(), kHost);
    EXPECT_TRUE((co_await clean.client->write_all("all")).ok());
    EXPECT_TRUE((co_await clean.client->shutdown()).ok());
    EXPECT_TRUE((co_await clean.client->shutdown()).ok());
    EXPECT_EQ(co_await read_text(*clean.server, 3), "all");
    std::byte byte[1];
    EXPECT_EQ(*co_await clean.server->read_some(byte), 0u);
    EXPECT_EQ(*co_await clean.server->read_some(byte), 0u);
    EXPECT_EQ((co_await clean.server->read_exact(byte)).code(), absl::StatusCode::kOutOfRange);
    // The other direction goes on.
    EXPECT_TRUE((co_await clean.server->write_all("answer")).ok());
    EXPECT_EQ(co_await read_text(*clean.client, 6), "answer");
    EXPECT_EQ(co_await clean.client->write_all("more"),
              absl::FailedPreconditionError(
                  "write: this end has been shut down; write before shutdown()"));

    BothEnds cut = co_await handshake(of.server_context(), of.client_context(), kHost);
    co_await say_both_ways(*cut.client, *cut.server);  // tickets that nobody reads reset it
    EXPECT_TRUE((co_await cut.client->write_all("some")).ok());
    cut.client = TlsStream();
    EXPECT_EQ(co_await read_text(*cut.server, 4), "some");
    const absl::Status lost = (co_await cut.server->read_some(byte)).status();
    EXPECT_EQ(lost, absl::DataLossError("read: the peer ended without close_notify: what it sent "
                                        "may be cut off"));
    EXPECT_EQ((co_await cut.server->read_some(byte)).status(), lost);
  }(house));
}

TEST_P(TlsOnEveryModel, WritingToAPeerThatIsGoneIsABrokenPipe) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    BothEnds both = co_await handshake(of.server_context(), of.client_context(), kHost);
    both.server = TlsStream();
    absl::Status status;
    while (status.ok()) status = co_await both.client->write_all("x");
    EXPECT_EQ(status, absl::FailedPreconditionError("write: Broken pipe"));
    EXPECT_EQ(co_await both.client->write_all("x"), status);
  }(house));
}

Task<void> send_much(TlsStream& stream, size_t bytes, char seed) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(seed + i % 251);
  const absl::Status written = co_await stream.write_all(std::string_view(text));
  EXPECT_TRUE(written.ok()) << written;
}

Task<void> receive_much(TlsStream& stream, size_t bytes, char seed) {
  const std::string text = co_await read_text(stream, bytes);
  for (size_t i = 0; i < bytes; ++i) {
    if (text[i] != static_cast<char>(seed + i % 251)) {
      ADD_FAILURE() << "byte " << i;
      co_return;
    }
  }
}

TEST_P(TlsOnEveryModel, AMebibyteGoesBothWaysAtOnce) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    BothEnds both = co_await handshake(of.server_context(), of.client_context(), kHost);
    constexpr size_t kBytes = size_t{1} << 20;
    co_await all(send_much(*both.client, kBytes, 'a'), receive_much(*both.server, kBytes, 'a'),
                 send_much(*both.server, kBytes, 'k'), receive_much(*both.client, kBytes, 'k'));
  }(house));
}

TEST_P(TlsOnEveryModel, ManyStreamsSpeakAtOnce) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    constexpr int kStreams = 40;
    const TlsContext server = of.server_context(), client = of.client_context();
    co_await Executor::scope([&](Executor& group) -> Task<void> {
      for (int i = 0; i < kStreams; ++i) {
        group.spawn(
            [](TlsContext one, TlsContext other) -> Task<void> {
              BothEnds both = co_await handshake(one, other, kHost);
              EXPECT_TRUE(both.client.ok() && both.server.ok()) << both.client.status();
              if (!both.client.ok() || !both.server.ok()) co_return;
              co_await all(send_much(*both.client, 50'000, 'x'),
                           receive_much(*both.server, 50'000, 'x'));
            },
            server, client);
      }
      co_return;
    });
  }(house));
}

TEST_P(TlsOnEveryModel, AHandshakeThatIsCancelledOrTooLateClosesTheConnection) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    const int before = open_descriptors();
    auto first = UnixStream::pair();
    auto handle = spawn(TlsStream::connect(of.client_context(), std::move(first->second), kHost));
    std::vector<std::byte> hello(4096);
    EXPECT_GT(*co_await first->first.read_some(hello), 0u);
    handle.cancel();
    EXPECT_TRUE(absl::IsCancelled((co_await handle).status()));
    EXPECT_TRUE((co_await first->first.hangup()).ok());

    TlsServerOptions options = of.server_options();
    options.handshake_timeout = 5ms;
    auto second = UnixStream::pair();
    EXPECT_EQ((co_await TlsStream::accept(*TlsContext::server(options), std::move(second->second)))
                  .status(),
              absl::DeadlineExceededError(
                  "tls to a client: the handshake has not ended within 5 ms; does the peer speak "
                  "TLS here? else raise handshake_timeout"));
    EXPECT_TRUE((co_await second->first.hangup()).ok());
    first->first.close();
    second->first.close();
    co_await descriptors_back_to(before);
  }(house));
}

TEST_P(TlsOnEveryModel, ACancelledReadLosesNothingAndACancelledWriteLeavesTheStreamWhole) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    BothEnds both = co_await handshake(of.server_context(), of.client_context(), kHost);
    std::byte byte[1];
    EXPECT_TRUE(
        absl::IsDeadlineExceeded((co_await timeout(both.client->read_some(byte), 5ms)).status()));
    co_await say_both_ways(*both.server, *both.client);

    // Nobody reads: the write does not end.
    const std::string large(size_t{8} << 20, 'l');
    auto writing = spawn(both.client->write_all(std::string_view(large)));
    co_await sleep(5ms);
    writing.cancel();
    EXPECT_TRUE(absl::IsCancelled(co_await writing));
    // What was begun arrives, then what is written later: no record is torn.
    auto last = spawn(
        [](TlsStream& stream) -> Task<absl::Status> {
          if (absl::Status said = co_await stream.write_all("!"); !said.ok()) co_return said;
          co_return co_await stream.shutdown();
        },
        std::ref(*both.client));
    std::string heard;
    std::vector<std::byte> buffer(100'000);
    while (true) {
      const absl::StatusOr<size_t> count = co_await both.server->read_some(buffer);
      EXPECT_TRUE(count.ok()) << count.status();
      if (!count.ok() || *count == 0) break;
      heard.append(reinterpret_cast<const char*>(buffer.data()), *count);
    }
    EXPECT_TRUE((co_await last).ok());
    EXPECT_EQ(heard.substr(0, heard.size() - 1), large.substr(0, heard.size() - 1));
    EXPECT_EQ(heard.back(), '!');
  }(house));
}

TEST_P(TlsOnEveryModel, AReaderSendsWhatACancelledWriteHasLeft) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    BothEnds both = co_await handshake(of.server_context(), of.client_context(), kHost);
    const std::string large(size_t{8} << 20, 'l');
    EXPECT_TRUE(absl::IsDeadlineExceeded(
        co_await timeout(both.client->write_all(std::string_view(large)), 5ms)));
    // Pieces are encrypted whole, and the writer is gone: the reader sends the rest of the last
    // one.
    constexpr size_t kPiece = 64 << 10;
    auto reading = spawn(
        [](TlsStream& stream) -> Task<std::string> { co_return co_await read_text(stream, 4); },
        std::ref(*both.client));
    std::vector<std::byte> buffer(kPiece);
    size_t heard = 0;
    for (int pauses = 0; pauses < 100 && (pauses == 0 || heard % kPiece != 0);) {
      const absl::StatusOr<size_t> count = co_await timeout(both.server->read_some(buffer), 20ms);
      if (count.ok()) {
        heard += *count;
      } else {
        EXPECT_TRUE(absl::IsDeadlineExceeded(count.status())) << count.status();
        ++pauses;
      }
    }
    EXPECT_GT(heard, 0u);
    EXPECT_EQ(heard % kPiece, 0u) << "the rest of a piece was not sent";
    EXPECT_TRUE((co_await both.server->write_all("done")).ok());
    EXPECT_EQ(co_await reading, "done");
  }(house));
}

TEST_P(TlsOnEveryModel, ATaskThatIsCancelledAlreadyDoesNothing) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    BothEnds both = co_await handshake(of.server_context(), of.client_context(), kHost);
    auto handle = spawn(
        [](const House& mine, TlsStream& stream) -> Task<void> {
          try {
            co_await sleep(1h);
          } catch (const Cancelled&) {
          }
          std::byte byte[1];
          EXPECT_TRUE(absl::IsCancelled((co_await stream.read_some(byte)).status()));
          EXPECT_TRUE(absl::IsCancelled(co_await stream.write_all("x")));
          EXPECT_TRUE(absl::IsCancelled(co_await stream.shutdown()));
          EXPECT_TRUE(absl::IsCancelled(
              (co_await TlsStream::connect(mine.client_context(), UniqueFd(), kHost)).status()));
        },
        std::cref(of), std::ref(*both.client));
    co_await yield_now();
    handle.cancel();
    try {
      co_await handle;
    } catch (const Cancelled&) {
    }
    co_await say_both_ways(*both.client, *both.server);
  }(house));
}

TEST_P(TlsOnEveryModel, CloseEndsAWaitingRead) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    BothEnds both = co_await handshake(of.server_context(), of.client_context(), kHost);
    auto [count, closed] = co_await all(
        [](TlsStream& stream) -> Task<absl::StatusOr<size_t>> {
          std::byte byte[1];
          co_return co_await stream.read_some(byte);
        }(*both.client),
        [](TlsStream& stream) -> Task<bool> {
          co_await sleep(1ms);
          stream.close();
          co_return true;
        }(*both.client));
    EXPECT_EQ(count.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_FALSE(static_cast<bool>(*both.client));
  }(house));
}

TEST(TlsContext, WhatCannotBeUsedIsRefusedWithTheReason) {
  const House house, other;
  const auto server = [](Pem certificate, Pem key) {
    return TlsContext::server({.certificate = std::move(certificate), .key = std::move(key)})
        .status();
  };
  EXPECT_EQ(server({}, house.server.key()),
            absl::InvalidArgumentError(
                "making a TLS context: a certificate is missing; both are needed"));
  EXPECT_EQ(server(house.server.certificate(), {}).code(), absl::StatusCode::kInvalidArgument);
  const absl::Status stranger = server(house.server.certificate(), other.server.key());
  EXPECT_NE(stranger.message().find("does not belong to the certificate"), std::string::npos)
      << stranger;
  const absl::Status locked =
      server(house.server.certificate(), Pem::text(house.server.key_text("secret")));
  EXPECT_NE(locked.message().find("has a passphrase"), std::string::npos) << locked;
  const absl::Status nonsense = server(Pem::text("nonsense"), house.server.key());
  EXPECT_NE(nonsense.message().find("no certificate can be read"), std::string::npos) << nonsense;
  EXPECT_FALSE(server(house.server.certificate(), house.server.certificate()).ok());
  const ScratchDir dir;
  EXPECT_EQ(server(Pem::file(dir / "missing"), house.server.key()).code(),
            absl::StatusCode::kNotFound);
  dir.write("certificate", house.server.certificate_text() + house.root.certificate_text());
  dir.write("key", house.server.key_text());
  EXPECT_TRUE(server(Pem::file(dir / "certificate"), Pem::file(dir / "key")).ok());

  EXPECT_FALSE(TlsContext::client({.roots = Pem::text("-----BEGIN CERTIFICATE-----\n")}).ok());
  EXPECT_FALSE(TlsContext::client({.alpn = {""}}).ok());
  EXPECT_FALSE(TlsContext::client({.alpn = {std::string(256, 'h')}}).ok());
  EXPECT_FALSE(TlsContext::client({.handshake_timeout = 0ms}).ok());
  EXPECT_TRUE(TlsContext::client().ok());
}

TEST(TlsContext, AContextOfTheOtherSideIsRefused) {
  run([]() -> Task<void> {
    const House house;
    auto sockets = UnixStream::pair();
    EXPECT_EQ((co_await TlsStream::connect(house.server_context(), std::move(sockets->first), "x"))
                  .status()
                  .code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ((co_await TlsStream::accept(house.client_context(), std::move(sockets->second)))
                  .status()
                  .code(),
              absl::StatusCode::kInvalidArgument);
    auto more = UnixStream::pair();
    EXPECT_EQ((co_await TlsStream::connect(house.client_context(), std::move(more->first), ""))
                  .status()
                  .code(),
              absl::StatusCode::kInvalidArgument);
  }());
}

}  // namespace
}  // namespace zsync
