// What a watch knows: clocks over restarts of clients and daemons, and every change made before a
// question.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using ::testing::IsEmpty;
using ::testing::SizeIs;

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

std::string text_of(const v1::WatchBatch& batch) {
  std::string out;
  for (const v1::FileChange& change : batch.changes()) {
    if (!out.empty()) out += ' ';
    out += std::string("?CMDR").substr(static_cast<size_t>(change.kind()), 1) + change.path();
    if (!change.renamed_from().empty()) out += "<" + change.renamed_from();
  }
  return out;
}

class WatchIntegration : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    root_ = fs::canonical(daemon().dir().path()) / "tree";
    fs::create_directories(root_);
  }
  v1::WatchBatch since(const std::string& clock, const std::vector<std::string>& ignore = {}) {
    v1::QueryWatchRequest request;
    request.set_path(root_);
    request.set_since(clock);
    for (const std::string& pattern : ignore) request.mutable_filter()->add_ignore(pattern);
    const auto batch = client().watch().query(request, {std::chrono::seconds(30), nullptr});
    EXPECT_TRUE(batch.ok()) << batch.status();
    return batch.ok() ? *batch : v1::WatchBatch();
  }
  // Nothing was written to what is kept of trees for so long that the latest change is marked as
  // seen, and no later one can hide in its time.
  void wait_until_kept() {
    EXPECT_TRUE(kit::poll_until([this] {
      size_t files = 0;
      for (const auto& entry : fs::directory_iterator(daemon().state_dir() + "/watch")) {
        std::error_code renamed;  // meanwhile, what is being written
        const auto written = entry.last_write_time(renamed);
        const bool quiet =
            !renamed && fs::file_time_type::clock::now() - written > milliseconds(500);
        if (entry.path().extension() == ".tree" && quiet) ++files;
      }
      return files > 0;
    }));
  }
  void restart(bool kill) {
    drop_client();
    if (kill) {
      daemon().kill9();
    } else {
      EXPECT_EQ(daemon().stop(), 0);
    }
  }
  void again() {
    ASSERT_TRUE(daemon().start()) << daemon().log();
    connect();
  }

  fs::path root_;
};

TEST_F(WatchIntegration, AQueryKnowsEveryChangeThatWasCompleteBeforeIt) {
  std::string clock = since("").clock();
  for (int i = 0; i < 200; ++i) {
    const std::string name = "d" + std::to_string(i % 7) + "/f" + std::to_string(i);
    write(root_ / name, "1");
    const v1::WatchBatch batch = since(clock);
    EXPECT_THAT(text_of(batch), HasSubstr("C" + name)) << i;
    EXPECT_EQ(batch.changes_size(), i < 7 ? 2 : 1) << text_of(batch);
    clock = batch.clock();
  }
  EXPECT_THAT(text_of(since(clock)), IsEmpty());
}

TEST_F(WatchIntegration, AClockOfAnEarlierDaemonIsAnsweredWithWhatChangedMeanwhile) {
  for (const bool kill : {false, true}) {
    write(root_ / "same", "1");
    write(root_ / "edited", "1");
    write(root_ / "removed", "1");
    write(root_ / "dir/inner", "1");
    fs::remove(root_ / "new");
    const std::string before = since("").clock();
    write(root_ / "seen", kill ? "12" : "1");
    const v1::WatchBatch seen = since(before);
    EXPECT_FALSE(seen.fresh());
    wait_until_kept();
    restart(kill);
    write(root_ / "edited", "12");
    write(root_ / "new", "1");
    fs::remove(root_ / "removed");
    fs::rename(root_ / "dir/inner", root_ / "dir/outer");
    again();
    const v1::WatchBatch after = since(seen.clock());
    EXPECT_FALSE(after.fresh()) << "killed: " << kill;
    EXPECT_EQ(text_of(after), "Ddir/inner Cdir/outer Medited Cnew Dremoved") << "killed: " << kill;
    EXPECT_THAT(text_of(since(after.clock())), IsEmpty()) << "nothing is told twice";
    EXPECT_THAT(text_of(since(before)), HasSubstr("seen")) << "an older clock is known as well";
    fs::rename(root_ / "dir/outer", root_ / "dir/inner");
  }
}

TEST_F(WatchIntegration, AMirrorFollowsOverManyKilledDaemons) {
  std::map<std::string, uint64_t> mirror;
  std::string clock = since("").clock();
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 20; ++i) {
      const int number = (round * 13 + i * 7) % 31;
      const fs::path path = root_ / ("d" + std::to_string(number % 3)) / std::to_string(number);
      if ((round + i) % 4 == 0) {
        fs::remove(path);
      } else {
        write(path, std::string(static_cast<size_t>(round * 20 + i), 'x'));
      }
      if (i == 6) restart(true);
      if (i == 13) again();
    }
    const v1::WatchBatch batch = since(clock);
    clock = batch.clock();
    // A daemon that was killed before it wrote its first snapshot knows nothing, and says so.
    if (batch.fresh()) mirror.clear();
    for (const v1::FileChange& change : batch.changes()) {
      if (change.directory()) continue;
      EXPECT_THAT(change.renamed_from(), IsEmpty());
      if (change.kind() == v1::CHANGE_KIND_DELETED) {
        EXPECT_EQ(mirror.erase(change.path()), 1u) << change.path();
      } else {
        EXPECT_EQ(mirror.count(change.path()), change.kind() == v1::CHANGE_KIND_MODIFIED ? 1u : 0u)
            << change.path();
        mirror[change.path()] = change.size();
      }
    }
    std::map<std::string, uint64_t> truth;
    for (const auto& entry : fs::recursive_directory_iterator(root_)) {
      if (entry.is_regular_file())
        truth[fs::relative(entry.path(), root_).string()] = entry.file_size();
    }
    EXPECT_EQ(mirror, truth) << "round " << round;
  }
}

