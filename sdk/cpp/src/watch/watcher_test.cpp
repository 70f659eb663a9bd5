#include "zsync/watch/watcher.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "rt/models_test.hpp"
#include "watch/child_test.hpp"
#include "watch/scratch_dir_test.hpp"
#include "zsync/flow.hpp"
#include "zsync/timeout.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using watching::ScratchDir;

class WatcherOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(WatcherOnEveryModel);

std::string text_of(const WatchBatch& batch) {
  std::string out;
  for (const FileChange& change : batch.changes) {
    if (!out.empty()) out += ' ';
    out += std::string("CMDR").substr(static_cast<size_t>(change.kind), 1) + change.path;
    if (!change.renamed_from.empty()) out += "<" + change.renamed_from;
  }
  return out;
}

Task<std::string> seen(Watcher& watcher) {
  absl::StatusOr<WatchBatch> batch = co_await timeout(watcher.next(), 20s);
  co_return batch.ok() ? text_of(*batch) : std::string(batch.status().ToString());
}

size_t inotify_instances() {
  size_t count = 0;
  for (const auto& fd : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const auto target = std::filesystem::read_symlink(fd.path(), error);
    if (!error && target == "anon_inode:inotify") ++count;
  }
  return count;
}

TEST_P(WatcherOnEveryModel, TellsWhatChangesAfterItWasOpened) {
  ScratchDir dir;
  dir.write("old.txt", "1");
  run_here([](ScratchDir& dir) -> Task<void> {
    absl::StatusOr<Watcher> watcher = co_await Watcher::open({.path = dir.path()});
    EXPECT_TRUE(watcher.ok()) << watcher.status();
    if (!watcher.ok()) co_return;
    EXPECT_EQ(watcher->root(), std::filesystem::canonical(dir.path()).string());
    EXPECT_EQ(watcher->figures().directories, 1U);
    EXPECT_EQ(watcher->figures().files, 1U);
    dir.write("sub/new.txt", "2");
    EXPECT_EQ(co_await seen(*watcher), "Csub Csub/new.txt");
    dir.rename("old.txt", "sub/old.txt");
    EXPECT_EQ(co_await seen(*watcher), "Rsub/old.txt<old.txt");
    co_await watcher->close();
    EXPECT_TRUE(absl::IsUnavailable((co_await watcher->next()).status()));
    co_await watcher->close();
  }(dir));
}

TEST_P(WatcherOnEveryModel, ChangesOfTheTimeBetweenTwoCallsAreReducedToTheirNetEffect) {
  ScratchDir dir;
  run_here([](ScratchDir& dir) -> Task<void> {
    absl::StatusOr<Watcher> watcher = co_await Watcher::open({.path = dir.path(), .settle = 1ms});
    EXPECT_TRUE(watcher.ok()) << watcher.status();
    if (!watcher.ok()) co_return;
    dir.write("a", "1");
    EXPECT_EQ(co_await seen(*watcher), "Ca");
    dir.write("b", "1");
    co_await sleep(20ms);
    dir.rename("b", "c");
    co_await sleep(20ms);
    dir.remove("a");
    co_await sleep(20ms);
    EXPECT_EQ(co_await seen(*watcher), "Da Cc");
  }(dir));
}

TEST_P(WatcherOnEveryModel, ACancelledNextLosesNothing) {
  ScratchDir dir;
  run_here([](ScratchDir& dir) -> Task<void> {
    absl::StatusOr<Watcher> watcher = co_await Watcher::open({.path = dir.path(), .settle = 5ms});
    EXPECT_TRUE(watcher.ok()) << watcher.status();
    if (!watcher.ok()) co_return;
    std::string all;
    for (int i = 0; i < 20; ++i) {
      dir.write("f" + std::to_string(100 + i), "1");
      absl::StatusOr<WatchBatch> batch =
          co_await timeout(watcher->next(), std::chrono::milliseconds(i));
      if (batch.ok()) all += text_of(*batch) + " ";
    }
    dir.write("last", "1");
    while (all.find("Clast") == std::string::npos) all += co_await seen(*watcher) + " ";
    for (int i = 0; i < 20; ++i) {
      EXPECT_NE(all.find("Cf" + std::to_string(100 + i)), std::string::npos) << i << ": " << all;
    }
  }(dir));
}

TEST_P(WatcherOnEveryModel, NothingStaysBehindWhenItIsDropped) {
  ScratchDir dir;
  const size_t before = inotify_instances();
  run_here([](ScratchDir& dir) -> Task<void> {
    for (int i = 0; i < 10; ++i) {
      absl::StatusOr<Watcher> watcher = co_await Watcher::open({.path = dir.path()});
      EXPECT_TRUE(watcher.ok()) << watcher.status();
      if (i % 2 == 0 && watcher.ok()) co_await watcher->close();
    }
    (void)co_await timeout(Watcher::open({.path = dir.path()}), 0ms);
  }(dir));
  EXPECT_EQ(inotify_instances(), before);
}

