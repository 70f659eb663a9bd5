// Source lines of waiting coroutines. Built several times, each with other debug information:
// ZSYNC_LINES says what there is of it. Its coroutines note the line where each of them waits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "zsync/diagnostics.hpp"
#include "zsync/zsync.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using ::testing::EndsWith;
using ::testing::HasSubstr;

int leaf_line;
int middle_line;
int outer_line;

Task<int> leaf(Channel<int> channel, int way) {
  bool flag = way == 1;  // a byte of the frame that holds small numbers as well
  if (way == 0) {
    leaf_line = __LINE__ + 1;
    (void)co_await channel.recv();
  } else if (way == 1) {
    leaf_line = __LINE__ + 1;
    co_await sleep(1h);
    flag = false;
  } else {
    for (int i = 0; i < way; ++i) {
      leaf_line = __LINE__ + 1;
      std::optional<int> got = co_await channel.recv();
      if (!got) break;
    }
    leaf_line = __LINE__ + 1;
    co_await sleep(1h);
  }
  co_return flag;
}

Task<int> middle(Channel<int> channel, int way) {
  const int before = co_await spawn([]() -> Task<int> { co_return 1; }());
  middle_line = __LINE__ + 1;
  const int first = co_await leaf(channel, way);
  co_return before + first;
}

Task<void> outer(Channel<int> channel, int way) {
  co_await yield_now();
  outer_line = __LINE__ + 1;
  auto results = co_await all(middle(channel, way));
  (void)results;
}

void expect_line(const FrameTrace& frame, const char* function, int line) {
  EXPECT_THAT(frame.function, HasSubstr(function));
#if ZSYNC_LINES
  EXPECT_THAT(frame.file, EndsWith("sdk/cpp/src/diagnostics/lines_test.cpp"));
#ifndef ZSYNC_SANITIZED
  EXPECT_TRUE(frame.exact) << function;
  EXPECT_EQ(frame.line, line) << function;
#else
  if (frame.exact) EXPECT_EQ(frame.line, line) << function;
#endif
#else
  EXPECT_EQ(frame.file, "");
  EXPECT_EQ(frame.line, 0);
#endif
}

Task<void> look(Runtime& runtime, int way, bool send) {
  Channel<int> channel = bounded<int>(1);
  TaskHandle<void> handle = spawn({.name = "outer"}, outer(channel, way));
  for (int i = 0; i < 6; ++i) co_await yield_now();
  if (send) {
    channel.close();
    for (int i = 0; i < 3; ++i) co_await yield_now();
  }
  for (const TaskTrace& task : RuntimeDiagnostics(runtime).trace_tasks()) {
    if (task.name != "outer") continue;
    EXPECT_EQ(task.strand.frames.size(), 1u);
    EXPECT_EQ(task.strand.branches.size(), 1u);
    if (task.strand.branches.size() != 1) break;
    const StrandTrace& branch = task.strand.branches[0];
    EXPECT_EQ(branch.frames.size(), 2u);
    if (branch.frames.size() != 2) break;
    expect_line(branch.frames[0], "::leaf(zsync::Channel<int>, int)", leaf_line);
    expect_line(branch.frames[1], "::middle(zsync::Channel<int>, int)", middle_line);
    expect_line(task.strand.frames[0], "::outer(zsync::Channel<int>, int)", outer_line);
  }
  handle.cancel();
}

std::unique_ptr<Runtime> runtime_of_this_thread() {
  return std::move(*Runtime::builder().model(ExecutionModel::caller).workers(1).build());
}

TEST(SourceLines, AreThoseOfTheCoAwaitsAtWhichCoroutinesWait) {
  for (const auto& [way, send] : {std::pair(0, false), {1, false}, {2, false}, {2, true}}) {
    SCOPED_TRACE(absl::StrCat("way ", way, send ? ", further" : ""));
    std::unique_ptr<Runtime> runtime = runtime_of_this_thread();
    runtime->block_on(look(*runtime, way, send));
    runtime->wait_idle();
  }
}

TEST(SourceLines, AreInTheText) {
  std::unique_ptr<Runtime> runtime = runtime_of_this_thread();
  runtime->block_on([](Runtime& own) -> Task<void> {
    Channel<int> channel = bounded<int>(1);
    TaskHandle<int> handle = spawn({.name = "waiter"}, leaf(channel, 0));
    co_await yield_now();
    std::ostringstream text;
    RuntimeDiagnostics(own).dump_tasks(text);
#if ZSYNC_LINES && !defined(ZSYNC_SANITIZED)
    EXPECT_THAT(text.str(), HasSubstr(absl::StrCat("lines_test.cpp:", leaf_line, "\n")));
#endif
    EXPECT_THAT(text.str(), HasSubstr("leaf(zsync::Channel<int>, int)"));
    handle.cancel();
  }(*runtime));
  runtime->wait_idle();
}

}  // namespace
}  // namespace zsync
