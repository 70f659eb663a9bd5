// Diagnostics: what tasks print becomes sets of files and sources, through the whole daemon.
#include <fstream>
#include <mutex>
#include <thread>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A shell line that prints errors as gcc would, and ends so.
std::string prints(const Words& places, int code) {
  std::string line;
  for (const std::string& place : places) {
    line += "printf '/w/" + place + ":1:2: error: no [-Wx]\\n' >&2; ";
  }
  return line + "exit " + std::to_string(code);
}

// What a subscription was told: "reset", "PATH=COUNT", in that order.
class Subscriber {
 public:
  explicit Subscriber(client::Client& client)
      : thread_([this, &client] {
          (void)client.diagnostics().subscribe(
              {},
              [this](const v1::DiagnosticSetBatch& batch) {
                const std::lock_guard<std::mutex> lock(mutex_);
                if (batch.reset()) told_.push_back("reset");
                for (const v1::DiagnosticSet& set : batch.sets()) {
                  told_.push_back(set.path() + "=" + std::to_string(set.diagnostics_size()));
                }
                return true;
              },
              {std::nullopt, &stop_});
        }) {}
  ~Subscriber() {
    stop_.cancel();
    thread_.join();
  }
  Words told() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return told_;
  }
  bool hears(const std::string& word, std::ptrdiff_t times = 1) {
    return kit::poll_until([&] {
      const Words all = told();
      return std::count(all.begin(), all.end(), word) >= times;
    });
  }

 private:
  client::StopSource stop_;
  std::mutex mutex_;
  Words told_;
  std::thread thread_;
};

class Diagnostics : public DaemonTest {
 protected:
  std::string submit_build(const std::string& line, const std::string& name = "build",
                           Words more = {}) {
    Words words = {"--matcher", "gcc", "--name", name, "--cwd", "/", "-c", line};
    words.insert(words.begin(), more.begin(), more.end());
    return submit(words);
  }
  std::string build(const Words& places, int code, const std::string& name = "build") {
    const std::string id = submit_build(prints(places, code), name);
    wait(id);
    return id;
  }
  std::vector<v1::DiagnosticSet> sets(const v1::DiagnosticFilter& filter = {}) {
    const auto reply = client().diagnostics().list(filter);
    EXPECT_TRUE(reply.ok()) << reply.status();
    if (!reply.ok()) return {};
    return {reply->sets().begin(), reply->sets().end()};
  }
  // "SOURCE PATH COUNT" of each.
  Words told(const v1::DiagnosticFilter& filter = {}) {
    Words words;
    for (const v1::DiagnosticSet& set : sets(filter)) {
      words.push_back(set.source() + " " + set.path() + " " +
                      std::to_string(set.diagnostics_size()));
    }
    return words;
  }
};

TEST_F(Diagnostics, WhatATaskHasPrintedIsThereOnceItHasEnded) {
  const std::string id = build({"a.c", "b.c"}, 1);
  const std::vector<v1::DiagnosticSet> found = sets();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].source(), "build in /");
  EXPECT_EQ(found[0].path(), "/w/a.c");
  EXPECT_EQ(found[0].task(), id);
  ASSERT_EQ(found[0].diagnostics_size(), 1);
  const v1::Diagnostic& diagnostic = found[0].diagnostics(0);
  EXPECT_EQ(diagnostic.line(), 1u);
  EXPECT_EQ(diagnostic.column(), 2u);
  EXPECT_EQ(diagnostic.severity(), v1::DIAGNOSTIC_SEVERITY_ERROR);
  EXPECT_EQ(diagnostic.message(), "no");
  EXPECT_EQ(diagnostic.code(), "-Wx");
  EXPECT_EQ(diagnostic.matcher(), "gcc");
  EXPECT_EQ(get(id).diagnostics().errors(), 2u);
  EXPECT_THAT(get(id).spec().matchers(), ElementsAre("gcc"));
}

