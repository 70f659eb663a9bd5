#include "zsync/unix_socket.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "io/io_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class UnixSocketOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(UnixSocketOnEveryModel);

Task<std::string> read_line(UnixStream& stream) {
  std::string line;
  char byte;
  while ((co_await stream.read_exact(std::as_writable_bytes(std::span(&byte, 1)))).ok()) {
    if (byte == '\n') break;
    line.push_back(byte);
  }
  co_return line;
}

// Answers each line until the client goes.
Task<void> serve(UnixStream stream) {
  while (true) {
    const std::string line = co_await read_line(stream);
    if (line.empty()) co_return;
    const std::string answer = "got " + line + "\n";
    EXPECT_TRUE((co_await stream.write_all(std::string_view(answer))).ok());
  }
}

TEST_P(UnixSocketOnEveryModel, ClientsTalkToAListenerAndItKnowsWhoTheyAre) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    auto listener = UnixListener::bind(dir / "s");
    EXPECT_TRUE(listener.ok()) << listener.status();
    EXPECT_EQ(listener->path(), dir / "s");
    for (int i = 0; i < 5; ++i) {
      auto [accepted, connected] = co_await all(listener->accept(), UnixStream::connect(dir / "s"));
      EXPECT_TRUE(accepted.ok() && connected.ok());
      const UnixCredentials peer = *accepted->peer_credentials();
      EXPECT_EQ(peer.pid, ::getpid());
      EXPECT_EQ(peer.uid, ::geteuid());
      EXPECT_EQ(peer.gid, ::getegid());
      auto server = spawn(serve, *std::move(accepted));
      EXPECT_TRUE((co_await connected->write_all("hello\n")).ok());
      EXPECT_EQ(co_await read_line(*connected), "got hello");
      EXPECT_TRUE(connected->shutdown_write().ok());
      co_await server;
      EXPECT_TRUE((co_await connected->hangup()).ok());
      std::byte buffer[1];
      EXPECT_EQ((co_await connected->read_exact(buffer)).message(),
                "read: the peer ended after 0 of 1 bytes");
    }
  }());
}

TEST_P(UnixSocketOnEveryModel, ManyConnectionsAtOnceWaitForEachOther) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    // A queue of one: clients that find it full wait too.
    auto listener = UnixListener::bind(dir / "s", {.backlog = 1});
    constexpr int kClients = 20;
    co_await Executor::scope([&](Executor& group) -> Task<void> {
      for (int i = 0; i < kClients; ++i) {
        group.spawn(
            [](std::string path, int number) -> Task<void> {
              auto stream = co_await UnixStream::connect(path);
              EXPECT_TRUE(stream.ok()) << stream.status();
              const std::string name = std::to_string(number);
              EXPECT_TRUE((co_await stream->write_all(std::string_view(name + "\n"))).ok());
              EXPECT_EQ(co_await read_line(*stream), "got " + name);
            },
            dir / "s", i);
      }
      for (int i = 0; i < kClients; ++i) group.spawn(serve, *co_await listener->accept());
    });
  }());
}

TEST_P(UnixSocketOnEveryModel, AbstractNamesNeedNoFile) {
  run_here([]() -> Task<void> {
    const std::string name = "@zsync-test-" + std::to_string(::getpid());
    auto listener = UnixListener::bind(name);
    EXPECT_TRUE(listener.ok()) << listener.status();
    EXPECT_EQ(UnixListener::bind(name).status().code(), absl::StatusCode::kAlreadyExists);
    auto [accepted, connected] = co_await all(listener->accept(), UnixStream::connect(name));
    EXPECT_TRUE((co_await accepted->write_all("x")).ok());
    std::byte buffer[2];
    EXPECT_EQ(*co_await connected->read_some(buffer), 1u);
    const std::string longest = "@" + std::string(kUnixPathBytesMax - 1, 'z');
    EXPECT_TRUE(UnixListener::bind(longest).ok());
  }());
}

