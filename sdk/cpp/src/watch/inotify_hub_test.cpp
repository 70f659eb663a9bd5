#include "watch/inotify_hub.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "watch/watched_dir_test.hpp"
#include "zsync/zsync.hpp"

namespace zsync::watching {
namespace {

using namespace std::chrono_literals;

std::shared_ptr<InotifyHub> open_hub() {
  absl::StatusOr<std::shared_ptr<InotifyHub>> hub = InotifyHub::open("/", true);
  EXPECT_TRUE(hub.ok()) << hub.status();
  return *hub;
}

std::unique_ptr<Source> watched(const std::string& root, std::shared_ptr<InotifyHub> hub,
                                FilterOptions filter = {}) {
  absl::StatusOr<std::unique_ptr<InotifySource>> source =
      InotifySource::open(root, std::move(filter), nullptr, std::move(hub));
  EXPECT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(drain(**source), "");
  return *std::move(source);
}

TEST(InotifyHub, OneTreeAndTreesWithinItHaveOneKernelWatchADirectory) {
  ScratchDir dir;
  for (const char* path : {"a/b/c", "a/d", "e"}) dir.make(path);
  auto hub = open_hub();
  auto all = watched(dir.path(), hub);
  const size_t once = hub->watches();
  auto again = watched(dir.path(), hub, {.ignore = {"*.o"}});
  auto nested = watched(dir / "a", hub);
  EXPECT_EQ(hub->watches(), once) << "6 directories";
  dir.write("a/b/f.o", "1");
  EXPECT_EQ(drain(*nested), "Cb/f.o");
  EXPECT_EQ(drain(*all), "Ca/b/f.o") << "also what another one has taken from the kernel";
  EXPECT_EQ(drain(*again), "");
  // Those that are left keep theirs.
  all.reset();
  EXPECT_EQ(hub->watches(), once);
  again.reset();
  EXPECT_EQ(hub->watches(), 4U);
  dir.write("a/b/f.o", "12");
  dir.make("a/new");
  EXPECT_EQ(drain(*nested), "Mb/f.o Cnew");
  EXPECT_EQ(hub->watches(), 5U);
  dir.remove("a/new");
  EXPECT_EQ(drain(*nested), "Dnew");
  EXPECT_EQ(hub->watches(), 4U);
  nested.reset();
  EXPECT_EQ(hub->watches(), 0U);
}

TEST(InotifyHub, AFullQueueOfTheKernelIsAGapForEveryMember) {
  ScratchDir dir;
  dir.write("a/1", "x");
  dir.write("b/1", "x");
  auto hub = open_hub();
  auto a = watched(dir / "a", hub);
  auto b = watched(dir / "b", hub);
  size_t queue = 16'384;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> queue;
  if (queue > 200'000) GTEST_SKIP() << "max_queued_events is " << queue;
  dir.write("a/2", "x");
  for (size_t i = 0; i < queue / 2 + 100; ++i) {
    ASSERT_EQ(::chmod((dir / "a/1").c_str(), i % 2 == 0 ? 0600 : 0644), 0);
    ASSERT_EQ(::chmod((dir / "a/2").c_str(), i % 2 == 0 ? 0600 : 0644), 0);
  }
  dir.write("b/2", "x");
  EXPECT_TRUE(drain(*b).starts_with("C2"));
  EXPECT_EQ(b->take_gap(), Gap::overflow);
  (void)drain(*a);
  EXPECT_EQ(a->take_gap(), Gap::overflow);
  EXPECT_EQ(known_to(a->tree()), walk(dir / "a"));
}

// The kernel's queue is emptied by others; what is kept for one that does not read has an end.
TEST(InotifyHub, AMemberThatDoesNotReadIsToldThatItMissedSomethingAndOthersMissNothing) {
  ScratchDir dir;
  dir.make("a");
  auto hub = open_hub();
  auto slow = watched(dir.path(), hub);
  auto quick = watched(dir / "a", hub);
  const std::string name(200, 'n');
  const size_t enough = kMemberBytesMax / 200;
  size_t changes = 0;
  for (size_t i = 0; changes < enough; ++i) {
    const std::string path = dir / ("a/" + name + std::to_string(i % 4'000));
    changes += 2;
    std::ofstream(path, std::ios::binary) << "x";
    if (i % 1'000 == 0) (void)drain(*quick);
  }
  (void)drain(*quick);
  EXPECT_EQ(quick->take_gap(), Gap::none);
  (void)drain(*slow);
  EXPECT_EQ(slow->take_gap(), Gap::overflow);
  EXPECT_EQ(known_to(slow->tree()), walk(dir.path()));
  EXPECT_EQ(known_to(quick->tree()), walk(dir / "a"));
}

Task<void> wakes(ScratchDir& dir) {
  auto hub = open_hub();
  SpawnOptions background;
  background.background = true;
  TaskHandle<absl::Status> reading = spawn(std::move(background), InotifyHub::read(hub));
  auto source = watched(dir / "a", hub);
  auto other = watched(dir / "b", hub);
  rt::Fd ready = *rt::Fd::adopt(::dup(source->fd()));
  for (int i = 0; i < 20; ++i) {
    dir.write("a/f" + std::to_string(i), "1");
    EXPECT_TRUE((co_await ready.readable()).ok());
    EXPECT_EQ(drain(*source), "Cf" + std::to_string(i));
  }
  struct pollfd quiet = {other->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&quiet, 1, 0), 0) << "what happens elsewhere wakes nobody";
  reading.cancel();
  (void)co_await timeout(std::move(reading), 20s);
}

TEST(InotifyHub, EventsWakeTheMemberTheyConcernAndNoOther) {
  ScratchDir dir;
  dir.make("a");
  dir.make("b");
  run(wakes(dir));
}

}  // namespace
}  // namespace zsync::watching
