// Every source as a parameter of a test, over a directory of its own.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "watch/poll_source.hpp"
#include "watch/uv_source.hpp"
#include "watch/watched_dir_test.hpp"

namespace zsync::watching {

inline Opener opener_of(WatchSource source) {
  if (source == WatchSource::inotify) return open_inotify;
  if (source == WatchSource::polling) {
    return [](std::string_view root, FilterOptions options) {
      return PollSource::open(root, std::move(options), std::chrono::milliseconds(5));
    };
  }
  // Without the rescan that would make up for what it missed.
  return [](std::string_view root, FilterOptions options) {
    return UvSource::open(root, std::move(options), std::chrono::nanoseconds(0));
  };
}

class EverySource : public ::testing::TestWithParam<WatchSource> {
 protected:
  EverySource() : open(opener_of(GetParam())), dir(open) {}

  // Renames are seen as such by inotify only.
  static std::string either(const char* with_renames, const char* without) {
    return GetParam() == WatchSource::inotify ? with_renames : without;
  }
  static bool polls() { return GetParam() == WatchSource::polling; }
  // What a source that watches so many directories holds.
  static size_t held(size_t directories) { return polls() ? 0 : directories; }

  const Opener open;
  WatchedDir dir;
};

inline std::string name_of_source(const ::testing::TestParamInfo<WatchSource>& source) {
  if (source.param == WatchSource::inotify) return "Inotify";
  return source.param == WatchSource::polling ? "Polling" : "FsEvents";
}

#define ZS_FOR_EVERY_SOURCE(suite)                                                           \
  INSTANTIATE_TEST_SUITE_P(                                                                  \
      Sources, suite,                                                                        \
      ::testing::Values(WatchSource::inotify, WatchSource::fs_events, WatchSource::polling), \
      name_of_source)

// Those that the kernel tells.
#define ZS_FOR_TOLD_SOURCE(suite)                                                           \
  INSTANTIATE_TEST_SUITE_P(Sources, suite,                                                  \
                           ::testing::Values(WatchSource::inotify, WatchSource::fs_events), \
                           name_of_source)

}  // namespace zsync::watching
