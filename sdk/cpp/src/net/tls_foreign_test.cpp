// TLS with ends that are not ours: the openssl program, and a plain blocking OpenSSL.
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <thread>
#include <vector>

#include "net/tls_test.hpp"
#include "zsync/dns.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class TlsForeignOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(TlsForeignOnEveryModel);

bool has_openssl_program() { return ::access("/usr/bin/openssl", X_OK) == 0; }
#define SKIP_WITHOUT_OPENSSL() \
  SKIP_WITHOUT_PIDFD();        \
  if (!has_openssl_program()) GTEST_SKIP() << "the openssl program is not here"

ProcessOptions openssl(std::vector<std::string> words) {
  words.insert(words.begin(), "openssl");
  return {.argv = std::move(words),
          .stdin_from = Stdio::pipe(),
          .stdout_to = Stdio::pipe(),
          .stderr_to = Stdio::null(),
          .kill_on_drop = true};
}

// Reads until `wanted` has come. -> what came.
Task<std::string> read_until(PipeReader& pipe, std::string wanted) {
  std::string text;
  std::vector<std::byte> buffer(4096);
  while (text.find(wanted) == std::string::npos) {
    const absl::StatusOr<size_t> count = co_await pipe.read_some(buffer);
    EXPECT_TRUE(count.ok() && *count > 0) << "it ended after: " << text;
    if (!count.ok() || *count == 0) break;
    text.append(reinterpret_cast<const char*>(buffer.data()), *count);
  }
  co_return text;
}

Task<void> end(Process& process) {
  (void)process.kill();
  EXPECT_TRUE((co_await process.wait()).ok());
}

TEST_P(TlsForeignOnEveryModel, OpensslClientsOfBothVersionsTalkToOurServer) {
  SKIP_WITHOUT_OPENSSL();
  const House house;
  const ScratchDir dir;
  dir.write("root.pem", house.root.certificate_text());
  run_here([](const House& of, std::string root) -> Task<void> {
    TlsServerOptions options = of.server_options();
    options.alpn = {"zs"};
    const TlsContext context = *TlsContext::server(options);
    auto listener = TcpListener::bind(any_port());
    for (const auto& [flag, version] :
         {std::pair{"-tls1_2", "TLSv1.2"}, std::pair{"-tls1_3", "TLSv1.3"}}) {
      auto client = Process::spawn(openssl(
          {"s_client", "-connect", listener->local_address()->to_string(), "-CAfile", root,
           "-verify_return_error", "-verify_hostname", "a.test", "-alpn", "zs", "-quiet", flag}));
      EXPECT_TRUE(client.ok()) << client.status();
      auto tcp = co_await listener->accept();
      auto stream = co_await TlsStream::accept(context, *std::move(tcp));
      EXPECT_TRUE(stream.ok()) << stream.status();
      if (!stream.ok()) co_return;
      EXPECT_EQ(stream->version(), version);
      EXPECT_EQ(stream->alpn(), "zs");
      EXPECT_TRUE((co_await client->stdin_pipe().write_all("from openssl\n")).ok());
      EXPECT_EQ(co_await read_text(*stream, 13), "from openssl\n");
      EXPECT_TRUE((co_await stream->write_all("from zsync\n")).ok());
      EXPECT_EQ(co_await read_until(client->stdout_pipe(), "\n"), "from zsync\n");
      EXPECT_TRUE((co_await stream->shutdown()).ok());
      std::byte byte[1];
      EXPECT_EQ(*co_await stream->read_some(byte), 0u);  // it has closed in turn
      EXPECT_TRUE((co_await client->wait()).ok());
    }
  }(house, dir / "root.pem"));
}

TEST_P(TlsForeignOnEveryModel, OurClientTalksToAnOpensslServerAndResumes) {
  SKIP_WITHOUT_OPENSSL();
  const House house;
  const ScratchDir dir;
  dir.write("cert.pem", house.server.certificate_text());
  dir.write("key.pem", house.server.key_text());
  run_here([](const House& of, std::string certificate, std::string key) -> Task<void> {
    const TlsContext context = of.client_context();
    for (const auto& [flag, version] :
         {std::pair{"-tls1_2", "TLSv1.2"}, std::pair{"-tls1_3", "TLSv1.3"}}) {
      auto server = Process::spawn(openssl(
          {"s_server", "-accept", "127.0.0.1:0", "-cert", certificate, "-key", key, "-rev", flag}));
      EXPECT_TRUE(server.ok()) << server.status();
      const std::string hello = co_await read_until(server->stdout_pipe(), "ACCEPT 127.0.0.1:");
      std::string line = hello.substr(hello.find("ACCEPT ") + 7);
      if (line.find('\n') == std::string::npos) {
        line += co_await read_until(server->stdout_pipe(), "\n");
      }
      const SocketAddress address = *SocketAddress::parse(line.substr(0, line.find('\n')));
      for (const bool resumed : {false, true, true, true}) {
        auto tcp = co_await connect_tcp({address});
        auto stream = co_await TlsStream::connect(context, *std::move(tcp), "a.test");
        EXPECT_TRUE(stream.ok()) << stream.status();
        if (!stream.ok()) break;
        EXPECT_EQ(stream->version(), version);
        EXPECT_EQ(stream->resumed(), resumed);
        EXPECT_TRUE((co_await stream->write_all("turn me\n")).ok());
        EXPECT_EQ(co_await read_text(*stream, 8), "em nrut\n");
        EXPECT_TRUE((co_await stream->shutdown()).ok());
      }
      co_await end(*server);
    }
  }(house, dir / "cert.pem", dir / "key.pem"));
}

