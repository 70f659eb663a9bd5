// A scratch directory with a source over it, and the truth of the file system to compare with.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

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

class WatchedDir : public ScratchDir {
 public:
  // Begins to watch what is there.
  void watch(FilterOptions options = {.default_ignores = false}, std::string_view below = "") {
    const std::string root = below.empty() ? path() : *this / below;
    absl::StatusOr<std::unique_ptr<InotifySource>> opened =
        InotifySource::open(root, std::move(options));
    ASSERT_TRUE(opened.ok()) << opened.status();
    source = *std::move(opened);
    EXPECT_TRUE(settle().empty());
    EXPECT_TRUE(source->ready());
  }

  // Takes in what has happened, until nothing is left; the kernel queues events before a system
  // call returns.
  std::vector<Change> settle() {
    std::vector<Change> out;
    bool more = true;
    while (more) {
      more = source->read_events();
      more |= source->scan_some();
      for (Change& change : source->take_changes()) out.push_back(std::move(change));
      struct pollfd ready = {source->fd(), POLLIN, 0};
      more |= ::poll(&ready, 1, 0) > 0 && source->fd() >= 0;
    }
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

  std::unique_ptr<InotifySource> source;
};

}  // namespace zsync::watching
