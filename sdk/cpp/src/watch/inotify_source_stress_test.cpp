#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "watch/cpu_clock_test.hpp"
#include "watch/watched_dir_test.hpp"

namespace zsync::watching {
namespace {

// Runs `body` in a child, whose privileges it may drop, and gives back what it returned.
std::string in_child(const std::function<std::string()>& body) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string answer = body();
    const ssize_t written = ::write(ends[1], answer.data(), answer.size());
    ::_exit(written == static_cast<ssize_t>(answer.size()) ? 0 : 1);
  }
  Fd read_end(ends[0]);
  Fd(ends[1]).reset();
  std::string out;
  char buffer[4096];
  ssize_t n = 0;
  while ((n = ::read(read_end.get(), buffer, sizeof buffer)) > 0)
    out.append(buffer, static_cast<size_t>(n));
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  return out;
}

bool write_text(const char* file, std::string_view text) {
  Fd fd(::open(file, O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

std::string drain(InotifySource& source) {
  bool more = true;
  while (more) {
    more = source.read_events();
    more |= source.scan_some();
  }
  return text_of(source.take_changes());
}

// In a user namespace of its own, whose limits are its own.
constexpr char kNoNamespace[] = "no user namespace here";

TEST(InotifyLimits, TooManyWatchesFailThisRootWithTheCureAndSpareTheOthers) {
  ScratchDir dir;
  dir.write("small/f", "1");
  for (int i = 0; i < 100; ++i) dir.make("large/" + std::to_string(i));
  const std::string seen = in_child([&]() -> std::string {
    if (::unshare(CLONE_NEWUSER) != 0 || !write_text("/proc/sys/user/max_inotify_watches", "50"))
      return kNoNamespace;
    absl::StatusOr<std::unique_ptr<InotifySource>> small = InotifySource::open(dir / "small");
    absl::StatusOr<std::unique_ptr<InotifySource>> large = InotifySource::open(dir / "large");
    if (!small.ok() || !large.ok()) return "not opened";
    drain(**small);
    drain(**large);
    dir.write("small/g", "1");
    return absl::StrCat((*large)->status().ToString(), "|", (*large)->fd(), "|", drain(**small));
  });
  if (seen == kNoNamespace) GTEST_SKIP() << seen;
  EXPECT_NE(seen.find("RESOURCE_EXHAUSTED"), std::string::npos) << seen;
  EXPECT_NE(seen.find("sudo sysctl -w fs.inotify.max_user_watches="), std::string::npos) << seen;
  EXPECT_NE(seen.find("/large\""), std::string::npos) << seen;
  EXPECT_NE(seen.find("|-1|Cg"), std::string::npos) << seen;
}

TEST(InotifyLimits, TooManyInstancesAreRefusedWithTheCure) {
  ScratchDir dir;
  const std::string seen = in_child([&]() -> std::string {
    if (::unshare(CLONE_NEWUSER) != 0 || !write_text("/proc/sys/user/max_inotify_instances", "1"))
      return kNoNamespace;
    const absl::StatusOr<std::unique_ptr<InotifySource>> first = InotifySource::open(dir.path());
    return first.ok() ? InotifySource::open(dir.path()).status().ToString()
                      : "the first was refused";
  });
  if (seen == kNoNamespace) GTEST_SKIP() << seen;
  EXPECT_NE(seen.find("RESOURCE_EXHAUSTED"), std::string::npos) << seen;
  EXPECT_NE(seen.find("sudo sysctl -w fs.inotify.max_user_instances="), std::string::npos) << seen;
}

TEST(InotifyLimits, AnUnreadableDirectoryIsReportedAndWatchedOnceItIsReadable) {
  ScratchDir dir;
  dir.write("root/closed/f", "1");
  dir.write("root/open/f", "1");
  std::filesystem::permissions(dir.path(), std::filesystem::perms::all);
  const std::string seen = in_child([&]() -> std::string {
    if (::geteuid() == 0) {
      for (const char* name : {"root", "root/closed", "root/closed/f", "root/open"}) {
        if (::chown((dir / name).c_str(), 65534, 65534) != 0) return "chown";
      }
      if (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0)
        return "setuid";
    }
    ::chmod((dir / "root/closed").c_str(), 0);
    absl::StatusOr<std::unique_ptr<InotifySource>> source = InotifySource::open(dir / "root");
    if (!source.ok()) return source.status().ToString();
    drain(**source);
    std::string out;
    for (const Problem& problem : (*source)->problems())
      absl::StrAppend(&out, problem.path, ": ", problem.message, "|");
    dir.write("root/open/g", "1");
    absl::StrAppend(&out, drain(**source), "|");
    ::chmod((dir / "root/closed").c_str(), 0700);
    absl::StrAppend(&out, drain(**source));
    return out;
  });
  EXPECT_EQ(seen, "closed: not readable, not watched: Permission denied|Copen/g|Cclosed/f");
}

void git(const ScratchDir& dir, const std::string& arguments) {
  const std::string command =
      "env -i PATH=/usr/bin:/bin HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 git -C '" + dir.path() +
      "' -c user.name=n -c user.email=e -c advice.detachedHead=false " + arguments +
      " >/dev/null 2>&1";
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

std::map<std::string, std::string> contents(const std::string& root) {
  std::map<std::string, std::string> out;
  for (auto at = std::filesystem::recursive_directory_iterator(root);
       at != std::filesystem::recursive_directory_iterator(); ++at) {
    if (at->path().filename() == ".git") {
      at.disable_recursion_pending();
      continue;
    }
    const std::string path = at->path().string().substr(root.size() + 1);
    std::ifstream in(at->path(), std::ios::binary);
    out[path] = at->is_directory() ? "/" : std::string(std::istreambuf_iterator<char>(in), {});
  }
  return out;
}

TEST(InotifySource, ACheckoutBetweenTwoCommitsLosesAndDoublesNothing) {
  WatchedDir dir;
  git(dir, "init -q .");
  std::mt19937 random(3);
  const auto name = [](unsigned i) { return absl::StrCat("d", i % 40, "/e", i % 7, "/file", i); };
  for (unsigned i = 0; i < 2000; ++i) dir.write(name(i), absl::StrCat("first ", i));
  git(dir, "add -A");
  git(dir, "commit -q -m first");
  for (unsigned i = 0; i < 2000; ++i) {
    const unsigned kind = random() % 4;
    if (kind == 0 || i % 40 < 4) dir.remove(name(i));
    if (kind == 1 && i % 40 >= 4) dir.write(name(i), absl::StrCat("other ", i));
    if (kind == 2) dir.write(absl::StrCat("new", i % 9, "/", i), "x");
  }
  for (unsigned i = 0; i < 4; ++i) dir.remove(absl::StrCat("d", i));
  git(dir, "add -A");
  git(dir, "commit -q -m second");
  git(dir, "tag second");
  dir.watch();
  for (const char* to : {"second~1", "second", "second~1"}) {
    const std::map<std::string, std::string> before = contents(dir.path());
    const uint64_t clock = dir.source->tree().clock();
    git(dir, absl::StrCat("checkout -q ", to));
    const std::map<std::string, std::string> after = contents(dir.path());
    std::map<std::string, ChangeKind> expected;
    for (const auto& [path, text] : before) {
      if (!after.contains(path)) expected[path] = ChangeKind::deleted;
    }
    for (const auto& [path, text] : after) {
      const auto old = before.find(path);
      if (old == before.end()) expected[path] = ChangeKind::created;
      if (old != before.end() && old->second != text) expected[path] = ChangeKind::modified;
    }
    const auto kinds = [](const std::vector<Change>& changes) {
      std::map<std::string, ChangeKind> out;
      for (const Change& change : changes)
        EXPECT_TRUE(out.emplace(change.path, change.kind).second) << change.path;
      return out;
    };
    ASSERT_GT(expected.size(), 800U);
    EXPECT_EQ(kinds(dir.batch().changes), expected) << to;
    EXPECT_EQ(kinds(dir.source->tree().since(clock).changes), expected) << to;
    EXPECT_FALSE(dir.source->vcs_locked());
  }
}

class RandomEdits {
 public:
  RandomEdits(const ScratchDir& dir, unsigned seed) : dir_(dir), random_(seed) {}

  void edit() {
    std::error_code ignored;
    const std::string a = dir_ / any();
    const std::string b = dir_ / any();
    switch (random_() % 8) {
      case 0:
        std::filesystem::create_directories(a, ignored);
        break;
      case 1:
      case 2:
      case 3:
        std::ofstream(a, std::ios::binary) << std::string(random_() % 50, 'x');
        break;
      case 4:
        if (random_() % 2 == 0) std::filesystem::remove_all(a, ignored);
        break;
      case 5:
      case 6:
        std::filesystem::rename(a, b, ignored);
        break;
      default:
        std::filesystem::create_symlink("x", a, ignored);
    }
  }
  unsigned next() { return static_cast<unsigned>(random_()); }

 private:
  std::string any() {
    std::string path(1, static_cast<char>('a' + random_() % 6));
    for (unsigned depth = random_() % 4; depth > 0; --depth) {
      path += '/';
      path += static_cast<char>('a' + random_() % 6);
    }
    return path;
  }
  const ScratchDir& dir_;
  std::mt19937 random_;
};

// What a mirror that follows the batches holds: is it what the file system holds?
void follow(Truth& mirror, const Tree& tree, const std::vector<Change>& changes) {
  for (const Change& change : changes) {
    if (change.kind == ChangeKind::deleted) EXPECT_EQ(mirror.erase(change.path), 1U) << change.path;
    if (change.kind == ChangeKind::renamed)
      EXPECT_EQ(mirror.erase(change.renamed_from), 1U) << change.renamed_from;
  }
  for (const Change& change : changes) {
    if (change.kind == ChangeKind::deleted) continue;
    const EntryState state = tree.state(tree.find_path(change.path));
    mirror[change.path] = describe_truth(state.kind, state.size, state.inode);
  }
}

TEST(InotifySource, FiveThousandRandomEditsAreFollowedExactly) {
  WatchedDir dir;
  dir.watch();
  constexpr unsigned kSeed = 20'261;
  RandomEdits edits(dir, kSeed);
  Truth mirror;
  Truth since_mirror;
  uint64_t clock = dir.source->tree().clock();
  for (int done = 0; done < 5000;) {
    for (unsigned burst = 1 + edits.next() % 25; burst > 0; --burst, ++done) edits.edit();
    // Sometimes the reader is in the middle of its work when the next edits come.
    for (unsigned steps = edits.next() % 3; steps > 0; --steps) {
      (void)dir.source->read_events(1 + edits.next() % 5);
      edits.edit();
      (void)dir.source->scan_some(1);
      edits.edit();
      done += 2;
    }
    const Batch batch = dir.batch();
    const Tree& tree = dir.source->tree();
    const Truth truth = walk(dir.path());
    ASSERT_EQ(known_to(tree), truth) << "seed " << kSeed << " after " << done;
    follow(mirror, tree, batch.changes);
    // A directory's inode may change hands without a report: mkdir after rmdir of the same name.
    for (auto& [path, state] : mirror) {
      if (truth.contains(path) && state.starts_with("1 ")) state = truth.at(path);
    }
    ASSERT_EQ(mirror, truth) << "seed " << kSeed << " after " << done << ": "
                             << text_of(batch.changes);
    if (edits.next() % 4 == 0) {
      follow(since_mirror, tree, tree.since(clock).changes);
      for (auto& [path, state] : since_mirror) {
        if (truth.contains(path) && state.starts_with("1 ")) state = truth.at(path);
      }
      ASSERT_EQ(since_mirror, truth) << "seed " << kSeed << " after " << done;
      clock = tree.clock();
    }
    ASSERT_EQ(dir.kernel_watches(), tree.directories()) << "seed " << kSeed << " after " << done;
  }
}

TEST(InotifySource, ALargeTreeIsScannedFastAndInSmallSteps) {
  WatchedDir dir;
  for (int d = 0; d < 500; ++d) {
    dir.make(absl::StrCat("d", d % 25, "/e", d));
    for (int f = 0; f < 20; ++f) {
      Fd(::open((dir / absl::StrCat("d", d % 25, "/e", d, "/file", f, ".cpp")).c_str(),
                O_CREAT | O_WRONLY | O_CLOEXEC, 0644))
          .reset();
    }
  }
  auto source = *InotifySource::open(dir.path());
  const auto start = ThreadCpuClock::now();
  std::chrono::nanoseconds longest{0};
  int steps = 0;
  for (bool more = true; more; ++steps) {
    const auto step = ThreadCpuClock::now();
    more = source->scan_some();
    longest = std::max(longest, ThreadCpuClock::now() - step);
  }
  const auto took = ThreadCpuClock::now() - start;
  RecordProperty(
      "scan_us",
      static_cast<int>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
  RecordProperty(
      "longest_step_us",
      static_cast<int>(std::chrono::duration_cast<std::chrono::microseconds>(longest).count()));
  EXPECT_EQ(source->tree().entries(), 10'000U + 500U + 25U);
  EXPECT_GE(steps, 10);
  // Ten times what it takes on an idle machine.
  EXPECT_LT(took, std::chrono::milliseconds(500));
}

}  // namespace
}  // namespace zsync::watching