TEST_P(WatcherOnEveryModel, FollowsByWhicheverSourceWasChosen) {
  for (const WatchSource source :
       {WatchSource::inotify, WatchSource::fs_events, WatchSource::polling}) {
    ScratchDir dir;
    dir.write("old.txt", "1");
    run_here([](ScratchDir& dir, WatchSource source) -> Task<void> {
      absl::StatusOr<Watcher> watcher =
          co_await Watcher::open({.path = dir.path(), .source = source, .poll_interval = 10ms});
      EXPECT_TRUE(watcher.ok()) << watcher.status();
      if (!watcher.ok()) co_return;
      EXPECT_EQ(watcher->figures().source, source);
      EXPECT_EQ(watcher->figures().fallback, "");
      dir.write("sub/new.txt", "2");
      EXPECT_EQ(co_await seen(*watcher), "Csub Csub/new.txt");
      dir.write("sub/new.txt", "22");
      EXPECT_EQ(co_await seen(*watcher), "Msub/new.txt");
      dir.remove("old.txt");
      EXPECT_EQ(co_await seen(*watcher), "Dold.txt");
      co_await watcher->close();
    }(dir, source));
  }
}

// In a process of its own, whose limit is its own: `told` is what is to be shown of the watcher.
Task<void> watch_beyond_the_limit(const ScratchDir& dir, bool reached_at_once, std::string& told) {
  const auto grow = [&dir] {
    for (int i = 0; i < 100; ++i) dir.make("d/" + std::to_string(i));
  };
  if (reached_at_once) grow();
  absl::StatusOr<Watcher> watcher =
      co_await Watcher::open({.path = dir.path(), .poll_interval = 10ms});
  if (!watcher.ok()) {
    told = watcher.status().ToString();
    co_return;
  }
  size_t changes = 0;
  if (!reached_at_once) grow();
  while (watcher->figures().source != WatchSource::polling || (!reached_at_once && changes < 101)) {
    absl::StatusOr<WatchBatch> batch = co_await timeout(watcher->next(), 20s);
    if (!batch.ok()) break;
    changes += batch->changes.size();
    if (batch->gap == WatchGap::rescan) told += "gap ";
  }
  dir.write("d/5/last", "1");
  told +=
      std::to_string(changes) + " " + co_await seen(*watcher) + " " + watcher->figures().fallback;
}

class WatcherAtTheLimit : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(When, WatcherAtTheLimit, ::testing::Bool(),
                         [](const auto& at_once) { return at_once.param ? "AtOnce" : "Later"; });

TEST_P(WatcherAtTheLimit, GoesOnByPollingAndSaysWhy) {
  const ScratchDir dir;
  const std::string told = watching::in_child([&]() -> std::string {
    if (!watching::limit_this_process("max_inotify_watches", "50")) return watching::kNoNamespace;
    std::string out;
    run(watch_beyond_the_limit(dir, GetParam(), out),
        config_of(GetParam() ? ExecutionModel::caller : ExecutionModel::multi_thread));
    return out;
  });
  if (told == watching::kNoNamespace) GTEST_SKIP() << told;
  EXPECT_TRUE(told.starts_with(GetParam() ? "0 Cd/5/last " : "gap 101 Cd/5/last ")) << told;
  EXPECT_NE(told.find("sudo sysctl -w fs.inotify.max_user_watches="), std::string::npos) << told;
}

TEST_P(WatcherOnEveryModel, WhatCannotBeWatchedIsRefusedWithTheReason) {
  ScratchDir dir;
  dir.write("file", "");
  run_here([](ScratchDir& dir) -> Task<void> {
    EXPECT_TRUE(absl::IsInvalidArgument((co_await Watcher::open({.path = "rel"})).status()));
    EXPECT_TRUE(absl::IsNotFound((co_await Watcher::open({.path = dir / "none"})).status()));
    EXPECT_TRUE(
        absl::IsFailedPrecondition((co_await Watcher::open({.path = dir / "file"})).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(
        (co_await Watcher::open({.path = dir.path(), .globs = {"[a"}})).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(
        (co_await Watcher::open({.path = dir.path(), .settle = -1ms})).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(
        (co_await Watcher::open({.path = dir.path(), .poll_interval = 0ms})).status()));
  }(dir));
}

}  // namespace
}  // namespace zsync
