// Named states: who holds one, who is silent, and what becomes of both when somebody dies.
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

// A subscription on a thread of its own, and what it was told: names of changes, "+state" and
// "-state".
class Listener {
 public:
  Listener(client::Client& client, v1::SubscribeWatchRequest request)
      : thread_([this, &client, request] {
          (void)client.watch().subscribe(request,
                                         [this](const v1::WatchBatch& batch) {
                                           const std::lock_guard<std::mutex> lock(mutex_);
                                           begun_ = true;
                                           for (const v1::FileChange& change : batch.changes())
                                             told_.push_back(change.path());
                                           if (!batch.state_entered().empty())
                                             told_.push_back("+" + batch.state_entered());
                                           if (!batch.state_left().empty())
                                             told_.push_back("-" + batch.state_left());
                                           return true;
                                         },
                                         {std::nullopt, &stop_});
        }) {
    EXPECT_TRUE(kit::poll_until([this] {
      const std::lock_guard<std::mutex> lock(mutex_);
      return begun_;
    }));
  }
  ~Listener() {
    stop_.cancel();
    thread_.join();
  }
  Words told() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return told_;
  }
  // Waits until this was told.
  bool hears(const std::string& word) {
    return kit::poll_until([&] {
      const Words all = told();
      return std::find(all.begin(), all.end(), word) != all.end();
    });
  }

 private:
  client::StopSource stop_;
  std::mutex mutex_;
  bool begun_ = false;
  Words told_;
  std::thread thread_;
};

class WatchStates : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    root_ = fs::canonical(daemon().dir().path()) / "tree";
    fs::create_directories(root_);
  }
  v1::SubscribeWatchRequest request(const Words& defer, const Words& drop) {
    v1::SubscribeWatchRequest request;
    request.set_path(root_);
    for (const std::string& name : defer) request.mutable_filter()->add_defer(name);
    for (const std::string& name : drop) request.mutable_filter()->add_drop(name);
    return request;
  }
  v1::ListWatchesReply list() {
    const auto reply = client().watch().list();
    EXPECT_TRUE(reply.ok()) << reply.status();
    return reply.ok() ? *reply : v1::ListWatchesReply();
  }

  fs::path root_;
};

TEST_F(WatchStates, ACommandThatRunsUnderAStateIsToldAfterwardsOrNever) {
  Listener later(client(), request({"build"}, {}));
  Listener never(client(), request({}, {"build"}));
  for (int round = 0; round < 10; ++round) {
    const std::string number = std::to_string(round);
    fs::create_directory(root_ / ("before" + number));
    const kit::Ran ran =
        ctl({"watch", "state", "hold", "build", root_, "--", "mkdir", root_ / ("during" + number)});
    ASSERT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(list().states_size(), 0);
    fs::create_directory(root_ / ("after" + number));
    EXPECT_TRUE(later.hears("after" + number));
    EXPECT_TRUE(never.hears("after" + number));
  }
  Words without_states;
  for (const std::string& word : never.told()) {
    if (word[0] != '+' && word[0] != '-') without_states.push_back(word);
  }
  ASSERT_EQ(without_states.size(), 20u);
  for (size_t i = 0; i < 20; ++i) {
    const std::string expected = (i % 2 == 0 ? "before" : "after") + std::to_string(i / 2);
    EXPECT_EQ(without_states[i], expected);
  }
  size_t changes = 0;
  for (const std::string& word : later.told()) changes += word[0] != '+' && word[0] != '-';
  EXPECT_EQ(changes, 30u);
}

TEST_F(WatchStates, AHolderThatIsKilledLeavesItsStateAtOnce) {
  Listener later(client(), request({"build"}, {}));
  const std::string pid_file = file("pid");
  kit::Process holder(daemon().ctl_argv({"watch", "state", "hold", "build", root_, "--", "sh", "-c",
                                         "echo $$ >\"$0\"; exec sleep 1000", pid_file}));
  EXPECT_TRUE(later.hears("+build"));
  fs::create_directory(root_ / "during");
  pid_t pid = 0;
  EXPECT_TRUE(kit::poll_until([&] { return bool(std::ifstream(pid_file) >> pid); }));
  const v1::ListWatchesReply held = list();
  ASSERT_EQ(held.states_size(), 1);
  EXPECT_EQ(held.states(0).name(), "build");
  EXPECT_EQ(held.states(0).pid(), holder.pid());
  EXPECT_EQ(held.states(0).silent(), 1u);
  ASSERT_EQ(held.roots_size(), 1);
  EXPECT_THAT(held.roots(0).silent(), ElementsAre(HasSubstr("state build is held")));
  const auto events = [this](const std::string& type) {
    return ctl({"events", "list", "--type", type}).out;
  };
  EXPECT_THAT(
      events("watch.state_entered"),
      HasSubstr(absl::StrCat("path=", root_.string(), " pid=", holder.pid(), " state=build")));
  EXPECT_EQ(events("watch.state_left"), "");
  holder.kill9();
  EXPECT_TRUE(later.hears("during"));
  EXPECT_THAT(later.told(), ElementsAre("+build", "-build", "during"));
  EXPECT_TRUE(kit::poll_until(
      [&] { return events("watch.state_left").find("state=build") != std::string::npos; }));
  EXPECT_EQ(list().states_size(), 0);
  if (pid > 0) ::kill(pid, SIGKILL);
}

TEST_F(WatchStates, AStateIsEnteredAgainAfterTheDaemonWasKilled) {
  std::atomic<int> entered{0};
  client::StopSource stop;
  std::thread holding([&] {
    v1::HoldStateRequest request;
    request.set_path(root_);
    request.set_name("build");
    const absl::Status ended = client().watch().hold_state(request,
                                                           [&](const v1::HoldStateReply&) {
                                                             ++entered;
                                                             return true;
                                                           },
                                                           {std::nullopt, &stop});
    EXPECT_TRUE(stop.cancelled()) << ended;
  });
  EXPECT_TRUE(kit::poll_until([&] { return entered == 1; }));
  daemon().kill9();
  EXPECT_TRUE(daemon().start()) << daemon().log();
  EXPECT_TRUE(kit::poll_until([&] { return entered == 2; }));
  {
    Listener later(client(), request({"build"}, {}));
    EXPECT_TRUE(later.hears("+build"));
    EXPECT_EQ(list().states_size(), 1);
  }
  EXPECT_EQ(daemon().stop(), 0) << "who holds a state does not hold up the daemon";
  stop.cancel();
  holding.join();
}

TEST_F(WatchStates, WhatCannotBeIsRefusedWithItsField) {
  const kit::Ran name = ctl({"watch", "state", "hold", "no name", root_, "--", "true"});
  EXPECT_EQ(name.code, 2) << name.err;
  EXPECT_THAT(name.err, HasSubstr("is not the name of a state"));
  const kit::Ran both = ctl({"watch", root_, "--defer", "a", "--drop", "a"});
  EXPECT_EQ(both.code, 2) << both.err;
  v1::QueryWatchRequest query;
  query.set_path(root_);
  query.mutable_filter()->add_drop("build");
  const absl::Status refused = client().watch().query(query).status();
  EXPECT_THAT(std::string(refused.message()), HasSubstr("filter.drop"));
}

}  // namespace
}  // namespace zsync::integration
