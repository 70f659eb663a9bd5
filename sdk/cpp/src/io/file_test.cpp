#include "zsync/file.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/io_test.hpp"
#include "zsync/files.hpp"
#include "zsync/pipe.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class FileOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(FileOnEveryModel);

constexpr FileOptions kNew{.write = true, .create = FileCreate::always_new};

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_P(FileOnEveryModel, BytesAreWrittenAndReadAtOffsets) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    absl::StatusOr<File> file = co_await File::open(dir / "f", kNew);
    EXPECT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->path(), dir / "f");
    EXPECT_TRUE((co_await file->write_at(0, bytes_of("hello world"))).ok());
    EXPECT_TRUE((co_await file->write_at(6, bytes_of("there"))).ok());
    EXPECT_TRUE((co_await file->append("!")).ok());
    EXPECT_EQ(*co_await file->size(), 12u);
    std::byte buffer[32];
    EXPECT_EQ(*co_await file->read_at(0, buffer), 12u);  // the end is not waited for
    EXPECT_EQ(text_of(std::span(buffer).first(12)), "hello there!");
    EXPECT_EQ(*co_await file->read_at(11, std::span(buffer).first(1)), 1u);
    EXPECT_EQ(*co_await file->read_at(100, buffer), 0u);
    EXPECT_TRUE((co_await file->truncate(5)).ok());
    EXPECT_TRUE((co_await file->write_at(6, bytes_of("x"))).ok());
    EXPECT_TRUE((co_await file->sync()).ok());
    EXPECT_EQ(dir.read("f"), std::string("hello\0x", 7));
    EXPECT_TRUE((co_await file->close()).ok());
    EXPECT_TRUE((co_await file->close()).ok());
    EXPECT_EQ((co_await file->read_at(0, buffer)).status().message(),
              "the file is closed: open it again");
    EXPECT_EQ(file->path(), "");
    EXPECT_EQ(file->get(), -1);
  }());
}

TEST_P(FileOnEveryModel, OpeningFailsWithThePathAndTheReason) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    EXPECT_EQ((co_await File::open(dir / "none")).status(),
              absl::NotFoundError("open \"" + (dir / "none") + "\": No such file or directory"));
    EXPECT_TRUE((co_await File::open(dir / "f", kNew)).ok());
    EXPECT_EQ((co_await File::open(dir / "f", kNew)).status().code(),
              absl::StatusCode::kAlreadyExists);
    EXPECT_TRUE(
        (co_await File::open(dir / "f", {.write = true, .create = FileCreate::if_missing})).ok());
    EXPECT_EQ((co_await File::open("f", {.read = false})).status().message(),
              "open \"f\": neither read nor write is asked for");
    EXPECT_EQ((co_await File::open("f", {.truncate = true})).status().message(),
              "open \"f\": truncate needs write");
    EXPECT_EQ((co_await File::open("f", {.create = FileCreate::if_missing})).status().message(),
              "open \"f\": create needs write");
    EXPECT_EQ((co_await File::open(std::string("a\0b", 3))).status().code(),
              absl::StatusCode::kInvalidArgument);
    dir.write("f", "full");
    absl::StatusOr<File> reader = co_await File::open(dir / "f");
    EXPECT_FALSE((co_await reader->write_at(0, bytes_of("x"))).ok());
    EXPECT_FALSE((co_await reader->append("x")).ok());
    EXPECT_TRUE((co_await File::open(dir / "f", {.write = true, .truncate = true})).ok());
    EXPECT_EQ(dir.read("f"), "");
    EXPECT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
    EXPECT_TRUE((co_await File::open(dir / "fifo")).ok());  // without waiting for a writer
  }());
}

TEST_P(FileOnEveryModel, AppendsAtTheSameTimeAreWhole) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    File file = *co_await File::open(dir / "log", kNew);
    constexpr size_t kLine = 1000;
    co_await Executor::scope([&](Executor& group) -> Task<void> {
      for (char c = 'a'; c <= 'h'; ++c) {
        group.spawn(
            [](const File& log, char letter) -> Task<void> {
              const std::string line(kLine, letter);
              for (int i = 0; i < 20; ++i) EXPECT_TRUE((co_await log.append(line)).ok());
            },
            std::cref(file), c);
      }
      co_return;
    });
    const std::string written = dir.read("log");
    EXPECT_EQ(written.size(), 8 * 20 * kLine);
    for (size_t at = 0; at < written.size(); at += kLine) {
      EXPECT_EQ(written.substr(at, kLine), std::string(kLine, written[at]));
    }
  }());
}

