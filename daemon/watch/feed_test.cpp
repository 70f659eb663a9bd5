#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/watch/engine.hpp"
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

// A state as "+name" when it was entered, "-name" when it was left.
Task<std::string> seen(WatchFeed& feed) {
  absl::StatusOr<watching::Told> told = co_await timeout(feed.next(), 20s);
  EXPECT_TRUE(told.ok()) << told.status();
  if (!told.ok()) co_return "";
  if (told->state) co_return (told->state->entered ? "+" : "-") + told->state->name;
  co_return text_of(told->batch);
}

Task<std::unique_ptr<StateHold>> enter(WatchEngine& engine, std::string path, std::string name) {
  absl::StatusOr<StateHold> hold =
      co_await timeout(engine.hold_state({.path = path, .name = name, .pid = 7}), 20s);
  EXPECT_TRUE(hold.ok()) << hold.status();
  if (!hold.ok()) co_return nullptr;
  co_return std::make_unique<StateHold>(*std::move(hold));
}

Task<std::unique_ptr<WatchFeed>> open(WatchEngine& engine, WatchRequest request) {
  absl::StatusOr<WatchFeed> feed = co_await WatchFeed::open(engine, std::move(request));
  EXPECT_TRUE(feed.ok()) << feed.status();
  if (!feed.ok()) co_return nullptr;
  auto opened = std::make_unique<WatchFeed>(*std::move(feed));
  EXPECT_EQ(co_await seen(*opened), "");
  co_return opened;
}

// So that nothing that is done from now on can hide in the time of what was done before.
void make_old(const ScratchDir& dir, const std::string& name) {
  const struct timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (dir / name).c_str(), times, 0), 0);
}

using FeedTest = Task<void> (*)(WatchEngine&, ScratchDir&);

Task<void> with_engine(FeedTest test, WatchEngineOptions options, ScratchDir& dir) {
  std::atomic<uint64_t> bits{0};
  UlidGenerator ids([] { return uint64_t{1}; }, [&bits] { return bits.fetch_add(1); });
  WatchEngine engine(options, ids);
  co_await test(engine, dir);
  co_await engine.stop();
}

void run_test(FeedTest test, WatchEngineOptions options = {}) {
  ScratchDir dir;
  Config config;
  config.workers = 2;
  run(with_engine(test, options, dir), config);
}

TEST(WatchFeed, LeavesOutWhatWasTouchedWhenAskedTo) {
  run_test([](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
    dir.write("same", "1");
    dir.write("d/same", "1");
    // What was written within a tick of the clock of the file system is not known to be old.
    co_await sleep(50ms);
    auto feed = co_await open(engine, {.path = dir.path(), .settle = 0ms, .changed_content = true});
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
    auto feed = co_await open(engine, {.path = dir.path()});
    make_old(dir, "same");
    EXPECT_EQ(co_await seen(*feed), "Msame");
  });
}

TEST(WatchFeed, WhatChangesDuringAStateIsToldWhenItIsLeftWhereItDefers) {
  run_test([](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
    auto feed = co_await open(engine, {.path = dir.path(), .settle = 0ms, .defer = {"build"}});
    auto other = co_await open(engine, {.path = dir.path(), .settle = 0ms});
    auto build = co_await enter(engine, dir.path(), "build");
    EXPECT_EQ(co_await seen(*feed), "+build");
    dir.make("made");
    EXPECT_EQ(co_await seen(*other), "Cmade") << "who did not name the state hears all";
    const std::vector<watching::RootFacts> facts = engine.list();
    EXPECT_EQ(facts.at(0).silent.at("build").deferring, 1U);
    EXPECT_EQ(engine.states().at(0).silent, 1U);
    dir.make("more");
    EXPECT_EQ(co_await seen(*other), "Cmore");
    build.reset();
    EXPECT_EQ(co_await seen(*feed), "-build");
    EXPECT_EQ(co_await seen(*feed), "Cmade Cmore");
    EXPECT_TRUE(engine.states().empty());
  });
}

TEST(WatchFeed, WhatIsDeferredIsToldAlsoWhenItWasTooMuchToKeep) {
  WatchEngineOptions options;
  options.subscriber_paths_max = 3;
  run_test(
      [](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
        auto feed = co_await open(engine, {.path = dir.path(), .settle = 0ms, .defer = {"build"}});
        auto build = co_await enter(engine, dir.path(), "build");
        EXPECT_EQ(co_await seen(*feed), "+build");
        std::string all;
        for (int i = 0; i < 9; ++i) {
          dir.make("d" + std::to_string(i));
          // A barrier, so that they come one by one.
          (void)co_await enter(engine, dir.path(), "other");
          absl::StrAppend(&all, i == 0 ? "" : " ", "Cd", i);
        }
        build.reset();
        EXPECT_EQ(co_await seen(*feed), "-build");
        EXPECT_EQ(co_await seen(*feed), all);
      },
      options);
}

