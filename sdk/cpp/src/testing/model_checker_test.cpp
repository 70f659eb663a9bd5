// The checker finds what a missing barrier does, and the deque stands it.
#include "testing/model_checker.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "absl/strings/str_cat.h"
#include "zsync/rt/work_deque.hpp"

namespace zsync::testing {
namespace {

// ThreadSanitizer does not know that a context is a thread, AddressSanitizer not its stack.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define ZSYNC_NO_CONTEXTS GTEST_SKIP() << "swapcontext() under a sanitizer"
#endif
#endif
#ifndef ZSYNC_NO_CONTEXTS
#define ZSYNC_NO_CONTEXTS
#endif

// Two threads that each tell the other one that they are there, then look for it (Dekker).
ModelChecker::Result meet(std::memory_order order) {
  struct Shared {
    Modelled<int64_t> here[2];
    std::array<bool, 2> met{};
  };
  return ModelChecker::explore([order] {
    auto shared = std::make_shared<Shared>();
    ModelChecker::Program program;
    for (int i : {0, 1}) {
      program.threads.push_back([shared, order, i] {
        shared->here[i].store(1, order);
        shared->met[i] = shared->here[1 - i].load(std::memory_order_seq_cst) == 1;
      });
    }
    program.check = [shared] {
      return shared->met[0] || shared->met[1] ? std::string() : "neither has seen the other";
    };
    return program;
  });
}

TEST(ModelChecker, FindsTheOrderInWhichTwoBufferedStoresAreMissed) {
  ZSYNC_NO_CONTEXTS;
  const ModelChecker::Result result = meet(std::memory_order_release);
  EXPECT_NE(result.failure.find("neither has seen the other"), std::string::npos);
}

TEST(ModelChecker, FindsNothingWhereTheStoresAreSequentiallyConsistent) {
  ZSYNC_NO_CONTEXTS;
  const ModelChecker::Result result = meet(std::memory_order_seq_cst);
  EXPECT_EQ(result.failure, "");
  EXPECT_GT(result.executions, 1u);
}

TEST(ModelChecker, FollowsEveryOrderOfTwoUpdates) {
  ZSYNC_NO_CONTEXTS;
  // 0: adds one; 1: doubles. Both orders, and both lost updates of a load and a store.
  std::array<bool, 5> ends{};
  const ModelChecker::Result result = ModelChecker::explore([&ends] {
    auto value = std::make_shared<Modelled<int64_t>>(int64_t{1});
    auto change = [value](auto by) {
      return [value, by] {
        value->store(by(value->load(std::memory_order_relaxed)), std::memory_order_relaxed);
      };
    };
    return ModelChecker::Program{
        {change([](int64_t v) { return v + 1; }), change([](int64_t v) { return 2 * v; })},
        [value, &ends] {
          ends[static_cast<size_t>(value->load(std::memory_order_relaxed))] = true;
          return std::string();
        }};
  });
  EXPECT_EQ(result.failure, "");
  EXPECT_EQ(ends, (std::array<bool, 5>{false, false, true, true, true}));
}

using Deque = rt::WorkDeque<int, Modelled>;

// What the owner does: '+' push, '2' push two at once, '-' pop, 'o' pop_oldest.
struct DequeCase {
  const char* owner;
  int thieves;
  int steals;  // of each
  size_t capacity;
};

class WorkDequeModel : public ::testing::TestWithParam<DequeCase> {};

TEST_P(WorkDequeModel, GivesEachEntryToExactlyOneInEveryOrder) {
  ZSYNC_NO_CONTEXTS;
  static int entries[4];
  struct Shared {
    explicit Shared(size_t capacity) : deque(capacity) {}
    void took(int* entry) {
      if (entry) ++taken[entry - entries];
    }
    Deque deque;
    std::array<int, 4> taken{};
    int pushed = 0;
  };
  const DequeCase& tested = GetParam();
  const ModelChecker::Result result = ModelChecker::explore([&tested] {
    auto shared = std::make_shared<Shared>(tested.capacity);
    ModelChecker::Program program;
    program.threads.push_back([shared, &tested] {
      for (const char* what = tested.owner; *what; ++what) {
        if (*what == '+') shared->deque.push(&entries[shared->pushed++]);
        if (*what == '2') {
          shared->deque.reserve(2);
          Deque::Pushing both(shared->deque);
          both.add(&entries[shared->pushed++]);
          both.add(&entries[shared->pushed++]);
          both.finish();
        }
        if (*what == '-') shared->took(shared->deque.pop());
        if (*what == 'o') shared->took(shared->deque.pop_oldest());
      }
    });
    for (int i = 0; i < tested.thieves; ++i) {
      program.threads.push_back([shared, &tested] {
        for (int n = 0; n < tested.steals; ++n) shared->took(shared->deque.steal());
      });
    }
    program.check = [shared] {
      while (int* left = shared->deque.pop()) shared->took(left);
      for (int i = 0; i < shared->pushed; ++i) {
        if (shared->taken[i] != 1) {
          return absl::StrCat("entry ", i, " was taken ", shared->taken[i], " times");
        }
      }
      return std::string();
    };
    return program;
  });
  EXPECT_EQ(result.failure, "");
  RecordProperty("executions", std::to_string(result.executions));
  RecordProperty("states", std::to_string(result.states));
}

INSTANTIATE_TEST_SUITE_P(Small, WorkDequeModel,
                         ::testing::Values(DequeCase{"+-", 1, 1, 2}, DequeCase{"+-", 2, 1, 2},
                                           DequeCase{"++--", 1, 2, 2}, DequeCase{"++-", 2, 1, 2},
                                           DequeCase{"+-+-", 1, 2, 2}, DequeCase{"++oo", 1, 2, 2},
                                           DequeCase{"+o-", 1, 1, 2}, DequeCase{"+++-", 1, 2, 2},
                                           DequeCase{"+++--", 2, 1, 2}, DequeCase{"2--", 1, 2, 2},
                                           DequeCase{"+2-", 1, 2, 2}, DequeCase{"2-", 2, 1, 2}),
                         [](const auto& info) { return std::to_string(info.index); });

}  // namespace
}  // namespace zsync::testing