TEST_P(UnixSocketOnEveryModel, BadAddressesAreRefusedWithTheLimit) {
  run_here([]() -> Task<void> {
    const std::string longer(108, 'a');
    EXPECT_EQ(UnixListener::bind(longer).status().message(),
              "listen \"" + longer +
                  "\": the path has 108 bytes, a socket's at most 107; use a shorter directory");
    EXPECT_EQ((co_await UnixStream::connect(longer)).status().code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ((co_await UnixStream::connect("")).status().message(),
              "connect: a socket's path is neither empty nor has a NUL byte");
    EXPECT_EQ(UnixListener::bind(std::string("a\0b", 3)).status().code(),
              absl::StatusCode::kInvalidArgument);
    ScratchDir dir;
    EXPECT_EQ((co_await UnixStream::connect(dir / "none")).status(),
              absl::NotFoundError("connect \"" + (dir / "none") + "\": No such file or directory"));
    EXPECT_EQ(UnixListener::bind(dir / "no/such/s").status().code(), absl::StatusCode::kNotFound);
    // The longest path there is.
    const std::string longest = dir / std::string(kUnixPathBytesMax - dir.path().size() - 1, 'p');
    EXPECT_EQ(longest.size(), kUnixPathBytesMax);
    auto listener = UnixListener::bind(longest);
    auto [accepted, connected] = co_await all(listener->accept(), UnixStream::connect(longest));
    EXPECT_TRUE(accepted.ok() && connected.ok());
  }());
}

TEST_P(UnixSocketOnEveryModel, AStaleFileIsTakenOverOnlyWhereThatWasAskedFor) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    const std::string path = dir / "s";
    {
      EXPECT_TRUE(UnixListener::bind(path).ok());
    }
    while ((co_await UnixStream::connect(path)).ok()) co_await sleep(1ms);
    EXPECT_EQ((co_await UnixStream::connect(path)).status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(UnixListener::bind(path).status().code(), absl::StatusCode::kAlreadyExists);
    auto listener = UnixListener::bind(path, {.replace_stale = true});
    EXPECT_TRUE(listener.ok()) << listener.status();
    // One that is alive is not replaced, nor is a file of another kind.
    EXPECT_EQ(UnixListener::bind(path, {.replace_stale = true}).status().code(),
              absl::StatusCode::kAlreadyExists);
    dir.write("file", "precious");
    EXPECT_EQ(UnixListener::bind(dir / "file", {.replace_stale = true}).status().code(),
              absl::StatusCode::kAlreadyExists);
    EXPECT_TRUE(std::filesystem::is_regular_file(dir / "file"));
  }());
}

TEST_P(UnixSocketOnEveryModel, TheFileHasThePermissionsAskedForAndGoesAtTheEndWhereAsked) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    const mode_t umask_before = ::umask(0077);
    const auto mode_of = [](const std::string& path) {
      struct stat info{};
      EXPECT_EQ(::stat(path.c_str(), &info), 0);
      return info.st_mode & 07777;
    };
    auto narrow = UnixListener::bind(dir / "narrow");
    EXPECT_EQ(mode_of(dir / "narrow"), 0600u);
    auto wide = UnixListener::bind(dir / "wide", {.mode = 0666, .remove_on_close = true});
    EXPECT_EQ(mode_of(dir / "wide"), 0666u);
    ::umask(umask_before);
    narrow->close();
    wide->close();
    EXPECT_TRUE(std::filesystem::exists(dir / "narrow"));
    EXPECT_FALSE(std::filesystem::exists(dir / "wide"));
    // Somebody else's file of the same name stays.
    auto first = UnixListener::bind(dir / "wide", {.remove_on_close = true});
    std::filesystem::rename(dir / "wide", dir / "old");
    auto second = UnixListener::bind(dir / "wide");
    first->close();
    EXPECT_TRUE(std::filesystem::exists(dir / "wide"));
    co_return;
  }());
}

