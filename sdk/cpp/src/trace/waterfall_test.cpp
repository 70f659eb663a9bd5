#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "absl/strings/str_split.h"
#include "zsync/trace/span_store.hpp"

namespace zsync::trace {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::StartsWith;

SpanId id_of(uint8_t number) {
  SpanId id;
  id.bytes[7] = number;
  return id;
}

SpanRecord span_of(uint8_t id, uint8_t parent, std::string name, std::chrono::nanoseconds start,
                   std::chrono::nanoseconds took) {
  SpanRecord record;
  record.context.trace_id.bytes[0] = 1;
  record.context.span_id = id_of(id);
  record.parent = id_of(parent);
  record.name = std::move(name);
  record.start_unix_nanos = start.count();
  record.duration = took;
  return record;
}

std::vector<std::string> lines_of(const std::vector<SpanRecord>& spans, size_t width = 60) {
  std::ostringstream out;
  print_waterfall(out, spans, {.width = width});
  std::vector<std::string> lines = absl::StrSplit(out.str(), '\n');
  EXPECT_EQ(lines.back(), "");
  lines.pop_back();
  return lines;
}

TEST(Waterfall, ShowsChildrenBelowTheirParentsWithABarForTheirTime) {
  const std::vector<std::string> lines = lines_of({
      span_of(3, 1, "test", 60ms, 40ms),
      span_of(1, 0, "save", 0ms, 100ms),
      span_of(2, 1, "settle", 0ms, 50ms),
  });
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], "save                       100.0 ms  ███████████████████████");
  EXPECT_EQ(lines[1], "  settle                    50.0 ms  ████████████");
  EXPECT_EQ(lines[2], "  test                      40.0 ms               █████████");
}

TEST(Waterfall, AnErrorIsNamedBelowItsSpan) {
  SpanRecord failed = span_of(1, 0, "build", 0ms, 1500ms);
  failed.status = SpanStatus::error;
  failed.status_message = "exit code 2";
  const std::vector<std::string> lines = lines_of({failed});
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(lines[0], HasSubstr("1.50 s"));
  EXPECT_THAT(lines[0], HasSubstr("  error"));
  EXPECT_EQ(lines[1], "  exit code 2");
}

TEST(Waterfall, DurationsHaveTheUnitThatFits) {
  EXPECT_THAT(lines_of({span_of(1, 0, "a", 0ns, 17ns)})[0], HasSubstr(" 17 ns "));
  EXPECT_THAT(lines_of({span_of(1, 0, "a", 0ns, 1500ns)})[0], HasSubstr(" 1.5 us "));
}

TEST(Waterfall, ForeignBytesInANameAreShownAndALongOneIsCut) {
  const std::string line = lines_of({span_of(1, 0, "\x1b[31mred\n", 0ms, 1ms)})[0];
  EXPECT_THAT(line, StartsWith("\\x1b[31mred\\x0a "));
  EXPECT_THAT(lines_of({span_of(1, 0, std::string(80, 'n'), 0ms, 1ms)})[0],
              StartsWith(std::string(23, 'n') + "… "));
}

TEST(Waterfall, ASpanWhoseParentIsGoneOrThatIsItsOwnParentIsShownAllTheSame) {
  const std::vector<std::string> lines = lines_of({
      span_of(1, 9, "orphan", 0ms, 1ms),
      span_of(2, 2, "itself", 1ms, 1ms),
      span_of(3, 4, "circle a", 2ms, 1ms),
      span_of(4, 3, "circle b", 3ms, 1ms),
  });
  EXPECT_EQ(lines.size(), 4u);
  EXPECT_THAT(lines[0], StartsWith("orphan"));
  EXPECT_THAT(lines[3], StartsWith("  circle b"));
}

TEST(Waterfall, ADeepTreeIsDrawnWithoutADeepStack) {
  std::vector<SpanRecord> spans;
  for (int i = 0; i < 20'000; ++i) {
    SpanRecord span = span_of(0, 0, "deep", std::chrono::nanoseconds(i), 1ms);
    span.context.span_id.bytes = {
        1, 0, 0, 0, 0, 0, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)};
    if (i > 0) span.parent = spans.back().context.span_id;
    spans.push_back(span);
  }
  EXPECT_EQ(lines_of(spans).size(), 20'000u);
}

TEST(Waterfall, OfNothingIsNothing) {
  std::ostringstream out;
  print_waterfall(out, {});
  EXPECT_EQ(out.str(), "");
}

}  // namespace
}  // namespace zsync::trace
