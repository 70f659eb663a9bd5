// Random edits of a directory, and a mirror that follows what a watch tells of them.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "watch/watched_dir_test.hpp"

namespace zsync::watching {

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
inline void follow(Truth& mirror, const Tree& tree, const std::vector<Change>& changes) {
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

}  // namespace zsync::watching