TEST_P(UnixSocketOnEveryModel, DescriptorsTravelWithTheBytesAndAreClosedOnExec) {
  run_here([]() -> Task<void> {
    auto pair = UnixStream::pair();
    auto& [left, right] = *pair;
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    EXPECT_TRUE((co_await left.send_fds(bytes_of("take these"), ends)).ok());
    ::close(ends[0]);
    std::byte buffer[32];
    absl::StatusOr<ReceivedFds> received = co_await right.recv_fds(buffer);
    EXPECT_EQ(received->bytes, 10u);
    EXPECT_EQ(received->fds.size(), 2u);
    EXPECT_EQ(::fcntl(received->fds[0].get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    EXPECT_EQ(::write(ends[1], "q", 1), 1);
    char byte = 0;
    EXPECT_EQ(::read(received->fds[0].get(), &byte, 1), 1);
    EXPECT_EQ(byte, 'q');
    ::close(ends[1]);
    EXPECT_TRUE((co_await left.write_all("x")).ok());
    received = co_await right.recv_fds(buffer);
    EXPECT_TRUE(received->bytes == 1 && received->fds.empty());
    left.close();
    EXPECT_EQ((co_await right.recv_fds(buffer))->bytes, 0u);
  }());
}

TEST_P(UnixSocketOnEveryModel, TooManyDescriptorsAreRefusedAndNoneLeaks) {
  run_here([]() -> Task<void> {
    auto pair = UnixStream::pair();
    auto& [left, right] = *pair;
    std::byte buffer[8];
    const int before = open_descriptors();
    const std::vector<int> most(UnixStream::kFdsMax, STDIN_FILENO);
    EXPECT_TRUE((co_await left.send_fds(bytes_of("x"), most)).ok());
    EXPECT_EQ((co_await right.recv_fds(buffer))->fds.size(), UnixStream::kFdsMax);
    const std::vector<int> more(UnixStream::kFdsMax + 1, STDIN_FILENO);
    EXPECT_EQ((co_await left.send_fds(bytes_of("x"), more)).message(),
              "send_fds: 254 descriptors with 1 bytes; at least 1 byte and at most 253 descriptors "
              "go together");
    EXPECT_FALSE((co_await left.send_fds({}, most)).ok());
    const int closed[] = {999'999};
    EXPECT_FALSE((co_await left.send_fds(bytes_of("x"), closed)).ok());
    // More than the receiver expects.
    EXPECT_TRUE((co_await left.send_fds(bytes_of("x"), most)).ok());
    EXPECT_EQ((co_await right.recv_fds(buffer, 2)).status().message(),
              "receiving descriptors: the peer sent 253, at most 2 were expected");
    // A receiver that expects none at all.
    EXPECT_TRUE((co_await left.send_fds(bytes_of("x"), most)).ok());
    EXPECT_EQ(*co_await right.read_some(buffer), 1u);
    // More than this process may open.
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    EXPECT_TRUE((co_await left.send_fds(bytes_of("x"), most)).ok());
    const rlimit small{.rlim_cur = static_cast<rlim_t>(before) + 10, .rlim_max = limit.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &small);
    const absl::StatusCode refused = (co_await right.recv_fds(buffer)).status().code();
    if (has_pidfd()) {  // valgrind does not pass the limit on
      EXPECT_EQ(refused, absl::StatusCode::kResourceExhausted);
    }
    ::setrlimit(RLIMIT_NOFILE, &limit);
    EXPECT_EQ(open_descriptors(), before);
  }());
}

TEST_P(UnixSocketOnEveryModel, ACancelledAcceptLosesNoConnection) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    auto listener = UnixListener::bind(dir / "s");
    auto early = spawn(listener->accept());
    early.cancel();
    EXPECT_TRUE(absl::IsCancelled((co_await early).status()));
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(listener->accept(), 1ms)).status()));
    int accepted = 0;
    std::vector<UnixStream> clients;
    for (int round = 0; round < 60; ++round) {
      auto accepting = spawn(listener->accept());
      for (int i = 0; i < round % 3; ++i) co_await yield_now();
      clients.push_back(*co_await UnixStream::connect(dir / "s"));
      for (int i = 0; i < round / 3 % 3; ++i) co_await yield_now();
      accepting.cancel();
      const absl::StatusOr<UnixStream> stream = co_await accepting;
      EXPECT_TRUE(stream.ok() || absl::IsCancelled(stream.status())) << stream.status();
      if (stream.ok()) ++accepted;
    }
    for (; accepted < 60; ++accepted) EXPECT_TRUE((co_await listener->accept()).ok());
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(listener->accept(), 1ms)).status()));
  }());
}

