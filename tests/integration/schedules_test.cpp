// Tasks that come again, and arrays.
#include <algorithm>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class SchedulesTest : public DaemonTest {
 protected:
  void restart() {
    daemon().kill9();
    ASSERT_TRUE(daemon().start());
  }
  v1::Schedule schedule(const std::string& name) {
    const auto found = tasks().get_schedule(name);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *found : v1::Schedule();
  }
  // Of the schedule's tasks, the times that they were submitted for.
  std::vector<std::string> keys() {
    std::vector<std::string> keys;
    v1::ListTasksRequest request;
    (*request.mutable_labels())["schedule"] = "tick";
    request.set_page_size(1000);
    const auto reply = tasks().list(request);
    EXPECT_TRUE(reply.ok()) << reply.status();
    for (const v1::Task& task : reply->tasks()) keys.push_back(task.spec().idempotency_key());
    return keys;
  }
};

TEST_F(SchedulesTest, ATaskComesAgainAndNoKillDoublesOne) {
  EXPECT_EQ(ctl({"tasks", "schedule", "add", "tick", "--every", "1s", "--overlap", "queue",
                 "--missed", "all", "-c", "echo $ZSYNC_SCHEDULED_AT"})
                .code,
            0);
  for (uint64_t runs = 1; runs <= 3; ++runs) {
    ASSERT_TRUE(kit::poll_until([&] { return schedule("tick").runs() >= runs; }));
    restart();
  }
  EXPECT_EQ(ctl({"tasks", "schedule", "pause", "tick"}).code, 0);
  const v1::Schedule paused = schedule("tick");
  EXPECT_TRUE(paused.has_paused());
  EXPECT_EQ(paused.next_unix_nano(), 0);
  std::vector<std::string> all = keys();
  EXPECT_EQ(all.size(), paused.runs());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end()) << "each time once";
  EXPECT_EQ(output_of(paused.last_task()), std::to_string(paused.last_unix_nano()) + "\n");
  restart();
  EXPECT_TRUE(schedule("tick").has_paused());
  EXPECT_EQ(ctl({"tasks", "schedule", "rm", "tick"}).code, 0);
  restart();
  EXPECT_EQ(ctl({"tasks", "schedule", "show", "tick"}).code, 3);
  EXPECT_EQ(get(paused.last_task()).id(), paused.last_task()) << "its tasks stay";
}

