#include "daemon/traces/traces.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/store/work_span.hpp"

namespace zsync::daemon {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kMs = 1'000'000;
constexpr char kOuter[] = "task_01arz3ndektsv4rrffq69g5fav";
constexpr char kInner[] = "task_01arz3ndektsv4rrffq69g5faw";
constexpr char kCaller[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

// Events in the order in which they are written down, at milliseconds of a clock.
struct Story {
  std::vector<Event> events;

  Story& at(int64_t ms, const std::string& type, const std::string& task,
            std::map<std::string, std::string> attributes = {}, const std::string& trace = "") {
    events.push_back({events.size() + 1, ms * kMs, type, task, std::move(attributes), trace});
    return *this;
  }
  TraceIndex index() const {
    TraceIndex index;
    for (const Event& event : events) index.add(event);
    return index;
  }
  std::vector<std::string> spans(const trace::TraceId& id, int64_t now_ms = 1000) const {
    TraceSpans spans(id);
    for (const Event& event : events) spans.add(event);
    std::vector<std::string> lines;
    for (const trace::SpanRecord& span : spans.spans(now_ms * kMs)) {
      std::string line =
          absl::StrCat(span.name, " ", span.start_unix_nanos / kMs, "+", span.duration / 1ms);
      if (span.status == trace::SpanStatus::error)
        absl::StrAppend(&line, " ! ", span.status_message);
      for (const auto& [name, value] : span.attributes) {
        if (name == "open") line += " open";
      }
      lines.push_back(line);
    }
    return lines;
  }
};

trace::TraceId own_trace(const std::string& task) { return work_span(task, "").trace_id; }

TEST(Traces, ATaskIsASpanWithItsWaitAndItsAttemptBelow) {
  Story story;
  story.at(0, "task.queued", kOuter, {{"name", "build"}})
      .at(30, "task.started", kOuter, {{"attempt", "1"}})
      .at(100, "task.finished", kOuter, {{"attempt", "1"}, {"state", "succeeded"}});
  EXPECT_THAT(story.spans(own_trace(kOuter)),
              ElementsAre("build 0+100", "wait in the queue 0+30", "attempt 1 30+70"));
  const TraceSummary summary = story.index().latest(10)[0];
  EXPECT_EQ(summary.name, "build");
  EXPECT_EQ(summary.task, kOuter);
  EXPECT_EQ(summary.tasks, 1u);
  EXPECT_EQ(summary.open, 0u);
  EXPECT_FALSE(summary.failed);
  EXPECT_EQ(summary.end_unix_nano, 100 * kMs);
}

TEST(Traces, AWaitInTheQueueTellsWhatItWasFor) {
  Story story;
  story.at(10, "task.queued", kOuter, {{"name", "build"}})
      .at(50, "task.started", kOuter,
          {{"attempt", "1"},
           {"waits", "5000000 20000000 a place in group g\n20000000 49000000 lock cc\nx y z"}});
  EXPECT_THAT(
      story.spans(own_trace(kOuter), 60),
      ElementsAre("build 10+50 open", "wait in the queue 10+40", "for a place in group g 10+10",
                  "for lock cc 20+29", "attempt 1 50+10 open"));
}

TEST(Traces, APauseBeforeTheNextAttemptIsNotToldTwice) {
  Story story;
  story.at(0, "task.queued", kOuter)
      .at(0, "task.started", kOuter, {{"attempt", "1"}})
      .at(10, "task.retrying", kOuter, {{"attempt", "1"}, {"state", "queued"}})
      .at(50, "task.started", kOuter,
          {{"attempt", "2"}, {"waits", "10000000 40000000 its time\n40000000 49000000 lock cc"}});
  EXPECT_THAT(story.spans(own_trace(kOuter), 60),
              ::testing::IsSupersetOf({"wait for the next attempt 10+40", "for lock cc 40+9"}));
  EXPECT_THAT(story.spans(own_trace(kOuter), 60),
              ::testing::Not(::testing::Contains(HasSubstr("its time"))));
}

TEST(Traces, ABatchThatSettledIsAboveTheTaskThatItCaused) {
  Story story;
  const trace::SpanContext settle = work_span(kInner, "");
  story.at(50, "watch.settled", kInner, {{"took_nano", "50000000"}, {"path", "/src"}});
  EXPECT_TRUE(story.index().latest(10).empty()) << "one that caused nothing is no trace";
  EXPECT_FALSE(story.index().find(settle.trace_id.to_hex()).ok());
  story.at(51, "task.queued", kOuter, {{"name", "build"}}, settle.to_traceparent())
      .at(52, "task.started", kOuter, {{"attempt", "1"}}, settle.to_traceparent())
      .at(60, "task.finished", kOuter, {{"state", "succeeded"}}, settle.to_traceparent());
  EXPECT_THAT(story.spans(settle.trace_id),
              ElementsAre("settle 0+50", "build 51+9", "wait in the queue 51+1", "attempt 1 52+8"));
  const TraceSummary summary = story.index().latest(10).at(0);
  EXPECT_EQ(summary.name, "build");
  EXPECT_EQ(summary.start_unix_nano, 0);
  EXPECT_EQ(summary.tasks, 1u);
}

TEST(Traces, ARunOfATriggerBeginsWithItsChangesAndWaitsForTheRunBeforeIt) {
  Story story;
  const trace::SpanContext settle = work_span("trig_1 2", "");
  story.at(201, "task.queued", kOuter, {{"name", "t"}}, settle.to_traceparent())
      .at(202, "trigger.fired", "t",
          {{"changed_unix_nano", "100000000"},
           {"settled_unix_nano", "150000000"},
           {"fired_unix_nano", "200000000"},
           {"behind", "1"}},
          settle.to_traceparent());
  EXPECT_THAT(story.spans(settle.trace_id, 300),
              ElementsAre("settle 100+50", "wait for the end of run 1 150+50", "t 201+99 open",
                          "wait in the queue 201+99 open"));
  EXPECT_EQ(story.index().latest(10).at(0).start_unix_nano, 100 * kMs);
}

TEST(Traces, WhatAMessageOfATaskWaitedIsBelowItsAttempt) {
  Story story;
  const std::string attempt = attempt_span(work_span(kOuter, ""), 1).to_traceparent();
  story.at(0, "task.queued", kOuter, {{"name", "send"}})
      .at(1, "task.started", kOuter, {{"attempt", "1"}})
      .at(30, "channel.waited", "jobs", {{"took_nano", "20000000"}}, attempt)
      .at(90, "channel.received", "jobs", {{"took_nano", "60000000"}, {"message", "7"}}, attempt)
      .at(95, "channel.received", "jobs", {{"took_nano", "1"}, {"message", "8"}}, "nonsense");
  TraceSpans spans(own_trace(kOuter));
  for (const Event& event : story.events) spans.add(event);
  std::vector<std::string> below;
  for (const trace::SpanRecord& span : spans.spans(100 * kMs)) {
    if (span.parent == attempt_span(work_span(kOuter, ""), 1).span_id) below.push_back(span.name);
  }
  EXPECT_THAT(below, ElementsAre("wait for room in channel jobs", "message 7 in channel jobs"));
}

TEST(Traces, EveryAttemptAndThePauseBeforeItAreSpansOfTheirOwn) {
  Story story;
  story.at(0, "task.queued", kOuter)
      .at(10, "task.started", kOuter, {{"attempt", "1"}})
      .at(20, "task.retrying", kOuter, {{"attempt", "1"}, {"state", "queued"}})
      .at(50, "task.started", kOuter, {{"attempt", "2"}})
      .at(60, "task.finished", kOuter, {{"attempt", "2"}, {"state", "failed"}, {"exit_code", "3"}});
  EXPECT_THAT(
      story.spans(own_trace(kOuter)),
      ElementsAre(absl::StrCat(kOuter, " 0+60 ! exit code 3"), "wait in the queue 0+10",
                  "attempt 1 10+10 ! ", "wait for the next attempt 20+30", "attempt 2 50+10 ! "));
  EXPECT_TRUE(story.index().latest(1)[0].failed);
}

TEST(Traces, WhatATaskSubmitsIsBelowTheAttemptThatDidSo) {
  const std::string passed_on = attempt_span(work_span(kOuter, ""), 1).to_traceparent();
  Story story;
  story.at(0, "task.queued", kOuter, {{"name", "outer"}})
      .at(1, "task.started", kOuter, {{"attempt", "1"}})
      .at(2, "task.queued", kInner, {{"name", "inner"}}, passed_on)
      .at(3, "task.started", kInner, {{"attempt", "1"}}, passed_on);
  TraceSpans spans(own_trace(kOuter));
  for (const Event& event : story.events) spans.add(event);
  trace::SpanId attempt;
  trace::SpanId inner_parent;
  for (const trace::SpanRecord& span : spans.spans(10 * kMs)) {
    if (span.name == "inner") inner_parent = span.parent;
    if (span.name == "attempt 1" && span.start_unix_nanos == 1 * kMs)
      attempt = span.context.span_id;
  }
  EXPECT_TRUE(attempt.valid());
  EXPECT_EQ(inner_parent, attempt);
  const TraceSummary summary = story.index().latest(10)[0];
  EXPECT_EQ(summary.tasks, 2u);
  EXPECT_EQ(summary.open, 2u);
  EXPECT_EQ(summary.name, "outer");
}

TEST(Traces, ACallersTraceIsGoneOnWithAndItsSpanIsTheParent) {
  Story story;
  story.at(0, "task.queued", kOuter, {}, kCaller).at(5, "task.queued", kInner, {}, kCaller);
  EXPECT_EQ(story.index().latest(10).size(), 1u);
  const trace::TraceId id = trace::SpanContext::parse(kCaller)->trace_id;
  TraceSpans spans(id);
  for (const Event& event : story.events) spans.add(event);
  EXPECT_EQ(spans.spans(0)[0].parent.to_hex(), "00f067aa0ba902b7");
}

TEST(Traces, WhatGoesOnLastsUntilNow) {
  Story story;
  story.at(0, "task.queued", kOuter).at(10, "task.started", kOuter, {{"attempt", "1"}});
  EXPECT_THAT(story.spans(own_trace(kOuter), 500),
              ElementsAre(absl::StrCat(kOuter, " 0+500 open"), "wait in the queue 0+10",
                          "attempt 1 10+490 open"));
  EXPECT_EQ(story.index().latest(1)[0].open, 1u);
}

TEST(Traces, ATaskThatIsRunAgainGoesOnInItsSpan) {
  Story story;
  story.at(0, "task.queued", kOuter)
      .at(1, "task.started", kOuter, {{"attempt", "1"}})
      .at(2, "task.finished", kOuter, {{"state", "failed"}, {"exit_code", "1"}})
      .at(50, "task.queued", kOuter);
  EXPECT_EQ(story.index().latest(1)[0].open, 1u);
  story.at(60, "task.started", kOuter, {{"attempt", "2"}})
      .at(70, "task.finished", kOuter, {{"state", "succeeded"}});
  EXPECT_THAT(story.spans(own_trace(kOuter)),
              ElementsAre(absl::StrCat(kOuter, " 0+70"), "wait in the queue 0+1",
                          "attempt 1 1+1 ! ", "wait in the queue 50+10", "attempt 2 60+10"));
  EXPECT_EQ(story.index().latest(1)[0].open, 0u);
}

TEST(Traces, ATaskThatEndsInTheQueueHasNoAttemptAndOneOfWhichTheBeginningIsGoneBeginsLater) {
  Story story;
  story.at(0, "task.queued", kOuter).at(9, "task.finished", kOuter, {{"state", "canceled"}});
  EXPECT_THAT(story.spans(own_trace(kOuter)),
              ElementsAre(absl::StrCat(kOuter, " 0+9"), "wait in the queue 0+9"));
  Story later;
  later.at(40, "task.started", kInner, {{"attempt", "1"}})
      .at(50, "task.finished", kInner,
          {{"state", "lost"}, {"reason", "the machine was restarted"}});
  EXPECT_THAT(later.spans(own_trace(kInner)),
              ElementsAre(absl::StrCat(kInner, " 40+10 ! the machine was restarted"),
                          "attempt 1 40+10 ! "));
  EXPECT_EQ(later.index().latest(1)[0].open, 0u);
}

TEST(Traces, OtherEventsAreNoneOfTheirs) {
  Story story;
  story.at(0, "channel.created", "jobs").at(1, "task.removed", kOuter).at(2, "daemon.started", "x");
  EXPECT_TRUE(story.index().latest(10).empty());
}

TEST(Traces, AreFoundByLastByTheirBeginningAndByATask) {
  Story story;
  story.at(0, "task.queued", kOuter).at(1, "task.queued", kInner, {}, kCaller);
  const TraceIndex index = story.index();
  EXPECT_EQ(index.find("last")->task, kInner);
  EXPECT_EQ(index.find("4bf9")->task, kInner);
  EXPECT_EQ(index.find(kOuter)->task, kOuter);
  EXPECT_EQ(index.find(own_trace(kOuter).to_hex())->task, kOuter);
}

TEST(Traces, AWordThatNamesNoneOrSeveralIsRefusedWithTheCure) {
  EXPECT_THAT(std::string(TraceIndex().find("last").status().message()),
              HasSubstr("run something"));
  Story story;  // two tasks of the same millisecond: their traces begin alike
  story.at(0, "task.queued", kOuter).at(1, "task.queued", kInner);
  const TraceIndex index = story.index();
  const absl::Status several = index.find("0156").status();
  EXPECT_TRUE(absl::IsInvalidArgument(several));
  EXPECT_EQ(fault_detail(several)->closest.size(), 2u);
  EXPECT_TRUE(absl::IsNotFound(index.find("015").status()));  // too short to look for
  EXPECT_THAT(std::string(index.find("beef").status().message()), HasSubstr("no trace \"beef\""));
}

TEST(Traces, TheLatestOnesStayWhenThereAreTooMany) {
  TraceIndex index;
  for (uint64_t i = 0; i <= 2 * TraceIndex::kTracesMax; ++i) {
    index.add({i + 1, static_cast<int64_t>(i), "task.queued", absl::StrCat("task", i), {}, ""});
  }
  EXPECT_EQ(index.latest(100'000).size(), TraceIndex::kTracesMax);
  EXPECT_TRUE(index.find("task20000").ok());
  EXPECT_FALSE(index.find("task3").ok());
}

TEST(Traces, AreReadFromTheEventLog) {
  const std::string dir = ::testing::TempDir() + "traces_are_read";
  std::filesystem::remove_all(dir);
  auto log = EventLog::open(dir, 1 << 20, [] { return int64_t{5}; });
  ASSERT_TRUE(log.ok()) << log.status();
  (*log)->append("task.queued", kOuter, {{"name", "n"}}, kCaller);
  (*log)->append("daemon.started", "x");
  TraceIndex index;
  ASSERT_TRUE(read_events((*log)->dir(), (*log)->last_seq(), index).ok());
  EXPECT_EQ(index.find("last")->name, "n");
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace zsync::daemon
