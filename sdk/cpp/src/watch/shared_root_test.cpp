#include "watch/shared_root.hpp"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>

#include "rt/models_test.hpp"
#include "watch/watched_dir_test.hpp"
#include "zsync/flow.hpp"
#include "zsync/timeout.hpp"

namespace zsync::watching {
namespace {

using namespace std::chrono_literals;

class SharedRootOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(SharedRootOnEveryModel);

std::shared_ptr<SharedRoot> open_root(const ScratchDir& dir, std::chrono::nanoseconds linger) {
  absl::StatusOr<std::unique_ptr<InotifySource>> source = InotifySource::open(dir.path());
  EXPECT_TRUE(source.ok()) << source.status();
  return std::make_shared<SharedRoot>(*std::move(source), "test", linger);
}

Subscription joined(SharedRoot& root, SubscriberOptions options = {}) {
  return *root.subscribe(std::move(options));
}

GlobSet globs(const std::string& pattern) {
  return *GlobSet::compile(std::vector<std::string>{pattern});
}

Task<Batch> next(Subscription& subscription) {
  absl::StatusOr<Batch> batch = co_await timeout(subscription.next(), 20s);
  EXPECT_TRUE(batch.ok()) << batch.status();
  co_return batch.ok() ? *std::move(batch) : Batch{};
}
Task<std::string> seen(Subscription& subscription) {
  co_return text_of((co_await next(subscription)).changes);
}

TEST_P(SharedRootOnEveryModel, EachSubscriberHasItsOwnSelection) {
  ScratchDir dir;
  run_here([](ScratchDir& dir) -> Task<void> {
    auto root = open_root(dir, 0ns);
    Subscription all = joined(*root);
    Subscription sources = joined(*root, {.globs = globs("*.c")});
    TaskHandle<void> running = spawn(SharedRoot::run(root));
    EXPECT_EQ(co_await seen(all), "");
    EXPECT_EQ(co_await seen(sources), "");
    dir.write("a.o", "1");
    EXPECT_EQ(co_await seen(all), "Ca.o");
    dir.write("a.c", "1");
    EXPECT_EQ(co_await seen(sources), "Ca.c");
    EXPECT_EQ(co_await seen(all), "Ca.c");
    all = joined(*root, {.globs = globs("*.o"), .since = "c:test:0"});
    EXPECT_EQ(co_await seen(all), "Ca.o") << "what changed since that clock";
    all = joined(*root, {.globs = globs("*.o"), .since = "c:other:5"});
    const Batch fresh = co_await next(all);
    EXPECT_TRUE(fresh.fresh);
    EXPECT_EQ(text_of(fresh.changes), "Ca.o");
    EXPECT_TRUE(absl::IsInvalidArgument(root->subscribe({.since = "yesterday"}).status()));
    running.cancel();
    EXPECT_TRUE(absl::IsUnavailable((co_await sources.next()).status()));
    co_await running;
  }(dir));
}

// Everything that is ready gets its turn, and what it wakes too.
Task<void> let_others_run() {
  for (int i = 0; i < 100; ++i) co_await yield_now();
}

// Between its look at the source and its decision the root is held up by a thread that may block.
// By then the settle time has passed, but what happened meanwhile was not looked at yet.
TEST(SharedRoot, ABatchHasSettledOnlyWhereTheSourceWasLookedAtAfterTheSettleTime) {
  ScratchDir dir;
  Config config = config_of(ExecutionModel::caller);
  config.blocking_threads_max = 1;
  auto task = [](ScratchDir& dir) -> Task<void> {
    auto root = open_root(dir, 0ns);
    Subscription first = joined(*root, {.since = "c:test:0"});
    Subscription second = joined(*root, {.settle = 0ns});
    TaskHandle<void> running = spawn(SharedRoot::run(root));
    EXPECT_EQ(co_await seen(second), "");
    std::promise<void> held;
    TaskHandle<void> holding = spawn_blocking([go = held.get_future()] { go.wait(); });
    dir.write("a", "1");
    TaskHandle<absl::StatusOr<Batch>> holds_up = spawn(first.next());
    co_await let_others_run();
    dir.write("a", "22");
    TaskHandle<Batch> asked = spawn(next(second));
    co_await let_others_run();
    held.set_value();
    co_await holding;
    EXPECT_EQ(text_of((co_await holds_up)->changes), "Ca");
    const Batch batch = co_await asked;
    EXPECT_EQ(text_of(batch.changes), "Ca");
    EXPECT_EQ(batch.changes.at(0).size, 2U);
    running.cancel();
    EXPECT_TRUE(absl::IsUnavailable((co_await second.next()).status())) << "nothing was left";
    co_await running;
  };
  run(task(dir), config);
}

TEST_P(SharedRootOnEveryModel, OtherFilesThatKeepChangingDoNotDelayASelection) {
  ScratchDir dir;
  run_here([](ScratchDir& dir) -> Task<void> {
    auto root = open_root(dir, 0ns);
    Subscription sources = joined(
        *root, {.globs = globs("*.c"), .settle = 50ms, .max_wait = std::chrono::minutes(10)});
    TaskHandle<void> running = spawn(SharedRoot::run(root));
    EXPECT_EQ(co_await seen(sources), "");
    dir.write("a.c", "1");
    TaskHandle<void> noise = spawn(
        [](ScratchDir& dir) -> Task<void> {
          for (int i = 0;; ++i) {
            dir.write("noise.log", std::to_string(i));
            co_await sleep(5ms);
          }
        },
        std::ref(dir));
    EXPECT_EQ(co_await seen(sources), "Ca.c");
    noise.cancel();
    running.cancel();
    co_await running;
  }(dir));
}

TEST_P(SharedRootOnEveryModel, ASubscriberThatAsksTooSeldomGetsTheDifferenceInstead) {
  ScratchDir dir;
  for (int i = 0; i < 100; ++i) dir.write("old" + std::to_string(i), "1");
  run_here([](ScratchDir& dir) -> Task<void> {
    auto root = open_root(dir, 0ns);
    Subscription slow = joined(*root, {.settle = 1ms, .paths_max = 10});
    Subscription other = joined(*root, {.settle = 1ms});
    TaskHandle<void> running = spawn(SharedRoot::run(root));
    EXPECT_EQ(co_await seen(slow), "");
    EXPECT_EQ(co_await seen(other), "");
    std::string expected;
    for (int i = 0; i < 100; ++i) dir.remove("old" + std::to_string(i));
    dir.write("last", "1");
    std::string told;
    while (told.find("Clast") == std::string::npos) told = co_await seen(other);
    const Batch owed = co_await next(slow);
    EXPECT_EQ(owed.changes.size(), 101U) << text_of(owed.changes);
    EXPECT_FALSE(owed.fresh);
    dir.write("more", "1");
    EXPECT_EQ(co_await seen(slow), "Cmore");
    running.cancel();
    co_await running;
  }(dir));
}

TEST_P(SharedRootOnEveryModel, ADeletedRootIsReportedAndWatchedAgainWhenItIsBack) {
  ScratchDir dir;
  dir.write("root/f", "1");
  run_here([](ScratchDir& dir) -> Task<void> {
    absl::StatusOr<std::unique_ptr<InotifySource>> source = InotifySource::open(dir / "root");
    auto root = std::make_shared<SharedRoot>(*std::move(source), "test", 0ns);
    Subscription subscription = joined(*root);
    TaskHandle<void> running = spawn(SharedRoot::run(root));
    EXPECT_EQ(co_await seen(subscription), "");
    dir.remove("root");
    EXPECT_EQ(co_await seen(subscription), "Df");
    EXPECT_TRUE(root->facts().missing);
    EXPECT_EQ(root->facts().files, 0U);
    dir.write("root/g", "1");
    const Batch back = co_await next(subscription);
    EXPECT_EQ(text_of(back.changes), "Cg");
    EXPECT_EQ(back.gap, Gap::rescan);
    EXPECT_FALSE(root->facts().missing);
    running.cancel();
    co_await running;
  }(dir));
}

TEST_P(SharedRootOnEveryModel, ItEndsAfterTheLastSubscriberAndTakesNoNewOne) {
  ScratchDir dir;
  run_here([](ScratchDir& dir) -> Task<void> {
    auto root = open_root(dir, 30ms);
    std::optional<Subscription> subscription = joined(*root);
    TaskHandle<void> running = spawn(SharedRoot::run(root));
    EXPECT_EQ(co_await seen(*subscription), "");
    subscription.reset();
    subscription = joined(*root);
    EXPECT_EQ(co_await seen(*subscription), "") << "somebody came within the linger time";
    subscription.reset();
    co_await running;
    EXPECT_TRUE(root->ended());
    EXPECT_EQ(root->facts().directories, 0U);
    EXPECT_TRUE(absl::IsUnavailable(root->subscribe({}).status()));
  }(dir));
}

}  // namespace
}  // namespace zsync::watching
