// Projects: zsync.yaml brought up, kept running and taken down by a real zsyncd.
#include <signal.h>
#include <sys/stat.h>

#include <fstream>
#include <map>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class ProjectsTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    ASSERT_EQ(::mkdir(root().c_str(), 0700), 0);
  }
  std::string root() { return file("shop"); }
  void write(const std::string& text) {
    ASSERT_TRUE(kit::write_file(root() + "/zsync.yaml", "version: 1\nproject: shop\n" + text));
  }
  void touch(const std::string& name) { ASSERT_TRUE(kit::write_file(root() + "/" + name, "")); }
  kit::Ran in_project(Words words) {
    kit::StartOptions options;
    options.cwd = root();
    return ctl(std::move(words), {}, std::move(options));
  }
  void up_detached() {
    const kit::Ran ran = in_project({"up", "--detach"});
    ASSERT_EQ(ran.code, 0) << ran.err;
  }
  v1::Project project() {
    const auto found = client().projects().get("shop");
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *found : v1::Project();
  }
  v1::ProjectUnit unit(const std::string& name) {
    const v1::Project now = project();
    for (const v1::ProjectUnit& each : now.units()) {
      if (each.name() == name) return each;
    }
    return {};
  }
  void expect_state(const std::string& name, v1::UnitState state) {
    EXPECT_TRUE(kit::poll_until([&] { return unit(name).state() == state; }, kLong))
        << project().DebugString();
  }
  void expect_healthy() {
    EXPECT_TRUE(kit::poll_until([&] { return project().healthy() && project().settled(); }, kLong))
        << project().DebugString();
  }
  void restart_daemon() {
    daemon().kill9();
    ASSERT_TRUE(daemon().start()) << daemon().log();
  }
  // Tasks of a unit that have not ended.
  std::vector<std::string> live(const std::string& name) {
    v1::ListTasksRequest request;
    (*request.mutable_labels())["unit"] = name;
    request.add_states(v1::TASK_STATE_RUNNING);
    request.add_states(v1::TASK_STATE_QUEUED);
    const auto reply = tasks().list(request);
    EXPECT_TRUE(reply.ok()) << reply.status();
    std::vector<std::string> ids;
    for (const v1::Task& task : reply->tasks()) ids.push_back(task.id());
    return ids;
  }

  static constexpr kit::milliseconds kLong{60'000};
};

// One that serves $PORT once `gate` exists.
std::string server(const std::string& gate) {
  return "while ! test -e " + gate +
         "; do sleep 0.02; done; exec python3 -m http.server $PORT --bind 127.0.0.1";
}

TEST_F(ProjectsTest, DependentsWaitForReadinessOfEachKind) {
  write(
      "services:\n"
      "  log: {shell: 'while ! test -e go_log; do sleep 0.02; done; echo now ready; exec sleep "
      "1000', ready: {log: w ready}}\n"
      "  tcp: {shell: '" +
      server("go_tcp") +
      "', port: auto, ready: {tcp: auto}}\n"
      "  http: {shell: '" +
      server("go_http") +
      "', port: auto, ready: {http: /}}\n"
      "  exec: {run: [sleep, '1000'], ready: {exec: [test, -e, go_exec], interval: 50ms}}\n"
      "  after_log: {run: [sleep, '1000'], after: log}\n"
      "  after_tcp: {run: [sleep, '1000'], after: tcp}\n"
      "  after_http: {run: [sleep, '1000'], after: http}\n"
      "  after_exec: {run: [sleep, '1000'], after: exec}\n");
  up_detached();
  for (const std::string kind : {"log", "tcp", "http", "exec"}) {
    expect_state(kind, v1::UNIT_STATE_STARTING);
    EXPECT_EQ(unit("after_" + kind).state(), v1::UNIT_STATE_WAITING);
    EXPECT_THAT(unit("after_" + kind).reason(), HasSubstr("waits for " + kind));
    EXPECT_TRUE(live("after_" + kind).empty());
    touch("go_" + kind);
    expect_state("after_" + kind, v1::UNIT_STATE_READY);
    EXPECT_EQ(unit(kind).state(), v1::UNIT_STATE_READY);
  }
  expect_healthy();
  v1::ListTasksRequest tries;
  (*tries.mutable_labels())["project-probe"] = "exec";
  EXPECT_EQ(tasks().list(tries)->tasks_size(), 0) << "tries leave no tasks behind";
}

