#include "watch/content.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>

#include "watch/scratch_dir_test.hpp"

namespace zsync::watching {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

class Filtering : public ::testing::Test {
 protected:
  // As the tree would tell of the file now.
  Change change(const std::string& path, ChangeKind kind = ChangeKind::modified) {
    const Content content = files_[path];
    return {path, kind, {}, false, content.size, content.mtime_ns};
  }
  void write(const std::string& path, uint8_t text, int64_t at_ns) {
    files_[path] = {true, {text}, 1, at_ns, at_ns};
  }
  ContentFilter make(size_t files_max = 100) {
    return ContentFilter(
        [this](const std::string& path) {
          ++reads_;
          return files_[path];
        },
        files_max);
  }
  std::map<std::string, Content> files_;
  int reads_ = 0;
};

TEST_F(Filtering, AFileThatWasTouchedIsNoChangeAndOneWithOtherContentIs) {
  ContentFilter filter = make();
  write("a", 1, kSecond);
  EXPECT_TRUE(filter.tells(change("a"))) << "nobody knows what was there";
  write("a", 1, 2 * kSecond);
  EXPECT_FALSE(filter.tells(change("a")));
  write("a", 2, 3 * kSecond);
  EXPECT_TRUE(filter.tells(change("a")));
  EXPECT_FALSE(filter.tells(change("a")));
  write("a", 1, 4 * kSecond);
  EXPECT_TRUE(filter.tells(change("a"))) << "what counts is what was told last";
}

TEST_F(Filtering, WhatWasThereBeforeIsKnownUnlessItMayHaveChangedSince) {
  ContentFilter filter = make();
  write("old", 1, kSecond);
  write("late", 1, 5 * kSecond);
  const Change seen = change("old");
  filter.learn(seen, 5 * kSecond);
  filter.learn(change("late"), 5 * kSecond);
  write("other", 1, kSecond);
  Change other = change("other");
  write("other", 2, 2 * kSecond);
  filter.learn(other, 5 * kSecond);
  EXPECT_EQ(filter.files(), 1U);
  EXPECT_FALSE(filter.tells(change("old")));
  EXPECT_TRUE(filter.tells(change("late"))) << "its change is still to be told";
  EXPECT_TRUE(filter.tells(change("other"))) << "it is not as the tree knew it";
}

TEST_F(Filtering, WhatIsDeletedCreatedOrRenamedIsAlwaysTold) {
  ContentFilter filter = make();
  write("a", 1, kSecond);
  EXPECT_TRUE(filter.tells(change("a", ChangeKind::created)));
  EXPECT_TRUE(filter.tells(change("a", ChangeKind::deleted)));
  EXPECT_EQ(filter.files(), 0U);
  EXPECT_TRUE(filter.tells(change("a", ChangeKind::created))) << "the same content, back again";
  write("b", 1, kSecond);
  Change renamed = change("b", ChangeKind::renamed);
  renamed.renamed_from = "a";
  EXPECT_TRUE(filter.tells(renamed));
  EXPECT_EQ(filter.files(), 1U);
  EXPECT_FALSE(filter.tells(change("b"))) << "it is known under its new name";
}

TEST_F(Filtering, AFileThatIsGoneByTheTimeItIsReadIsTold) {
  ContentFilter filter = make();
  write("a", 1, kSecond);
  EXPECT_TRUE(filter.tells(change("a")));
  files_["a"] = {};
  EXPECT_TRUE(filter.tells(change("a")));
  EXPECT_EQ(filter.files(), 0U);
}

TEST_F(Filtering, FilesBeyondTheLimitAreAlwaysToldAndNotRead) {
  ContentFilter filter = make(1);
  write("a", 1, kSecond);
  write("b", 1, kSecond);
  EXPECT_TRUE(filter.tells(change("a")));
  reads_ = 0;
  EXPECT_TRUE(filter.tells(change("b")));
  EXPECT_TRUE(filter.tells(change("b")));
  EXPECT_EQ(reads_, 0);
  EXPECT_FALSE(filter.tells(change("a")));
  EXPECT_TRUE(filter.tells(change("a", ChangeKind::deleted)));
  EXPECT_TRUE(filter.tells(change("b")));
  EXPECT_FALSE(filter.tells(change("b"))) << "there is room again";
}

TEST(ReadContent, TellsBytesPermissionsKindAndTargetApart) {
  ScratchDir dir;
  EXPECT_FALSE(read_content(dir / "f").there);
  dir.write("f", "one");
  const Content one = read_content(dir / "f");
  EXPECT_EQ(one.size, 3U);
  dir.write("f", "two");
  const Content two = read_content(dir / "f");
  EXPECT_NE(one, two);
  dir.write("f", "one");
  EXPECT_EQ(read_content(dir / "f"), one);
  ASSERT_EQ(::chmod((dir / "f").c_str(), 0700), 0);
  EXPECT_NE(read_content(dir / "f"), one);
  std::filesystem::create_symlink("a", dir / "link");
  const Content link = read_content(dir / "link");
  std::filesystem::remove(dir / "link");
  std::filesystem::create_symlink("b", dir / "link");
  EXPECT_NE(read_content(dir / "link"), link);
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_TRUE(read_content(dir / "fifo").there) << "and does not wait for a writer";
}

TEST(ReadContent, AMarkIsEqualForEqualContentAndEmptyForAFileThatIsGone) {
  ScratchDir dir;
  EXPECT_EQ(content_mark(dir / "f"), "");
  dir.write("f", "one");
  const std::string one = content_mark(dir / "f");
  dir.write("f", "two");
  EXPECT_NE(content_mark(dir / "f"), one);
  dir.write("f", "one");
  EXPECT_EQ(content_mark(dir / "f"), one);
}

TEST(ReadContent, OfAFileThatIsTooLargeTheTimesStandForIt) {
  ScratchDir dir;
  dir.write("large", "");
  ASSERT_EQ(::truncate((dir / "large").c_str(), static_cast<off_t>(kContentBytesMax) + 1), 0);
  const auto touch = [&](time_t at) {
    const struct timespec times[2] = {{at, 0}, {at, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (dir / "large").c_str(), times, 0), 0);
  };
  touch(1);
  const Content before = read_content(dir / "large");
  EXPECT_EQ(read_content(dir / "large"), before);
  touch(2);
  EXPECT_NE(read_content(dir / "large"), before);
}

}  // namespace
}  // namespace zsync::watching
