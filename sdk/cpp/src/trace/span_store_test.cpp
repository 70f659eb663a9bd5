#include "zsync/trace/span_store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"

namespace zsync::trace {
namespace {

using namespace std::chrono_literals;

TraceId trace_of(uint8_t number) {
  TraceId id;
  id.bytes[15] = number;
  return id;
}

SpanRecord record_of(uint8_t trace, std::string name, int64_t start, std::chrono::nanoseconds took,
                     bool root = true) {
  SpanRecord record;
  record.context.trace_id = trace_of(trace);
  record.context.span_id = SpanId::random();
  if (!root) record.parent = SpanId::random();
  record.name = std::move(name);
  record.start_unix_nanos = start;
  record.duration = took;
  return record;
}

TEST(SpanStore, GivesTheSpansOfATraceInTheOrderOfTheirStarts) {
  SpanStore store;
  store.ended(record_of(1, "inner", 200, 10ns, false));
  store.ended(record_of(2, "other", 150, 10ns));
  store.ended(record_of(1, "outer", 100, 500ns));
  const std::vector<SpanRecord> spans = store.spans(trace_of(1));
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].name, "outer");
  EXPECT_EQ(spans[1].name, "inner");
  EXPECT_TRUE(store.spans(trace_of(3)).empty());
}

TEST(SpanStore, ATraceHasTheNameOfItsRootAndLastsFromItsFirstStartToItsLastEnd) {
  SpanStore store;
  store.ended(record_of(1, "early child", 50, 10ns, false));
  store.ended(record_of(1, "root", 100, 100ns));
  store.ended(record_of(1, "late child", 180, 300ns, false));
  const auto traces = store.traces();
  ASSERT_EQ(traces.size(), 1u);
  EXPECT_EQ(traces[0].name, "root");
  EXPECT_EQ(traces[0].start_unix_nanos, 50);
  EXPECT_EQ(traces[0].duration, 430ns);
  EXPECT_EQ(traces[0].spans, 3u);
  EXPECT_FALSE(traces[0].failed);
}

TEST(SpanStore, WithoutItsRootATraceHasTheNameOfItsEarliestSpan) {
  SpanStore store;
  store.ended(record_of(1, "later", 200, 10ns, false));
  store.ended(record_of(1, "earlier", 100, 10ns, false));
  EXPECT_EQ(store.traces()[0].name, "earlier");
}

TEST(SpanStore, TheTraceThatEndedSomethingLastComesFirst) {
  SpanStore store;
  for (uint8_t trace : {1, 2, 3, 1}) store.ended(record_of(trace, absl::StrCat(trace), trace, 1ns));
  std::vector<std::string> names;
  for (const auto& trace : store.traces(2)) names.push_back(trace.name);
  EXPECT_THAT(names, ::testing::ElementsAre("1", "3"));
}

TEST(SpanStore, OneErrorMakesATraceAFailedOne) {
  SpanStore store;
  SpanRecord record = record_of(1, "a", 1, 1ns, false);
  record.status = SpanStatus::error;
  store.ended(std::move(record));
  store.ended(record_of(1, "b", 2, 1ns));
  EXPECT_TRUE(store.traces()[0].failed);
}

TEST(SpanStore, TheOldestGoWhenItIsFullAndAreCounted) {
  const size_t each = record_of(1, "name", 0, 1ns).bytes();
  SpanStore store(10 * each);
  for (int i = 0; i < 25; ++i) store.ended(record_of(1, "name", i, 1ns));
  EXPECT_EQ(store.size(), 10u);
  EXPECT_EQ(store.dropped(), 15u);
  EXPECT_LE(store.bytes(), 10 * each);
  EXPECT_EQ(store.spans(trace_of(1)).front().start_unix_nanos, 15);
}

TEST(SpanStore, ARecordThatNeverFitsPushesNothingOut) {
  SpanStore store(2000);
  store.ended(record_of(1, "small", 0, 1ns));
  SpanRecord huge = record_of(1, "huge", 1, 1ns);
  huge.attributes.emplace_back("text", std::string(5000, 'x'));
  store.ended(std::move(huge));
  EXPECT_EQ(store.size(), 1u);
  EXPECT_EQ(store.dropped(), 1u);
}

TEST(SpanStore, TakesSpansOfManyThreads) {
  SpanStore store;
  std::vector<std::thread> threads;
  for (uint8_t t = 1; t <= 4; ++t) {
    threads.emplace_back([&store, t] {
      for (int i = 0; i < 500; ++i) store.ended(record_of(t, "x", i, 1ns));
    });
  }
  for (int i = 0; i < 20; ++i) (void)store.traces();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store.size(), 2000u);
  EXPECT_EQ(store.traces().size(), 4u);
}

}  // namespace
}  // namespace zsync::trace
