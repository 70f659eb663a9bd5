// Traces: what tasks tell of themselves, through the whole daemon and its command line.
#include <google/protobuf/util/message_differencer.h>
#include <signal.h>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class Traces : public DaemonTest {
 protected:
  v1::Trace trace_of(const std::string& id) {
    auto trace = client().traces().get(id);
    EXPECT_TRUE(trace.ok()) << trace.status();
    return trace.ok() ? *trace : v1::Trace();
  }
  static const v1::Span* find(const v1::Trace& trace, const std::string& name) {
    for (const v1::Span& span : trace.spans()) {
      if (span.name() == name) return &span;
    }
    return nullptr;
  }
};

TEST_F(Traces, ATaskThatATaskSubmitsIsBelowItInOneTrace) {
  const std::string outer =
      submit({"--name", "outer", "--", "sh", "-c",
              "exec " + std::string(getenv("ZSYNCCTL")) + " run -- sh -c 'exit 3'"});
  EXPECT_EQ(wait(outer).exit_code(), 3);
  const v1::Trace trace = trace_of(outer);
  EXPECT_EQ(trace.summary().tasks(), 2u);
  EXPECT_EQ(trace.summary().name(), "outer");
  EXPECT_TRUE(trace.summary().failed());
  EXPECT_EQ(trace.summary().open(), 0u);
  ASSERT_EQ(trace.spans_size(), 6);
  const v1::Span* whole = find(trace, "outer");
  const v1::Span* attempt = nullptr;
  const v1::Span* inner = nullptr;
  for (const v1::Span& span : trace.spans()) {
    if (span.parent_id() == whole->id() && span.name() == "attempt 1") attempt = &span;
  }
  ASSERT_TRUE(attempt);
  for (const v1::Span& span : trace.spans()) {
    if (span.parent_id() == attempt->id()) inner = &span;
  }
  ASSERT_TRUE(inner);
  EXPECT_EQ(inner->message(), "exit code 3");
  EXPECT_EQ(whole->parent_id(), "");
  EXPECT_EQ(whole->attributes().at("task"), outer);
}

TEST_F(Traces, TheSameTraceIsToldAfterAKillOfTheDaemon) {
  const std::string id = submit({"--", "true"});
  wait(id);
  const v1::Trace before = trace_of(id);
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(trace_of("last"), before));
}

TEST_F(Traces, TheCommandLineDrawsThem) {
  const std::string id = submit({"--name", "build", "--retries", "1", "--backoff", "1ms", "-c",
                                 "exit $((2 - ZSYNC_ATTEMPT))"});
  EXPECT_EQ(wait(id).state(), v1::TASK_STATE_SUCCEEDED);
  const kit::Ran last = ctl({"traces", "last"});
  EXPECT_EQ(last.code, 0) << last.err;
  EXPECT_THAT(last.out, HasSubstr("build"));
  EXPECT_THAT(last.out, HasSubstr("\n  wait in the queue"));
  EXPECT_THAT(last.out, HasSubstr("\n  attempt 1"));
  EXPECT_THAT(last.out, HasSubstr("  error\n"));
  EXPECT_THAT(last.out, HasSubstr("\n  wait for the next attempt"));
  EXPECT_THAT(last.out, HasSubstr("\n  attempt 2"));
  EXPECT_THAT(ctl({"traces", "list"}).out, HasSubstr("build"));
  EXPECT_EQ(ctl({"trace", "show", id}).out, last.out);
  EXPECT_THAT(ctl({"traces", "show", id, "-o", "json"}).out, HasSubstr("\"spans\""));
}

TEST_F(Traces, OneThatIsNotThereIsNamedWithTheCure) {
  EXPECT_THAT(ctl({"traces", "last"}).err, HasSubstr("there is no trace yet: run something first"));
  const kit::Ran unknown = ctl({"traces", "show", "beef"});
  EXPECT_NE(unknown.code, 0);
  EXPECT_THAT(unknown.err, HasSubstr("no trace \"beef\""));
  EXPECT_TRUE(absl::IsInvalidArgument(client().traces().list(100'000).status()));
}

}  // namespace
}  // namespace zsync::integration