TEST_F(Diagnostics, TheCommandLineShowsThemAsEditorsReadThem) {
  const kit::Ran ran = ctl({"run", "--matcher", "clang", "--name", "build", "--cwd", "/", "-c",
                            prints({"a.c", "sub/b.c"}, 3)});
  EXPECT_EQ(ran.code, 3);
  EXPECT_EQ(ran.err, "/w/a.c:1:2: error: no [-Wx]\n/w/sub/b.c:1:2: error: no [-Wx]\n");
  EXPECT_EQ(ctl({"diagnostics", "list"}).out,
            "/w/a.c:1:2: error: no [-Wx] (build in /)\n"
            "/w/sub/b.c:1:2: error: no [-Wx] (build in /)\n");
  EXPECT_EQ(ctl({"diagnostic", "list", "--path", "/w/sub", "-o", "name"}).out, "/w/sub/b.c\n");
  EXPECT_THAT(ctl({"diagnostics", "list", "--source", "x", "-o", "json"}).out, HasSubstr("[]"));
  const kit::Ran none = ctl({"diagnostics", "list", "--source", "x"});
  EXPECT_EQ(none.out, "");
  EXPECT_THAT(none.err, HasSubstr("no diagnostics"));
  EXPECT_THAT(ctl({"tasks", "get", "build"}).out, HasSubstr("2 errors, 0 warnings"));
  EXPECT_THAT(ctl({"tasks", "get", "build", "-o", "json"}).out, HasSubstr("\"errors\": 2"));
}

TEST_F(Diagnostics, ASuccessClearsWhatItsSourceDoesNotSayAgain) {
  build({"a.c", "b.c"}, 1);
  build({"a.c"}, 1, "lint");
  build({"b.c"}, 0);
  EXPECT_THAT(told(), ElementsAre("lint in / /w/a.c 1", "build in / /w/b.c 1"));
}

TEST_F(Diagnostics, AFailureReplacesOnlyThePathsThatItTellsOf) {
  build({"a.c", "b.c"}, 1);
  build({"b.c", "b.c"}, 1);
  build({"c.c"}, 2);
  EXPECT_THAT(told(),
              ElementsAre("build in / /w/a.c 1", "build in / /w/b.c 1", "build in / /w/c.c 1"));
}

TEST_F(Diagnostics, AnAttemptThatSucceedsAfterAllClearsThoseBefore) {
  const std::string marker = file("tried");
  const std::string id =
      submit_build("test -e " + marker + " && exit 0; : > " + marker + "; " + prints({"a.c"}, 1),
                   "build", {"--retries", "2", "--backoff", "10ms"});
  EXPECT_EQ(wait(id).attempt(), 2u);
  EXPECT_THAT(told(), IsEmpty());
  EXPECT_EQ(get(id).diagnostics().errors(), 0u);
}

TEST_F(Diagnostics, ARetryByHandBeginsWithItsOwnAttempt) {
  const std::string marker = file("tried");
  const std::string id =
      submit_build("test -e " + marker + " && exit 1; : > " + marker + "; " + prints({"a.c"}, 1));
  wait(id);
  EXPECT_THAT(told(), ElementsAre("build in / /w/a.c 1"));
  build({}, 0);
  EXPECT_THAT(told(), IsEmpty());
  ASSERT_TRUE(tasks().retry(id).ok());
  EXPECT_EQ(wait(id).attempt(), 2u);
  EXPECT_THAT(told(), IsEmpty());
}

TEST_F(Diagnostics, ASubscriberHearsOfThemWhileTheTaskRunsAndWhenTheyAreCleared) {
  build({"old.c"}, 1, "lint");
  EXPECT_THAT(told(), ElementsAre("lint in / /w/old.c 1"));
  Subscriber subscriber(client());
  ASSERT_TRUE(subscriber.hears("/w/old.c=1"));
  const std::string go = file("go");
  const std::string id =
      submit_build("printf '/w/a.c:1:1: error: no\\n'; until test -e " + go +
                   "; do sleep 0.05; done; printf '/w/a.c:2:1: error: no\\n'; exit 1");
  ASSERT_TRUE(subscriber.hears("/w/a.c=1"));
  EXPECT_EQ(get(id).state(), v1::TASK_STATE_RUNNING);
  EXPECT_EQ(get(id).diagnostics().errors(), 1u);
  std::ofstream(go).close();
  ASSERT_TRUE(subscriber.hears("/w/a.c=2"));
  build({}, 0);
  ASSERT_TRUE(subscriber.hears("/w/a.c=0"));
  EXPECT_THAT(subscriber.told(),
              ElementsAre("reset", "/w/old.c=1", "/w/a.c=1", "/w/a.c=2", "/w/a.c=0"));
}

TEST_F(Diagnostics, AKilledDaemonLosesNoneAndTellsNoneTwice) {
  build({"old.c"}, 1, "lint");
  const std::string go = file("go");
  const std::string id =
      submit_build("printf '/w/a.c:1:1: error: one\\n/w/a.c:2:1: err'; until test -e " + go +
                   "; do sleep 0.05; done; printf 'or: two\\n'; exit 1");
  wait_for_output(id);
  ASSERT_TRUE(kit::poll_until([&] { return get(id).diagnostics().errors() == 1; }));
  uint64_t before = 0;
  for (const v1::DiagnosticSet& set : sets()) before = std::max(before, set.version());
  daemon().kill9();
  std::ofstream(go).close();
  ASSERT_TRUE(daemon().start());
  EXPECT_EQ(wait(id).exit_code(), 1);
  EXPECT_THAT(told(), ElementsAre("build in / /w/a.c 2", "lint in / /w/old.c 1"));
  EXPECT_EQ(get(id).diagnostics().errors(), 2u);
  v1::DiagnosticFilter filter;
  filter.set_path_prefix("/w/a.c");
  EXPECT_GT(sets(filter).front().version(), before);
}

