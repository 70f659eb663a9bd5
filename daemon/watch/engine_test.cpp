#include "daemon/watch/engine.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <string>

#include "daemon/fault/fault.hpp"
#include "watch/scratch_dir_test.hpp"
#include "zsync/zsync.hpp"

namespace zsync::daemon {
namespace {

using namespace std::chrono_literals;
using watching::RootFacts;
using watching::ScratchDir;
using watching::Subscription;

std::string text_of(const WatchBatch& batch) {
  std::string out;
  for (const FileChange& change : batch.changes) {
    if (!out.empty()) out += ' ';
    out += std::string("CMDR").substr(static_cast<size_t>(change.kind), 1) + change.path;
    if (!change.renamed_from.empty()) out += "<" + change.renamed_from;
  }
  return out;
}

Task<WatchBatch> next(Subscription& subscription) {
  absl::StatusOr<WatchBatch> batch = co_await timeout(subscription.next(), 20s);
  EXPECT_TRUE(batch.ok()) << batch.status();
  co_return batch.ok() ? *std::move(batch) : WatchBatch{};
}
Task<std::string> seen(Subscription& subscription) {
  co_return text_of(co_await next(subscription));
}

Task<void> eventually(std::function<bool()> condition) {
  for (int i = 0; i < 2'000 && !condition(); ++i) co_await sleep(5ms);
  EXPECT_TRUE(condition());
}

// Runs `test(engine, dir)` on two workers and stops the engine afterwards.
using EngineTest = Task<void> (*)(WatchEngine&, ScratchDir&);

Task<void> with_engine(WatchEngineOptions options, EngineTest test, ScratchDir& dir) {
  std::atomic<uint64_t> bits{0};
  UlidGenerator ids([] { return uint64_t{1}; }, [&bits] { return bits.fetch_add(1); });
  WatchEngine engine(options, ids);
  co_await test(engine, dir);
  co_await engine.stop();
  EXPECT_EQ(engine.roots(), 0U);
  EXPECT_EQ(engine.directories(), 0U);
  absl::StatusOr<Subscription> late = co_await engine.subscribe({.path = dir.path()});
  EXPECT_TRUE(absl::IsUnavailable(late.status()));
}

void run_test(EngineTest test, WatchEngineOptions options = {}) {
  ScratchDir dir;
  Config config;
  config.workers = 2;
  run(with_engine(options, test, dir), config);
}

TEST(WatchEngine, AClockIsKnownAfterNobodyHasWatchedForLong) {
  ScratchDir state;
  WatchEngineOptions options;
  options.linger = 0ns;
  options.state_dir = state.path();
  run_test(
      [](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
        dir.write("kept", "1");
        std::string clock;
        {
          auto first = co_await engine.subscribe({.path = dir.path(), .settle = 0ms});
          EXPECT_TRUE(first.ok());
          clock = (co_await next(*first)).clock;
          dir.write("before", "1");
          const WatchBatch batch = co_await next(*first);
          EXPECT_EQ(text_of(batch), "Cbefore");
        }
        co_await eventually([&engine] { return engine.roots() == 0; });
        dir.write("after", "1");
        auto second = co_await engine.subscribe({.path = dir.path(), .since = clock});
        EXPECT_TRUE(second.ok());
        const WatchBatch batch = co_await next(*second);
        EXPECT_FALSE(batch.fresh);
        EXPECT_NE(text_of(batch).find("Cafter Cbefore"), std::string::npos) << text_of(batch);
        auto other =
            co_await engine.subscribe({.path = dir / "", .gitignore = false, .since = clock});
        EXPECT_TRUE((co_await next(*other)).fresh) << "a clock of other ignore rules";
      },
      options);
}

TEST(WatchEngine, SubscribersOfOneDirectoryShareItsWatch) {
  run_test([](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
    dir.write("a/f", "1");
    std::filesystem::create_directory_symlink(dir / "a", dir / "link");
    auto first = co_await engine.subscribe({.path = dir / "a"});
    auto second = co_await engine.subscribe({.path = dir / "link", .globs = {"*.c"}});
    auto other = co_await engine.subscribe({.path = dir / "a", .ignore = {"*.o"}});
    EXPECT_TRUE(first.ok() && second.ok() && other.ok());
    if (!first.ok() || !second.ok() || !other.ok()) co_return;
    const WatchBatch begun = co_await next(*first);
    EXPECT_FALSE(begun.clock.empty());
    EXPECT_EQ((co_await next(*second)).clock, begun.clock);
    EXPECT_NE((co_await next(*other)).clock, begun.clock);
    EXPECT_EQ(engine.roots(), 2U);
    EXPECT_EQ(engine.directories(), 1U) << "other ignore rules share the kernel's watch, too";
    EXPECT_EQ(engine.unshared(), 3U);
    const std::vector<RootFacts> facts = engine.list();
    EXPECT_EQ(facts.size(), 2U);
    EXPECT_EQ(facts[0].path, dir / "a");
    EXPECT_EQ(facts[0].subscribers, 2U);
    EXPECT_EQ(facts[0].files, 1U);
    dir.write("a/x.o", "1");
    dir.write("a/x.c", "1");
    EXPECT_EQ(co_await seen(*first), "Cx.c Cx.o");
    EXPECT_EQ(co_await seen(*second), "Cx.c");
    EXPECT_EQ(co_await seen(*other), "Cx.c");
  });
}

TEST(WatchEngine, ASubscriptionGoesOnFromTheClockOfAnEarlierOne) {
  run_test([](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
    dir.write("f", "1");
    std::string clock;
    {
      auto first = co_await engine.subscribe({.path = dir.path()});
      clock = (co_await next(*first)).clock;
    }
    dir.write("g", "1");
    dir.remove("f");
    auto again = co_await engine.subscribe({.path = dir.path(), .since = clock});
    const WatchBatch missed = co_await next(*again);
    EXPECT_EQ(text_of(missed), "Df Cg");
    EXPECT_FALSE(missed.fresh);
    auto stranger = co_await engine.subscribe({.path = dir.path(), .since = "c:gone:7"});
    const WatchBatch all = co_await next(*stranger);
    EXPECT_EQ(text_of(all), "Cg");
    EXPECT_TRUE(all.fresh);
  });
}

TEST(WatchEngine, ARootIsDroppedSomeTimeAfterItsLastSubscriber) {
  run_test(
      [](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
        {
          auto subscription = co_await engine.subscribe({.path = dir.path()});
          (void)co_await next(*subscription);
          EXPECT_EQ(engine.roots(), 1U);
        }
        co_await eventually([&engine] { return engine.list().empty(); });
        EXPECT_EQ(engine.roots(), 0U);
        auto again = co_await engine.subscribe({.path = dir.path()});
        (void)co_await next(*again);
        dir.write("f", "1");
        EXPECT_EQ(co_await seen(*again), "Cf");
      },
      {.linger = 20ms});
}

TEST(WatchEngine, ACancelledCallLeavesItsSubscription) {
  run_test([](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
    auto call = [](WatchEngine& engine, std::string path) -> Task<void> {
      auto subscription = co_await engine.subscribe({.path = path});
      while (true) (void)co_await subscription->next();
    };
    TaskHandle<void> client = spawn(call, std::ref(engine), dir.path());
    co_await eventually([&] { return engine.list().size() == 1 && engine.list()[0].subscribers; });
    client.cancel();
    co_await eventually([&] { return engine.list()[0].subscribers == 0; });
  });
}

TEST(WatchEngine, ADeletedRootIsNamedInTheListAndComesBack) {
  run_test([](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
    dir.write("root/f", "1");
    auto subscription = co_await engine.subscribe({.path = dir / "root"});
    (void)co_await next(*subscription);
    dir.remove("root");
    EXPECT_EQ(co_await seen(*subscription), "Df");
    EXPECT_TRUE(engine.list().at(0).missing);
    auto late = co_await engine.subscribe({.path = dir / "root"});
    EXPECT_TRUE(absl::IsNotFound(late.status()));
    dir.write("root/g", "1");
    const WatchBatch back = co_await next(*subscription);
    EXPECT_EQ(text_of(back), "Cg");
    EXPECT_EQ(back.gap, WatchGap::rescan);
  });
}

Task<void> expect_fault(WatchEngine& engine, WatchRequest request, absl::StatusCode code,
                        std::string field, std::string text) {
  auto refused = co_await engine.subscribe(std::move(request));
  EXPECT_EQ(refused.status().code(), code) << refused.status();
  const std::optional<FaultDetail> detail = fault_detail(refused.status());
  EXPECT_TRUE(detail);
  if (!detail) co_return;
  EXPECT_EQ(detail->field, field);
  EXPECT_FALSE(detail->hint.empty());
  EXPECT_NE(std::string(refused.status().message()).find(text), std::string::npos)
      << refused.status();
}

TEST(WatchEngine, ABadRequestIsRefusedWithItsField) {
  run_test([](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
    using enum absl::StatusCode;
    dir.write("file", "1");
    const std::string path = dir.path();
    co_await expect_fault(engine, {.path = ""}, kInvalidArgument, "path", "absolute");
    co_await expect_fault(engine, {.path = "src"}, kInvalidArgument, "path", "absolute");
    co_await expect_fault(engine, {.path = std::string("/a\0b", 4)}, kInvalidArgument, "path",
                          "NUL");
    co_await expect_fault(engine, {.path = dir / "none"}, kNotFound, "path", "No such file");
    co_await expect_fault(engine, {.path = dir / "file"}, kFailedPrecondition, "path", "directory");
    co_await expect_fault(engine, {.path = "/" + std::string(5000, 'x')}, kNotFound, "path",
                          "too long");
    co_await expect_fault(engine, {.path = path, .globs = {"{a"}}, kInvalidArgument, "filter.globs",
                          "{a");
    co_await expect_fault(engine, {.path = path, .ignore = std::vector<std::string>(2000, "x")},
                          kInvalidArgument, "filter.ignore", "2000");
    co_await expect_fault(engine, {.path = path, .settle = -1ns}, kInvalidArgument, "filter.settle",
                          "60 s");
    co_await expect_fault(engine, {.path = path, .max_wait = 1h}, kInvalidArgument,
                          "filter.max_wait", "10 min");
    co_await expect_fault(engine, {.path = path, .since = "x"}, kInvalidArgument, "since", "clock");
    EXPECT_TRUE(engine.list().empty());
  });
}

TEST(WatchEngine, OnlySoManyRootsAreWatched) {
  run_test(
      [](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
        for (const char* name : {"a", "b", "c"}) dir.make(name);
        auto a = co_await engine.subscribe({.path = dir / "a"});
        auto b = co_await engine.subscribe({.path = dir / "b"});
        EXPECT_TRUE(a.ok() && b.ok());
        co_await expect_fault(engine, {.path = dir / "c"}, absl::StatusCode::kResourceExhausted,
                              "path", "2 directory trees");
        auto more = co_await engine.subscribe({.path = dir / "a"});
        EXPECT_TRUE(more.ok()) << more.status();
      },
      {.roots_max = 2});
}

TEST(WatchEngine, ManySubscribersComeAndGoWhileFilesChange) {
  run_test(
      [](WatchEngine& engine, ScratchDir& dir) -> Task<void> {
        auto visit = [](WatchEngine& engine, ScratchDir& dir, int visitor) -> Task<void> {
          for (int round = 0; round < 15; ++round) {
            const std::string name = std::to_string(visitor) + "-" + std::to_string(round);
            auto subscription =
                co_await engine.subscribe({.path = dir.path(), .globs = {name}, .settle = 1ms});
            EXPECT_TRUE(subscription.ok()) << subscription.status();
            if (!subscription.ok()) co_return;
            EXPECT_EQ(co_await seen(*subscription), "");
            dir.write(name, "1");
            EXPECT_EQ(co_await seen(*subscription), "C" + name);
          }
        };
        std::vector<Task<void>> visitors;
        for (int i = 0; i < 16; ++i) visitors.push_back(visit(engine, dir, i));
        co_await all(std::move(visitors));
      },
      {.linger = 0ns});
}

}  // namespace
}  // namespace zsync::daemon