TEST_F(ProjectsTest, UpReturnsOnceAllIsReadyAndDownLeavesNothingBehind) {
  write(
      "steps:\n  build: {shell: 'echo built > product'}\n"
      "services:\n"
      "  db: {shell: 'cat product; echo accepting; exec sleep 1000', after: build, "
      "ready: {log: accepting}, port: auto}\n"
      "  api: {shell: 'echo db at $DB_PORT; sleep 1000 & exec sleep 1000', after: db}\n");
  const kit::Ran up = in_project({"up"});
  EXPECT_EQ(up.code, 0) << up.err;
  EXPECT_THAT(up.out, HasSubstr("build: done\n"));
  EXPECT_THAT(up.out, HasSubstr("db: ready on port "));
  EXPECT_THAT(up.out, HasSubstr("api: waiting: waits for db"));
  EXPECT_THAT(up.out, HasSubstr("api: ready\n"));
  const std::string port = std::to_string(unit("db").port());
  EXPECT_NE(port, "0");
  ASSERT_TRUE(kit::poll_until([&] { return !in_project({"logs", "api"}).out.empty(); }));
  EXPECT_EQ(in_project({"logs", "api"}).out, "db at " + port + "\n");
  EXPECT_THAT(in_project({"projects", "logs"}).out,
              HasSubstr("db    | built\ndb    | accepting\napi   | db at " + port + "\n"));
  EXPECT_THAT(in_project({"ps", "--project"}).out, HasSubstr("service  ready  " + port));
  EXPECT_THAT(in_project({"why", "db"}).out, HasSubstr("service db ready on port " + port));
  const std::string before = unit("db").task();
  EXPECT_EQ(in_project({"up"}).code, 0);
  EXPECT_EQ(unit("db").task(), before) << "what runs and is not changed goes on";
  EXPECT_EQ(in_project({"down"}).code, 0);
  EXPECT_TRUE(live("db").empty());
  expect_nothing_left();
  EXPECT_EQ(unit("api").state(), v1::UNIT_STATE_STOPPED);
  EXPECT_EQ(ctl({"projects", "rm", "shop"}).code, 0);
  EXPECT_EQ(ctl({"projects", "get", "shop"}).code, 3);
}

TEST_F(ProjectsTest, ACrashIsFollowedByAnotherStartOnTheSamePort) {
  write(
      "services:\n  a: {shell: 'echo $PORT >> ports; test -e stay || exit 3; exec sleep 1000', "
      "port: auto, restart: {when: on-failure, backoff: 20ms}}\n");
  up_detached();
  ASSERT_TRUE(kit::poll_until([&] { return unit("a").restarts() >= 3; }));
  touch("stay");
  expect_healthy();
  std::ifstream ports(root() + "/ports");
  std::map<std::string, int> seen;
  for (std::string port; std::getline(ports, port);) ++seen[port];
  EXPECT_EQ(seen.size(), 1u);
  EXPECT_GE(seen.begin()->second, 4);
  EXPECT_EQ(live("a").size(), 1u);
}

TEST_F(ProjectsTest, WhatFailsIsToldWithTheEndOfItsOutput) {
  write(
      "steps:\n  build: {shell: 'echo no such header >&2; exit 2'}\n"
      "services:\n  api: {run: [sleep, '1000'], after: build}\n"
      "  never: {run: [sleep, '1000'], ready: {log: nothing, timeout: 100ms}}\n");
  const kit::Ran up = in_project({"up"});
  EXPECT_EQ(up.code, 1);
  EXPECT_THAT(up.out, HasSubstr("build: failed: exit code 2"));
  EXPECT_THAT(up.out, HasSubstr("api: waiting: waits for build (failed)"));
  EXPECT_THAT(up.out, HasSubstr("never: failed: not ready within 100ms: no line of its output "
                                "holds \"nothing\""));
  EXPECT_THAT(up.err, HasSubstr("no such header"));
  EXPECT_TRUE(live("never").empty());
}

