// No wake-up is lost between those who make something ready and workers that go to sleep, in every
// order that x86 allows. Each rule of idle_workers.hpp is broken once, and then one is lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rt/idle_workers.hpp"
#include "testing/model_checker.hpp"

namespace zsync::testing {
namespace {

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define ZSYNC_NO_CONTEXTS GTEST_SKIP() << "swapcontext() under a sanitizer"
#endif
#endif
#ifndef ZSYNC_NO_CONTEXTS
#define ZSYNC_NO_CONTEXTS
#endif

struct Sleeper {
  Modelled<int64_t> woken{0};  // sticky
};

// Whose stores wait in the buffer, as std::atomic's with memory_order_release do.
template <typename T>
class Unordered : public Modelled<T> {
 public:
  using Modelled<T>::Modelled;
  void store(T value, std::memory_order) { Modelled<T>::store(value, std::memory_order_release); }
};

enum class Broken { nothing, no_last_look, nobody_passes_on };

struct Sizes {
  int pushers;
  int each;  // entries that one pushes
  int workers;
};

template <template <typename> typename Atomic>
ModelChecker::Result explore_pool(Sizes sizes, Broken broken) {
  struct Pool {
    rt::IdleWorkers<Sleeper, Atomic, ModelledLock> idle;
    Modelled<int64_t> queued{0};  // a queue under its lock, as far as others see it
    std::array<Sleeper, 3> sleepers;
    int taken = 0;

    void notify() {
      if (Sleeper* woken = idle.take_one()) woken->woken.store(1, std::memory_order_seq_cst);
    }
    bool take() {
      int64_t there = queued.load(std::memory_order_seq_cst);
      while (there > 0) {
        if (queued.compare_exchange_strong(there, there - 1, std::memory_order_seq_cst)) {
          ++taken;
          return true;
        }
      }
      return false;
    }
    bool search(Broken rule) {
      idle.begin_search();
      const bool found = take();
      const bool last = idle.end_search();
      if (rule == Broken::nobody_passes_on) return found;
      if (found && last && queued.load(std::memory_order_seq_cst) > 0) notify();
      return found;
    }
    void park(Sleeper& self, Broken rule) {
      idle.enter(self);
      const bool work = rule != Broken::no_last_look && queued.load(std::memory_order_seq_cst) > 0;
      if (!work) self.woken.await_exchange(1, 0);
      idle.leave(self);
    }
  };
  return ModelChecker::explore([sizes, broken] {
    auto pool = std::make_shared<Pool>();
    ModelChecker::Program program;
    for (int i = 0; i < sizes.pushers; ++i) {
      program.threads.push_back([pool, sizes] {
        for (int n = 0; n < sizes.each; ++n) {
          pool->queued.fetch_add(1, std::memory_order_seq_cst);
          pool->notify();
        }
      });
    }
    for (int i = 0; i < sizes.workers; ++i) {
      program.threads.push_back([pool, broken, i] {
        // One that has found something is busy with it for ever, so the next needs another one.
        while (!pool->search(broken)) pool->park(pool->sleepers[i], broken);
      });
    }
    program.check = [pool, sizes] {
      const int could = std::min(sizes.pushers * sizes.each, sizes.workers);
      if (pool->taken == could) return std::string();
      return absl::StrCat("everybody sleeps, and ", could - pool->taken, " wait");
    };
    return program;
  });
}

class IdleWorkersModelOfSizes : public ::testing::TestWithParam<Sizes> {};

TEST_P(IdleWorkersModelOfSizes, NothingWaitsWhileAWorkerSleeps) {
  ZSYNC_NO_CONTEXTS;
  const ModelChecker::Result result = explore_pool<Modelled>(GetParam(), Broken::nothing);
  EXPECT_EQ(result.failure, "");
  RecordProperty("executions", std::to_string(result.executions));
  RecordProperty("states", std::to_string(result.states));
}

std::vector<Sizes> small_sizes() {
  std::vector<Sizes> all{{1, 1, 1}, {2, 1, 1}, {1, 2, 1}};
  if (std::getenv("ZSYNC_SIM_TIMES")) all.push_back({1, 1, 2});  // takes ten seconds: ./dev sim
  return all;
}
INSTANTIATE_TEST_SUITE_P(Small, IdleWorkersModelOfSizes, ::testing::ValuesIn(small_sizes()),
                         [](const auto& info) { return std::to_string(info.index); });

TEST(IdleWorkersModel, WithoutTheLastLookAWakeUpIsLost) {
  ZSYNC_NO_CONTEXTS;
  EXPECT_NE(
      explore_pool<Modelled>({1, 1, 1}, Broken::no_last_look).failure.find("everybody sleeps"),
      std::string::npos);
}

TEST(IdleWorkersModel, WithoutOneThatPassesTheSearchOnAnEntryWaits) {
  ZSYNC_NO_CONTEXTS;
  EXPECT_NE(
      explore_pool<Modelled>({1, 2, 2}, Broken::nobody_passes_on).failure.find("everybody sleeps"),
      std::string::npos);
}

TEST(IdleWorkersModel, WithAStoreThatWaitsInTheBufferAWakeUpIsLost) {
  ZSYNC_NO_CONTEXTS;
  EXPECT_NE(explore_pool<Unordered>({1, 1, 1}, Broken::nothing).failure.find("everybody sleeps"),
            std::string::npos);
}

}  // namespace
}  // namespace zsync::testing