TEST_P(UnixSocketOnEveryModel, ACancelledConnectToAFullQueueConnectsNobody) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    auto listener = UnixListener::bind(dir / "s", {.backlog = 0});
    const int before = open_descriptors();
    auto first = co_await UnixStream::connect(dir / "s");
    EXPECT_TRUE(first.ok());
    EXPECT_TRUE(
        absl::IsDeadlineExceeded((co_await timeout(UnixStream::connect(dir / "s"), 5ms)).status()));
    auto early = spawn(UnixStream::connect(dir / "s"));
    early.cancel();
    EXPECT_TRUE(absl::IsCancelled((co_await early).status()));
    EXPECT_EQ(open_descriptors(), before + 1);
    auto waiting = spawn(UnixStream::connect(dir / "s"));
    EXPECT_TRUE((co_await listener->accept()).ok());
    EXPECT_TRUE((co_await waiting).ok());
  }());
}

TEST_P(UnixSocketOnEveryModel, ACancelThatRacesAReceiveLosesNeitherBytesNorDescriptors) {
  run_here([]() -> Task<void> {
    auto pair = UnixStream::pair();
    auto& [left, right] = *pair;
    size_t bytes = 0, fds = 0;
    for (int round = 0; round < 100; ++round) {
      auto receiving = spawn(
          [](UnixStream& from) -> Task<absl::StatusOr<ReceivedFds>> {
            std::byte byte[1];
            co_return co_await from.recv_fds(byte);
          },
          std::ref(right));
      for (int i = 0; i < round % 3; ++i) co_await yield_now();
      const int sent[] = {STDIN_FILENO};
      EXPECT_TRUE((co_await left.send_fds(bytes_of("x"), sent)).ok());
      if (round % 2) co_await yield_now();
      receiving.cancel();
      const absl::StatusOr<ReceivedFds> received = co_await receiving;
      if (received.ok()) bytes += received->bytes, fds += received->fds.size();
    }
    while (bytes < 100) {
      std::byte byte[1];
      const absl::StatusOr<ReceivedFds> received = co_await right.recv_fds(byte);
      bytes += received->bytes, fds += received->fds.size();
    }
    EXPECT_EQ(fds, 100u);
  }());
}

TEST_P(UnixSocketOnEveryModel, ReadingAndWritingGoOnAtTheSameTimeFromTwoTasks) {
  run_here([]() -> Task<void> {
    auto pair = UnixStream::pair();
    auto& [left, right] = *pair;
    constexpr size_t kBytes = 2'000'000;
    const std::string sent(kBytes, 'b');
    std::string one(kBytes, ' '), other(kBytes, ' ');
    const auto [a, b, c, d] = co_await all(
        left.write_all(std::string_view(sent)), right.write_all(std::string_view(sent)),
        left.read_exact(std::as_writable_bytes(std::span(one))),
        right.read_exact(std::as_writable_bytes(std::span(other))));
    EXPECT_TRUE(a.ok() && b.ok() && c.ok() && d.ok());
    EXPECT_TRUE(one == sent && other == sent);
  }());
}

TEST_P(UnixSocketOnEveryModel, AReleasedStreamCanBeAdoptedAgain) {
  run_here([]() -> Task<void> {
    auto pair = UnixStream::pair();
    UniqueFd released = *pair->first.release();
    EXPECT_EQ(pair->first.get(), -1);
    auto again = UnixStream::adopt(std::move(released));
    EXPECT_TRUE((co_await again->write_all("y")).ok());
    std::byte buffer[2];
    EXPECT_EQ(*co_await pair->second.read_some(buffer), 1u);
    again->close();
    EXPECT_TRUE((co_await pair->second.hangup()).ok());
    EXPECT_EQ((co_await pair->second.write_all("z")).message(), "write: Broken pipe");
  }());
}

TEST(UnixSocketDeathTest, ASimulationHasNoSockets) {
  EXPECT_DEATH(testing::SimRuntime(1).run([]() -> Task<void> {
    (void)UnixListener::bind("@zsync-test-simulated");
    co_return;
  }()),
               "no kernel in a simulation");
}

}  // namespace
}  // namespace zsync
