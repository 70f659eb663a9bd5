#include "cli/words.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace zsync::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

TEST(Durations, AreWrittenWithUnitsOrAsSeconds) {
  EXPECT_EQ(*parse_duration("500ms"), milliseconds(500));
  EXPECT_EQ(*parse_duration("1m30s"), seconds(90));
  EXPECT_EQ(*parse_duration("2"), seconds(2));
  EXPECT_EQ(*parse_duration("0.5"), milliseconds(500));
  EXPECT_EQ(*parse_duration("1d"), seconds(86400));
}

TEST(Durations, NonsenseIsRefusedWithAnExample) {
  for (const char* text : {"", "s", "-1s", "5x", "1m30", "1e400s", "9999999999h", "nan", " 1s"}) {
    EXPECT_FALSE(parse_duration(text).ok()) << text;
  }
  EXPECT_THAT(std::string(parse_duration("5x").status().message()), ::testing::HasSubstr("1m30s"));
}

TEST(SplitWords, QuotesBackslashesAndCommentsCountAsInAShell) {
  EXPECT_THAT(*split_words("a 'b c' \"d \\\"e\" f\\ g '' # rest"),
              ElementsAre("a", "b c", "d \"e", "f g", ""));
  EXPECT_THAT(*split_words("x#y a'b'\"c\""), ElementsAre("x#y", "abc"));
  EXPECT_THAT(*split_words("  "), ElementsAre());
}

TEST(SplitWords, NothingIsExpanded) {
  EXPECT_THAT(*split_words("echo $HOME *.c ~ `x`"),
              ElementsAre("echo", "$HOME", "*.c", "~", "`x`"));
}

TEST(SplitWords, AnOpenQuoteAndAnOperatorAreErrors) {
  EXPECT_FALSE(split_words("echo 'a").ok());
  EXPECT_FALSE(split_words("echo \"a").ok());
  EXPECT_FALSE(split_words("a | b").ok());
  EXPECT_FALSE(split_words("a > f").ok());
  EXPECT_TRUE(split_words("a '|' \\> \"&\"").ok());
}

TEST(Pairs, NeedAKey) {
  EXPECT_EQ(parse_pair("a=b=c", "-e")->second, "b=c");
  EXPECT_EQ(parse_pair("a=", "-e")->second, "");
  EXPECT_FALSE(parse_pair("a", "-e").ok());
  EXPECT_FALSE(parse_pair("=a", "-e").ok());
}

TEST(Utf8, OverlongSurrogatesAndCutSequencesAreNotText) {
  EXPECT_TRUE(is_utf8("aé€😀"));
  for (const char* text :
       {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    EXPECT_FALSE(is_utf8(text));
  }
}

}  // namespace
}  // namespace zsync::cli