TEST_F(Diagnostics, TheyAreKeptOverRestartsAndSubscribersBeginAnew) {
  const std::string id = build({"a.c", "b.c"}, 1);
  EXPECT_EQ(told().size(), 2u);
  Subscriber subscriber(client());
  ASSERT_TRUE(subscriber.hears("/w/b.c=1"));
  const std::vector<v1::DiagnosticSet> before = sets();
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  ASSERT_TRUE(subscriber.hears("reset", 2));
  ASSERT_TRUE(subscriber.hears("/w/b.c=1", 2));
  const std::vector<v1::DiagnosticSet> after = sets();
  ASSERT_EQ(after.size(), 2u);
  EXPECT_EQ(after[0].SerializeAsString(), before[0].SerializeAsString());
  EXPECT_EQ(after[1].SerializeAsString(), before[1].SerializeAsString());
  EXPECT_EQ(get(id).diagnostics().errors(), 2u);
}

TEST_F(Diagnostics, BeyondTheLimitOfATaskTheyAreCounted) {
  const std::string id = submit_build(
      "i=0; while [ $i -lt 2007 ]; do i=$((i+1)); echo \"/w/a.c:$i:1: warning: no\"; done");
  wait(id);
  const v1::DiagnosticCounts counts = get(id).diagnostics();
  EXPECT_EQ(counts.warnings(), 2000u);
  EXPECT_EQ(counts.left_out(), 7u);
  EXPECT_THAT(ctl({"tasks", "get", id}).out, HasSubstr("7 more left out"));
  EXPECT_TRUE(kit::poll_until([&] {
    return ctl({"events", "list", "--type", "diagnostics."}).out.find("left_out=7") !=
           std::string::npos;
  }));
}

TEST_F(Diagnostics, WithoutMatchersATaskHasNone) {
  const std::string id = submit({"--cwd", "/", "-c", prints({"a.c"}, 1)});
  wait(id);
  EXPECT_THAT(told(), IsEmpty());
  EXPECT_FALSE(get(id).has_diagnostics());
}

TEST_F(Diagnostics, AStepOfAProjectIsASourceOfItsOwn) {
  std::ofstream(file("zsync.yaml")) << "version: 1\nproject: shop\nsteps:\n  build:\n"
                                       "    shell: \"printf 'a.c:1:1: error: no\\\\n'; exit 1\"\n"
                                       "    matcher: [clang, tsc]\n";
  EXPECT_EQ(ctl({"up", "-f", file("zsync.yaml")}).code, 1);
  EXPECT_THAT(told(), ElementsAre("shop/build " + file("a.c") + " 1"));
  std::ofstream(file("bad.yaml"))
      << "version: 1\nsteps: {a: {run: [x], matcher: [gc, gcc, clang, go, go]}}\n";
  const std::string problems = ctl({"projects", "check", file("bad.yaml")}).err;
  EXPECT_THAT(problems, HasSubstr("there is no matcher \"gc\"; those known are gcc"));
  EXPECT_THAT(problems, HasSubstr("\"clang\" is there twice"));
}

TEST_F(Diagnostics, WhatIsNoMatcherIsRefusedWithTheCure) {
  const kit::Ran unknown = ctl({"tasks", "submit", "--matcher", "pyest", "--", "true"});
  EXPECT_NE(unknown.code, 0);
  EXPECT_THAT(unknown.err, HasSubstr("there is no matcher \"pyest\""));
  EXPECT_THAT(unknown.err, HasSubstr("pytest"));
  EXPECT_THAT(ctl({"tasks", "submit", "--matcher", "gcc,clang", "--", "true"}).err,
              HasSubstr("is there twice"));
  EXPECT_THAT(
      ctl({"tasks", "submit", "--matcher", "gcc,tsc,go,pytest,cargo-json", "--", "true"}).err,
      HasSubstr("matchers_max = 4"));
  v1::DiagnosticFilter filter;
  filter.set_path_prefix("w");
  EXPECT_THAT(client().diagnostics().list(filter).status().ToString(), HasSubstr("not absolute"));
}

}  // namespace
}  // namespace zsync::integration
