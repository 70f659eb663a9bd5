#include "daemon/tasks/environment.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace zsync::daemon {
namespace {

TEST(EnvironmentPool, EqualOnesAreOneObject) {
  EnvironmentPool pool;
  Environment first{{"PATH", "/bin"}, {"LANG", "C"}};
  Environment second{{"LANG", "C"}, {"PATH", "/bin"}};
  Environment other{{"PATH", "/usr/bin"}};
  for (Environment* each : {&first, &second, &other}) pool.share(*each);
  EXPECT_TRUE(second.shares_with(first));
  EXPECT_FALSE(other.shares_with(first));
  EXPECT_EQ(other.at("PATH"), "/usr/bin");
}

TEST(EnvironmentPool, AChangeIsNotSeenByThoseThatShared) {
  EnvironmentPool pool;
  Environment first{{"A", "1"}};
  Environment second{{"A", "1"}};
  pool.share(first);
  pool.share(second);
  second.set("A", "2");
  EXPECT_EQ(first.at("A"), "1");
  EXPECT_EQ(second.at("A"), "2");
}

TEST(EnvironmentPool, AnEmptyOneTakesNoPlace) {
  EnvironmentPool pool;
  Environment none;
  pool.share(none);
  EXPECT_EQ(pool.size(), 0u);
  EXPECT_EQ(none, Environment(Environment::Variables{}));
}

TEST(EnvironmentPool, WhatNobodyUsesIsForgotten) {
  EnvironmentPool pool;
  std::vector<Environment> kept;
  for (int i = 0; i < 10'000; ++i) {
    Environment environment{{"N", std::to_string(i)}};
    pool.share(environment);
    if (i % 100 == 0) kept.push_back(environment);
    ASSERT_LE(pool.size(), 2 * kept.size() + EnvironmentPool::kUnsweptMin + 1);
  }
  Environment again{{"N", "300"}};
  pool.share(again);
  EXPECT_TRUE(again.shares_with(kept[3]));
}

}  // namespace
}  // namespace zsync::daemon
