#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "zsync/assert.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync::testing {
namespace {

constexpr uint32_t kDepths = 4;  // of pct schedules: 1 to this many, in turns

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

std::string text_of(const SimOptions& options) {
  if (options.policy == SimPolicy::random) return "random";
  return absl::StrCat("pct:", options.pct_depth, ":", options.pct_steps);
}

// What ZSYNC_SIM_POLICY asks for.
std::optional<SimOptions> chosen_policy(SimOptions options) {
  const char* chosen = std::getenv("ZSYNC_SIM_POLICY");
  if (!chosen) return std::nullopt;
  const std::vector<std::string> parts = absl::StrSplit(chosen, ':');
  const bool pct = parts.size() == 3 && parts[0] == "pct" &&
                   absl::SimpleAtoi(parts[1], &options.pct_depth) &&
                   absl::SimpleAtoi(parts[2], &options.pct_steps);
  ZS_ASSERT(pct || parts == std::vector<std::string>{"random"},
            "ZSYNC_SIM_POLICY is neither `random` nor `pct:DEPTH:STEPS`");
  options.policy = pct ? SimPolicy::pct : SimPolicy::random;
  return options;
}

// Odd seeds choose at random, even ones by priorities.
SimOptions policy_of(uint64_t seed, SimOptions options) {
  if (options.policy != SimPolicy::mixed) return options;
  options.policy = seed % 2 == 1 ? SimPolicy::random : SimPolicy::pct;
  options.pct_depth = 1 + static_cast<uint32_t>(seed / 2 % kDepths);
  return options;
}

std::string name_of_test() {
  const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
  return test ? absl::StrCat(test->test_suite_name(), ".", test->name()) : "*";
}

// As short as it can be given to a shell that stands here.
std::string path_of_program() {
  char path[4096], here[4096];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path - 1);
  if (length <= 0) return "PROGRAM";
  path[length] = 0;
  if (!::getcwd(here, sizeof here)) return path;
  const std::string folder = absl::StrCat(here, "/");
  const std::string program = path;
  return program.rfind(folder, 0) == 0 ? absl::StrCat("./", program.substr(folder.size()))
                                       : program;
}

// Counts schedules over the whole program and tells how many there were, where that was asked for.
class Tally final : public ::testing::EmptyTestEventListener {
 public:
  static Tally& instance() {
    static Tally* const tally = [] {
      auto* made = new Tally;
      if (std::getenv("ZSYNC_SIM_TIMES")) {
        ::testing::UnitTest::GetInstance()->listeners().Append(made);  // and owns it
      }
      return made;
    }();
    return *tally;
  }

  void add(const std::string& test, const SimRuntime& sim) {
    ++schedules_;
    steps_ += sim.steps();
    distinct_.insert(sim.schedule_hash() ^ std::hash<std::string>{}(test));
  }

  void OnTestProgramEnd(const ::testing::UnitTest&) override {
    std::fprintf(stderr, "sim: %" PRIu64 " schedules, %zu of them distinct, %" PRIu64 " steps\n",
                 schedules_, distinct_.size(), steps_);
  }

 private:
  uint64_t schedules_ = 0;
  uint64_t steps_ = 0;
  std::unordered_set<uint64_t> distinct_;  // by test and SimRuntime::schedule_hash()
};

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
  const std::string test = name_of_test();
  const std::optional<SimOptions> chosen = chosen_policy(options);
  const uint64_t base = first_seed();
  const uint64_t end = base + static_cast<uint64_t>(schedules) * times();
  uint64_t longest = 0;  // steps of one schedule
  for (uint64_t seed = base; seed < end; ++seed) {
    SimOptions taken = policy_of(seed, options);
    if (options.policy == SimPolicy::mixed && longest > 0) taken.pct_steps = longest;
    if (chosen) taken = *chosen;
    SimRuntime sim(seed, taken);
    const bool ended = run_one(sim, program);
    Tally::instance().add(test, sim);
    // Not from runs by priorities: one that spins in such a run takes as many as it is given.
    if (taken.policy == SimPolicy::random) longest = std::max(longest, sim.steps());
    if (ended && failures() == before) continue;
    std::fprintf(stderr,
                 "ZSYNC_SIM_SEED=%" PRIu64
                 " ZSYNC_SIM_POLICY=%s ZSYNC_SIM_TIMES=1 %s "
                 "--gtest_filter=%s\n",
                 seed, text_of(taken).c_str(), path_of_program().c_str(), test.c_str());
    return;
  }
}

}  // namespace zsync::testing