TEST_F(ProjectsTest, AKilledDaemonFindsWhatRunsAndStartsNothingTwice) {
  write(
      "steps:\n  build: {shell: 'echo x >> builds'}\n"
      "services:\n  db: {shell: 'echo up; exec sleep 1000', after: build, ready: {log: up}}\n"
      "  api: {run: [sleep, '1000'], after: db}\n");
  EXPECT_EQ(in_project({"up"}).code, 0);
  const std::string db = unit("db").task();
  for (int i = 0; i < 3; ++i) {
    restart_daemon();
    expect_healthy();
    EXPECT_EQ(unit("db").task(), db);
  }
  EXPECT_EQ(kit::read_file(root() + "/builds"), "x\n") << "the step is done, and stays so";
  ASSERT_TRUE(kit::poll_until([&] { return get(db).pid() > 0; })) << "its supervisor told it";
  ASSERT_EQ(::kill(static_cast<pid_t>(get(db).pid()), SIGKILL), 0);
  expect_state("db", v1::UNIT_STATE_FAILED);
  EXPECT_THAT(unit("db").reason(), HasSubstr("signal 9"));
  EXPECT_EQ(live("api").size(), 1u) << "what runs already is left alone";
}

TEST_F(ProjectsTest, AKillAtAnyMomentOfUpLeavesOneOfEach) {
  write(
      "steps:\n  build: {shell: 'sleep 0.05'}\n"
      "services:\n  db: {shell: 'sleep 0.05; echo up; exec sleep 1000', after: build, "
      "ready: {log: up}}\n"
      "  api: {run: [sleep, '1000'], after: db}\n  web: {run: [sleep, '1000'], after: api}\n");
  for (int i = 0; i < 8; ++i) {
    up_detached();
    // Each round a little further along.
    ASSERT_TRUE(kit::poll_until([&] {
      int begun = 0;
      const v1::Project now = project();
      for (const v1::ProjectUnit& each : now.units()) begun += each.task().empty() ? 0 : 1;
      return begun >= i / 2;
    }));
    restart_daemon();
    expect_healthy();
    for (const char* name : {"db", "api", "web"}) EXPECT_EQ(live(name).size(), 1u) << name;
    restart_daemon();
    EXPECT_EQ(in_project({"down"}).code, 0);
    for (const char* name : {"db", "api", "web"}) EXPECT_EQ(live(name).size(), 0u) << name;
  }
  expect_nothing_left();
}

TEST_F(ProjectsTest, AChangedFileRestartsOnlyWhatChanged) {
  write(
      "services:\n  a: {run: [sleep, '1000']}\n  b: {run: [sleep, '1000']}\n"
      "  c: {run: [sleep, '1000']}\n");
  EXPECT_EQ(in_project({"up"}).code, 0);
  const std::string a = unit("a").task(), b = unit("b").task();
  write("services:\n  a: {run: [sleep, '1000']}\n  b: {run: [sleep, '2000']}\n");
  EXPECT_EQ(in_project({"up"}).code, 0);
  EXPECT_EQ(unit("a").task(), a);
  EXPECT_NE(unit("b").task(), b);
  EXPECT_EQ(project().units_size(), 2);
  EXPECT_EQ(get(b).state(), v1::TASK_STATE_CANCELED);
  EXPECT_TRUE(live("c").empty());
}

TEST_F(ProjectsTest, AStepThatSucceedsAgainRestartsTheServicesThatAskForIt) {
  write(
      "steps:\n  build: {shell: '! test -e broken'}\n"
      "services:\n  api: {run: [sleep, '1000'], after: build, restart_on: build}\n"
      "  db: {run: [sleep, '1000'], after: build}\n");
  EXPECT_EQ(in_project({"up"}).code, 0);
  const std::string api = unit("api").task(), db = unit("db").task();
  touch("broken");
  EXPECT_EQ(in_project({"restart", "build"}).code, 1);
  EXPECT_EQ(unit("api").task(), api) << "a failed build leaves the old one running";
  ASSERT_EQ(::remove((root() + "/broken").c_str()), 0);
  EXPECT_EQ(in_project({"restart", "build"}).code, 0);
  EXPECT_NE(unit("api").task(), api);
  EXPECT_EQ(unit("db").task(), db);
}

