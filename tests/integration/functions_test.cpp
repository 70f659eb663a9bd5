// Functions: workers, calls as tasks and direct calls, against a real daemon.
#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <set>
#include <thread>

#include "tests/integration/daemon_test.hpp"
#include "zsync/v1/functions.grpc.pb.h"

namespace zsync::integration {
namespace {

using std::chrono::seconds;

// Where handlers wait until a test lets them go on.
class Gate {
 public:
  void open() {
    std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    ++inside_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  bool wait_for_inside(int count) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, seconds(30), [&] { return inside_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int inside_ = 0;
};

// A worker on a thread, until it is stopped.
class Worker {
 public:
  using Handler = client::Functions::Handler;
  Worker(const std::string& socket, std::string function, Handler handler,
         client::ServeOptions options = {})
      : client_(*client::Client::connect({.socket = socket})),
        thread_([this, function, handler, options] {
          status_ = client_->functions().serve(function, handler, options, {std::nullopt, &stop_});
        }) {}
  ~Worker() { (void)stop(); }
  absl::Status stop() {
    stop_.cancel();
    return end();
  }
  // By itself.
  absl::Status end() {
    if (thread_.joinable()) thread_.join();
    return status_;
  }

 private:
  std::unique_ptr<client::Client> client_;
  client::StopSource stop_;
  absl::Status status_;
  std::thread thread_;
};

v1::FunctionResult result_of(std::string payload, std::string content_type = "") {
  v1::FunctionResult result;
  result.set_payload(std::move(payload));
  result.set_content_type(std::move(content_type));
  return result;
}

v1::TaskSpec call_of(const std::string& function, std::string payload = "") {
  v1::TaskSpec spec;
  spec.mutable_function()->set_name(function);
  spec.mutable_function()->set_payload(std::move(payload));
  return spec;
}

client::Functions::Handler echo() {
  return [](const client::ServedCall& call) {
    return result_of("<" + call.payload() + ">", call.call().content_type());
  };
}

class FunctionsTest : public DaemonTest {
 protected:
  void wait_for_workers(const std::string& function, uint32_t count) {
    ASSERT_TRUE(kit::poll_until([&] {
      const auto functions = client().functions().list();
      if (!functions.ok()) return false;
      for (const v1::Function& one : *functions) {
        if (one.name() == function) return one.workers() == count;
      }
      return count == 0;
    })) << function;
  }
  std::string submit_call(v1::TaskSpec spec) {
    const auto id = tasks().submit(std::move(spec));
    EXPECT_TRUE(id.ok()) << id.status();
    return id.ok() ? *id : "";
  }
};

TEST_F(FunctionsTest, ACallIsATaskWhoseResultComesWithItsContentType) {
  Worker worker(daemon().socket(), "echo", echo());
  wait_for_workers("echo", 1);
  v1::TaskSpec spec = call_of("echo", "hello");
  spec.mutable_function()->set_content_type("text/plain");
  const std::string id = submit_call(spec);
  const v1::Task task = wait(id);
  EXPECT_EQ(task.state(), v1::TASK_STATE_SUCCEEDED) << task.reason();
  EXPECT_EQ(task.result().payload(), "<hello>");
  EXPECT_EQ(task.result().content_type(), "text/plain");
  EXPECT_EQ(task.result_bytes(), 7u);
  EXPECT_EQ(task.spec().group(), "functions");
  EXPECT_EQ(task.spec().function().payload_bytes(), 5u);
  EXPECT_EQ(get(id).result().payload(), "<hello>");
  const auto listed = tasks().list({});
  ASSERT_TRUE(listed.ok());
  EXPECT_FALSE(listed->tasks(0).has_result());
  EXPECT_EQ(output_of(id), "");
}

TEST_F(FunctionsTest, ResultsOutliveTheDaemonAlsoLargeOnes) {
  const std::string large(900'000, 'x');
  {
    Worker worker(daemon().socket(), "big", [&](const client::ServedCall& call) {
      return result_of(call.payload() == "big" ? large : "small");
    });
    wait_for_workers("big", 1);
    const std::string big = submit_call(call_of("big", "big"));
    const std::string small = submit_call(call_of("big", "small"));
    wait(big);
    wait(small);
    EXPECT_EQ(get(big).result().payload(), large);
    daemon().kill9();
    ASSERT_TRUE(daemon().start());
    EXPECT_EQ(get(big).result().payload(), large);
    EXPECT_EQ(get(small).result().payload(), "small");
    // Together they would be more than a message.
    std::vector<std::string> ids = {big};
    for (int i = 0; i < 4; ++i) ids.push_back(submit_call(call_of("big", "big")));
    const auto ended = tasks().wait(ids, {seconds(30), nullptr});
    ASSERT_TRUE(ended.ok()) << ended.status();
    EXPECT_TRUE(ended->tasks(0).has_result());
    EXPECT_FALSE(ended->tasks(4).has_result());
    EXPECT_EQ(ended->tasks(4).result_bytes(), large.size());
    EXPECT_EQ(get(ids[4]).result().payload().size(), large.size());
    EXPECT_TRUE(tasks().remove(big).ok());
  }
}

TEST_F(FunctionsTest, AFunctionThatNobodyServedIsRefusedNamingThoseThatExist) {
  {
    Worker worker(daemon().socket(), "resize", echo());
    wait_for_workers("resize", 1);
  }
  const auto refused = tasks().submit(call_of("resise"));
  EXPECT_TRUE(absl::IsNotFound(refused.status())) << refused.status();
  const auto detail = client::error_detail(refused.status());
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->field(), "function.name");
  EXPECT_THAT(detail->hint(), HasSubstr("did you mean resize? there are: resize"));
  EXPECT_TRUE(absl::IsNotFound(client().functions().call("other", "").status()));
  // Known, though nobody serves it now: also over a restart.
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  connect();
  const std::string known = submit_call(call_of("resize"));
  v1::TaskSpec patient = call_of("later");
  patient.mutable_function()->set_wait_for_worker(true);
  const std::string later = submit_call(patient);
  EXPECT_THAT(ctl({"why", known}).out, HasSubstr("no worker serves \"resize\"; 1 calls wait"));
  Worker worker(daemon().socket(), "later", echo());
  EXPECT_EQ(wait(later).result().payload(), "<>");
  EXPECT_EQ(get(known).state(), v1::TASK_STATE_QUEUED);
  v1::CancelTaskRequest request;
  request.set_id(known);
  EXPECT_TRUE(tasks().cancel(request).ok());
  EXPECT_EQ(get(known).state(), v1::TASK_STATE_CANCELED);
}

TEST_F(FunctionsTest, WhatIsTooMuchIsRefusedWithTheLimit) {
  Worker worker(daemon().socket(), "big", [](const client::ServedCall&) {
    return result_of(std::string((1 << 20) + 1, 'x'));
  });
  wait_for_workers("big", 1);
  const auto refused = tasks().submit(call_of("big", std::string((1 << 20) + 1, 'x')));
  EXPECT_TRUE(absl::IsInvalidArgument(refused.status())) << refused.status();
  EXPECT_THAT(client::error_detail(refused.status())->limit(),
              HasSubstr("function_payload_bytes_max = 1048576"));
  EXPECT_TRUE(absl::IsInvalidArgument(
      client().functions().call("big", std::string((1 << 20) + 1, 'x')).status()));
  const v1::Task task = wait(submit_call(call_of("big")));
  EXPECT_EQ(task.state(), v1::TASK_STATE_FAILED);
  EXPECT_EQ(task.result().error().code(), "RESULT_TOO_LARGE");
  v1::TaskSpec both = call_of("big");
  both.add_argv("true");
  EXPECT_THAT(tasks().submit(both).status().message(), HasSubstr("both a command and a function"));
  v1::TaskSpec fed = call_of("big");
  fed.set_stdin_stream(true);
  EXPECT_THAT(tasks().submit(fed).status().message(), HasSubstr("is for commands"));
  v1::TaskSpec array = call_of("big");
  array.mutable_array()->set_indexes("0-3");
  EXPECT_THAT(tasks().submit(array).status().message(), HasSubstr("cannot be an array"));
  Worker unnamed(daemon().socket(), "a/b", echo());
  EXPECT_TRUE(absl::IsInvalidArgument(unnamed.end()));
}

TEST_F(FunctionsTest, AFailureIsRetriedUnlessItIsPermanent) {
  std::atomic<int> calls{0};
  Worker worker(daemon().socket(), "flaky",
                [&](const client::ServedCall& call) -> absl::StatusOr<v1::FunctionResult> {
                  if (call.payload() == "never") return absl::InvalidArgumentError("no such image");
                  if (++calls < 3) return absl::UnavailableError("not now");
                  return result_of(std::to_string(call.call().attempt()));
                });
  wait_for_workers("flaky", 1);
  v1::TaskSpec spec = call_of("flaky");
  spec.set_retries(5);
  spec.mutable_retry()->mutable_backoff()->set_nanos(1'000'000);
  const v1::Task good = get(wait(submit_call(spec)).id());
  EXPECT_EQ(good.state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(good.result().payload(), "3");
  EXPECT_EQ(good.attempts_size(), 3);
  EXPECT_EQ(good.attempts(0).reason(), "UNAVAILABLE: not now");
  spec.mutable_function()->set_payload("never");
  const v1::Task bad = wait(submit_call(spec));
  EXPECT_EQ(bad.state(), v1::TASK_STATE_FAILED);
  EXPECT_EQ(bad.attempt(), 1u);
  EXPECT_EQ(bad.exit_code(), 1);
  EXPECT_EQ(bad.reason(), "INVALID_ARGUMENT: no such image");
  // By hand it gets another one, and no result of the one before.
  const auto again = tasks().retry(bad.id());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(wait(bad.id()).attempt(), 2u);
  const auto direct = client().functions().call("flaky", "never");
  EXPECT_EQ(direct.status().message(), "no such image");
  const auto detail = client::error_detail(direct.status());
  ASSERT_TRUE(detail);
  EXPECT_EQ(detail->reason(), "FUNCTION_FAILED");
}

TEST_F(FunctionsTest, AKilledWorkerGivesItsCallsBackAndNoRetryIsUsedUp) {
  const std::string go = file("go");
  const auto serving = [&] {
    return kit::Process(
        daemon().ctl_argv({"functions", "serve", "slow", "-j", "4", "--", "sh", "-c",
                           "echo $$ >> " + file("began") + "; while [ ! -e " + go +
                               " ]; do sleep 0.01; done; echo $ZSYNC_ATTEMPT"}));
  };
  kit::Process doomed = serving();
  wait_for_workers("slow", 1);
  std::vector<std::string> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(submit_call(call_of("slow")));
  ASSERT_TRUE(kit::poll_until([&] {
    for (const std::string& id : ids) {
      if (get(id).state() != v1::TASK_STATE_RUNNING || get(id).pid() != doomed.pid()) return false;
    }
    return true;
  }));
  EXPECT_THAT(ctl({"why", ids[0]}).out, HasSubstr("a worker of \"slow\" has it"));
  EXPECT_THAT(ctl({"functions", "list"}).out, HasSubstr("slow"));
  doomed.kill9();
  ASSERT_TRUE(kit::poll_until([&] { return get(ids[3]).state() == v1::TASK_STATE_QUEUED; }));
  const v1::Task back = get(ids[0]);
  EXPECT_EQ(back.attempts_size(), 1);
  EXPECT_EQ(back.attempts(0).state(), v1::TASK_STATE_LOST);
  EXPECT_THAT(back.attempts(0).reason(), HasSubstr("went away"));
  kit::Process other = serving();
  std::ofstream(go) << "now";
  for (const std::string& id : ids) {
    const v1::Task task = wait(id);
    EXPECT_EQ(task.state(), v1::TASK_STATE_SUCCEEDED) << task.reason();
    EXPECT_EQ(task.result().payload(), "2\n");
  }
  other.signal(SIGTERM);
  EXPECT_EQ(other.wait(kit::milliseconds(15'000)), 130);
}

TEST_F(FunctionsTest, ACallThatTakesWorkersAlongFailsAfterTheFifth) {
  const auto serve = daemon().ctl_argv(
      {"functions", "serve", "poison", "--", "sh", "-c", "kill -9 $PPID; sleep 1"});
  std::vector<kit::Process> workers;
  const std::string id = [&] {
    v1::TaskSpec spec = call_of("poison");
    spec.mutable_function()->set_wait_for_worker(true);
    spec.set_retries(3);
    return submit_call(spec);
  }();
  for (int i = 0; i < 5; ++i) {
    kit::Process worker(serve);
    EXPECT_EQ(worker.wait(kit::milliseconds(30'000)), 137);
  }
  const v1::Task task = wait(id);
  EXPECT_EQ(task.state(), v1::TASK_STATE_FAILED);
  EXPECT_THAT(task.reason(), HasSubstr("5 workers in a row went away"));
  EXPECT_EQ(task.attempt(), 5u);
}

TEST_F(FunctionsTest, AnAnswerThatComesTooLateIsRefusedAndTheNextAttemptCounts) {
  Gate gate;
  std::atomic<int> attempts{0};
  std::atomic<bool> was_canceled{false};
  Worker worker(daemon().socket(), "late",
                [&](const client::ServedCall& call) {
                  if (++attempts == 1) {
                    gate.pass();
                    was_canceled = call.canceled();
                    return result_of("late");
                  }
                  return result_of("in time");
                },
                {.concurrency = 2});
  wait_for_workers("late", 1);
  v1::TaskSpec spec = call_of("late");
  spec.mutable_timeout()->set_nanos(50'000'000);
  spec.set_retries(1);
  spec.mutable_retry()->mutable_backoff()->set_nanos(1'000'000);
  const std::string id = submit_call(spec);
  const v1::Task task = wait(id);
  EXPECT_EQ(task.state(), v1::TASK_STATE_SUCCEEDED) << task.reason();
  gate.open();
  EXPECT_TRUE(worker.stop().ok());  // its late answer has been taken by the daemon
  EXPECT_TRUE(was_canceled);
  EXPECT_EQ(get(id).result().payload(), "in time");
  EXPECT_THAT(get(id).attempts(0).reason(), HasSubstr("ran longer than 50 ms"));
}

TEST_F(FunctionsTest, ACanceledCallIsToldToItsWorkerAndEndsWithTheGrace) {
  Gate gate;
  std::atomic<bool> told{false};
  Worker worker(daemon().socket(), "work",
                [&](const client::ServedCall& call) -> absl::StatusOr<v1::FunctionResult> {
                  if (call.payload() == "deaf") {
                    gate.pass();
                    return result_of("");
                  }
                  told = kit::poll_until([&] { return call.canceled(); });
                  return absl::CancelledError("as you wish");
                },
                {.concurrency = 2});
  wait_for_workers("work", 1);
  const std::string polite = submit_call(call_of("work"));
  const std::string deaf = submit_call(call_of("work", "deaf"));
  ASSERT_TRUE(gate.wait_for_inside(1));
  ASSERT_TRUE(kit::poll_until([&] { return get(polite).state() == v1::TASK_STATE_RUNNING; }));
  v1::CancelTaskRequest request;
  request.set_wait(true);
  request.set_id(polite);
  EXPECT_EQ(tasks().cancel(request)->state(), v1::TASK_STATE_CANCELED);
  EXPECT_TRUE(told);
  request.set_id(deaf);
  request.mutable_kill_grace()->set_nanos(1'000'000);
  const auto canceled = tasks().cancel(request);
  EXPECT_EQ(canceled->state(), v1::TASK_STATE_CANCELED);
  EXPECT_THAT(canceled->reason(), HasSubstr("did not answer within the grace"));
  EXPECT_THAT(ctl({"tasks", "pause", deaf}).err, HasSubstr("no process"));
  gate.open();
}

TEST_F(FunctionsTest, CallsSurviveAKilledDaemonAndWorkersComeBackByThemselves) {
  Gate gate;
  std::mutex mutex;
  std::multiset<std::string> done;
  Worker worker(daemon().socket(), "job",
                [&](const client::ServedCall& call) {
                  if (call.payload() == "slow") gate.pass();
                  std::lock_guard<std::mutex> lock(mutex);
                  done.insert(call.payload());
                  return result_of(std::to_string(call.call().attempt()));
                },
                {.concurrency = 1});
  wait_for_workers("job", 1);
  const std::string slow = submit_call(call_of("job", "slow"));
  ASSERT_TRUE(gate.wait_for_inside(1));
  std::vector<std::string> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(submit_call(call_of("job", std::to_string(i))));
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  gate.open();
  for (const std::string& id : ids) EXPECT_EQ(wait(id).result().payload(), "1");
  const v1::Task task = get(wait(slow).id());
  EXPECT_EQ(task.result().payload(), "2");
  EXPECT_THAT(task.attempts(0).reason(), HasSubstr("zsyncd ended"));
  {
    std::lock_guard<std::mutex> lock(mutex);  // the late answer of the first attempt may still come
    for (int i = 0; i < 20; ++i) EXPECT_EQ(done.count(std::to_string(i)), 1u);
  }
  // A daemon that stops in good order is no lost worker either.
  drop_client();
  EXPECT_EQ(daemon().stop(), 0) << daemon().log();
  ASSERT_TRUE(daemon().start());
  connect();
  wait_for_workers("job", 1);
  EXPECT_TRUE(client().functions().call("job", "again").ok());
}

TEST_F(FunctionsTest, CallsTakeSlotsOfTheirGroupAndGoByPriority) {
  Gate gate;
  std::mutex mutex;
  std::vector<std::string> order;
  Worker worker(daemon().socket(), "job",
                [&](const client::ServedCall& call) {
                  if (call.payload() == "first") gate.pass();
                  std::lock_guard<std::mutex> lock(mutex);
                  order.push_back(call.payload());
                  return result_of("");
                },
                {.concurrency = 4});
  wait_for_workers("job", 1);
  ASSERT_TRUE(tasks().set_group("one", 1).ok());
  std::vector<std::string> ids;
  for (const auto& [payload, priority] :
       {std::pair<const char*, int>{"first", 0}, {"low", -5}, {"high", 7}, {"mid", 1}}) {
    v1::TaskSpec spec = call_of("job", payload);
    spec.set_group("one");
    spec.set_priority(priority);
    ids.push_back(submit_call(spec));
    if (ids.size() == 1) ASSERT_TRUE(gate.wait_for_inside(1));
  }
  gate.open();
  for (const std::string& id : ids) wait(id);
  EXPECT_EQ(order, (std::vector<std::string>{"first", "high", "mid", "low"}));
}

// The place of a command is given to a call before the command's end is on disk, and the other way.
TEST_F(FunctionsTest, CallsAndCommandsWithOneLockAreToldOfAsOneAfterTheOther) {
  Worker worker(daemon().socket(), "echo", echo());
  wait_for_workers("echo", 1);
  std::vector<std::string> ids;
  for (int i = 0; i < 30; ++i) {
    v1::TaskSpec spec;
    if (i % 2 == 0) spec = call_of("echo");
    if (i % 2 == 1) spec.add_argv("true");
    spec.add_locks("the-only-one");
    ids.push_back(submit_call(spec));
  }
  ASSERT_TRUE(tasks().wait(ids, {seconds(30), nullptr}).ok());
  v1::FollowEventsRequest request;
  request.set_from_seq(1);
  std::string running;
  int ended = 0;
  const auto take = [&](const v1::EventBatch& batch) {
    for (const v1::Event& event : batch.events()) {
      if (event.type() == "task.started") {
        EXPECT_EQ(running, "") << "and " << event.subject();
        running = event.subject();
      } else if (event.type() == "task.finished") {
        EXPECT_EQ(running, event.subject());
        running = "";
        ++ended;
      }
    }
    return true;
  };
  EXPECT_TRUE(client().events().follow(request, take, {seconds(30), nullptr}).ok());
  EXPECT_EQ(ended, 30);
}

TEST_F(FunctionsTest, ADirectCallWaitsForAWorkerAndIsGoneWithItsCaller) {
  Gate gate;
  std::atomic<bool> told{false};
  {
    Worker known(daemon().socket(), "ask", echo());
    wait_for_workers("ask", 1);
  }
  const auto late = client().functions().call("ask", "x", {kit::milliseconds(20), nullptr});
  EXPECT_TRUE(absl::IsDeadlineExceeded(late.status())) << late.status();
  Worker worker(daemon().socket(), "ask", [&](const client::ServedCall& call) {
    if (call.payload() == "slow") {
      gate.pass();
      told = kit::poll_until([&] { return call.canceled(); });
    }
    return result_of("!" + call.payload());
  });
  EXPECT_EQ(*client().functions().call("ask", "now"), "!now");
  client::StopSource stop;
  std::thread caller([&] {
    EXPECT_TRUE(absl::IsCancelled(
        client().functions().call("ask", "slow", {std::nullopt, &stop}).status()));
  });
  ASSERT_TRUE(gate.wait_for_inside(1));
  stop.cancel();
  caller.join();
  gate.open();
  EXPECT_EQ(*client().functions().call("ask", "after"), "!after");
  EXPECT_TRUE(told);
}

TEST_F(FunctionsTest, ADirectCallEndsWithItsTimeWhoeverHasIt) {
  Gate gate;
  Worker worker(daemon().socket(), "slow", [&](const client::ServedCall&) {
    gate.pass();
    return result_of("");
  });
  wait_for_workers("slow", 1);
  const auto stub = v1::Functions::NewStub(
      grpc::CreateChannel("unix:" + daemon().socket(), grpc::InsecureChannelCredentials()));
  // The daemon's own limit: the caller would wait for ever.
  const auto call = [&](const std::string& function) {
    v1::CallFunctionRequest request;
    request.mutable_call()->set_name(function);
    request.mutable_call()->set_wait_for_worker(true);
    request.mutable_timeout()->set_nanos(30'000'000);
    v1::CallFunctionReply reply;
    grpc::ClientContext context;
    const grpc::Status status = stub->Call(&context, request, &reply);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
    return status.error_message();
  };
  EXPECT_EQ(call("slow"), "the worker of \"slow\" took too long");
  EXPECT_EQ(call("slow"), "none of the 1 workers of \"slow\" had a free place in time");
  EXPECT_EQ(call("nobody"), "no worker serves \"nobody\"");
  gate.open();
  EXPECT_EQ(*client().functions().call("slow", "x"), "");
}

TEST_F(FunctionsTest, DirectCallsAreEachAnsweredOnceWhileWorkersComeAndGo) {
  constexpr int kCallers = 4;
  constexpr int kCalls = 250;  // of each
  Worker staying(daemon().socket(), "echo", echo());
  wait_for_workers("echo", 1);
  std::atomic<int> calling{kCallers};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      for (int i = 0; i < kCalls; ++i) {
        const std::string payload = absl::StrCat(caller, "/", i);
        const auto answer = client().functions().call("echo", payload);
        EXPECT_TRUE(answer.ok()) << answer.status();
        if (answer.ok()) EXPECT_EQ(*answer, "<" + payload + ">");
      }
      --calling;
    });
  }
  int came = 0;
  while (calling > 0) {
    std::atomic<int> served{0};
    Worker passing(daemon().socket(), "echo",
                   [&](const client::ServedCall& call) {
                     ++served;
                     return result_of("<" + call.payload() + ">");
                   },
                   {.concurrency = 2, .window = 8});
    EXPECT_TRUE(kit::poll_until([&] { return served > 0 || calling == 0; }));
    EXPECT_TRUE(passing.stop().ok());
    ++came;
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_GT(came, 1);
}

TEST_F(FunctionsTest, TheCommandLineServesCallsAndLists) {
  kit::Process worker(daemon().ctl_argv({"functions", "serve", "upper", "--", "sh", "-c",
                                         "tr a-z A-Z; echo to stderr >&2; exit ${ZSYNC_FAIL:-0}"}));
  wait_for_workers("upper", 1);
  EXPECT_EQ(ctl({"functions", "call", "upper", "hello"}).out, "HELLO");
  EXPECT_EQ(ctl({"functions", "call", "upper", "-"}, "from stdin").out, "FROM STDIN");
  EXPECT_EQ(ctl({"functions", "call", "upper", "hello", "--durable"}).out, "HELLO");
  const std::string id = ctl({"functions", "call", "upper", "x", "--detach"}).out;
  EXPECT_THAT(id, HasSubstr("task_"));
  EXPECT_THAT(ctl({"ps", "-a"}).out, HasSubstr("upper(5 B)"));
  EXPECT_THAT(ctl({"functions", "list", "-o", "json"}).out, HasSubstr("\"name\":\"upper\""));
  EXPECT_THAT(ctl({"function", "list"}).out, HasSubstr("upper"));
  EXPECT_EQ(ctl({"functions", "call", "uper"}).code, 3);
  kit::Process failing(daemon().ctl_argv(
      {"functions", "serve", "fails", "--", "sh", "-c", "echo what went wrong >&2; exit 3"}));
  wait_for_workers("fails", 1);
  for (const Words& words :
       {Words{"functions", "call", "fails"}, Words{"functions", "call", "fails", "--durable"}}) {
    const kit::Ran failed = ctl(words);
    EXPECT_NE(failed.code, 0);
    EXPECT_THAT(failed.err, HasSubstr("ended with exit code 3: what went wrong"));
  }
}

}  // namespace
}  // namespace zsync::integration
