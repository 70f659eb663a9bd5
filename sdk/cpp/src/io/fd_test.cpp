#include "zsync/rt/fd.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "io/io_test.hpp"
#include "zsync/pipe.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class FdOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(FdOnEveryModel);
class FdOnOneWorker : public EveryModel {};
ZS_FOR_ONE_WORKER_MODELS(FdOnOneWorker);

TEST_P(FdOnEveryModel, BytesThroughAPipeArriveInOrderAndTheEndIsSeen) {
  run_here([]() -> Task<void> {
    auto pipe = make_pipe();
    EXPECT_TRUE(pipe.ok());
    auto& [reader, writer] = *pipe;
    const std::string sent(300'000, 'x');  // more than a pipe holds
    auto [written, read] = co_await all(
        [](PipeWriter& to, const std::string& bytes) -> Task<absl::Status> {
          absl::Status status = co_await to.write_all(std::string_view(bytes));
          to.close();
          co_return status;
        }(writer, sent),
        reader.read_to_end(1'000'000));
    EXPECT_TRUE(written.ok()) << written;
    EXPECT_TRUE(read.ok() && *read == sent) << read.status();
  }());
}

TEST_P(FdOnEveryModel, AWriteWithoutAReaderFailsAndRaisesNoSignal) {
  run_here([]() -> Task<void> {
    struct sigaction raising{}, before;
    raising.sa_handler = SIG_DFL;
    sigaction(SIGPIPE, &raising, &before);
    auto pipe = make_pipe();
    pipe->first.close();
    co_await sleep(1ms);  // it is closed at the worker's next look at its descriptors
    const absl::Status broken = co_await pipe->second.write_all("x");
    EXPECT_EQ(broken.message(), "write: Broken pipe");
    EXPECT_EQ(broken.code(), absl::StatusCode::kFailedPrecondition);
    // The way for kernels without RWF_NOSIGNAL: an eventfd takes only plain writes.
    auto event = PipeWriter::adopt(UniqueFd(::eventfd(0, EFD_CLOEXEC)));
    EXPECT_TRUE((co_await event->write_all(std::string_view("12345678"))).ok());
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    auto socket = PipeWriter::adopt(UniqueFd(ends[0]));
    ::close(ends[1]);
    EXPECT_EQ((co_await socket->write_all("x")).message(), "write: Broken pipe");
    sigaction(SIGPIPE, &before, nullptr);
  }());
}

TEST_P(FdOnOneWorker, ClosingEndsAPendingWaitAndLaterOnesFail) {
  run_here([]() -> Task<void> {
    auto pipe = make_pipe();
    std::byte buffer[8];
    auto reading = spawn(
        [](PipeReader& from, std::span<std::byte> into) -> Task<absl::StatusOr<size_t>> {
          co_return co_await from.read_some(into);
        },
        std::ref(pipe->first), std::span<std::byte>(buffer));
    for (int i = 0; i < 3; ++i) co_await yield_now();
    pipe->first.close();
    const absl::StatusOr<size_t> read = co_await reading;
    EXPECT_FALSE(read.ok());
    EXPECT_FALSE((co_await pipe->first.read_some(buffer)).ok());
    EXPECT_FALSE((co_await pipe->first.read_to_end(8)).ok());
    rt::Fd nothing;
    EXPECT_EQ((co_await nothing.readable()).code(), absl::StatusCode::kFailedPrecondition);
  }());
}

TEST_P(FdOnEveryModel, ACancelledTaskReadsNothingThoughBytesAreThere) {
  run_here([]() -> Task<void> {
    auto pipe = make_pipe();
    EXPECT_TRUE((co_await pipe->second.write_all("abc")).ok());
    Gate begun, go;
    auto reading = spawn(
        [](PipeReader& from, Gate started, Gate release) -> Task<absl::StatusOr<size_t>> {
          co_await shield([](Gate first, Gate second) -> Task<void> {
            first.open();
            (void)co_await second.opened();
          }(started, release));
          std::byte buffer[8];
          co_return co_await from.read_some(buffer);
        },
        std::ref(pipe->first), begun, go);
    (void)co_await begun.opened();
    reading.cancel();
    go.open();
    EXPECT_TRUE(absl::IsCancelled((co_await reading).status()));
    std::byte buffer[8];
    EXPECT_EQ(*co_await pipe->first.read_some(buffer), 3u);
  }());
}

// A reader of one byte a turn, cancelled at a random moment, against a writer of numbered bytes.
TEST_P(FdOnEveryModel, ACancelThatRacesACompletionLosesNoByte) {
  run_here([]() -> Task<void> {
    auto pipe = make_pipe();
    std::string got;
    for (int round = 0; round < 200; ++round) {
      auto reading = spawn(
          [](PipeReader& from, std::string& into) -> Task<absl::Status> {
            char byte;
            absl::StatusOr<size_t> count =
                co_await from.read_some(std::as_writable_bytes(std::span(&byte, 1)));
            if (count.ok()) into.push_back(byte);
            co_return count.status();
          },
          std::ref(pipe->first), std::ref(got));
      for (int i = 0; i < round % 4; ++i) co_await yield_now();
      const char byte = static_cast<char>(round);
      EXPECT_TRUE((co_await pipe->second.write_all(std::string_view(&byte, 1))).ok());
      if (round % 3 != 0) co_await yield_now();
      reading.cancel();
      (void)co_await reading;
    }
    pipe->second.close();
    got += *co_await pipe->first.read_to_end(1000);
    EXPECT_EQ(got.size(), 200u);
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], static_cast<char>(i));
  }());
}

TEST_P(FdOnEveryModel, ACancelledWriterLetsGoOfItsBuffer) {
  run_here([]() -> Task<void> {
    auto pipe = make_pipe();
    auto writing = spawn(
        [](PipeWriter& to) -> Task<absl::Status> {
          const std::string bytes(1 << 20, 'x');
          co_return co_await to.write_all(std::string_view(bytes));
        },
        std::ref(pipe->second));
    std::byte first[1];
    EXPECT_EQ(*co_await pipe->first.read_some(first), 1u);
    writing.cancel();
    EXPECT_TRUE(absl::IsCancelled(co_await writing));
    pipe->second.close();
    EXPECT_LT((co_await pipe->first.read_to_end(1 << 20))->size(), size_t{1} << 20);
  }());
}

TEST_P(FdOnEveryModel, AReleasedDescriptorIsTheSameOpenFile) {
  run_here([]() -> Task<void> {
    auto pipe = make_pipe();
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    rt::Fd reader = *rt::Fd::adopt(ends[0]);
    UniqueFd released = *reader.release();
    EXPECT_FALSE(reader);
    EXPECT_EQ(::write(ends[1], "q", 1), 1);
    rt::Fd again = *rt::Fd::adopt(std::move(released));
    std::byte buffer[2];
    EXPECT_EQ(*co_await again.read_some(buffer), 1u);
    ::close(ends[1]);
  }());
}

TEST_P(FdOnEveryModel, MoreThanTheLimitIsRefused) {
  run_here([]() -> Task<void> {
    auto pipe = make_pipe();
    EXPECT_TRUE((co_await pipe->second.write_all("12345")).ok());
    pipe->second.close();
    const auto read = co_await pipe->first.read_to_end(4);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(read.status().message(), "read: there are more than 4 bytes; raise the limit");
  }());
}

TEST(FdDeathTest, ASimulationHasNoDescriptors) {
  EXPECT_DEATH(testing::SimRuntime(1).run([]() -> Task<void> {
    (void)make_pipe();
    co_return;
  }()),
               "use the real runtime");
}

}  // namespace
}  // namespace zsync
