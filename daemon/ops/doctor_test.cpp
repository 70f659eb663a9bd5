#include "daemon/ops/doctor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace zsync::daemon {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

RuntimeStats stats_of_two_workers() {
  RuntimeStats stats;
  stats.active_tasks = 12;
  stats.ready_outside = 1;
  stats.workers.resize(2);
  stats.workers[0].ready = 2;
  stats.workers[0].branches = 3;
  stats.workers[0].steals = 7;
  stats.workers[1].here_only = 4;
  stats.workers[1].steals = 5;
  stats.workers[1].parked = true;
  return stats;
}

TEST(Doctor, TellsWhatTheRuntimeHasToDo) {
  const Finding finding = runtime_finding(stats_of_two_workers());
  EXPECT_EQ(finding.topic, "runtime");
  EXPECT_EQ(finding.text,
            "12 coroutine tasks on 2 workers, 1 of them asleep; 10 ready, 12 stolen so far");
}

TEST(Doctor, TellsHowFastWorkersWakeOnceOneHasBeenWoken) {
  RuntimeStats stats = stats_of_two_workers();
  EXPECT_THAT(runtime_finding(stats).text, Not(HasSubstr("woken")));
  stats.wake_latency[4] = 98;  // below 16 us
  stats.wake_latency[10] = 1;  // below 1,024 us
  stats.wake_latency[12] = 1;
  EXPECT_THAT(runtime_finding(stats).text, HasSubstr("woken within 16 us, 99 % within 1024 us"));
}

TEST(Doctor, ARowIsThereForEachThingThatItLooksAt) {
  DoctorInputs inputs{"io_uring", stats_of_two_workers(), "/", "no controller is delegated", false};
  std::vector<std::string> topics;
  for (const Finding& finding : examine(inputs)) topics.push_back(finding.topic);
  EXPECT_THAT(topics, ::testing::IsSupersetOf({"system", "kernel", "cpus", "backend", "runtime",
                                               "cgroups", "inotify", "open files", "state"}));
}

}  // namespace
}  // namespace zsync::daemon
