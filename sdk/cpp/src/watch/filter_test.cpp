#include "watch/filter.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "watch/scratch_dir_test.hpp"

namespace zsync::watching {
namespace {

// Git that reads no configuration but the repository's own.
std::string git(const ScratchDir& dir, const std::string& arguments) {
  return "env -i PATH=/usr/bin:/bin HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 git -C '" + dir.path() +
         "' " + arguments;
}

void run(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

std::set<std::string> ignored_by_git(const ScratchDir& dir, const std::vector<std::string>& paths) {
  const std::string list = dir / ".git/paths";
  std::ofstream out(list, std::ios::binary);
  for (const std::string& path : paths) out << path << '\0';
  out.close();
  const std::string command = git(dir, "check-ignore --no-index -z --stdin < '" + list + "'");
  FILE* pipe = ::popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  std::string text;
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, n);
  ::pclose(pipe);
  std::set<std::string> found;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\0', at);
    found.insert(text.substr(at, end - at));
    at = end + 1;
  }
  return found;
}

struct Listing {
  std::vector<std::string> paths;
  std::set<std::string> directories;
};

Listing list(const ScratchDir& dir) {
  Listing out;
  for (auto at = std::filesystem::recursive_directory_iterator(dir.path());
       at != std::filesystem::recursive_directory_iterator(); ++at) {
    const std::string path = at->path().string().substr(dir.path().size() + 1);
    if (path == ".git") {
      at.disable_recursion_pending();
      continue;
    }
    out.paths.push_back(path);
    if (at->is_directory() && !at->is_symlink()) out.directories.insert(path);
  }
  return out;
}

size_t compare_with_git(const ScratchDir& dir, const Listing& listing, const std::string& about) {
  const std::set<std::string> expected = ignored_by_git(dir, listing.paths);
  absl::StatusOr<Filter> filter = Filter::open(dir.path(), {.default_ignores = false});
  EXPECT_TRUE(filter.ok());
  for (const std::string& path : listing.paths) {
    filter->read_rules_along(path);
    const bool is_directory = listing.directories.contains(path);
    EXPECT_EQ(filter->ignored(path, is_directory), expected.contains(path))
        << path << " with " << about;
  }
  return listing.paths.size();
}

void make_tree(const ScratchDir& dir) {
  run(git(dir, "init -q ."));
  for (const char* file : {"a",
                           "b.o",
                           "foo",
                           "foobar",
                           "fo o",
                           "foo ",
                           "#hash",
                           "!bang",
                           "a.b.c",
                           "x[1]",
                           "star*",
                           "back\\slash",
                           "-dash",
                           "src/a.o",
                           "src/foo",
                           "src/foo.c",
                           "src/deep/foo",
                           "src/deep/er/foo.log",
                           "src/deep/keep.log",
                           "docs/a.md",
                           "docs/b/c.md",
                           "docs/b/d/e.md",
                           "out/x",
                           "out/keep/y",
                           "out/deep/out/z",
                           "lib/foo/bar",
                           "lib/foobar/baz",
                           "lib/x/foo/bar",
                           "abc/def/ghi",
                           "abc/x/ghi",
                           "abc/ghi",
                           "tmp/1",
                           "tmp/2.tmp",
                           "\xFFraw",
                           "caf\xC3\xA9"}) {
    dir.write(file, "x");
  }
  std::filesystem::create_directory_symlink("src", dir / "link");
}

const std::vector<std::string> kRules = {"foo",
                                         "/foo",
                                         "foo/",
                                         "*.o",
                                         "*.o\n!src/a.o",
                                         "src/*.o",
                                         "/src/",
                                         "src/\n!src/foo",
                                         "src/*\n!src/foo",
                                         "src/**",
                                         "src/**/foo",
                                         "**/foo",
                                         "**/foo/bar",
                                         "foo/bar",
                                         "lib/**/bar",
                                         "lib/foo**",
                                         "lib/foo*/baz",
                                         "lib/*/bar",
                                         "lib/**bar",
                                         "**",
                                         "*",
                                         "*\n!*/\n!*.md",
                                         "/*\n!/docs",
                                         "/*\n!/docs/\n/docs/*\n!/docs/b",
                                         "foo ",
                                         "foo\\ ",
                                         "foo \\ ",
                                         "fo o",
                                         "  foo",
                                         "\\#hash",
                                         "#hash",
                                         "\\!bang",
                                         "!bang",
                                         "!",
                                         "/",
                                         "//",
                                         "",
                                         "\\",
                                         "foo\\",
                                         "x[1]",
                                         "x\\[1\\]",
                                         "x[[]1]",
                                         "star\\*",
                                         "star[*]",
                                         "back\\\\slash",
                                         "[a-c]",
                                         "[!a]*",
                                         "[^a]*",
                                         "[]-]dash",
                                         "[[:alpha:]]",
                                         "[[:alnum:][:punct:]]*",
                                         "[[:nope:]]*",
                                         "[a",
                                         "[",
                                         "[]",
                                         "a.?.c",
                                         "???",
                                         "?",
                                         "a?b?c",
                                         "out\n!out/keep",
                                         "out/*\n!out/keep",
                                         "/out/deep/**/z",
                                         "out/**/",
                                         "**/out/",
                                         "**/deep/**",
                                         "abc/**/ghi",
                                         "abc/*/ghi",
                                         "abc**ghi",
                                         "abc/**ghi",
                                         "abc/**/**/ghi",
                                         "**/**/ghi",
                                         "abc\\/ghi",
                                         "abc/**\\/ghi",
                                         "/abc/",
                                         "abc//ghi",
                                         "tmp/*\n!tmp/*.tmp",
                                         "*.tmp/",
                                         "link",
                                         "link/",
                                         "link/foo",
                                         "\xFF*",
                                         "caf?",
                                         "caf??",
                                         "caf[\xC3]\xA9",
                                         "\xEF\xBB\xBF"
                                         "foo",
                                         "foo\r\nb.o\r",
                                         "\r\n",
                                         "foo\t",
                                         "*foo",
                                         "*foo/",
                                         "*/foo",
                                         "/*/foo",
                                         "/**/foo",
                                         "f*o",
                                         "foo*",
                                         "!foo\nfoo",
                                         "foo\n!foo",
                                         "foo\n!foo\nfoo",
                                         "-dash",
                                         "docs/b",
                                         "docs/b/",
                                         "docs/b/**",
                                         "docs/*/*",
                                         "**/b/d",
                                         "docs/**/*.md",
                                         "*.md\n!docs/**/e.md",
                                         "a\\b",
                                         "\\f\\o\\o",
                                         "[f-]oo",
                                         "[g-a]",
                                         "[--z]oo",
                                         "[!]a-z]hash",
                                         "*b*",
                                         "**b**",
                                         "*/b/*",
                                         "deep/*/*.log"};

TEST(Filter, DecidesAsGitDoesForEachFormOfARule) {
  ScratchDir dir;
  make_tree(dir);
  const Listing listing = list(dir);
  size_t compared = 0;
  for (const std::string& rule : kRules) {
    dir.write(".gitignore", rule);
    compared += compare_with_git(dir, listing, rule);
  }
  EXPECT_GT(compared, 5000U);
}

TEST(Filter, DecidesAsGitDoesForRandomNestedFilesAndInfoExclude) {
  ScratchDir dir;
  make_tree(dir);
  const Listing listing = list(dir);
  const std::vector<std::string> words = {"foo", "src", "*",     "**",  "/",    "/",
                                          "a",   "?",   "[a-f]", "*.o", "docs", "b",
                                          "!",   "out", "keep",  "lib", ".log"};
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    std::string about;
    for (const char* file : {".gitignore", "src/.gitignore", "src/deep/.gitignore",
                             "docs/.gitignore", "out/.gitignore", ".git/info/exclude"}) {
      std::string text;
      for (unsigned lines = random() % 4; lines > 0; --lines) {
        if (random() % 4 == 0) text += '!';
        for (unsigned parts = 1 + random() % 4; parts > 0; --parts)
          text += words[random() % words.size()];
        text += '\n';
      }
      dir.write(file, text);
      about += std::string(file) + ":\n" + text;
    }
    compare_with_git(dir, listing, about);
  }
}

