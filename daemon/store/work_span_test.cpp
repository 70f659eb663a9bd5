#include "daemon/store/work_span.hpp"

#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_cat.h"

namespace zsync::daemon {
namespace {

constexpr char kId[] = "task_01arz3ndektsv4rrffq69g5fav";
constexpr char kCaller[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

TEST(WorkSpan, WithoutACallerTheIdIsTheTrace) {
  const trace::SpanContext span = work_span(kId, "");
  // 01ARZ3NDEKTSV4RRFFQ69G5FAV in hexadecimal, as the specification's example has it.
  EXPECT_EQ(span.trace_id.to_hex(), "01563e3ab5d3d6764c61efb99302bd5b");
  EXPECT_TRUE(span.valid());
  EXPECT_TRUE(span.sampled);
}

TEST(WorkSpan, ACallersTraceGoesOnWithASpanOfItsOwn) {
  const trace::SpanContext span = work_span(kId, kCaller);
  EXPECT_EQ(span.trace_id.to_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_NE(span.span_id.to_hex(), "00f067aa0ba902b7");
  EXPECT_FALSE(span.sampled);
  EXPECT_EQ(span.span_id, work_span(kId, "").span_id);
}

TEST(WorkSpan, AMalformedCallerIsNone) {
  EXPECT_EQ(work_span(kId, "00-x").trace_id, work_span(kId, "").trace_id);
}

TEST(WorkSpan, EveryPartHasAnIdThatIsTheSameEachTime) {
  std::set<std::string> ids;
  for (const char* last : {"v", "w"}) {
    const std::string id = absl::StrCat("task_01arz3ndektsv4rrffq69g5fa", last);
    const trace::SpanContext work = work_span(id, kCaller);
    ids.insert(work.span_id.to_hex());
    for (uint32_t n = 0; n < 100; ++n) {
      ids.insert(attempt_span(work, n).span_id.to_hex());
      ids.insert(wait_span(work, n).span_id.to_hex());
      EXPECT_EQ(attempt_span(work, n).span_id, attempt_span(work_span(id, kCaller), n).span_id);
      EXPECT_EQ(attempt_span(work, n).trace_id, work.trace_id);
    }
  }
  EXPECT_EQ(ids.size(), 402u);
}

TEST(WorkSpan, AnIdThatIsNoUlidHasASpanToo) {
  EXPECT_TRUE(work_span("nightly", "").valid());
  EXPECT_NE(work_span("nightly", "").trace_id, work_span("weekly", "").trace_id);
}

}  // namespace
}  // namespace zsync::daemon