// Steps that write down each of their runs, in directories that no watch tells of.
constexpr char kSavedSteps[] =
    "steps:\n"
    "  build: {shell: 'cat src/* > app; echo build >> ../runs', in: src/**, out: app}\n"
    "  test: {shell: 'echo test of $(cat app) >> ../runs; ! grep -q bad app', after: build, "
    "on: save}\n";

TEST_F(ProjectsTest, ASavedFileRunsTheStepsThatItTouchesAndNoOthers) {
  const auto runs = [this] { return kit::read_file(file("runs")).value_or(""); };
  ASSERT_EQ(::mkdir((root() + "/src").c_str(), 0700), 0);
  ASSERT_TRUE(kit::write_file(root() + "/src/a", "one"));
  write(kSavedSteps);
  ASSERT_EQ(in_project({"up"}).code, 0);
  std::string expected = "build\ntest of one\n";
  EXPECT_EQ(runs(), expected);
  const auto expect_runs = [&](const std::string& more) {
    expected += more;
    EXPECT_TRUE(kit::poll_until([&] { return runs() == expected; }, kLong)) << runs();
  };
  ASSERT_TRUE(kit::write_file(root() + "/src/a", "two"));
  expect_runs("build\ntest of two\n");
  expect_healthy();
  // One trace: the save, what it ran, and what that led to.
  const std::string trace = ctl({"traces", "last"}).out;
  for (const char* span : {"settle", "shop.build", "shop.test"}) {
    EXPECT_THAT(trace, HasSubstr(span));
  }
  ASSERT_TRUE(kit::write_file(root() + "/src/a", "bad"));
  expect_runs("build\ntest of bad\n");
  expect_state("test", v1::UNIT_STATE_FAILED);
  // What is saved as it was, and what is no input, runs nothing: what runs next is the proof.
  ASSERT_TRUE(kit::write_file(root() + "/src/a", "bad"));
  ASSERT_TRUE(kit::write_file(root() + "/other", "x"));
  ASSERT_TRUE(kit::write_file(root() + "/src/a", "good"));
  expect_runs("build\ntest of good\n");
  expect_healthy();
  restart_daemon();
  ASSERT_TRUE(kit::write_file(root() + "/src/b", "!"));
  expect_runs("build\ntest of good!\n");
  expect_healthy();
  EXPECT_EQ(in_project({"down"}).code, 0);
}

TEST_F(ProjectsTest, AStepWithNothingToDoIsDoneAtOnceAlsoForAnotherDaemon) {
  const auto runs = [this] { return kit::read_file(file("runs")).value_or(""); };
  ASSERT_EQ(::mkdir((root() + "/src").c_str(), 0700), 0);
  ASSERT_TRUE(kit::write_file(root() + "/src/a", "one"));
  write(
      "steps:\n  build: {shell: 'cat src/* > app; echo build >> ../runs', in: src/**, out: app}\n");
  ASSERT_EQ(in_project({"up"}).code, 0);
  ASSERT_EQ(in_project({"down"}).code, 0);
  restart_daemon();
  const kit::Ran again = in_project({"up"});
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("build: done: nothing to do: its inputs are as they were\n"));
  EXPECT_EQ(runs(), "build\n");
  ASSERT_EQ(in_project({"down"}).code, 0);
  ASSERT_EQ(::unlink((root() + "/app").c_str()), 0);
  EXPECT_EQ(in_project({"up"}).code, 0);
  EXPECT_EQ(runs(), "build\nbuild\n") << "what it makes was missing";
  EXPECT_EQ(in_project({"restart", "build"}).code, 0);
  EXPECT_TRUE(kit::poll_until([&] { return runs() == "build\nbuild\nbuild\n"; }, kLong));
  EXPECT_EQ(in_project({"down"}).code, 0);
}

