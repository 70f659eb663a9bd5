// Ten thousand random edits of a git repository, with checkouts and rebases in between: what
// replays the batches of a subscription holds exactly what is on disk.
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

namespace fs = std::filesystem;
using Entries = std::map<std::string, std::string>;  // by path: "directory", or size and mtime

constexpr unsigned kSeed = 20'261'129;
constexpr int kRounds = 20;
constexpr int kEditsPerRound = 500;

std::string described(bool directory, uint64_t size, int64_t mtime_ns) {
  return directory ? "directory" : std::to_string(size) + " " + std::to_string(mtime_ns);
}

// Follows batches, and counts what cannot be: a creation of what is there, an end of what is not.
class Replay {
 public:
  void take(const v1::WatchBatch& batch) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++batches_;
    if (batch.fresh()) ++fresh_;
    if (!batch.clock().empty() && batch.clock() == clock_) ++doubled_;
    clock_ = batch.clock();
    // The changes of a batch hold at the same time, against the state before it: a file that was
    // renamed away and made anew is `modified`, and what it was renamed to is `renamed`.
    const Entries before = entries_;
    for (const v1::FileChange& change : batch.changes()) {
      const bool deleted = change.kind() == v1::CHANGE_KIND_DELETED;
      if (deleted && entries_.erase(change.path()) == 0) complain(change);
      if (!change.renamed_from().empty() && entries_.erase(change.renamed_from()) == 0)
        complain(change);
    }
    for (const v1::FileChange& change : batch.changes()) {
      if (change.kind() == v1::CHANGE_KIND_DELETED) continue;
      std::string now = described(change.directory(), change.size(), change.mtime_unix_nano());
      const auto at = entries_.try_emplace(change.path()).first;
      const bool renamed = change.kind() == v1::CHANGE_KIND_RENAMED;
      const bool modified = change.kind() == v1::CHANGE_KIND_MODIFIED;
      if (!renamed && modified != before.contains(change.path())) complain(change);
      at->second = std::move(now);
    }
    changed_.notify_all();
  }
  bool wait_for(const std::string& path) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60),
                             [&] { return entries_.contains(path); });
  }
  Entries entries() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return entries_;
  }
  int batches() const { return batches_; }
  int fresh() const { return fresh_; }
  int doubled() const { return doubled_; }

 private:
  void complain(const v1::FileChange& change) {
    ++doubled_;
    ADD_FAILURE() << "seed " << kSeed << ", batch " << batches_ << ": "
                  << v1::ChangeKind_Name(change.kind()) << " " << change.path() << " from \""
                  << change.renamed_from() << "\"";
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  Entries entries_;
  std::string clock_;
  int batches_ = 0;
  int fresh_ = 0;
  int doubled_ = 0;
};

class RandomRepository {
 public:
  explicit RandomRepository(fs::path root) : root_(std::move(root)), random_(kSeed) {}

  void begin() {
    git({"init", "-q", "-b", "main"});
    for (int i = 0; i < 100; ++i) edit();
    commit();
    git({"branch", "other"});
  }
  void edit() {
    std::error_code ignored;
    const fs::path path = root_ / any();
    switch (random_() % 12) {
      case 0:
        fs::create_directories(path, ignored);
        break;
      case 1:
        fs::remove_all(path, ignored);
        break;
      case 2:
      case 3:
        fs::rename(path, root_ / any(), ignored);
        break;
      case 4: {  // as editors save: a new file in the place of the old one
        const fs::path fresh = path.parent_path() / "save.tmp";
        std::ofstream(fresh, std::ios::binary) << text();
        fs::rename(fresh, path, ignored);
        if (ignored) fs::remove(fresh, ignored);
        break;
      }
      case 5:
        fs::create_symlink("nowhere", path, ignored);
        break;
      case 6:
        std::ofstream(path, std::ios::binary | std::ios::app) << text();
        break;
      default:
        fs::create_directories(path.parent_path(), ignored);
        std::ofstream(path, std::ios::binary) << text();
    }
  }
  // What people do between edits.
  void turn(int round) {
    commit();
    switch (round % 4) {
      case 0:
        git({"checkout", "-q", "-f", "other"});
        break;
      case 1:
        commit();
        if (git({"rebase", "-q", "-X", "theirs", "main"}) != 0) git({"rebase", "--abort"});
        break;
      case 2:
        git({"checkout", "-q", "-f", "main"});
        git({"clean", "-fdq"});
        break;
      default:
        git({"reset", "-q", "--hard", "HEAD~1"});
    }
  }

