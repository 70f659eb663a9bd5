// Many connections at once, cancels at any moment, ends and urgent bytes: what a backend may get
// wrong and no single read or write shows.
#include <netinet/in.h>
#include <sys/socket.h>

#include <random>
#include <string>
#include <vector>

#include "net/net_test.hpp"
#include "zsync/tcp.hpp"
#include "zsync/unix_socket.hpp"
#include "zsync/zsync.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class ExchangeOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(ExchangeOnEveryModel);

using TcpPair = std::pair<TcpStream, TcpStream>;

Task<TcpPair> tcp_pair(TcpListener& listener) {
  auto near = co_await TcpStream::connect(*listener.local_address());
  auto far = co_await listener.accept();
  EXPECT_TRUE(near.ok() && far.ok());
  co_return TcpPair(*std::move(near), *std::move(far));
}

char numbered(size_t position) { return static_cast<char>(position % 251); }

template <typename Stream>
Task<void> echo_all(Stream stream) {
  std::vector<std::byte> buffer(7000);
  while (true) {
    const auto count = co_await stream.read_some(buffer);
    if (!count.ok() || *count == 0) co_return;
    const auto part = std::span<const std::byte>(buffer).first(*count);
    if (!(co_await stream.write_all(part)).ok()) co_return;
  }
}

template <typename Stream>
Task<void> exchange(Stream stream, unsigned seed) {
  std::mt19937 random(seed);
  for (int message = 0; message < 30; ++message) {
    std::string sent(1 + random() % 30'000, static_cast<char>(random()));
    for (size_t i = 0; i < sent.size(); ++i) sent[i] = numbered(i + message);
    std::string got(sent.size(), '\0');
    auto [written, read] = co_await all(stream.write_all(bytes_of(sent)),
                                        stream.read_exact(std::as_writable_bytes(std::span(got))));
    EXPECT_TRUE(written.ok() && read.ok()) << written << read;
    EXPECT_TRUE(got == sent);
  }
}

TEST_P(ExchangeOnEveryModel, ManyConnectionsAtOnceKeepTheirBytesApartAndInOrder) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    std::vector<TaskHandle<void>> tasks;
    for (unsigned i = 0; i < 25; ++i) {
      auto [near, far] = co_await tcp_pair(*listener);
      tasks.push_back(spawn(exchange(std::move(near), i)));
      tasks.push_back(spawn(echo_all(std::move(far))));
      auto pair = UnixStream::pair();
      tasks.push_back(spawn(exchange(std::move(pair->first), i)));
      tasks.push_back(spawn(echo_all(std::move(pair->second))));
    }
    for (TaskHandle<void>& task : tasks) co_await task;
  }());
}

Task<void> write_numbered(TcpStream stream, size_t bytes) {
  std::mt19937 random(1);
  for (size_t sent = 0; sent < bytes;) {
    std::string part(std::min<size_t>(bytes - sent, 1 + random() % 100), '\0');
    for (char& c : part) c = numbered(sent++);
    EXPECT_TRUE((co_await stream.write_all(bytes_of(part))).ok());
    if (random() % 4 == 0) co_await sleep(20us);
  }
}

// -> bytes taken; the reader is cancelled at some moment.
Task<size_t> read_until_cancelled(TcpStream& stream, size_t position, bool& ended) {
  size_t taken = 0;
  std::byte buffer[64];
  while (true) {
    const auto count = co_await stream.read_some(buffer);
    if (!count.ok()) {
      EXPECT_TRUE(absl::IsCancelled(count.status())) << count.status();
      co_return taken;
    }
    if (*count == 0) {
      ended = true;
      co_return taken;
    }
    for (size_t i = 0; i < *count; ++i) {
      EXPECT_EQ(static_cast<char>(buffer[i]), numbered(position + taken + i));
    }
    taken += *count;
  }
}

TEST_P(ExchangeOnEveryModel, CancelsFromAnotherThreadAtAnyMomentLoseNoByteOfAConnection) {
  run_here([]() -> Task<void> {
    constexpr size_t kBytes = 50'000;
    auto listener = TcpListener::bind(any_port());
    auto [near, far] = co_await tcp_pair(*listener);
    auto writing = spawn(write_numbered(std::move(near), kBytes));
    size_t position = 0;
    bool ended = false;
    while (!ended) {
      auto reading = spawn(read_until_cancelled(far, position, ended));
      co_await spawn_blocking([&] {
        std::this_thread::yield();
        reading.cancel();
      });
      position += co_await reading;
    }
    EXPECT_EQ(position, kBytes);
    co_await writing;
  }());
}

TEST_P(ExchangeOnEveryModel, ACancelledAcceptTakesNoConnectionFromTheNextOne) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    size_t accepted = 0;
    for (int round = 0; round < 100; ++round) {
      auto accepting = spawn([](TcpListener& from) -> Task<bool> {
        co_return (co_await from.accept()).ok();
      }(*listener));
      auto connecting = spawn(TcpStream::connect(*listener->local_address()));
      if (round % 3 == 0) co_await yield_now();
      co_await spawn_blocking([&] { accepting.cancel(); });
      if (co_await accepting) ++accepted;
      EXPECT_TRUE((co_await connecting).ok());
    }
    while (accepted < 100) {
      EXPECT_TRUE((co_await listener->accept()).ok());
      ++accepted;
    }
  }());
}

