// Triggers: commands that zsyncd itself runs on changes, over kills and restarts.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

class TriggersIntegration : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    root_ = fs::canonical(daemon().dir().path()) / "tree";
    fs::create_directories(root_);
  }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(root_ / name) << text;
  }
  void restart() {
    daemon().kill9();
    ASSERT_TRUE(daemon().start());
  }
  v1::Trigger trigger(const std::string& name = "t") {
    const auto found = client().triggers().get(name);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *found : v1::Trigger();
  }
  // Once so many runs have ended and none is under way.
  v1::Trigger settled(uint64_t runs) {
    v1::Trigger now;
    EXPECT_TRUE(kit::poll_until([&] {
      now = trigger();
      return now.runs() >= runs && now.last().ended_unix_nano() != 0;
    })) << now.DebugString();
    EXPECT_EQ(now.runs(), runs) << now.DebugString();
    return now;
  }
  void until_state(v1::TriggerState state) {
    v1::Trigger now;
    EXPECT_TRUE(kit::poll_until([&] {
      now = trigger();
      return now.state() == state;
    })) << now.DebugString();
  }
  kit::Ran add(Words flags, Words command) {
    Words words = {"watch", "trigger", "add", "t", root_.string()};
    words.insert(words.end(), flags.begin(), flags.end());
    words.push_back("--");
    words.insert(words.end(), command.begin(), command.end());
    return ctl(words);
  }
  std::vector<v1::Task> runs() {
    v1::ListTasksRequest request;
    (*request.mutable_labels())["trigger"] = "t";
    request.set_page_size(1000);
    request.set_oldest_first(true);
    const auto reply = tasks().list(request);
    EXPECT_TRUE(reply.ok()) << reply.status();
    return {reply->tasks().begin(), reply->tasks().end()};
  }

  fs::path root_;
};

