#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "watch/cpu_clock_test.hpp"
#include "watch/watched_dir_test.hpp"

namespace zsync::watching {
namespace {

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
