#include "rt/processor_demand.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace zsync::rt {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint at(Duration time) { return TimePoint(time); }

bool one_after_another_in_time(const std::multimap<int, int>& jobs) {
  int now = 0;
  return std::all_of(jobs.begin(), jobs.end(), [&now](const auto& job) {
    now += job.second;
    return now <= job.first;
  });
}

TEST(ProcessorDemand, AdmitsExactlyWhatOneProcessorCanDoInTime) {
  std::mt19937 random(11);
  int admitted = 0, refused = 0;
  for (int run = 0; run < 3000; ++run) {
    ProcessorDemand demand(1);
    std::multimap<int, int> jobs;  // cost by deadline
    for (int i = 0; i < 8; ++i) {
      const int cost = 1 + static_cast<int>(random() % 6);
      const int deadline = 1 + static_cast<int>(random() % 25);
      const auto job = jobs.emplace(deadline, cost);
      const bool can = one_after_another_in_time(jobs);
      ASSERT_EQ(demand.missing(at(1s * deadline), 1s * cost) == 0s, can) << "run " << run;
      (can ? admitted : refused)++;
      if (can) demand.add(static_cast<uint64_t>(i), at(1s * deadline), 1s * cost);
      if (!can) jobs.erase(job);
    }
  }
  EXPECT_GT(admitted, 300);
  EXPECT_GT(refused, 300);
}

TEST(ProcessorDemand, TellsWhatIsMissing) {
  ProcessorDemand demand(1);
  EXPECT_EQ(demand.missing(at(5s), 7s), 2s);
  demand.add(1, at(10s), 4s);
  EXPECT_EQ(demand.missing(at(10s), 6s), 0s);
  EXPECT_EQ(demand.missing(at(10s), 9s), 3s);
  EXPECT_EQ(demand.missing(at(8s), 7s), 1s);  // it would delay the one that is due at 10
  demand.remove(1);
  EXPECT_EQ(demand.missing(at(8s), 7s), 0s);
}

TEST(ProcessorDemand, AsTimePassesWhatWasReservedIsUsedUpInTheOrderOfDeadlines) {
  ProcessorDemand demand(1);
  demand.add(1, at(10s), 4s);
  demand.add(2, at(20s), 10s);
  demand.advance(at(6s));  // 4 of the first, 2 of the second
  EXPECT_EQ(demand.missing(at(20s), 6s), 0s);
  EXPECT_EQ(demand.missing(at(20s), 7s), 1s);
  demand.advance(at(20s));  // late ones reserve nothing
  EXPECT_FALSE(demand.latest().has_value());
}

TEST(ProcessorDemand, SeveralProcessorsHaveMoreTimeButNoJobRunsOnTwo) {
  ProcessorDemand demand(2);
  EXPECT_EQ(demand.missing(at(10s), 11s), 1s);
  demand.add(1, at(10s), 10s);
  EXPECT_EQ(demand.missing(at(10s), 10s), 0s);
  demand.add(2, at(10s), 10s);
  EXPECT_EQ(demand.missing(at(10s), 1s), 1s);
  demand.advance(at(4s));
  EXPECT_EQ(demand.missing(at(10s), 1s), 1s);
  EXPECT_EQ(demand.latest()->deadline, at(10s));
}

TEST(ProcessorDemand, TimesAtTheEndOfTheClockDoNotOverflow) {
  ProcessorDemand demand(4);
  demand.add(1, TimePoint::max(), Duration::max());
  demand.add(2, TimePoint::max(), Duration::max());
  EXPECT_EQ(demand.missing(TimePoint::max(), Duration::max()), 0s);
  demand.advance(TimePoint::max());
  EXPECT_EQ(demand.missing(TimePoint::max(), 0s), 0s);
}

}  // namespace
}  // namespace zsync::rt