TEST_F(TriggersIntegration, ACommandRunsOnChangesAndFindsThem) {
  const kit::Ran added = add({"--glob", "*.c", "-g", "serial", "--lock", "cc", "-e", "X=1"},
                             {"sh", "-c", "echo $ZSYNC_TRIGGER $X; echo \"$ZSYNC_CHANGED\""});
  ASSERT_EQ(added.code, 0) << added.err;
  EXPECT_THAT(added.out, HasSubstr(root_.string()));
  write("note.txt", "1");
  write("a.c", "1");
  v1::Trigger now = settled(1);
  EXPECT_THAT(now.last().changed(), ElementsAre("a.c"));
  EXPECT_EQ(now.last().state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(output_of(now.last().task()), "t 1\na.c\n");
  const v1::Task task = get(now.last().task());
  EXPECT_EQ(task.spec().group(), "serial");
  EXPECT_THAT(task.spec().locks(), ElementsAre("cc"));
  EXPECT_EQ(task.spec().name(), "t");
  EXPECT_EQ(task.spec().labels().at("trigger"), "t");
  EXPECT_THAT(ctl({"watch", "trigger", "show", "t"}).out,
              HasSubstr(now.last().task() + " succeeded"));
  EXPECT_THAT(ctl({"watch", "triggers", "list"}).out, HasSubstr("succeeded"));
  EXPECT_EQ(ctl({"watch", "trigger", "list", "-q"}).out, "t\n");
  EXPECT_THAT(ctl({"events", "list", "--type", "trigger.fired"}).out, HasSubstr(now.last().task()));
  EXPECT_THAT(ctl({"watch", "trigger", "show", "t", "-o", "json"}).out, HasSubstr("\"clock\""));
}

TEST_F(TriggersIntegration, ChangesWhileTheDaemonIsKilledRunOnceAndNothingRunsTwice) {
  ASSERT_EQ(add({}, {"sh", "-c", "echo \"$ZSYNC_CHANGED\""}).code, 0);
  std::vector<std::string> all;
  for (int round = 0; round < 4; ++round) {
    const std::string name = "f" + std::to_string(round);
    daemon().kill9();
    write(name, "1");
    write(name + "b", "1");
    ASSERT_TRUE(daemon().start());
    const v1::Trigger now = settled(static_cast<uint64_t>(round) + 1);
    EXPECT_EQ(output_of(now.last().task()), name + "\n" + name + "b\n") << round;
  }
  restart();
  until_state(v1::TRIGGER_STATE_IDLE);
  EXPECT_EQ(runs().size(), 4u) << "what was decided is not decided again";
}

TEST_F(TriggersIntegration, ARunThatIsUnderWayAtAKillIsNotRepeated) {
  const std::string gate = file("gate");
  ASSERT_EQ(::mkfifo(gate.c_str(), 0600), 0);
  ASSERT_EQ(add({"--writes", "log"},
                {"sh", "-c", "echo run >> " + (root_ / "log").string() + "; read line < " + gate})
                .code,
            0);
  write("a", "1");
  ASSERT_TRUE(kit::poll_until([this] { return fs::exists(root_ / "log"); }));
  until_state(v1::TRIGGER_STATE_RUNNING);
  daemon().kill9();
  write("b", "1");
  ASSERT_TRUE(daemon().start());
  ASSERT_TRUE(kit::poll_until([this] { return trigger().pending() == 1; }));
  EXPECT_EQ(trigger().state(), v1::TRIGGER_STATE_RUNNING);
  EXPECT_EQ(runs().size(), 1u);
  std::ofstream(gate) << "go\n";
  ASSERT_TRUE(kit::poll_until([this] { return trigger().runs() == 2; }));
  EXPECT_THAT(trigger().last().changed(), ElementsAre("b"));
  std::ofstream(gate) << "go\n";
  settled(2);
  EXPECT_EQ(runs().size(), 2u);
}

TEST_F(TriggersIntegration, AFailedRunIsToldOfAndTheNextChangeRunsAgain) {
  ASSERT_EQ(add({}, {"sh", "-c", "grep -q right " + (root_ / "a").string()}).code, 0);
  write("a", "wrong");
  v1::Trigger now = settled(1);
  EXPECT_EQ(now.last().state(), v1::TASK_STATE_FAILED);
  EXPECT_EQ(now.last().exit_code(), 1);
  EXPECT_THAT(ctl({"watch", "trigger", "show", "t"}).out, HasSubstr("failed with code 1"));
  write("a", "right");
  EXPECT_EQ(settled(2).last().state(), v1::TASK_STATE_SUCCEEDED);
}

TEST_F(TriggersIntegration, ACommandThatTriggersItselfIsStoppedWithTheCure) {
  const std::string command = "date +%s%N >> " + (root_ / "out.log").string();
  ASSERT_EQ(add({}, {"sh", "-c", command}).code, 0);
  write("a", "1");
  until_state(v1::TRIGGER_STATE_STOPPED);
  const kit::Ran shown = ctl({"watch", "trigger", "show", "t"});
  EXPECT_THAT(shown.out, HasSubstr("out.log"));
  EXPECT_THAT(shown.out, HasSubstr("--writes out.log"));
  EXPECT_THAT(ctl({"events", "list", "--type", "trigger.stopped"}).out, HasSubstr("out.log"));
  restart();
  EXPECT_EQ(trigger().state(), v1::TRIGGER_STATE_STOPPED);
  const uint64_t before = trigger().runs();
  ASSERT_EQ(add({"--replace", "--writes", "out.log"}, {"sh", "-c", command}).code, 0);
  write("a", "2");
  settled(before + 1);
  until_state(v1::TRIGGER_STATE_IDLE);
  EXPECT_EQ(trigger().runs(), before + 1);
}

TEST_F(TriggersIntegration, APausedOneRunsByHandAndOnceWhenItGoesOn) {
  ASSERT_EQ(add({}, {"true"}).code, 0);
  EXPECT_THAT(ctl({"watch", "trigger", "pause", "t"}).out, HasSubstr("paused"));
  write("a", "1");
  restart();
  EXPECT_EQ(trigger().state(), v1::TRIGGER_STATE_PAUSED);
  EXPECT_EQ(ctl({"watch", "trigger", "run", "t"}).code, 0);
  EXPECT_TRUE(settled(1).last().by_hand());
  EXPECT_EQ(ctl({"watch", "trigger", "resume", "t"}).code, 0);
  EXPECT_THAT(settled(2).last().changed(), ElementsAre("a"));
  EXPECT_EQ(ctl({"watch", "trigger", "remove", "t"}).code, 0);
  restart();
  EXPECT_EQ(ctl({"watch", "trigger", "show", "t"}).code, 3);
  EXPECT_EQ(runs().size(), 2u) << "its tasks stay";
}

TEST_F(TriggersIntegration, TheDirectoryMayGoAndComeBack) {
  ASSERT_EQ(add({"--cwd", "/"}, {"true"}).code, 0);
  fs::remove_all(root_);
  until_state(v1::TRIGGER_STATE_ROOT_GONE);
  EXPECT_THAT(ctl({"watch", "trigger", "show", "t"}).out,
              HasSubstr("root gone: the directory is gone"));
  restart();
  until_state(v1::TRIGGER_STATE_ROOT_GONE);
  fs::create_directories(root_);
  write("a", "1");
  EXPECT_THAT(settled(1).last().changed(), ElementsAre("a"));
}

TEST_F(TriggersIntegration, WhatIsWrongIsRefusedWithTheCure) {
  EXPECT_EQ(ctl({"watch", "trigger", "add", "t", "/nonexistent", "--", "true"}).code, 3);
  EXPECT_THAT(add({}, {}).err, HasSubstr("no command"));
  EXPECT_THAT(add({"--writes", "[a"}, {"true"}).err, HasSubstr("[a"));
  EXPECT_THAT(add({"--idempotency-key", "k"}, {"true"}).err,
              HasSubstr("makes sense for one run only"));
  EXPECT_THAT(ctl({"watch", "trigger", "add", "a/b", root_.string(), "--", "true"}).err,
              HasSubstr("no leading dot"));
  ASSERT_EQ(add({}, {"true"}).code, 0);
  EXPECT_EQ(add({}, {"true"}).code, 7) << "a conflict";
  const kit::Ran unknown = ctl({"watch", "trigger", "run", "tt"});
  EXPECT_EQ(unknown.code, 3);
  EXPECT_THAT(unknown.err, HasSubstr("did you mean t?"));
  EXPECT_THAT(add({"--dry-run", "--settle", "2s", "--glob", "*.c"}, {"make"}).out,
              ::testing::AllOf(HasSubstr("\"*.c\""), HasSubstr("2s")));
}

// What is wrong with a file is known once it is saved, and forgotten once it is mended.
TEST_F(TriggersIntegration, ASavedFileIsCheckedAndItsDiagnosticsAreTheTriggers) {
  const char* check =
      "! grep -n oops a.c | sed 's/^\\([0-9]*\\):.*/a.c:\\1:1: error: oops/' | grep .";
  ASSERT_EQ(add({"--matcher", "gcc", "--cwd", root_.string()}, {"sh", "-c", check}).code, 0);
  write("a.c", "int a;\noops\n");
  EXPECT_EQ(settled(1).last().exit_code(), 1);
  const kit::Ran told = ctl({"diagnostics", "list"});
  EXPECT_THAT(told.out, AllOf(HasSubstr("a.c:2:1: error: oops"), HasSubstr("(trigger t)")));
  write("a.c", "int a;\n");
  EXPECT_EQ(settled(2).last().exit_code(), 0);
  EXPECT_THAT(ctl({"diagnostics", "list"}).out, Not(HasSubstr("oops")));
}

TEST_F(TriggersIntegration, AListLeavesOutTheVariablesThatGetTells) {
  ASSERT_EQ(add({"-e", "SIZE=large"}, {"true"}).code, 0);
  EXPECT_EQ(trigger().spec().task().env().at("SIZE"), "large");
  const auto all = client().triggers().list();
  ASSERT_TRUE(all.ok()) << all.status();
  ASSERT_EQ(all->triggers_size(), 1);
  EXPECT_EQ(all->triggers(0).spec().task().argv(0), "true");
  EXPECT_TRUE(all->triggers(0).spec().task().env().empty());
}

TEST_F(TriggersIntegration, AnUpgradeKeepsATriggerAndMissesNoChange) {
  ASSERT_EQ(add({"--writes", "*.log", "--cwd", root_.string()}, {"sh", "-c", "cat a > b.log"}).code,
            0);
  write("a", "1");
  EXPECT_EQ(settled(1).last().exit_code(), 0);
  std::thread upgrading([&] { EXPECT_TRUE(client().daemon().upgrade().ok()) << daemon().log(); });
  write("a", "2");
  upgrading.join();
  EXPECT_TRUE(kit::poll_until([&] {
    std::ifstream file(root_ / "b.log");
    std::string text;
    return file >> text && text == "2" && trigger().state() == v1::TRIGGER_STATE_IDLE;
  })) << trigger().DebugString();
}

}  // namespace
}  // namespace zsync::integration