TEST(WatchFeed, WhatChangesDuringAStateIsNeverToldWhereItDropsAndWhatWasBeforeIs) {
  run_test([](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
    auto feed = co_await open(engine, {.path = dir.path(), .settle = 30s, .drop = {"build"}});
    for (int round = 0; round < 20; ++round) {
      const std::string number = std::to_string(round);
      dir.make("before" + number);
      auto build = co_await enter(engine, dir.path(), "build");
      dir.make("during" + number);
      build.reset();
      // The next holder enters once the leaving is in force.
      auto next = co_await enter(engine, dir.path(), "build");
      next.reset();
      (void)co_await enter(engine, dir.path(), "other");
      EXPECT_EQ(co_await seen(*feed), "Cbefore" + number);
    }
    auto build = co_await enter(engine, dir.path(), "build");
    EXPECT_EQ(co_await seen(*feed), "+build") << "it settles for 30 s, and nothing was before";
    dir.make("during");
    build.reset();
    EXPECT_EQ(co_await seen(*feed), "-build");
    (void)co_await enter(engine, dir.path(), "other");
    dir.make("after");
    build = co_await enter(engine, dir.path(), "build");
    EXPECT_EQ(co_await seen(*feed), "Cafter");
    EXPECT_EQ(co_await seen(*feed), "+build");
  });
}

TEST(WatchFeed, AStateIsHeldWhileAnybodyHoldsItAndByThoseWhoComeLater) {
  run_test([](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
    dir.make("sub");
    auto first = co_await enter(engine, dir.path(), "build");
    auto second = co_await enter(engine, dir.path(), "build");
    EXPECT_EQ(engine.states().at(0).holders, 2U);
    auto above = co_await open(engine, {.path = dir.path(), .drop = {"build"}});
    auto below = co_await open(engine, {.path = dir / "sub", .defer = {"build"}});
    EXPECT_EQ(co_await seen(*above), "+build");
    EXPECT_EQ(co_await seen(*below), "+build");
    first.reset();
    EXPECT_EQ(engine.states().at(0).holders, 1U);
    auto inner = co_await enter(engine, dir / "sub", "build");
    second.reset();
    EXPECT_EQ(co_await seen(*above), "-build");
    dir.make("sub/made");
    EXPECT_EQ(co_await seen(*above), "Csub/made") << "the state of sub is not one of the whole";
    inner.reset();
    EXPECT_EQ(co_await seen(*below), "-build");
    EXPECT_EQ(co_await seen(*below), "Cmade");
  });
}

TEST(WatchFeed, AWrongNameOfAStateIsRefusedWithItsField) {
  run_test([](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
    for (const std::string& name : {std::string(), std::string("a b"), std::string(129, 'x')}) {
      auto hold = co_await engine.hold_state({.path = dir.path(), .name = name});
      EXPECT_TRUE(absl::IsInvalidArgument(hold.status())) << name;
      auto feed = co_await WatchFeed::open(engine, {.path = dir.path(), .drop = {name}});
      EXPECT_TRUE(absl::IsInvalidArgument(feed.status())) << name;
    }
    auto nowhere = co_await engine.hold_state({.path = dir / "no", .name = "x"});
    EXPECT_TRUE(absl::IsNotFound(nowhere.status())) << nowhere.status();
    auto both =
        co_await WatchFeed::open(engine, {.path = dir.path(), .defer = {"x"}, .drop = {"x"}});
    EXPECT_TRUE(absl::IsInvalidArgument(both.status())) << both.status();
    const std::vector<std::string> many(kFilterStatesMax + 1, "x");
    auto lots = co_await WatchFeed::open(engine, {.path = dir.path(), .defer = many});
    EXPECT_TRUE(absl::IsInvalidArgument(lots.status())) << lots.status();
    std::vector<std::unique_ptr<StateHold>> holds;
    for (size_t i = 0; i < kStatesMax; ++i)
      holds.push_back(co_await enter(engine, dir.path(), "s" + std::to_string(i)));
    auto full = co_await engine.hold_state({.path = dir.path(), .name = "one-more"});
    EXPECT_TRUE(absl::IsResourceExhausted(full.status())) << full.status();
  });
}

}  // namespace
}  // namespace zsync::daemon
