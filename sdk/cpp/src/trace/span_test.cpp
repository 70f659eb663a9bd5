#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "zsync/testing/sim_runtime.hpp"
#include "zsync/trace.hpp"
#include "zsync/zsync.hpp"

namespace zsync::trace {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;

struct Records final : SpanSink {
  void ended(SpanRecord record) noexcept override { all.push_back(std::move(record)); }
  std::vector<SpanRecord> all;
};

SpanContext callers(bool sampled) {
  SpanContext context;
  context.trace_id = TraceId::random();
  context.span_id = SpanId::random();
  context.sampled = sampled;
  (void)context.state.set("other", "1");
  return context;
}

TEST(Span, AChildBelongsToTheTraceOfItsParentAndNamesIt) {
  Records records;
  Tracer tracer(records);
  Span parent = tracer.start("request", {.kind = SpanKind::server});
  Span child = parent.child("query", {.kind = SpanKind::client});
  child.end();
  parent.end();
  ASSERT_EQ(records.all.size(), 2u);
  const SpanRecord& inner = records.all[0];
  const SpanRecord& outer = records.all[1];
  EXPECT_EQ(inner.context.trace_id, outer.context.trace_id);
  EXPECT_EQ(inner.parent, outer.context.span_id);
  EXPECT_NE(inner.context.span_id, outer.context.span_id);
  EXPECT_FALSE(outer.parent.valid());
  EXPECT_EQ(inner.kind, SpanKind::client);
  EXPECT_TRUE(outer.context.random);
  EXPECT_GE(inner.start_unix_nanos, outer.start_unix_nanos);
}

TEST(Span, TheTraceOfACallerGoesOn) {
  Records records;
  Tracer tracer(records);
  const SpanContext caller = callers(true);
  {
    Span span = tracer.start("work", {.parent = caller});
  }
  ASSERT_EQ(records.all.size(), 1u);
  EXPECT_EQ(records.all[0].context.trace_id, caller.trace_id);
  EXPECT_EQ(records.all[0].parent, caller.span_id);
  EXPECT_EQ(records.all[0].context.state.get("other"), "1");
  EXPECT_FALSE(records.all[0].context.random);  // the caller did not say so
}

TEST(Span, ACallerThatIsNotValidBeginsATrace) {
  Records records;
  Tracer tracer(records);
  {
    Span span = tracer.start("work", {.parent = SpanContext()});
  }
  ASSERT_EQ(records.all.size(), 1u);
  EXPECT_TRUE(records.all[0].context.valid());
  EXPECT_FALSE(records.all[0].parent.valid());
}

TEST(Span, OneThatIsNotSampledIsPassedOnAndLeavesNothing) {
  Records records;
  Tracer tracer(records);
  const SpanContext caller = callers(false);
  {
    Span span = tracer.start("work", {.parent = caller});
    EXPECT_FALSE(span.recorded());
    span.set("name", "value");
    span.event("something");
    span.link(caller);
    span.set_status(absl::InternalError("broken"));
    const Span child = span.child("deeper");
    EXPECT_EQ(child.context().trace_id, caller.trace_id);
    EXPECT_FALSE(child.context().sampled);
    EXPECT_EQ(span.context().to_traceparent().substr(53), "00");
  }
  EXPECT_TRUE(records.all.empty());
}

TEST(Span, DurationsAreThoseOfTheSimulation) {
  Records records;
  Tracer tracer(records, {.unix_clock = [] { return int64_t{1'000'000'000}; }});
  testing::SimRuntime sim(1);
  sim.run([](Tracer& own) -> Task<void> {
    Span span = own.start("wait", {.began_ago = 2s});
    co_await sleep(3s);
    span.event("half");
    co_await sleep(3s);
  }(tracer));
  ASSERT_EQ(records.all.size(), 1u);
  EXPECT_EQ(records.all[0].duration, 8s);
  EXPECT_EQ(records.all[0].start_unix_nanos, -1'000'000'000);
  EXPECT_EQ(records.all[0].events[0].unix_nanos, 4'000'000'000);
}

TEST(Span, ACancelThatUnwindsItsTaskEndsIt) {
  Records records;
  Tracer tracer(records);
  run(
      [](Tracer& own) -> Task<void> {
        TaskHandle<void> task = spawn([](Tracer& tracer) -> Task<void> {
          Span span = tracer.start("never done");
          co_await sleep(1h);
        }(own));
        co_await yield_now();
        task.cancel();
        while (!task.done()) co_await yield_now();
      }(tracer),
      Config::for_cli());
  ASSERT_EQ(records.all.size(), 1u);
  EXPECT_EQ(records.all[0].name, "never done");
}

TEST(Span, AnAttributeIsThereOnceWithItsLastValue) {
  Records records;
  Tracer tracer(records);
  {
    Span span = tracer.start("work");
    span.set("rows", 1u);
    span.set("text", "a");
    span.set("ok", true);
    span.set("rows", int64_t{2});
    span.set("share", 0.5);
  }
  const std::vector<Attribute> wanted{
      {"rows", int64_t{2}}, {"text", "a"}, {"ok", true}, {"share", 0.5}};
  EXPECT_EQ(records.all[0].attributes, wanted);
}

TEST(Span, WhatIsOverALimitIsCountedAndTextIsCutBetweenCharacters) {
  Records records;
  Tracer tracer(records, {.limits = {.attributes = 2, .events = 1, .links = 1, .text_bytes = 4}});
  {
    Span span = tracer.start("name too long");
    for (const char* name : {"a", "b", "c"}) span.set(name, "abc\xc3\xa4");
    span.event("first", {{"x", true}, {"y", true}, {"z", true}});
    span.event("second");
    span.link(callers(true));
    span.link(callers(true));
    span.link(SpanContext());
  }
  const SpanRecord& record = records.all[0];
  EXPECT_EQ(record.name, "name");
  EXPECT_EQ(record.attributes.size(), 2u);
  EXPECT_EQ(std::get<std::string>(record.attributes[0].second), "abc");  // not half of the a-umlaut
  EXPECT_EQ(record.events.size(), 1u);
  EXPECT_EQ(record.events[0].attributes.size(), 2u);
  EXPECT_EQ(record.links.size(), 1u);
  EXPECT_EQ(record.dropped, 5u);  // an attribute, one of an event, an event, two links
}

TEST(Span, AnErrorIsKeptWithItsTextAndOkIsNotTakenBack) {
  Records records;
  Tracer tracer(records);
  {
    Span failed = tracer.start("failed");
    failed.set_status(absl::NotFoundError("no such file"));
  }
  {
    Span fine = tracer.start("fine");
    fine.set_status(absl::InternalError("first try"));
    fine.set_status(absl::OkStatus());
    fine.set_status(absl::InternalError("too late"));
  }
  EXPECT_EQ(records.all[0].status, SpanStatus::error);
  EXPECT_EQ(records.all[0].status_message, "no such file");
  EXPECT_EQ(records.all[1].status, SpanStatus::ok);
  EXPECT_EQ(records.all[1].status_message, "");
}

TEST(Span, EndsOnceAlsoWhenItIsMovedOrReplaced) {
  Records records;
  Tracer tracer(records);
  Span first = tracer.start("first");
  Span moved = std::move(first);
  moved.rename("renamed");
  Span second = tracer.start("second");
  second = std::move(moved);  // ends what it was
  second.end();
  second.end();
  second.set("late", true);
  std::vector<std::string> names;
  for (const SpanRecord& record : records.all) names.push_back(record.name);
  EXPECT_THAT(names, ElementsAre("second", "renamed"));
}

TEST(Sampler, ARatioTakesAboutThatShareAndTheSameTracesEverywhere) {
  const Sampler quarter = Sampler::ratio(0.25);
  const Sampler half = Sampler::ratio(0.5);
  int taken = 0;
  for (int i = 0; i < 20'000; ++i) {
    const TraceId id = TraceId::random();
    const bool in = quarter.decide(id, nullptr);
    taken += in ? 1 : 0;
    EXPECT_EQ(in, Sampler::ratio(0.25).decide(id, nullptr));
    if (in) EXPECT_TRUE(half.decide(id, nullptr));  // a larger share takes all of a smaller one's
  }
  EXPECT_GT(taken, 4'500);
  EXPECT_LT(taken, 5'500);
}

TEST(Sampler, TheEndsOfTheRangeTakeAllOrNothing) {
  TraceId lowest;
  lowest.bytes[0] = 1;  // its last 7 bytes are zero
  TraceId highest;
  highest.bytes.fill(0xff);
  for (const TraceId& id : {lowest, highest}) {
    EXPECT_TRUE(Sampler::always_on().decide(id, nullptr));
    EXPECT_TRUE(Sampler::ratio(7).decide(id, nullptr));
    EXPECT_FALSE(Sampler::always_off().decide(id, nullptr));
    EXPECT_FALSE(Sampler::ratio(-1).decide(id, nullptr));
  }
  EXPECT_FALSE(Sampler::ratio(0.999).decide(lowest, nullptr));
  EXPECT_TRUE(Sampler::ratio(0.001).decide(highest, nullptr));
}

TEST(Sampler, ByParentTheCallerDecidesAndTheRootOnlyWhereThereIsNone) {
  const Sampler sampler = Sampler::parent_based(Sampler::always_off());
  const SpanContext yes = callers(true);
  const SpanContext no = callers(false);
  EXPECT_TRUE(sampler.decide(yes.trace_id, &yes));
  EXPECT_FALSE(Sampler::parent_based().decide(no.trace_id, &no));
  EXPECT_FALSE(sampler.decide(yes.trace_id, nullptr));
  EXPECT_TRUE(Sampler::always_on().decide(no.trace_id, &no));
}

}  // namespace
}  // namespace zsync::trace