 private:
  int git(Words words) {
    Words argv{"/usr/bin/git", "-c", "user.name=t",         "-c", "user.email=t@localhost", "-c",
               "gc.auto=0",    "-c", "commit.gpgsign=false"};
    argv.insert(argv.end(), words.begin(), words.end());
    kit::StartOptions options;
    options.cwd = root_;
    return kit::run(argv, {}, std::move(options)).code;
  }
  void commit() {
    git({"add", "-A"});
    git({"commit", "-q", "--allow-empty", "-m", "edits"});
  }
  std::string text() {
    return std::string(1 + random_() % 200, static_cast<char>('a' + random_() % 26));
  }
  fs::path any() {
    fs::path path(std::string(1, static_cast<char>('a' + random_() % 8)));
    for (unsigned depth = random_() % 4; depth > 0; --depth)
      path /= std::string(1, static_cast<char>('a' + random_() % 8));
    return path;
  }

  const fs::path root_;
  std::mt19937 random_;
};

Entries on_disk(const fs::path& root) {
  Entries found;
  for (auto at = fs::recursive_directory_iterator(root); at != fs::recursive_directory_iterator();
       ++at) {
    if (at->path().filename() == ".git") {
      at.disable_recursion_pending();
      continue;
    }
    struct stat st{};
    EXPECT_EQ(::lstat(at->path().c_str(), &st), 0) << at->path();
    found[at->path().string().substr(root.string().size() + 1)] =
        described(S_ISDIR(st.st_mode), static_cast<uint64_t>(st.st_size),
                  st.st_mtim.tv_sec * 1'000'000'000ll + st.st_mtim.tv_nsec);
  }
  return found;
}

class WatchEdits : public DaemonTest {};

TEST_F(WatchEdits, TenThousandRandomEditsWithCheckoutsAndRebasesAreReplayedExactly) {
  if (::access("/usr/bin/git", X_OK) != 0) GTEST_SKIP() << "no git";
  const fs::path root = fs::canonical(daemon().dir().path()) / "repository";
  fs::create_directories(root);
  v1::SubscribeWatchRequest request;
  request.set_path(root);
  request.set_since("c:nobody:0");  // which is answered with all there is
  request.mutable_filter()->set_no_gitignore(true);
  // Nothing but .git is left out.
  for (const char* name : {"node_modules", "target", "build", ".cache"})
    request.mutable_filter()->add_ignore(std::string("!") + name + "/");
  Replay replay;
  client::StopSource stop;
  std::thread following([&] {
    (void)client().watch().subscribe(request,
                                     [&](const v1::WatchBatch& batch) {
                                       replay.take(batch);
                                       return true;
                                     },
                                     {std::chrono::seconds(170), &stop});
  });
  RandomRepository repository(root);
  repository.begin();
  int edits = 0;
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kEditsPerRound; ++i, ++edits) repository.edit();
    repository.turn(round);
    // Then everything that was done before has settled and was given.
    const std::string mark = "mark" + std::to_string(round);
    std::ofstream(root / mark) << mark;
    ASSERT_TRUE(replay.wait_for(mark)) << "seed " << kSeed << ", round " << round;
    // A batch that was cut by its maximal time may have told of the mark before a directory that is
    // still being read.
    (void)kit::poll_until([&] { return replay.entries() == on_disk(root); });
    EXPECT_EQ(replay.entries(), on_disk(root)) << "seed " << kSeed << ", round " << round;
    if (HasFailure()) break;
  }
  stop.cancel();
  following.join();
  EXPECT_EQ(edits, kRounds * kEditsPerRound);
  EXPECT_EQ(replay.doubled(), 0);
  EXPECT_EQ(replay.fresh(), 1) << "the first batch";
  RecordProperty("batches", replay.batches());
}

}  // namespace
}  // namespace zsync::integration
