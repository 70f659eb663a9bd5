// Watchers in the table of rt/cancel_test.hpp.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "rt/cancel_test.hpp"
#include "zsync/watch/watcher.hpp"

namespace zsync {
namespace {

struct OfTree : Subject {
  OfTree() { EXPECT_NE(::mkdtemp(path.data()), nullptr); }
  ~OfTree() override {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  Task<void> complete() override { co_return; }
  std::string path = (std::filesystem::temp_directory_path() / "zsync-watch-XXXXXX").string();
};
struct OpenWatcher final : OfTree {
  Task<bool> operate() override {
    absl::StatusOr<Watcher> watcher = co_await Watcher::open({.path = path});
    if (watcher.ok()) co_await watcher->close();
    co_return watcher.ok();
  }
  Task<std::string> wrong(bool) override { co_return co_await operate() ? "" : "it does not open"; }
};

INSTANTIATE_TEST_SUITE_P(Watch, CancelAtEveryMoment,
                         ::testing::Values(cancel_row<OpenWatcher>("watcher.hpp open", false)),
                         name_of_row);

}  // namespace
}  // namespace zsync
