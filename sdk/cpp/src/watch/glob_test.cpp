#include "watch/glob.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <tuple>
#include <vector>

#include "watch/cpu_clock_test.hpp"

namespace zsync::watching {
namespace {

bool matches(std::string_view pattern, std::string_view path) {
  absl::StatusOr<Glob> glob = Glob::compile(pattern);
  EXPECT_TRUE(glob.ok()) << glob.status();
  return glob.ok() && glob->matches(path);
}

TEST(Glob, EveryFormMatchesWhatItSays) {
  const std::vector<std::tuple<std::string, std::string, bool>> cases = {
      {"*.cpp", "a.cpp", true},
      {"*.cpp", "x/y/a.cpp", true},
      {"*.cpp", "a.cppx", false},
      {"/*.cpp", "a.cpp", true},
      {"/*.cpp", "x/a.cpp", false},
      {"./src/*.cpp", "src/a.cpp", true},
      {"src/*.cpp", "src/a.cpp", true},
      {"src/*.cpp", "x/src/a.cpp", false},
      {"src/*.cpp", "src/x/a.cpp", false},
      {"src/**/*.cpp", "src/a.cpp", true},
      {"src/**/*.cpp", "src/x/y/a.cpp", true},
      {"src/**/*.cpp", "srcx/a.cpp", false},
      {"**/t/*", "t/a", true},
      {"**/t/*", "x/y/t/a", true},
      {"**/t/*", "x/yt/a", false},
      {"src/**", "src/a/b", true},
      {"src/**", "src", false},
      {"src/", "src/a", true},
      {"src/", "x/src/a/b", true},
      {"src/", "src", false},
      {"/src/", "x/src/a", false},
      {"**", "a/b", true},
      {"/", "a/b", true},
      {"?", "a", true},
      {"?", "ab", false},
      {"?", "\xC3\xA9", true},
      {"???", "\xE2\x82\xACxy", true},
      {"a?b", "a/b", false},
      {"[a-c]x", "bx", true},
      {"[!a-c]x", "bx", false},
      {"[^a-c]x", "\xC3\xA9x", true},
      {"[]a]x", "]x", true},
      {"[[:digit:]]*", "7up", true},
      {"[a-]", "-", true},
      {"*.{c,h}{,pp}", "x/a.hpp", true},
      {"*.{c,h}{,pp}", "a.c", true},
      {"*.{c,h}{,pp}", "a.cp", false},
      {"{src,test/{unit,e2e}}/*.py", "test/e2e/a.py", true},
      {"{src,test/{unit,e2e}}/*.py", "test/a.py", false},
      {"{**/,}x/y", "a/b/x/y", true},
      {"a{b}c", "abc", true},
      {"\\*", "*", true},
      {"\\*", "a", false},
      {"\\{a\\}", "{a}", true},
      {"a,b", "a,b", true},
      {".*", ".hidden", true},
      {"*", ".hidden", true},
      {"a**b", "axxb", true},
      {"/a**b", "ax/xb", false},
      {"\xFF*", "\xFF\xFE", true},
  };
  for (const auto& [pattern, path, expected] : cases) {
    EXPECT_EQ(matches(pattern, path), expected) << pattern << " on " << path;
  }
}

TEST(Glob, ABadPatternIsRefusedWithItsCure) {
  for (const char* bad : {"", "!a", "{a", "a}", "[a", "a\\", "[[:nope:]]", "[\xC3\xA9]"}) {
    EXPECT_EQ(Glob::compile(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_FALSE(Glob::compile(std::string(kGlobBytesMax + 1, 'a')).ok());
  EXPECT_FALSE(Glob::compile(std::string(kGlobBraceDepthMax + 1, '{')).ok());
  EXPECT_NE(Glob::compile("x[").status().message().find("\"x[\""), absl::string_view::npos);
  EXPECT_NE(Glob::compile("!x").status().message().find("ignore"), absl::string_view::npos);
}

// The processor time of patterns that make a backtracking matcher try every way, on a text of
// `length` letters and a path half as deep.
std::chrono::nanoseconds cost_of_hostile_patterns(int length) {
  std::string stars;
  std::string double_stars;
  std::string braces;
  for (int i = 0; i < 250; ++i) {
    stars += "*a";
    double_stars += "**/";
    braces += "{a,b,ab,{a,aa}}";
  }
  const std::string text(static_cast<size_t>(length), 'a');
  std::string deep;
  for (int i = 0; i < length / 2; ++i) deep += "a/";
  const auto start = ThreadCpuClock::now();
  EXPECT_FALSE(matches("/" + stars + "b", text));
  EXPECT_FALSE(matches("/" + double_stars + "b", deep + "c"));
  EXPECT_FALSE(matches("/" + braces + "c", text));
  EXPECT_TRUE(matches("/" + double_stars + "c", deep + "c"));
  return ThreadCpuClock::now() - start;
}

TEST(Glob, HostilePatternsTakeLinearTime) {
  const auto once = cost_of_hostile_patterns(1000);
  EXPECT_LT(cost_of_hostile_patterns(4000), 8 * once) << "squared it would be 16 times as much";
}

TEST(GlobSet, TheEmptySetMatchesEverythingAndAnotherOneAnyOfItsGlobs) {
  EXPECT_TRUE(GlobSet().matches("anything"));
  const std::vector<std::string> patterns = {"*.c", "docs/**"};
  const absl::StatusOr<GlobSet> set = GlobSet::compile(patterns);
  ASSERT_TRUE(set.ok());
  EXPECT_TRUE(set->matches("x/a.c"));
  EXPECT_TRUE(set->matches("docs/a.txt"));
  EXPECT_FALSE(set->matches("a.txt"));
  EXPECT_FALSE(GlobSet::compile(std::vector<std::string>(kGlobCountMax + 1, "a")).ok());
}

}  // namespace
}  // namespace zsync::watching
