#include "zsync/once_cell.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <vector>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class OnceCellOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(OnceCellOnEveryModel);

TEST_P(OnceCellOnEveryModel, OneTaskMakesTheValueAndAllGetTheSameOne) {
  run_here([]() -> Task<void> {
    OnceCell<std::unique_ptr<int>> cell;
    EXPECT_EQ(cell.get(), nullptr);
    std::atomic<int> made{0};
    std::vector<Task<const int*>> tasks;
    for (int i = 0; i < 20; ++i) {
      tasks.push_back(
          [](OnceCell<std::unique_ptr<int>>& shared, std::atomic<int>& count) -> Task<const int*> {
            struct Make {
              std::atomic<int>& count;
              Task<std::unique_ptr<int>> operator()() {
                co_await yield_now();
                co_return std::make_unique<int>(++count);
              }
            };
            const std::unique_ptr<int>& value = co_await shared.get_or_init(Make{count});
            co_return value.get();
          }(cell, made));
    }
    for (const int* value : co_await all(std::move(tasks))) EXPECT_EQ(value, cell.get()->get());
    EXPECT_EQ(made, 1);
    EXPECT_EQ(**cell.get(), 1);
  }());
}

TEST_P(OnceCellOnEveryModel, PlainCallablesMakeTheValueToo) {
  run_here([]() -> Task<void> {
    OnceCell<std::string> cell;
    const std::string& made = co_await cell.get_or_init([] { return "first"; });
    EXPECT_EQ(made, "first");
    const std::string& again = co_await cell.get_or_init([] { return "second"; });
    EXPECT_EQ(&again, &made);
    const auto checked =
        co_await cell.get_or_init([]() -> absl::StatusOr<std::string> { return "third"; });
    EXPECT_EQ(checked->get(), "first");
  }());
}

// How an initialiser ends.
enum class Ending { kValue, kError, kThrows, kCancelled };

struct Attempt {
  Ending ending;
  int number;
  std::vector<int>& begun;
  int& running;

  Task<absl::StatusOr<int>> operator()() {
    struct Running {
      int& count;
      ~Running() { --count; }
    };
    EXPECT_EQ(++running, 1);
    Running guard{running};
    begun.push_back(number);
    co_await sleep(1s);
    if (ending == Ending::kError) co_return absl::InternalError("no luck");
    if (ending == Ending::kThrows) throw std::runtime_error("thrown");
    if (ending == Ending::kCancelled) co_await sleep(1h);
    co_return number;
  }
};

Task<absl::StatusOr<int>> ask(OnceCell<int>& cell, Attempt attempt) {
  const auto value = co_await cell.get_or_init(attempt);
  if (!value.ok()) co_return value.status();
  co_return value->get();
}

TEST(OnceCell, WhereAnInitialiserFailsTheNextInOrderMakesTheValue) {
  explore(300, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      OnceCell<int> cell;
      std::vector<int> begun;
      int running = 0;
      std::vector<Ending> endings;
      std::vector<TaskHandle<absl::StatusOr<int>>> handles;
      size_t first_good = 5;
      for (int i = 0; i < 5; ++i) {
        endings.push_back(static_cast<Ending>(world.random_below(4)));
        if (endings[i] == Ending::kValue) first_good = std::min<size_t>(first_good, i);
        handles.push_back(spawn(ask(cell, Attempt{endings[i], i, begun, running})));
        co_await sleep(1ms);  // they ask in this order
      }
      for (size_t i = 0; i < 5; ++i) {
        if (i < first_good && endings[i] == Ending::kCancelled) {
          co_await sleep(10s);
          handles[i].cancel();
        }
        if (i < first_good && endings[i] == Ending::kThrows) {
          bool thrown = false;
          try {
            (void)co_await handles[i];
          } catch (const std::runtime_error&) {
            thrown = true;
          }
          EXPECT_TRUE(thrown);
          continue;
        }
        const absl::StatusOr<int> got = co_await handles[i];
        if (i >= first_good) EXPECT_EQ(got, absl::StatusOr<int>(first_good));
        if (i < first_good)
          EXPECT_EQ(absl::IsCancelled(got.status()), endings[i] == Ending::kCancelled);
      }
      EXPECT_EQ(begun.size(), std::min<size_t>(first_good + 1, 5));
      for (size_t i = 0; i < begun.size(); ++i) EXPECT_EQ(begun[i], static_cast<int>(i));
      EXPECT_EQ(cell.get() != nullptr, first_good < 5);
    }(sim));
  });
}

TEST(OnceCell, CancelledAtAnyMomentThereIsAtMostOneValueAndNobodyHangs) {
  explore(500, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      OnceCell<int> cell;
      std::vector<int> begun;
      int running = 0;
      std::vector<TaskHandle<absl::StatusOr<int>>> handles;
      for (int i = 0; i < 5; ++i) {
        handles.push_back(spawn(ask(cell, Attempt{Ending::kValue, i, begun, running})));
      }
      for (uint64_t n = world.random_below(8); n > 0; --n) co_await yield_now();
      if (world.random_below(2) == 0) co_await sleep(1s);
      for (auto& handle : handles) {
        if (world.random_below(2) == 0) handle.cancel();
      }
      std::optional<int> value;
      for (auto& handle : handles) {
        const absl::StatusOr<int> got = co_await handle;
        EXPECT_TRUE(got.ok() || absl::IsCancelled(got.status())) << got.status();
        if (!got.ok()) continue;
        if (value) EXPECT_EQ(*got, *value);
        value = *got;
      }
      if (value) EXPECT_EQ(*cell.get(), *value);
    }(sim));
  });
}

}  // namespace
}  // namespace zsync