TEST_F(SchedulesTest, AGuaranteedOneIsTakenOnlyWhereNoRunCanBeLate) {
  const auto add = [&](const std::string& name, const std::string& every,
                       const std::string& limit) {
    return ctl({"tasks", "schedule", "add", name, "--guaranteed", "-g", "rt", "--every", every,
                "--timeout", limit, "--kill-grace", "0", "--", "true"});
  };
  EXPECT_THAT(add("fast", "2s", "500ms").err, HasSubstr("--order rate"));
  EXPECT_EQ(ctl({"tasks", "group", "set", "rt", "1", "--order", "rate"}).code, 0);
  EXPECT_THAT(add("fast", "2s", "500ms").out, HasSubstr("each run ends within 1.0s"));
  EXPECT_EQ(add("slow", "10s", "1s").code, 0);
  EXPECT_THAT(add("long", "60s", "3s").err,
              AllOf(HasSubstr("a run of \"fast\""), HasSubstr("could be late")));
  EXPECT_THAT(ctl({"tasks", "schedule", "add", "any", "--guaranteed", "-g", "rt", "--every", "2s",
                   "--", "true"})
                  .err,
              HasSubstr("give --timeout"));
  restart();
  EXPECT_THAT(ctl({"tasks", "schedule", "show", "fast"}).out, HasSubstr("ends within 1.5s"));
  EXPECT_THAT(ctl({"tasks", "schedule", "list", "-o", "json"}).out,
              HasSubstr("\"responseMax\":\"1.5"));
  ASSERT_TRUE(kit::poll_until([&] { return schedule("fast").runs() >= 1; }));
  EXPECT_EQ(wait(schedule("fast").last_task()).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(ctl({"tasks", "group", "set", "rt", "--order", "priority"}).code, 0);
  EXPECT_THAT(ctl({"tasks", "schedule", "show", "fast"}).out, HasSubstr("lost: a run may be late"));
}

TEST_F(SchedulesTest, ARunThatGoesOnKeepsTheNextOnesOut) {
  EXPECT_EQ(ctl({"tasks", "schedule", "add", "tick", "--every", "1s", "--", "sleep", "1000"}).code,
            0);
  ASSERT_TRUE(kit::poll_until([&] { return schedule("tick").overlapped() >= 2; }));
  EXPECT_EQ(schedule("tick").runs(), 1u);
  EXPECT_THAT(ctl({"events", "list", "--type", "schedule.overlapped"}).out, HasSubstr("tick"));
}

TEST_F(SchedulesTest, WhatCanNeverFireIsRefusedWithTheReason) {
  const kit::Ran never =
      ctl({"tasks", "schedule", "add", "s", "--cron", "0 0 31 feb,apr *", "--", "true"});
  EXPECT_EQ(never.code, 2);
  EXPECT_THAT(never.err, HasSubstr("it never fires: feb, apr has at most 30 days"));
  EXPECT_THAT(ctl({"tasks", "schedule", "add", "s", "--cron", "@daily", "--tz", "Europe/Berlim",
                   "--", "true"})
                  .err,
              HasSubstr("no time zone \"Europe/Berlim\""));
  EXPECT_THAT(ctl({"tasks", "schedule", "add", "s", "--cron", "@daily", "--idempotency-key", "k",
                   "--", "true"})
                  .err,
              HasSubstr("makes sense for one run only"));
  EXPECT_EQ(ctl({"tasks", "schedule", "list", "-q"}).out, "");
}

TEST_F(SchedulesTest, TheTimesThatComeAreToldInAdvance) {
  EXPECT_EQ(ctl({"tasks", "schedule", "add", "s", "--cron", "30 2 * * *", "--tz", "Europe/Berlin",
                 "--", "true"})
                .code,
            0);
  restart();
  const auto times = tasks().upcoming_runs("s", 400);
  ASSERT_TRUE(times.ok()) << times.status();
  ASSERT_EQ(times->times_unix_nano_size(), 400);
  EXPECT_EQ(times->times_unix_nano(0), schedule("s").next_unix_nano());
  for (int i = 1; i < 400; ++i) {
    const int64_t hours =
        (times->times_unix_nano(i) - times->times_unix_nano(i - 1)) / 3'600'000'000'000;
    EXPECT_GE(hours, 23);
    EXPECT_LE(hours, 25);
  }
  EXPECT_EQ(ctl({"tasks", "schedule", "next", "s", "-n", "2"}).code, 0);
}

TEST_F(SchedulesTest, AnArrayIsSubmittedWaitedForAndCancelledAsOne) {
  const kit::Ran submitted = ctl({"tasks", "submit", "-q", "--name", "n{index}", "--array", "1-3",
                                  "-c", "echo $ZSYNC_ARRAY_INDEX/$ZSYNC_ARRAY_SIZE"});
  EXPECT_EQ(submitted.code, 0) << submitted.err;
  const std::string array = submitted.out.substr(0, submitted.out.find('\n'));
  EXPECT_THAT(array, ::testing::StartsWith("array_"));
  EXPECT_EQ(ctl({"tasks", "wait", array}).code, 0);
  restart();
  EXPECT_EQ(output_of("n2"), "2/3\n");
  EXPECT_EQ(get("n2").array().id(), array);
  EXPECT_EQ(ctl({"tasks", "list", "-q", "--array", array}).out,
            get("n3").id() + "\n" + get("n2").id() + "\n" + get("n1").id() + "\n");

  ASSERT_TRUE(tasks().set_group("many", 4).ok());
  const kit::Ran matrix =
      ctl({"tasks", "submit", "-q", "-g", "many", "--name", "m-{os}-{v}", "--matrix", "os=a,b",
           "--matrix", "v=1,2", "--", "sh", "-c", "echo {os} $ZSYNC_MATRIX_V; exec sleep 1000"});
  const std::string sleeps = matrix.out.substr(0, matrix.out.find('\n'));
  wait_for_output("m-b-2");
  const kit::Ran canceled = ctl({"tasks", "cancel", "--wait", sleeps});
  EXPECT_EQ(canceled.code, 0) << canceled.err;
  EXPECT_EQ(std::count(canceled.out.begin(), canceled.out.end(), '\n'), 4);
  EXPECT_EQ(output_of("m-b-2"), "b 2\n");
  expect_nothing_left();
  EXPECT_EQ(ctl({"tasks", "cancel", "array_no"}).code, 3);
}

TEST_F(SchedulesTest, ATaskAfterAnArrayWaitsForAllOfItsTasks) {
  ASSERT_TRUE(tasks().set_group("gate", 1).ok());
  const std::string gate = submit({"-g", "gate", "--", "sleep", "1000"});
  const std::string array = submit({"-g", "gate", "--array", "1-3", "--", "true"});
  const std::string after = submit({"--after", array, "--", "true"});
  const std::string failed = submit({"--after", array + ":failed", "--", "true"});
  EXPECT_EQ(get(after).spec().after_size(), 3);
  EXPECT_EQ(get(after).state(), v1::TASK_STATE_QUEUED);
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", gate}).code, 0);
  EXPECT_EQ(wait(after).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(wait(failed).state(), v1::TASK_STATE_SKIPPED);
  EXPECT_THAT(ctl({"tasks", "submit", "--after", "array_no", "--", "true"}).err,
              HasSubstr("waits for an array that is not there: array_no"));
  const std::string large = submit({"--array", "1-257", "--delay", "1h", "--", "true"});
  EXPECT_THAT(ctl({"tasks", "submit", "--after", large, "--", "true"}).err,
              ::testing::AllOf(HasSubstr("257 tasks"), HasSubstr("after_max = 256")));
  EXPECT_EQ(ctl({"tasks", "cancel", large}).code, 0);
}

TEST_F(SchedulesTest, AnArrayWithAKeyIsSubmittedOnce) {
  const Words words = {"tasks", "submit", "-o",  "jsonl", "--array", "0-1", "--idempotency-key",
                       "k",     "--",     "true"};
  EXPECT_THAT(ctl(words).out, HasSubstr("array_"));
  EXPECT_THAT(ctl(words).out, HasSubstr("true,true"));
  EXPECT_THAT(ctl({"tasks", "submit", "--array", "5-1", "--", "true"}).err,
              HasSubstr("names no indexes"));
}

}  // namespace
}  // namespace zsync::integration
