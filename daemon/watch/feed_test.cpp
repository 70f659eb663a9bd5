#include "daemon/watch/feed.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <string>

#include "watch/scratch_dir_test.hpp"
#include "zsync/zsync.hpp"

namespace zsync::daemon {
namespace {

using namespace std::chrono_literals;
using watching::ScratchDir;

std::string text_of(const WatchBatch& batch) {
  std::string out;
  for (const FileChange& change : batch.changes) {
    if (!out.empty()) out += ' ';
    out += std::string("CMDR").substr(static_cast<size_t>(change.kind), 1) + change.path;
  }
  return out;
}

Task<std::string> seen(WatchFeed& feed) {
  absl::StatusOr<WatchBatch> batch = co_await timeout(feed.next(), 20s);
  EXPECT_TRUE(batch.ok()) << batch.status();
  co_return batch.ok() ? text_of(*batch) : "";
}

// So that nothing that is done from now on can hide in the time of what was done before.
void make_old(const ScratchDir& dir, const std::string& name) {
  const struct timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (dir / name).c_str(), times, 0), 0);
}

using FeedTest = Task<void> (*)(WatchEngine&, ScratchDir&);

Task<void> with_engine(FeedTest test, ScratchDir& dir) {
  std::atomic<uint64_t> bits{0};
  UlidGenerator ids([] { return uint64_t{1}; }, [&bits] { return bits.fetch_add(1); });
  WatchEngine engine({}, ids);
  co_await test(engine, dir);
  co_await engine.stop();
}

void run_test(FeedTest test) {
  ScratchDir dir;
  Config config;
  config.workers = 2;
  run(with_engine(test, dir), config);
}

TEST(WatchFeed, LeavesOutWhatWasTouchedWhenAskedTo) {
  run_test([](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
    dir.write("same", "1");
    dir.write("d/same", "1");
    // What was written within a tick of the clock of the file system is not known to be old.
    co_await sleep(50ms);
    auto feed = co_await WatchFeed::open(
        engine, {.path = dir.path(), .settle = 0ms, .changed_content = true});
    EXPECT_TRUE(feed.ok()) << feed.status();
    if (!feed.ok()) co_return;
    EXPECT_EQ(co_await seen(*feed), "");
    make_old(dir, "same");
    make_old(dir, "d/same");
    dir.make("other");
    std::string all = co_await seen(*feed);
    while (all.find("Cother") == std::string::npos) all += " " + co_await seen(*feed);
    EXPECT_EQ(all.find("same"), std::string::npos) << all;
    dir.write("same", "2");
    EXPECT_EQ(co_await seen(*feed), "Msame");
  });
}

TEST(WatchFeed, TellsATouchWhenNotAskedToLeaveItOut) {
  run_test([](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
    dir.write("same", "1");
    auto feed = co_await WatchFeed::open(engine, {.path = dir.path()});
    EXPECT_TRUE(feed.ok()) << feed.status();
    if (!feed.ok()) co_return;
    EXPECT_EQ(co_await seen(*feed), "");
    make_old(dir, "same");
    EXPECT_EQ(co_await seen(*feed), "Msame");
  });
}

}  // namespace
}  // namespace zsync::daemon
