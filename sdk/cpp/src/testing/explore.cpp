#include <gtest/gtest.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "zsync/testing/sim_runtime.hpp"

namespace zsync::testing {
namespace {

// Failures recorded so far in the running test: only new ones belong to a schedule.
int failures() {
  const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
  if (!test) return 0;
  int count = 0;
  for (int i = 0; i < test->result()->total_part_count(); ++i) {
    if (test->result()->GetTestPartResult(i).failed()) ++count;
  }
  return count;
}

uint64_t first_seed() {
  const char* chosen = std::getenv("ZSYNC_SIM_SEED");
  return chosen ? std::strtoull(chosen, nullptr, 10) : 1;
}

// How many times as many schedules as the test asks for.
uint64_t times() {
  const char* chosen = std::getenv("ZSYNC_SIM_TIMES");
  return chosen ? std::max<uint64_t>(1, std::strtoull(chosen, nullptr, 10)) : 1;
}

// False when it threw.
bool run_one(SimRuntime& sim, const std::function<void(SimRuntime&)>& program) {
  try {
    program(sim);
    return true;
  } catch (const std::exception& exception) {
    ADD_FAILURE() << exception.what();
  } catch (...) {
    ADD_FAILURE() << "the program threw something that is not a std::exception";
  }
  return false;
}

}  // namespace

void explore(int schedules, const std::function<void(SimRuntime&)>& program, SimOptions options) {
  const int before = failures();
  const uint64_t base = first_seed();
  const uint64_t end = base + static_cast<uint64_t>(schedules) * times();
  for (uint64_t seed = base; seed < end; ++seed) {
    SimRuntime sim(seed, options);
    if (run_one(sim, program) && failures() == before) continue;
    std::fprintf(stderr, "repeat with ZSYNC_SIM_SEED=%" PRIu64 "\n", seed);
    return;
  }
}

}  // namespace zsync::testing