TEST_F(ProjectsTest, ItsChannelsInMemoryAreThereAgainAfterAKill) {
  write("channels:\n  news: {capacity: 7}\n  fast: {form: ring}\nsteps:\n  a: {run: ['true']}\n");
  ASSERT_EQ(in_project({"up"}).code, 0);
  restart_daemon();
  EXPECT_TRUE(kit::poll_until([&] {
    return ctl({"channels", "show", "news"}).code == 0 &&
           ctl({"channels", "show", "fast"}).code == 0;
  }));
  EXPECT_THAT(ctl({"channels", "show", "news", "-o", "json"}).out,
              HasSubstr("\"capacity\": \"7\""));
  EXPECT_THAT(ctl({"channels", "show", "fast"}).out, HasSubstr("ring"));
  ASSERT_EQ(in_project({"down"}).code, 0);
}

TEST_F(ProjectsTest, ItsTriggersAreThereWhileItIsUp) {
  const auto names = [this] {
    std::vector<std::string> names;
    const auto triggers = client().triggers().list("shop");
    EXPECT_TRUE(triggers.ok()) << triggers.status();
    for (const v1::Trigger& trigger : triggers->triggers()) names.push_back(trigger.spec().name());
    return names;
  };
  const auto runs = [this](const std::string& name) {
    const auto found = client().triggers().get(name);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? found->runs() : 0;
  };
  const std::string steps = "steps:\n  one: {run: ['true']}\n";
  const std::string migrate =
      "  migrate: {watch: '*.sql', shell: 'echo $ZSYNC_PROJECT $ZSYNC_CHANGED $MODE', "
      "env: {MODE: dev}}\n";
  write(steps + "triggers:\n" + migrate + "  other: {watch: '*.x', run: ['true']}\n");
  up_detached();
  EXPECT_THAT(names(), ::testing::ElementsAre("shop.migrate", "shop.other"));
  touch("a.sql");
  std::string task;  // it is accepted a moment after the run is there
  ASSERT_TRUE(kit::poll_until([&] {
    task = client().triggers().get("shop.migrate")->last().task();
    return !task.empty();
  }));
  EXPECT_EQ(runs("shop.migrate"), 1u);
  EXPECT_EQ(output_of(task), "shop a.sql dev\n");
  EXPECT_EQ(get(task).spec().labels().at("project"), "shop");
  EXPECT_THAT(in_project({"ps", "--project", "shop"}).out, HasSubstr("migrate"));

  restart_daemon();
  write(steps + "triggers:\n" + migrate);
  up_detached();
  EXPECT_THAT(names(), ::testing::ElementsAre("shop.migrate"));
  EXPECT_EQ(runs("shop.migrate"), 1u) << "what is the same stays";

  EXPECT_EQ(in_project({"down"}).code, 0);
  EXPECT_TRUE(names().empty());
  ASSERT_EQ(ctl({"watch", "trigger", "add", "shop.migrate", root(), "--", "true"}).code, 0);
  EXPECT_THAT(in_project({"up", "--detach"}).err, HasSubstr("not this project's"));
}

