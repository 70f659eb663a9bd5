#include "daemon/projects/step_files.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>

#include "watch/scratch_dir_test.hpp"

namespace zsync::daemon {
namespace {

class StepFilesTest : public ::testing::Test {
 protected:
  StepFilesTest() {
    files_.root = dir_.path();
    files_.command = "make";
    dir_.write("src/a.c", "a");
    dir_.write("src/deep/b.c", "b");
    dir_.write("notes.txt", "n");
  }
  StepLook look() {
    const absl::StatusOr<StepLook> look = look_at(files_);
    EXPECT_TRUE(look.ok()) << look.status();
    return look.ok() ? *look : StepLook();
  }
  // Whether `change` makes a difference for a step with these inputs.
  template <typename Change>
  bool differs(std::vector<std::string> inputs, const Change& change) {
    files_.inputs = std::move(inputs);
    const std::string before = look().print;
    change();
    return look().print != before;
  }

  watching::ScratchDir dir_;
  StepFiles files_;
};

TEST_F(StepFilesTest, TheBytesPathsAndPermissionsOfInputsCountAndNothingElse) {
  const std::vector<std::string> sources{"src/**"};
  EXPECT_FALSE(differs(sources, [&] { dir_.write("src/a.c", "a"); })) << "written anew, the same";
  EXPECT_FALSE(differs(sources, [&] { dir_.write("notes.txt", "other"); }));
  EXPECT_TRUE(differs(sources, [&] { dir_.write("src/deep/b.c", "B"); }));
  EXPECT_TRUE(differs(sources, [&] { dir_.write("src/new.c", ""); }));
  EXPECT_TRUE(differs(sources, [&] { dir_.remove("src/new.c"); }));
  EXPECT_TRUE(differs(sources, [&] { dir_.rename("src/a.c", "src/c.c"); }));
  EXPECT_TRUE(differs(sources, [&] { ::chmod((dir_ / "src/c.c").c_str(), 0755); }));
  EXPECT_TRUE(differs(sources, [&] { files_.command = "make all"; }));
}

TEST_F(StepFilesTest, AGlobWithoutASlashIsLookedForAtAnyDepth) {
  EXPECT_TRUE(differs({"b.c"}, [&] { dir_.write("src/deep/b.c", "B"); }));
  EXPECT_FALSE(differs({"/b.c"}, [&] { dir_.write("src/deep/b.c", "b"); })) << "the root's only";
  EXPECT_TRUE(differs({"/b.c"}, [&] { dir_.write("b.c", "b"); }));
}

TEST_F(StepFilesTest, WhatAStepMakesIsNoInputOfIt) {
  files_.outputs = {"src/gen/**"};
  EXPECT_FALSE(differs({"src/**"}, [&] { dir_.write("src/gen/x.c", "x"); }));
}

TEST_F(StepFilesTest, EachGlobOfOutputsHasToMatchAFile) {
  files_.inputs = {"src/**"};
  files_.outputs = {"bin/app", "*.log"};
  EXPECT_FALSE(look().outputs_there);
  dir_.write("bin/app", "");
  EXPECT_FALSE(look().outputs_there);
  dir_.write("deep/er/x.log", "");
  EXPECT_TRUE(look().outputs_there);
  dir_.remove("bin/app");
  dir_.make("bin/app");
  EXPECT_FALSE(look().outputs_there) << "a directory is no file";
}

TEST_F(StepFilesTest, OfInputsThatAreNotThereNobodyCanSayWhetherTheyHaveChanged) {
  files_.inputs = {"proto/**"};
  EXPECT_EQ(look().print, "");
  dir_.write("proto/x.proto", "");
  EXPECT_NE(look().print, "");
}

TEST_F(StepFilesTest, EveryWayToWriteAGlobFindsTheSameFiles) {
  for (const char* glob : {"./src/**", "/src/**", "src/", "src/**/*.c", "**/*.c", "*.c"}) {
    EXPECT_TRUE(differs({glob}, [&] { dir_.write("src/deep/b.c", glob); })) << glob;
  }
  files_.outputs = {"./src/a.c", "src/"};
  EXPECT_TRUE(look().outputs_there);
  for (const char* glob : {"../x/**", "src//a.c", "src/./a.c", "src/../x", "[", ""}) {
    EXPECT_FALSE(check_step_glob(glob).ok()) << glob;
  }
  for (const char* glob : {"./src/**", "/src", "src/", "*.c"}) {
    EXPECT_TRUE(check_step_glob(glob).ok()) << glob;
  }
}

TEST_F(StepFilesTest, AProjectWhoseDirectoryIsALinkHasItsFiles) {
  std::filesystem::create_symlink(dir_.path(), dir_ / "src/link");
  files_.root = dir_ / "src/link";
  EXPECT_TRUE(differs({"*.c"}, [&] { dir_.write("src/a.c", "b"); }));
}

TEST_F(StepFilesTest, ALookThatNobodyWaitsForEnds) {
  const std::atomic<bool> stop{true};
  files_.inputs = {"src/**"};
  EXPECT_TRUE(absl::IsCancelled(look_at(files_, &stop).status()));
}

TEST_F(StepFilesTest, LinksCountByWhereTheyLeadAndAreNotFollowed) {
  dir_.write("elsewhere/x", "1");
  std::filesystem::create_symlink(dir_ / "elsewhere", dir_ / "src/link");
  const std::vector<std::string> sources{"src/**"};
  EXPECT_FALSE(differs(sources, [&] { dir_.write("elsewhere/x", "2"); }));
  EXPECT_TRUE(differs(sources, [&] {
    dir_.remove("src/link");
    std::filesystem::create_symlink(dir_ / "src/deep", dir_ / "src/link");
  }));
}

TEST_F(StepFilesTest, TheRepositoryOfGitIsNotLookedAt) {
  EXPECT_FALSE(differs({"**"}, [&] { dir_.write(".git/index", "x"); }));
  EXPECT_TRUE(differs({"**"}, [&] { dir_.write(".gitignore", "x"); }));
}

TEST_F(StepFilesTest, TooManyInputsAreRefusedWithTheLimit) {
  for (size_t i = 0; i < 1001; ++i) {
    dir_.make("many/" + std::to_string(i));
  }
  // Hard links of one file are files as any other, and quickly made.
  dir_.write("many/file", "");
  const size_t in_each = kStepFilesMax / 1000;
  for (size_t i = 0; i < 1001; ++i) {
    const std::string target = dir_ / ("many/" + std::to_string(i) + "/");
    for (size_t k = 0; k < in_each; ++k) {
      ASSERT_EQ(::link((dir_ / "many/file").c_str(), (target + std::to_string(k)).c_str()), 0);
    }
  }
  files_.inputs = {"many/**"};
  const absl::StatusOr<StepLook> look = look_at(files_);
  EXPECT_TRUE(absl::IsResourceExhausted(look.status()));
  EXPECT_THAT(std::string(look.status().message()),
              ::testing::HasSubstr("step_files_max = 100000"));
}

}  // namespace
}  // namespace zsync::daemon
