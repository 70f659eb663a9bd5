#include "zsync/trace/context.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <thread>

namespace zsync::trace {
namespace {

using ::testing::HasSubstr;

constexpr char kParent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(SpanContext, ComesBackAsItWasWritten) {
  const auto context = SpanContext::parse(kParent);
  ASSERT_TRUE(context.ok()) << context.status();
  EXPECT_EQ(context->trace_id.to_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(context->span_id.to_hex(), "00f067aa0ba902b7");
  EXPECT_TRUE(context->sampled);
  EXPECT_FALSE(context->random);
  EXPECT_EQ(context->to_traceparent(), kParent);
}

TEST(SpanContext, FlagsThatAreNotKnownAreNotPassedOn) {
  const auto context =
      SpanContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe");
  ASSERT_TRUE(context.ok());
  EXPECT_FALSE(context->sampled);
  EXPECT_TRUE(context->random);
  EXPECT_EQ(context->to_traceparent().substr(53), "02");
}

TEST(SpanContext, ALaterVersionIsReadAsFarAsItIsKnownAndPassedOnAsThisOne) {
  const auto longer =
      SpanContext::parse("42-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes");
  ASSERT_TRUE(longer.ok()) << longer.status();
  EXPECT_EQ(longer->to_traceparent(), kParent);
  EXPECT_TRUE(SpanContext::parse("42-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").ok());
  EXPECT_FALSE(
      SpanContext::parse("42-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what").ok());
}

struct Malformed {
  const char* header;
  const char* why;
};

class MalformedTraceparent : public ::testing::TestWithParam<Malformed> {};

TEST_P(MalformedTraceparent, IsRefusedWithTheReason) {
  const auto context = SpanContext::parse(GetParam().header);
  EXPECT_THAT(std::string(context.status().message()), HasSubstr(GetParam().why));
}
INSTANTIATE_TEST_SUITE_P(
    All, MalformedTraceparent,
    ::testing::Values(
        Malformed{"", "shorter than 55"},
        Malformed{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", "shorter than 55"},
        Malformed{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", "more than 55"},
        Malformed{"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "version"},
        Malformed{"0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "version"},
        Malformed{"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "VERSION-TRACE"},
        Malformed{"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "trace id"},
        Malformed{"00-00000000000000000000000000000000-00f067aa0ba902b7-01", "trace id"},
        Malformed{"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "span id"},
        Malformed{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902bx-01", "span id"},
        Malformed{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x", "flags"}),
    [](const auto& info) { return std::to_string(info.index); });

TEST(SpanContext, OneThatIsNotValidIsNotWritten) {
  EXPECT_FALSE(SpanContext().valid());
  EXPECT_EQ(SpanContext().to_traceparent(), "");
  SpanContext half;
  half.trace_id = TraceId::random();
  EXPECT_EQ(half.to_traceparent(), "");
}

TEST(SpanContext, AMalformedTracestateCostsItselfOnly) {
  const auto bad = SpanContext::parse(kParent, "no equals sign");
  ASSERT_TRUE(bad.ok());
  EXPECT_TRUE(bad->state.empty());
  const auto good = SpanContext::parse(kParent, "congo=t61rcWkgMzE");
  EXPECT_EQ(good->state.get("congo"), "t61rcWkgMzE");
}

TEST(SpanContext, IsTakenFromTheEnvironmentOfAProcess) {
  unsetenv("TRACEPARENT");
  EXPECT_FALSE(SpanContext::from_environment());
  setenv("TRACEPARENT", kParent, 1);
  setenv("TRACESTATE", "rojo=1", 1);
  const auto context = SpanContext::from_environment();
  setenv("TRACEPARENT", "nonsense", 1);
  const auto nonsense = SpanContext::from_environment();
  unsetenv("TRACEPARENT");
  unsetenv("TRACESTATE");
  ASSERT_TRUE(context);
  EXPECT_EQ(context->state.get("rojo"), "1");
  EXPECT_FALSE(nonsense);
}

TEST(TraceIds, AreDifferentInEveryThread) {
  std::vector<std::vector<TraceId>> made(4);
  std::vector<std::thread> threads;
  for (auto& mine : made) {
    threads.emplace_back([&mine] {
      for (int i = 0; i < 1000; ++i) mine.push_back(TraceId::random());
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<TraceId> all;
  for (const auto& mine : made) all.insert(mine.begin(), mine.end());
  EXPECT_EQ(all.size(), 4000u);
}

TEST(TraceIds, AChildOfForkMakesOthersThanItsParent) {
  (void)SpanId::random();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const SpanId id = SpanId::random();
    _exit(write(ends[1], id.bytes.data(), id.bytes.size()) == 8 ? 0 : 1);
  }
  SpanId childs;
  EXPECT_EQ(read(ends[0], childs.bytes.data(), childs.bytes.size()), 8);
  int status = 0;
  waitpid(child, &status, 0);
  close(ends[0]);
  close(ends[1]);
  EXPECT_NE(childs, SpanId::random());
}

}  // namespace
}  // namespace zsync::trace