TEST_F(ProjectsTest, AFileWithMistakesIsRefusedWithAllOfThem) {
  write(
      "services:\n  api:\n    run: [sleep, '1']\n    redy: {log: x}\n  api: {run: [x]}\n"
      "place: {}\n");
  const kit::Ran ran = in_project({"up"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(
      ran.err,
      "zsync.yaml:6:5: unknown key \"redy\" in services.api: did you mean \"ready\"?\n"
      "zsync.yaml:7:3: \"api\" is there twice, first in line 4: steps and services need names "
      "of their own\n"
      "zsync.yaml:8:1: key \"place\": running steps on other machines is not built yet: "
      "remove the key\n");
  EXPECT_EQ(in_project({"projects", "check"}).code, 2);
  EXPECT_EQ(ctl({"projects", "list", "-q"}).out, "");
  v1::UpProjectRequest request;
  request.set_root(root());
  request.set_text("version: 1\nplace: {}\nx: 1\n");
  const auto refused = client().projects().up(request);
  EXPECT_THAT(refused.status().message(), HasSubstr("zsync.yaml:2:1: key \"place\""));
  EXPECT_THAT(refused.status().message(), HasSubstr("(and 1 more)"));
  kit::StartOptions elsewhere;
  elsewhere.cwd = "/";
  const kit::Ran none = ctl({"up"}, {}, elsewhere);
  EXPECT_EQ(none.code, 3);
  EXPECT_THAT(none.err, HasSubstr("no zsync.yaml here"));
}

TEST_F(ProjectsTest, ChannelsAreMadeWhereTheyAreMissingAndStayWhenItIsDown) {
  write(
      "channels:\n"
      "  orders: {class: durable, capacity: 100, retain: 3d}\n"
      "  prices: {form: latest}\n"
      "services: {a: {run: [sleep, '1000']}}\n");
  up_detached();
  const auto orders = client().channels().get("orders");
  ASSERT_TRUE(orders.ok()) << orders.status();
  EXPECT_EQ(orders->spec().class_(), v1::CHANNEL_CLASS_DURABLE);
  EXPECT_EQ(orders->spec().capacity(), 100u);
  EXPECT_EQ(orders->spec().policy().retention_age().seconds(), 3 * 24 * 3600);
  EXPECT_EQ(client().channels().get("prices")->spec().form(), v1::CHANNEL_FORM_LATEST);
  EXPECT_EQ(ctl({"channels", "send", "orders", "-m", "one"}).code, 0);
  restart_daemon();
  EXPECT_THAT(project().channels(), ::testing::ElementsAre("orders", "prices"));
  up_detached();
  EXPECT_EQ(client().channels().get("orders")->depth(), 1u) << "it is there already";
  const kit::Ran down = in_project({"down"});
  EXPECT_EQ(down.code, 0);
  EXPECT_THAT(down.err, HasSubstr("its channels stay, with what they hold: orders, prices"));
  EXPECT_EQ(ctl({"channels", "recv", "orders", "-n", "1"}).out, "one\n");
}

TEST_F(ProjectsTest, AChannelThatIsThereOtherwiseRefusesTheWholeAndSaysWhere) {
  ASSERT_EQ(ctl({"channels", "create", "orders", "--capacity", "5"}).code, 0);
  write(
      "channels:\n"
      "  fresh: {}\n"
      "  orders: {class: durable, capacity: 100, overflow: block}\n"
      "services: {a: {run: [sleep, '1000']}}\n");
  const kit::Ran refused = in_project({"up"});
  EXPECT_EQ(refused.code, 7);
  EXPECT_THAT(refused.err,
              HasSubstr("zsync.yaml:5:3: channels.orders: the channel is there with class memory "
                        "(the file says durable), capacity 5 (the file says 100)"));
  EXPECT_THAT(refused.err, HasSubstr("zsyncctl channels remove orders"));
  EXPECT_TRUE(absl::IsNotFound(client().channels().get("fresh").status())) << "nothing was made";
  EXPECT_EQ(ctl({"projects", "list", "-q"}).out, "");
  write("channels: {orders: {overflow: block}}\n");
  EXPECT_EQ(in_project({"up"}).code, 0) << "what the file does not name may be as it is";
}

TEST_F(ProjectsTest, OneNameBelongsToOneDirectory) {
  write("services:\n  a: {run: [sleep, '1000']}\n");
  up_detached();
  ASSERT_EQ(::mkdir(file("other").c_str(), 0700), 0);
  ASSERT_TRUE(
      kit::write_file(file("other") + "/zsync.yaml",
                      "version: 1\nproject: shop\nservices: {a: {run: [sleep, '1000']}}\n"));
  const kit::Ran refused = ctl({"up", "-f", file("other"), "--detach"});
  EXPECT_EQ(refused.code, 7);
  EXPECT_THAT(refused.err, HasSubstr("--name"));
  EXPECT_EQ(ctl({"up", "-f", file("other"), "--name", "shop-2"}).code, 0);
  EXPECT_EQ(ctl({"projects", "list", "-q"}).out, "shop\nshop-2\n");
  EXPECT_EQ(live("a").size(), 2u);
  EXPECT_EQ(ctl({"down", "--project", "shop-2"}).code, 0);
  EXPECT_EQ(live("a").size(), 1u);
  EXPECT_EQ(ctl({"projects", "rm", "shop"}).code, 7) << "it is up";
}

}  // namespace
}  // namespace zsync::integration
