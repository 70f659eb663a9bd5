#include "watch/open_source.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "watch/child_test.hpp"
#include "watch/file_system.hpp"
#include "watch/watched_dir_test.hpp"

namespace zsync::watching {
namespace {

using namespace std::chrono_literals;

TEST(OpenSource, GivesTheOneThatIsAskedFor) {
  ScratchDir dir;
  for (const WatchSource asked :
       {WatchSource::inotify, WatchSource::fs_events, WatchSource::polling}) {
    const auto source = open_source(dir.path(), {.source = asked});
    ASSERT_TRUE(source.ok()) << source.status();
    EXPECT_EQ((*source)->kind(), asked);
    EXPECT_EQ((*source)->fallback(), "");
    EXPECT_EQ((*source)->polling_allowed(), std::nullopt);
  }
}

TEST(OpenSource, AutomaticIsTheKernelsWhereTheFileSystemIsThisMachines) {
  ScratchDir dir;
  if (remote_file_system_of(dir.path())) GTEST_SKIP() << "TMPDIR is not on this machine";
  const auto source = open_source(dir.path(), {.poll_interval = 1s});
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->kind(), WatchSource::inotify);
  EXPECT_EQ((*source)->fallback(), "");
  EXPECT_EQ((*source)->polling_allowed(), 1s);
}

TEST(OpenSource, ABadRequestIsRefusedWithTheReason) {
  ScratchDir dir;
  EXPECT_TRUE(absl::IsNotFound(open_source(dir / "none").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(open_source("relative").status()));
  for (const auto interval : {std::chrono::nanoseconds(9ms), std::chrono::nanoseconds(2h)}) {
    EXPECT_TRUE(
        absl::IsInvalidArgument(open_source(dir.path(), {.poll_interval = interval}).status()));
  }
}

TEST(OpenSource, WithoutAnInotifyInstanceTheTreeIsPolledAndSaysWhy) {
  ScratchDir dir;
  const std::string seen = in_child([&]() -> std::string {
    if (!limit_this_process("max_inotify_instances", "1")) return kNoNamespace;
    const auto first = open_source(dir.path());
    const auto second = open_source(dir.path());
    if (!first.ok() || !second.ok()) return "not opened";
    drain(**second);
    dir.write("f", "1");
    return absl::StrCat((*second)->kind() == WatchSource::polling, "|", drain(**second), "|",
                        (*second)->fallback());
  });
  if (seen == kNoNamespace) GTEST_SKIP() << seen;
  EXPECT_TRUE(seen.starts_with("1|Cf|watching \"")) << seen;
  EXPECT_NE(seen.find("sudo sysctl -w fs.inotify.max_user_instances="), std::string::npos) << seen;
}

TEST(PollSource, LooksWhenItsTimeHasComeAndNotBefore) {
  ScratchDir dir;
  auto source = *PollSource::open(dir.path(), {}, 1h);
  work_off(*source);
  const auto due = source->due();
  ASSERT_TRUE(due.has_value());
  EXPECT_GT(*due, Source::Clock::now() + 59min);
  dir.write("f", "1");
  work_off(*source);
  EXPECT_TRUE(source->take_changes().empty());
  EXPECT_EQ(source->due(), due);
  source->rescan();
  EXPECT_TRUE(source->rescanning());
  EXPECT_EQ(source->due(), std::nullopt);
  work_off(*source);
  EXPECT_EQ(text_of(source->take_changes()), "Cf");
  EXPECT_GT(*source->due(), *due);
}

TEST(PollSource, TakesThePlaceOfASourceThatHasFailedAndItsClockGoesOn) {
  ScratchDir dir;
  dir.write("root/d/same", "1");
  dir.write("root/d/gone", "1");
  const std::string seen = in_child([&]() -> std::string {
    if (!limit_this_process("max_inotify_watches", "20")) return kNoNamespace;
    absl::StatusOr<std::unique_ptr<Source>> source = open_source(dir / "root");
    if (!source.ok()) return source.status().ToString();
    drain(**source);
    dir.write("root/before", "1");
    const std::string before = drain(**source);
    const uint64_t clock = (*source)->tree().clock();
    for (int i = 0; i < 30; ++i) dir.make("root/n/" + std::to_string(i));
    dir.remove("root/d/gone");
    std::vector<Change> changes;
    while ((*source)->status().ok()) {
      (void)(*source)->read_events();
      (void)(*source)->scan_some();
      for (Change& change : (*source)->take_changes()) changes.push_back(std::move(change));
    }
    std::unique_ptr<Source> polling = PollSource::instead_of(*std::move(source), 1h);
    bool more = true;
    while (more) {
      more = polling->read_events();
      more |= polling->scan_some();
      for (Change& change : polling->take_changes()) changes.push_back(std::move(change));
    }
    Batcher batcher("test");
    batcher.add(changes, polling->tree().clock(), {});
    std::string out = absl::StrCat(before, "|", std::string(gap_name(polling->take_gap())), "|");
    const bool complete = known_to(polling->tree()) == walk(dir / "root");
    absl::StrAppend(&out, complete ? "complete" : "not complete", "|");
    const std::string reported = text_of(batcher.flush().value_or(Batch{}).changes);
    const std::string since = text_of(polling->tree().since(clock).changes);
    absl::StrAppend(&out, reported == since ? "as since" : reported + " is not " + since, "|");
    return out + reported.substr(0, 10) + "|" + polling->fallback();
  });
  if (seen == kNoNamespace) GTEST_SKIP() << seen;
  EXPECT_TRUE(seen.starts_with("Cbefore|rescan|complete|as since|")) << seen;
  EXPECT_NE(seen.find("|Dd/gone"), std::string::npos) << seen;
  EXPECT_NE(seen.find("sudo sysctl -w fs.inotify.max_user_watches="), std::string::npos) << seen;
}

}  // namespace
}  // namespace zsync::watching