TEST_P(ExchangeOnEveryModel, ACancelledConnectLeavesNothing) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    const int before = open_descriptors();
    for (int round = 0; round < 100; ++round) {
      auto connecting = spawn(TcpStream::connect(*listener->local_address()));
      if (round % 2 == 0) co_await yield_now();
      connecting.cancel();
      (void)co_await connecting;
    }
    co_await descriptors_back_to(before);
  }());
}

TEST_P(ExchangeOnEveryModel, ACancelledWriteToOneWhoDoesNotReadEnds) {
  run_here([]() -> Task<void> {
    auto pair = UnixStream::pair();
    const std::string much(4'000'000, 'x');
    auto writing = spawn([](UnixStream& to, const std::string& bytes) -> Task<absl::Status> {
      co_return co_await to.write_all(bytes_of(bytes));
    }(pair->first, much));
    co_await sleep(1ms);
    writing.cancel();
    EXPECT_TRUE(absl::IsCancelled(co_await writing));
  }());
}

// An end that came with the last bytes is told by no event of its own.
TEST_P(ExchangeOnEveryModel, TheEndIsSeenWhenItComesTogetherWithTheLastBytes) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    for (int round = 0; round < 100; ++round) {
      auto [near, far] = co_await tcp_pair(*listener);
      auto reading = spawn([](TcpStream from) -> Task<size_t> {
        size_t bytes = 0;
        std::byte buffer[100];
        while (true) {
          const auto count = co_await from.read_some(buffer);
          if (!count.ok() || *count == 0) co_return bytes;
          bytes += *count;
        }
      }(std::move(far)));
      if (round % 2 == 0) co_await yield_now();
      EXPECT_TRUE((co_await near.write_all(bytes_of("abc"))).ok());
      if (round % 3 == 0) co_await yield_now();
      near.close();
      EXPECT_EQ(co_await reading, 3u);
    }
  }());
}

// A read ends before the mark of an urgent byte, though there is more behind it.
TEST_P(ExchangeOnEveryModel, BytesBehindAnUrgentOneAreRead) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    auto [near, far] = co_await tcp_pair(*listener);
    std::string got;
    for (int round = 0; round < 20; ++round) {
      EXPECT_EQ(::send(near.get(), "ab", 2, MSG_NOSIGNAL), 2);
      EXPECT_EQ(::send(near.get(), "!", 1, MSG_NOSIGNAL | MSG_OOB), 1);
      EXPECT_EQ(::send(near.get(), "cd", 2, MSG_NOSIGNAL), 2);
      while (got.size() < 4u * (round + 1)) {
        std::byte buffer[100];
        const auto count = co_await far.read_some(buffer);
        EXPECT_TRUE(count.ok() && *count > 0);
        got.append(reinterpret_cast<const char*>(buffer), *count);
      }
      EXPECT_EQ(got.substr(got.size() - 4), "abcd");
    }
  }());
}

TEST_P(ExchangeOnEveryModel, ConnectionsInARowLeaveNoDescriptor) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    const int before = open_descriptors();
    for (int round = 0; round < 3'400; ++round) {  // 10,200 in the three models together
      auto [near, far] = co_await tcp_pair(*listener);
      auto reading = spawn(echo_all(std::move(far)));
      EXPECT_TRUE((co_await near.write_all(bytes_of("x"))).ok());
      std::byte byte;
      EXPECT_TRUE((co_await near.read_some(std::span(&byte, 1))).ok());
      // Reset instead of an end, so that no port waits.
      const linger at_once{1, 0};
      ::setsockopt(near.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      near.close();
      co_await reading;
    }
    co_await descriptors_back_to(before);
  }());
}

TEST_P(ExchangeOnEveryModel, APortIsFreeAgainWhenItsListenerIsGoneThoughSomebodyWaited) {
  SocketAddress address = any_port();
  for (int round = 0; round < 5; ++round) {
    run_here([](SocketAddress& at) -> Task<void> {
      auto listener = TcpListener::bind(at);
      EXPECT_TRUE(listener.ok()) << listener.status();
      if (!listener.ok()) co_return;
      at = *listener->local_address();
      auto waiting =
          spawn([](TcpListener& from) -> Task<void> { (void)co_await from.accept(); }(*listener));
      for (int i = 0; i < 3; ++i) co_await yield_now();
      waiting.cancel();
      co_await waiting;
    }(address));
  }
}

TEST(Exchange, AnotherThreadMayGoOnWithWhatWaits) {
  auto runtime = std::move(Runtime::create(Config::for_cli())).value();
  std::optional<UnixStream> writer;
  TaskHandle<size_t> reading = runtime->block_on([](auto& end) -> Task<TaskHandle<size_t>> {
    auto pair = UnixStream::pair();
    end = std::move(pair->first);
    auto handle = spawn([](UnixStream from) -> Task<size_t> {
      std::byte buffer[8];
      co_return *co_await from.read_some(buffer);
    }(std::move(pair->second)));
    for (int i = 0; i < 3; ++i) co_await yield_now();
    co_return handle;
  }(writer));
  std::thread([&] {
    const size_t read = runtime->block_on([](auto& end, auto& handle) -> Task<size_t> {
      EXPECT_TRUE((co_await end->write_all(bytes_of("abc"))).ok());
      end.reset();
      co_return co_await handle;
    }(writer, reading));
    EXPECT_EQ(read, 3u);
  }).join();
}

}  // namespace
}  // namespace zsync
