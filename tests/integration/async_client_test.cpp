// The client's calls from inside a runtime.
#include <chrono>

#include "tests/integration/daemon_test.hpp"
#include "zsync/client/async.hpp"
#include "zsync/zsync.hpp"

namespace zsync::integration {
namespace {

using namespace std::chrono_literals;
using client::CallOptions;

class AsyncClient : public DaemonTest {
 protected:
  Task<absl::StatusOr<std::string>> submit(std::string line) {
    v1::TaskSpec spec;
    spec.set_shell(std::move(line));
    co_return co_await client::async([this, spec = std::move(spec)](const CallOptions& call) {
      return tasks().submit(spec, call);
    });
  }
  Task<absl::StatusOr<v1::WaitTasksReply>> wait_for(std::string id) {
    co_return co_await client::async(
        [this, id](const CallOptions& call) { return tasks().wait({id}, call); });
  }
  static Task<absl::Status> call_once_cancelled(bool& called) {
    try {
      co_await sleep(1h);
    } catch (const Cancelled&) {
    }
    co_return co_await client::async([&called](const CallOptions&) {
      called = true;
      return absl::OkStatus();
    });
  }
  Task<absl::Status> follow(std::string id, Channel<std::string> out) {
    absl::Status status = co_await client::async([&](const CallOptions& call) {
      return tasks().output(
          id, 1, true,
          [&](const v1::TaskOutputBatch& batch) {
            for (const v1::Record& record : batch.records()) {
              if (!out.send_blocking(record.data()).ok()) return false;
            }
            return true;
          },
          call);
    });
    out.close();
    co_return status;
  }
};

TEST_F(AsyncClient, CallsRunSideBySide) {
  auto both = [this]() -> Task<int> {
    auto [first, second] = co_await all(submit("exit 3"), submit("exit 4"));
    auto [third, fourth] = co_await all(wait_for(*first), wait_for(*second));
    co_return third->tasks(0).exit_code() * 10 + fourth->tasks(0).exit_code();
  };
  EXPECT_EQ(run(both()), 34);
}

TEST_F(AsyncClient, ACancelEndsTheCallOnTheWire) {
  const std::string id = DaemonTest::submit({"--", "sleep", "1000"});
  auto give_up = [&]() -> Task<absl::Status> {
    TaskHandle<absl::StatusOr<v1::WaitTasksReply>> waiting = spawn(wait_for(id));
    co_await sleep(20ms);
    waiting.cancel();
    co_return (co_await waiting).status();
  };
  EXPECT_TRUE(absl::IsCancelled(run(give_up())));
  EXPECT_EQ(get(id).state(), v1::TASK_STATE_RUNNING);
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", id}).code, 0);
}

TEST_F(AsyncClient, ATaskThatIsCancelledBeforeMakesNoCall) {
  bool called = false;
  auto cancelled_already = [&]() -> Task<absl::Status> {
    TaskHandle<absl::Status> handle = spawn(call_once_cancelled(called));
    co_await yield_now();
    handle.cancel();
    co_return co_await handle;
  };
  EXPECT_TRUE(absl::IsCancelled(run(cancelled_already())));
  EXPECT_FALSE(called);
}

TEST_F(AsyncClient, ATimeoutIsTheCallsOwn) {
  const std::string id = DaemonTest::submit({"--", "sleep", "1000"});
  auto late = [&]() -> Task<absl::Status> {
    co_return (co_await client::async(
                   [&](const CallOptions& call) { return tasks().wait({id}, call); }, 30ms))
        .status();
  };
  EXPECT_TRUE(absl::IsDeadlineExceeded(run(late())));
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", id}).code, 0);
}

TEST_F(AsyncClient, OutputComesThroughAChannel) {
  const std::string id = DaemonTest::submit({"-c", "seq 1 5000"});
  auto collect = [&]() -> Task<std::string> {
    Channel<std::string> chunks = bounded<std::string>(2);
    TaskHandle<absl::Status> following = spawn(follow(id, chunks));
    std::string bytes;
    while (std::optional<std::string> chunk = co_await chunks.recv()) bytes += *chunk;
    EXPECT_TRUE((co_await following).ok());
    co_return bytes;
  };
  EXPECT_TRUE(run(collect()) == kit::run({"/usr/bin/seq", "1", "5000"}).out);
}

}  // namespace
}  // namespace zsync::integration