TEST(Filter, ARootInsideAWorkTreeObeysTheFilesAboveIt) {
  ScratchDir dir;
  make_tree(dir);
  dir.write(".gitignore", "/src/foo\n*.log\n");
  dir.write("src/.gitignore", "!keep.log\n");
  dir.write(".git/info/exclude", "a.o\n");
  absl::StatusOr<Filter> filter = Filter::open(dir / "src", {});
  ASSERT_TRUE(filter.ok());
  EXPECT_TRUE(filter->ignored("foo", false));
  EXPECT_FALSE(filter->ignored("deep/foo", false));
  EXPECT_TRUE(filter->ignored("deep/er/foo.log", false));
  EXPECT_FALSE(filter->ignored("deep/keep.log", false));
  EXPECT_TRUE(filter->ignored("a.o", false));
}

TEST(Filter, ALinkedWorkTreeTakesTheExcludeFileOfItsRepository) {
  ScratchDir dir;
  run(git(dir, "init -q main"));
  dir.write("main/a", "x");
  run(git(dir, "-C main add a"));
  run(git(dir, "-C main -c user.name=n -c user.email=e commit -q -m m"));
  run(git(dir, "-C main worktree add -q ../linked 2>/dev/null"));
  dir.write("main/.git/info/exclude", "secret\n");
  absl::StatusOr<Filter> filter = Filter::open(dir / "linked", {});
  ASSERT_TRUE(filter.ok());
  EXPECT_TRUE(filter->ignored("secret", false));
  ASSERT_TRUE(filter->git().has_value());
  EXPECT_EQ(std::filesystem::canonical(filter->git()->git_dir), dir / "main/.git/worktrees/linked");
}

