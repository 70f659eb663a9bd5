// Traces: what tasks tell of themselves, through the whole daemon and its command line.
#include <google/protobuf/util/message_differencer.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "absl/time/clock.h"
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

TEST_F(Traces, AWaitForALockIsNamed) {
  const std::string gate = file("gate");
  ASSERT_EQ(::mkfifo(gate.c_str(), 0600), 0);
  const std::string first = submit({"--lock", "cc", "--", "sh", "-c", "echo on; cat " + gate});
  wait_for_output(first);
  const std::string second = submit({"--name", "second", "--lock", "cc", "--", "true"});
  // It waits for longer than what is not told.
  ASSERT_TRUE(kit::poll_until([&] {
    const v1::Task task = get(second);
    return absl::GetCurrentTimeNanos() - task.created_unix_nano() > 50'000'000;
  }));
  std::ofstream(gate) << "go";
  EXPECT_EQ(wait(second).state(), v1::TASK_STATE_SUCCEEDED);
  const v1::Trace trace = trace_of(second);
  const v1::Span* queued = find(trace, "wait in the queue");
  const v1::Span* lock = find(trace, "for lock cc");
  ASSERT_TRUE(queued && lock) << trace.DebugString();
  EXPECT_EQ(lock->parent_id(), queued->id());
  EXPECT_THAT(ctl({"traces", "show", second}).out, HasSubstr("\n    for lock cc"));
}

TEST_F(Traces, ASaveBeginsTheTraceOfATriggersRun) {
  const std::string tree = file("tree");
  std::filesystem::create_directories(tree);
  ASSERT_EQ(ctl({"watch", "trigger", "add", "t", tree, "--", "true"}).code, 0);
  v1::Trigger trigger;
  // What changes before nobody knows when.
  ASSERT_TRUE(kit::poll_until([&] {
    trigger = *client().triggers().get("t");
    return trigger.state() == v1::TRIGGER_STATE_IDLE;
  })) << trigger.DebugString();
  std::ofstream(tree + "/a.c") << "1";
  ASSERT_TRUE(kit::poll_until([&] {
    trigger = *client().triggers().get("t");
    return trigger.last().ended_unix_nano() != 0;
  })) << trigger.DebugString();
  const v1::Trace trace = trace_of(trigger.last().task());
  const v1::Span* settle = find(trace, "settle");
  const v1::Span* task = find(trace, "t");
  ASSERT_TRUE(settle && task) << trace.DebugString();
  EXPECT_EQ(trace.spans(0).name(), "settle");
  EXPECT_EQ(settle->parent_id(), "");
  EXPECT_EQ(task->parent_id(), settle->id());
  EXPECT_EQ(settle->attributes().at("trigger"), "t");
  EXPECT_GE(settle->duration().seconds() * 1'000'000'000 + settle->duration().nanos(), 50'000'000)
      << "as long as changes have to be quiet";
  EXPECT_THAT(ctl({"traces", "last"}).out, HasSubstr("settle  "));
  EXPECT_THAT(ctl({"traces", "last"}).out, HasSubstr("\n  t  "));
}

TEST_F(Traces, ASaveBeginsTheTraceOfWhatAWatchRuns) {
  const std::string tree = file("tree");
  std::filesystem::create_directories(tree);
  kit::Process watch(daemon().ctl_argv({"watch", tree, "--", "true"}));
  v1::ListTasksRequest all;
  ASSERT_TRUE(kit::poll_until([&] {
    const auto watched = client().watch().list();
    return watched.ok() && watched->roots_size() == 1 && !watched->roots(0).clock().empty();
  }));
  std::string id;
  int edits = 0;
  ASSERT_TRUE(kit::poll_until([&] {
    // The subscription may be a moment behind the watch of the tree.
    std::ofstream(tree + "/a.c") << ++edits;
    const auto listed = tasks().list(all);
    if (listed.ok() && listed->tasks_size() > 0) id = listed->tasks(0).id();
    return !id.empty();
  }));
  wait(id);
  const v1::Trace trace = trace_of(id);
  EXPECT_EQ(trace.spans(0).name(), "settle") << trace.DebugString();
  EXPECT_EQ(trace.spans(0).attributes().at("path"), tree);
  watch.signal(SIGINT);
  EXPECT_EQ(watch.wait(std::chrono::seconds(30)), 130);
}

TEST_F(Traces, AMessageOfATaskTellsHowLongItLayAndTheSendHowLongItWaitedForRoom) {
  ASSERT_EQ(ctl({"channels", "create", "jobs", "--capacity", "1"}).code, 0);
  const std::string id =
      submit({"--", "sh", "-c",
              "printf 'a\\nb\\n' | " + std::string(getenv("ZSYNCCTL")) + " channels send jobs"});
  ASSERT_TRUE(kit::poll_until([&] {
    const auto info = client().channels().get("jobs");
    return info.ok() && info->senders_waiting() > 0;
  }));
  EXPECT_EQ(ctl({"channels", "recv", "jobs", "-n", "2"}).code, 0);
  wait(id);
  v1::Trace trace;
  ASSERT_TRUE(kit::poll_until([&] {
    trace = trace_of(id);
    return find(trace, "message 2 in channel jobs") != nullptr;
  })) << trace.DebugString();
  const v1::Span* room = find(trace, "wait for room in channel jobs");
  ASSERT_TRUE(room) << trace.DebugString();
  EXPECT_EQ(room->parent_id(), find(trace, "attempt 1")->id());
  EXPECT_TRUE(find(trace, "message 1 in channel jobs"));
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