// A server of plain, blocking OpenSSL on a socket; runs `talk` in a thread after the handshake.
class PlainServer {
 public:
  template <typename Talk>
  PlainServer(const House& house, UniqueFd socket, Talk talk)
      : socket_(std::move(socket)), thread_([this, &house, talk] {
          const std::unique_ptr<SSL_CTX, net::OpenSslFree<::SSL_CTX_free>> context(
              ::SSL_CTX_new(::TLS_server_method()));
          ::SSL_CTX_use_certificate(context.get(), house.server.x509());
          ::SSL_CTX_use_PrivateKey(context.get(), house.server.private_key());
          const std::unique_ptr<SSL, net::OpenSslFree<::SSL_free>> ssl(::SSL_new(context.get()));
          ::SSL_set_fd(ssl.get(), socket_.get());
          EXPECT_EQ(::SSL_accept(ssl.get()), 1);
          talk(ssl.get());
          ::ERR_clear_error();
        }) {}
  ~PlainServer() { thread_.join(); }

 private:
  UniqueFd socket_;
  std::thread thread_;
};

void read_exactly(SSL* ssl, size_t bytes) {
  std::vector<char> buffer(65536);
  for (size_t read = 0; bytes > 0; bytes -= read) {
    ASSERT_EQ(::SSL_read_ex(ssl, buffer.data(), std::min(bytes, buffer.size()), &read), 1);
  }
}

std::pair<UniqueFd, UniqueFd> blocking_pair() {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

TEST_P(TlsForeignOnEveryModel, KeysThatThePeerChangesAreChangedInTurnWhileBothWrite) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    constexpr size_t kBytes = size_t{1} << 20;
    constexpr size_t kPiece = 64 << 10;
    auto [theirs, ours] = blocking_pair();
    const PlainServer server(of, std::move(theirs), [](SSL* ssl) {
      // Each of its pieces is followed by a question for new keys; both sides' are changed.
      const std::string piece(kPiece, 'p');
      for (size_t sent = 0; sent < kBytes; sent += kPiece) {
        ASSERT_GT(::SSL_write(ssl, piece.data(), static_cast<int>(piece.size())), 0);
        ASSERT_EQ(::SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        read_exactly(ssl, kPiece);
      }
      ASSERT_EQ(::SSL_shutdown(ssl), 0);
      char byte;
      ASSERT_LE(::SSL_read(ssl, &byte, 1), 0);
      ASSERT_EQ(::SSL_get_shutdown(ssl), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    });
    auto stream = co_await TlsStream::connect(of.client_context(), std::move(ours), "a.test");
    EXPECT_TRUE(stream.ok()) << stream.status();
    if (!stream.ok()) co_return;
    const std::string much(kBytes, 'c');
    auto [written, read] = co_await all(stream->write_all(std::string_view(much)),
                                        [](TlsStream& from) -> Task<std::string> {
                                          co_return co_await read_text(from, kBytes);
                                        }(*stream));
    EXPECT_TRUE(written.ok()) << written;
    EXPECT_EQ(read, std::string(kBytes, 'p'));
    std::byte byte[1];
    EXPECT_EQ(*co_await stream->read_some(byte), 0u);
    EXPECT_TRUE((co_await stream->shutdown()).ok());
  }(house));
}

TEST_P(TlsForeignOnEveryModel, ARequestForNewKeysIsAnsweredWhereNobodyWrites) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    auto [theirs, ours] = blocking_pair();
    const PlainServer server(of, std::move(theirs), [](SSL* ssl) {
      for (int i = 0; i < 100; ++i) {
        ASSERT_EQ(::SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        ASSERT_EQ(::SSL_write(ssl, "k", 1), 1);
      }
      read_exactly(ssl, 4);
    });
    auto stream = co_await TlsStream::connect(of.client_context(), std::move(ours), "a.test");
    EXPECT_TRUE(stream.ok()) << stream.status();
    if (!stream.ok()) co_return;
    EXPECT_EQ(co_await read_text(*stream, 100), std::string(100, 'k'));
    EXPECT_TRUE((co_await stream->write_all("done")).ok());
  }(house));
}

TEST_P(TlsForeignOnEveryModel, WhatIsNoRecordIsDataLossForEver) {
  const House house;
  run_here([](const House& of) -> Task<void> {
    auto [theirs, ours] = blocking_pair();
    const PlainServer server(of, std::move(theirs), [](SSL* ssl) {
      const std::string forged = std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'f');
      EXPECT_GT(::write(::SSL_get_fd(ssl), forged.data(), forged.size()), 0);
      char byte;
      EXPECT_LE(::SSL_read(ssl, &byte, 1), 0);  // our alert
    });
    auto stream = co_await TlsStream::connect(of.client_context(), std::move(ours), "a.test");
    EXPECT_TRUE(stream.ok()) << stream.status();
    if (!stream.ok()) co_return;
    std::byte byte[1];
    const absl::Status broken = (co_await stream->read_some(byte)).status();
    EXPECT_EQ(broken.code(), absl::StatusCode::kDataLoss) << broken;
    EXPECT_EQ((co_await stream->read_some(byte)).status(), broken);
    EXPECT_EQ(co_await stream->write_all("x"), broken);
    EXPECT_EQ(co_await stream->shutdown(), broken);
  }(house));
}

}  // namespace
}  // namespace zsync