TEST(Filter, DefaultsAreTheWeakestAndTheUsersPatternsTheStrongestRules) {
  ScratchDir dir;
  dir.write(".gitignore", "!target/\n*.log\n");
  absl::StatusOr<Filter> filter =
      Filter::open(dir.path(), {.globs = {"*.c"}, .ignore = {"!wanted.log", "/gen"}});
  ASSERT_TRUE(filter.ok());
  EXPECT_TRUE(filter->ignored("node_modules/x/index.c", false));
  EXPECT_TRUE(filter->ignored("build", true));
  EXPECT_FALSE(filter->ignored("build", false));
  EXPECT_FALSE(filter->ignored("target", true));
  EXPECT_TRUE(filter->ignored("a.log", false));
  EXPECT_FALSE(filter->ignored("x/wanted.log", false));
  EXPECT_TRUE(filter->ignored("gen/a.c", false));
  EXPECT_TRUE(filter->ignored(".git/HEAD", false));
  EXPECT_FALSE(filter->filtered("x/a.c", false));
  EXPECT_TRUE(filter->filtered("x/a.h", false));
}

TEST(Filter, InsideAGitRepositoryBuildAndTargetMayHoldSources) {
  ScratchDir dir;
  absl::StatusOr<Filter> filter = Filter::open(dir.path(), {});
  ASSERT_TRUE(filter.ok());
  EXPECT_TRUE(filter->ignored("target", true));
  run(git(dir, "init -q ."));
  EXPECT_TRUE(filter->refresh_repository());
  EXPECT_FALSE(filter->ignored("target", true));
  EXPECT_FALSE(filter->ignored("sub/build", true));
  EXPECT_TRUE(filter->ignored("node_modules", true));
  EXPECT_FALSE(filter->refresh_repository());
}

TEST(Filter, WithoutGitignoreNoFileIsRead) {
  ScratchDir dir;
  dir.write(".gitignore", "*.c\n");
  absl::StatusOr<Filter> filter =
      Filter::open(dir.path(), {.gitignore = false, .default_ignores = false});
  ASSERT_TRUE(filter.ok());
  filter->read_rules_along("a.c");
  EXPECT_FALSE(filter->ignored("a.c", false));
  EXPECT_FALSE(filter->ignored("build", true));
  EXPECT_EQ(Filter::open(dir.path(), {.globs = {"["}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Filter, RulesFollowARenamedDirectory) {
  ScratchDir dir;
  absl::StatusOr<Filter> filter = Filter::open(dir.path(), {});
  ASSERT_TRUE(filter.ok());
  EXPECT_TRUE(filter->set_rules("a/b", "x\n"));
  EXPECT_FALSE(filter->set_rules("a/b", "x\n"));
  filter->move_rules("a", "c");
  EXPECT_FALSE(filter->ignored("a/b/x", false));
  EXPECT_TRUE(filter->ignored("c/b/x", false));
  filter->drop_rules("c/b");
  EXPECT_FALSE(filter->ignored("c/b/x", false));
}

}  // namespace
}  // namespace zsync::watching