TEST_F(WatchIntegration, AClockThatNobodyKnowsIsAnsweredWithEverythingAsFresh) {
  write(root_ / "a", "1");
  const std::string clock = since("").clock();
  const v1::WatchBatch stranger = since("c:01anotherdaemon:7");
  EXPECT_TRUE(stranger.fresh());
  EXPECT_EQ(text_of(stranger), "Ca");
  EXPECT_TRUE(since(clock, {"*.o"}).fresh()) << "a clock of other ignore rules";
  const v1::WatchBatch own = since(clock);
  EXPECT_FALSE(own.fresh());
  EXPECT_EQ(own.changes_size(), 0);
  const kit::Ran bad = ctl({"watch", "since", root_, "yesterday"});
  EXPECT_EQ(bad.code, 2) << bad.err;
  EXPECT_THAT(bad.err, HasSubstr("not a clock"));
}

TEST_F(WatchIntegration, ADamagedFileCostsTheHistoryAndNothingElse) {
  write(root_ / "a", "1");
  const std::string clock = since("").clock();
  wait_until_kept();
  restart(true);
  for (const auto& entry : fs::directory_iterator(daemon().state_dir() + "/watch"))
    fs::resize_file(entry.path(), fs::file_size(entry.path()) / 2);
  again();
  const v1::WatchBatch batch = since(clock);
  EXPECT_TRUE(batch.fresh());
  EXPECT_EQ(text_of(batch), "Ca");
}

// The figures of /proc for the daemon itself.
TEST_F(WatchIntegration, ADirectoryHasOneKernelWatchWhateverTheNumberOfClients) {
  for (int i = 0; i < 10; ++i) write(root_ / ("a/d" + std::to_string(i)) / "f", "1");
  const auto held = [this] {
    const auto usage = client().watch().usage();
    EXPECT_TRUE(usage.ok()) << usage.status();
    for (const v1::WatchUser& user : usage->users()) {
      if (!user.zsyncd()) continue;
      EXPECT_EQ(user.pid(), daemon().process().pid());
      EXPECT_EQ(user.instances(), 1u);
      EXPECT_EQ(user.watches(), usage->held());
      return user.watches();
    }
    return std::uint64_t{0};
  };
  (void)since("");
  const std::uint64_t once = held();
  EXPECT_EQ(once, 12u);
  (void)since("");
  (void)since("", {"*.o"});
  const kit::Ran nested = ctl({"watch", "sync", root_ / "a"});
  EXPECT_EQ(nested.code, 0) << nested.err;
  EXPECT_EQ(held(), once) << "other ignore rules, and a root within";
  const kit::Ran table = ctl({"watch", "usage"});
  EXPECT_EQ(table.code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("this daemon holds 12"));
  const kit::Ran doctor = ctl({"doctor"});
  EXPECT_THAT(doctor.out, HasSubstr("zsyncctl watch usage"));
}

TEST_F(WatchIntegration, AtTheLimitOfTheSystemATreeIsPolledAndSaysSoWithTheCure) {
  drop_client();
  EXPECT_EQ(daemon().stop(), 0);
  for (int i = 0; i < 30; ++i) write(root_ / ("d" + std::to_string(i)) / "f", "1");
  // A user namespace has limits of its own.
  const std::string script =
      "echo 20 > /proc/sys/user/max_inotify_watches || exit 77; "
      "setpriv --pdeathsig KILL \"$0\" --socket \"$1\" --state-dir \"$2\" & daemon=$!; trap 'kill "
      "$daemon; wait $daemon' EXIT; "
      "until \"$3\" --socket \"$1\" --no-autostart status > /dev/null 2>&1; "
      "do kill -0 $daemon || exit 1; done; "
      "clock=$(\"$3\" --socket \"$1\" watch sync \"$4\"); "
      "echo 22 > \"$4/d3/f\"; \"$3\" --socket \"$1\" watch since \"$4\" \"$clock\"";
  const kit::Ran ran = kit::run({"/usr/bin/unshare", "-Ur", "/bin/sh", "-c", script,
                                 kit::Programs::get().zsyncd, daemon().dir() / "n",
                                 daemon().dir() / "other", kit::Programs::get().zsyncctl, root_});
  if (ran.code == 77 || ran.err.find("unshare failed") != std::string::npos)
    GTEST_SKIP() << "no user namespace: " << ran.err;
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "modified  d3/f\n") << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("polled: watching"));
  EXPECT_THAT(ran.err, HasSubstr("sudo sysctl -w fs.inotify.max_user_watches="));
}

TEST_F(WatchIntegration, TheCommandLineAsksOnce) {
  write(root_ / "a", "1");
  const kit::Ran sync = ctl({"watch", "sync", root_});
  ASSERT_EQ(sync.code, 0) << sync.err;
  const std::string clock = sync.out.substr(0, sync.out.find('\n'));
  write(root_ / "b", "1");
  const kit::Ran changed = ctl({"watch", "since", root_, clock});
  EXPECT_EQ(changed.code, 0) << changed.err;
  EXPECT_EQ(changed.out, "created   b\n");
  EXPECT_THAT(changed.err, HasSubstr("clock: c:"));
}

}  // namespace
}  // namespace zsync::integration
