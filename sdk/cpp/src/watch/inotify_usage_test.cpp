#include "watch/inotify_usage.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "watch/watched_dir_test.hpp"

namespace zsync::watching {
namespace {

InotifyUser own(const InotifyUsage& usage) {
  const auto found = std::find_if(usage.users.begin(), usage.users.end(),
                                  [](const InotifyUser& user) { return user.pid == ::getpid(); });
  return found == usage.users.end() ? InotifyUser{} : *found;
}

TEST(InotifyUsage, CountsInstancesAndWatchesOfAProcess) {
  const InotifyUser before = own(inotify_usage());
  WatchedDir dir;
  for (int i = 0; i < 5; ++i) dir.make("d" + std::to_string(i));
  dir.watch();
  const Fd duplicate(::dup(dir.source->fd()));
  const InotifyUsage usage = inotify_usage();
  const InotifyUser after = own(usage);
  EXPECT_EQ(after.instances, before.instances + 1);
  EXPECT_EQ(after.watches, before.watches + 6);
  EXPECT_FALSE(after.command.empty());
  EXPECT_GE(usage.watches, after.watches);
  EXPECT_GT(usage.watches_max, 0U);
}

TEST(InotifyUsage, TheCureIsALineThatIsEnough) {
  EXPECT_EQ(raise_watches_command(1), "sudo sysctl -w fs.inotify.max_user_watches=524288");
  EXPECT_EQ(raise_watches_command(600'000), "sudo sysctl -w fs.inotify.max_user_watches=1048576");
}

}  // namespace
}  // namespace zsync::watching