TEST_P(FileOnEveryModel, AnOperationKeepsTheFileOpenThatItsOwnerLetGo) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    dir.write("f", "content");
    std::byte buffer[7];
    auto reading = [&]() {
      File file = File::adopt(UniqueFd(::open((dir / "f").c_str(), O_RDONLY | O_CLOEXEC)), "f");
      return file.read_at(0, buffer);
    }();
    EXPECT_EQ(*co_await std::move(reading), 7u);
    File file = *co_await File::open(dir / "f");
    Task<absl::StatusOr<size_t>> pending = file.read_at(0, buffer);
    EXPECT_EQ((co_await file.close()).code(), absl::StatusCode::kFailedPrecondition);
    pending.reset();
    EXPECT_TRUE((co_await file.close()).ok());
  }());
}

// One blocking thread, which is kept busy: the operation has not begun and is withdrawn.
TEST_P(FileOnEveryModel, ACancelBeforeTheBeginMeansThatNothingHappened) {
  Config config = config_of(GetParam());
  config.blocking_threads_max = 1;
  run(
      []() -> Task<void> {
        ScratchDir dir;
        File file = *co_await File::open(dir / "f", kNew);
        Gate begun, release;
        auto busy = spawn_blocking([begun, release]() mutable {
          begun.open();
          release.wait_blocking();
        });
        (void)co_await begun.opened();
        auto early = spawn(file.append("early"));
        early.cancel();
        EXPECT_TRUE(absl::IsCancelled(co_await early));
        auto queued = spawn(file.append("queued"));
        auto opening = spawn(File::open(dir / "g", kNew));
        for (int i = 0; i < 3; ++i) co_await yield_now();
        queued.cancel();
        opening.cancel();
        EXPECT_TRUE(absl::IsCancelled(co_await queued));
        EXPECT_TRUE(absl::IsCancelled((co_await opening).status()));
        release.open();
        co_await busy;
        EXPECT_EQ(*co_await file.size(), 0u);
        EXPECT_EQ((co_await file_metadata(dir / "g")).status().code(), absl::StatusCode::kNotFound);
      }(),
      config);
}

TEST_P(FileOnEveryModel, ACancelOfARunningOperationWaitsForItAndItsResultCounts) {
  run_here([]() -> Task<void> {
    // A pipe that nobody empties stands for a disk that takes its time.
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    auto reader = PipeReader::adopt(UniqueFd(ends[0]));
    const File slow = File::adopt(UniqueFd(ends[1]), "slow");
    const std::string bytes(1 << 20, 's');
    auto appending = spawn(slow.append(bytes));
    std::byte first[1];
    EXPECT_EQ(*co_await reader->read_some(first), 1u);
    appending.cancel();
    for (int i = 0; i < 3; ++i) co_await yield_now();
    EXPECT_FALSE(appending.done());
    std::string rest(bytes.size() - 1, ' ');
    for (size_t filled = 0; filled < rest.size();) {
      filled += *co_await reader->read_some(std::as_writable_bytes(std::span(rest)));
    }
    EXPECT_TRUE((co_await appending).ok());
  }());
}

TEST_P(FileOnEveryModel, ACancelThatRacesTheOperationTellsTheTruth) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    File file = *co_await File::open(dir / "f", kNew);
    uint64_t size = 0;
    for (int round = 0; round < 200; ++round) {
      auto appending = spawn(file.append("0123456789"));
      for (int i = 0; i < round % 4; ++i) co_await yield_now();
      appending.cancel();
      const absl::Status status = co_await appending;
      EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
      if (status.ok()) size += 10;
      EXPECT_EQ(*co_await file.size(), size);
    }
  }());
}

TEST_P(FileOnEveryModel, MetadataTellsWhatTheSystemKnows) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    dir.write("f", "12345");
    EXPECT_EQ(::chmod((dir / "f").c_str(), 0640), 0);
    EXPECT_EQ(::symlink("f", (dir / "link").c_str()), 0);
    const FileMetadata found = *co_await file_metadata(dir / "link");
    EXPECT_EQ(found.kind, FileKind::regular);
    EXPECT_EQ(found.size, 5u);
    EXPECT_EQ(found.mode, 0640u);
    EXPECT_EQ(found.uid, ::geteuid());
    EXPECT_LT(std::chrono::system_clock::now() - found.modified, 1h);
    EXPECT_EQ((*co_await (*co_await File::open(dir / "f")).metadata()).inode, found.inode);
    EXPECT_EQ((*co_await file_metadata(dir / "link", Symlinks::keep)).kind, FileKind::symlink);
    EXPECT_EQ((*co_await file_metadata(dir.path())).kind, FileKind::directory);
    EXPECT_EQ((*co_await file_metadata("/dev/null")).kind, FileKind::device);
  }());
}

TEST(FileDeathTest, ASimulationHasNoFiles) {
  EXPECT_DEATH(testing::SimRuntime(1).run(
                   []() -> Task<void> { (void)co_await File::open("/etc/passwd"); }()),
               "a file in a runtime without a kernel");
}

}  // namespace
}  // namespace zsync
