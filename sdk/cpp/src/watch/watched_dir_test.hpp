// A scratch directory with a source over it, and the truth of the file system to compare with.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "watch/batcher.hpp"
#include "watch/inotify_source.hpp"
#include "watch/scratch_dir_test.hpp"

namespace zsync::watching {

// By path: kind, size of files, inode.
using Truth = std::map<std::string, std::string>;

inline std::string describe_truth(EntryKind kind, uint64_t size, uint64_t inode) {
  return std::to_string(static_cast<int>(kind)) + " " +
         std::to_string(kind == EntryKind::directory ? 0 : size) + " " + std::to_string(inode);
}

inline Truth walk(const std::string& root) {
  Truth out;
  const auto options = std::filesystem::directory_options::none;
  for (const auto& at : std::filesystem::recursive_directory_iterator(root, options)) {
    struct stat st = {};
    EXPECT_EQ(::lstat(at.path().c_str(), &st), 0);
    EntryKind kind = EntryKind::other;
    if (S_ISREG(st.st_mode)) kind = EntryKind::file;
    if (S_ISDIR(st.st_mode)) kind = EntryKind::directory;
    if (S_ISLNK(st.st_mode)) kind = EntryKind::symlink;
    out[at.path().string().substr(root.size() + 1)] =
        describe_truth(kind, static_cast<uint64_t>(st.st_size), st.st_ino);
  }
  return out;
}

inline Truth known_to(const Tree& tree) {
  Truth out;
  for (const Change& change : tree.everything()) {
    const EntryState state = tree.state(tree.find_path(change.path));
    out[change.path] = describe_truth(state.kind, state.size, state.inode);
  }
  return out;
}

inline std::string text_of(const std::vector<Change>& changes) {
  std::string out;
  for (const Change& change : changes) {
    if (!out.empty()) out += ' ';
    out += std::string("CMDR").substr(static_cast<size_t>(change.kind), 1) + change.path;
    if (!change.renamed_from.empty()) out += "<" + change.renamed_from;
  }
  return out;
}

using Opener =
    std::function<absl::StatusOr<std::unique_ptr<Source>>(std::string_view, FilterOptions)>;

inline absl::StatusOr<std::unique_ptr<Source>> open_inotify(std::string_view root,
                                                            FilterOptions options) {
  return InotifySource::open(root, std::move(options));
}

// Waits as the owner of a source does -> whether there is something to read.
inline bool wait_for(const Source& source, std::chrono::nanoseconds at_most) {
  const auto end = std::min(Source::Clock::now() + at_most,
                            source.due().value_or(Source::Clock::time_point::max()));
  const auto left = std::max<std::chrono::nanoseconds>(end - Source::Clock::now(), {});
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  const struct timespec timeout = {seconds.count(), (left - seconds).count()};
  struct pollfd ready = {source.fd(), POLLIN, 0};
  const bool readable = ::ppoll(&ready, 1, &timeout, nullptr) > 0;
  return readable || (source.due() && Source::Clock::now() >= *source.due());
}

// Lets the source do all that it has to do now.
inline void work_off(Source& source) {
  bool more = true;
  while (more) {
    more = source.read_events();
    more |= source.scan_some();
  }
}

// The same -> what it tells; a source without a kernel looks at everything.
inline std::string drain(Source& source) {
  if (source.fd() < 0 && !source.scanning()) source.rescan();
  work_off(source);
  return text_of(source.take_changes());
}

class WatchedDir : public ScratchDir {
 public:
  explicit WatchedDir(Opener opener = open_inotify) : opener_(std::move(opener)) {}

  // Begins to watch what is there.
  void watch(FilterOptions options = {.default_ignores = false}, std::string_view below = "") {
    const std::string root = below.empty() ? path() : *this / below;
    absl::StatusOr<std::unique_ptr<Source>> opened = opener_(root, std::move(options));
    ASSERT_TRUE(opened.ok()) << opened.status();
    source = *std::move(opened);
    EXPECT_TRUE(settle().empty());
    EXPECT_TRUE(source->ready());
  }

  // Takes in what has happened, until nothing is left; the kernel queues events before a system
  // call returns, and a source without a kernel looks when its time has come.
  std::vector<Change> settle() {
    std::vector<Change> out;
    take_in(out);
    if (source->fd() >= 0) return out;
    // What was being scanned may have been passed before the latest change.
    EXPECT_TRUE(wait_for(*source, std::chrono::seconds(20)));
    take_in(out);
    return out;
  }

  // The same as one batch.
  Batch batch() {
    Batcher batcher("test");
    const std::vector<Change> changes = settle();
    batcher.add(changes, source->tree().clock(), {});
    batcher.add_gap(source->take_gap(), source->tree().clock(), {});
    return batcher.flush().value_or(Batch{});
  }
  std::string seen() { return text_of(batch().changes); }

  // Watches that the kernel holds for the source.
  [[nodiscard]] size_t kernel_watches() const {
    std::ifstream info("/proc/self/fdinfo/" + std::to_string(source->fd()));
    size_t count = 0;
    for (std::string line; std::getline(info, line);)
      count += line.starts_with("inotify wd:") ? 1 : 0;
    return count;
  }

  std::unique_ptr<Source> source;

 private:
  void take_in(std::vector<Change>& out) {
    bool more = true;
    while (more) {
      more = source->read_events();
      more |= source->scan_some();
      for (Change& change : source->take_changes()) out.push_back(std::move(change));
      more |= source->fd() >= 0 && wait_for(*source, std::chrono::seconds(0));
    }
  }

  const Opener opener_;
};

}  // namespace zsync::watching
