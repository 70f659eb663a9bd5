#include "daemon/diagnostics/diagnostic_sets.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace zsync::daemon {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr size_t kAll = 1 << 30;

std::vector<Diagnostic> said(const std::string& path, std::vector<std::string> messages) {
  std::vector<Diagnostic> diagnostics;
  for (std::string& message : messages) {
    Diagnostic diagnostic;
    diagnostic.path = path;
    diagnostic.message = std::move(message);
    diagnostics.push_back(std::move(diagnostic));
  }
  return diagnostics;
}

bool say(DiagnosticSets& sets, const std::string& source, const std::string& path,
         std::vector<std::string> messages) {
  return sets.replace({path, source}, said(path, std::move(messages)), "task_1", 7);
}

// "source:path=message,message", one for each set.
std::vector<std::string> texts(const std::vector<DiagnosticSet>& sets) {
  std::vector<std::string> texts;
  for (const DiagnosticSet& set : sets) {
    std::string text = absl::StrCat(set.key.source, ":", set.key.path, "=");
    for (const Diagnostic& diagnostic : set.diagnostics) {
      absl::StrAppend(&text, text.back() == '=' ? "" : ",", diagnostic.message);
    }
    texts.push_back(std::move(text));
  }
  return texts;
}

std::vector<std::string> listed(const DiagnosticSets& sets, const DiagnosticFilter& filter = {}) {
  return texts(sets.list(filter, "", 1000, kAll).sets);
}

TEST(DiagnosticSets, WhatASourceSaysLastOfAPathIsWhatThereIs) {
  DiagnosticSets sets;
  EXPECT_TRUE(say(sets, "make", "/a", {"one", "two"}));
  EXPECT_TRUE(say(sets, "lint", "/a", {"three"}));
  EXPECT_TRUE(say(sets, "make", "/a", {"two"}));
  EXPECT_FALSE(say(sets, "make", "/a", {"two"}));
  EXPECT_THAT(listed(sets), ElementsAre("lint:/a=three", "make:/a=two"));
  EXPECT_TRUE(say(sets, "make", "/a", {}));
  EXPECT_FALSE(say(sets, "make", "/a", {}));
  EXPECT_THAT(listed(sets), ElementsAre("lint:/a=three"));
  EXPECT_THAT(sets.paths_of("make"), IsEmpty());
  EXPECT_THAT(sets.paths_of("lint"), ElementsAre("/a"));
}

TEST(DiagnosticSets, FiltersTakeADirectoryASourceAndSeverities) {
  DiagnosticSets sets;
  say(sets, "make", "/w/a", {"one"});
  say(sets, "make", "/w/a-b/c", {"two"});
  say(sets, "lint", "/w/a/d", {"three"});
  EXPECT_THAT(listed(sets, {"", "/w/a", Severity::kNote}),
              ElementsAre("make:/w/a=one", "lint:/w/a/d=three"));
  EXPECT_THAT(listed(sets, {"make", "", Severity::kNote}),
              ElementsAre("make:/w/a=one", "make:/w/a-b/c=two"));
  std::vector<Diagnostic> mixed = said("/w/e", {"bad", "so so"});
  mixed[1].severity = Severity::kWarning;
  sets.replace({"/w/e", "x"}, mixed, "task_1", 7);
  EXPECT_THAT(listed(sets, {"x", "", Severity::kError}), ElementsAre("x:/w/e=bad"));
  EXPECT_THAT(listed(sets, {"x", "", Severity::kWarning}), ElementsAre("x:/w/e=bad,so so"));
}

TEST(DiagnosticSets, PagesTogetherAreTheWhole) {
  DiagnosticSets sets;
  for (int i = 0; i < 10; ++i) say(sets, absl::StrCat("s", i % 3), absl::StrCat("/f", i), {"x"});
  for (const size_t page_max : {1, 3, 10}) {
    std::vector<std::string> all;
    std::string token;
    do {
      const DiagnosticSets::Page page = sets.list({}, token, page_max, kAll);
      EXPECT_LE(page.sets.size(), page_max);
      for (std::string& text : texts(page.sets)) all.push_back(std::move(text));
      token = page.next;
    } while (!token.empty());
    EXPECT_EQ(all, listed(sets));
  }
  EXPECT_EQ(sets.list({}, "", 1000, 1).sets.size(), 1u);
}

TEST(DiagnosticSets, ASubscriberGetsWhatIsThereAndThenEachChangeOnce) {
  DiagnosticSets sets;
  say(sets, "make", "/a", {"one"});
  say(sets, "make", "/gone", {"old"});
  say(sets, "make", "/gone", {});
  DiagnosticSets::Cursor cursor;
  DiagnosticSets::Changes changes = sets.changes({}, cursor, kAll);
  EXPECT_TRUE(changes.reset && changes.current);
  EXPECT_THAT(texts(changes.sets), ElementsAre("make:/a=one"));
  EXPECT_THAT(texts(sets.changes({}, cursor, kAll).sets), IsEmpty());
  say(sets, "make", "/b", {"two"});
  say(sets, "make", "/a", {"three"});
  say(sets, "make", "/a", {});
  changes = sets.changes({}, cursor, kAll);
  EXPECT_FALSE(changes.reset);
  EXPECT_THAT(texts(changes.sets), ElementsAre("make:/b=two", "make:/a="));
}

TEST(DiagnosticSets, ASubscriberThatReadsInPartsMissesNothing) {
  DiagnosticSets sets;
  for (int i = 0; i < 5; ++i) say(sets, "make", absl::StrCat("/f", i), {"x"});
  DiagnosticSets::Cursor cursor;
  DiagnosticSets::Changes changes = sets.changes({}, cursor, 0);
  EXPECT_TRUE(changes.reset && !changes.current);
  EXPECT_THAT(texts(changes.sets), ElementsAre("make:/f0=x"));
  say(sets, "make", "/f0", {});     // told, so its end is told, too
  say(sets, "make", "/f1", {"y"});  // not told yet: once is enough
  std::vector<std::string> rest;
  do {
    changes = sets.changes({}, cursor, 0);
    EXPECT_FALSE(changes.reset);
    for (std::string& text : texts(changes.sets)) rest.push_back(std::move(text));
  } while (!changes.current);
  EXPECT_THAT(rest,
              ElementsAre("make:/f2=x", "make:/f3=x", "make:/f4=x", "make:/f0=", "make:/f1=y"));
}

TEST(DiagnosticSets, WhoMissedAnEndThatIsForgottenBeginsAnew) {
  DiagnosticSets sets({.cleared_max = 1});
  for (const char* path : {"/a", "/b", "/c"}) say(sets, "make", path, {"x"});
  DiagnosticSets::Cursor cursor;
  sets.changes({}, cursor, kAll);
  say(sets, "make", "/a", {});
  say(sets, "make", "/b", {});
  const DiagnosticSets::Changes changes = sets.changes({}, cursor, kAll);
  EXPECT_TRUE(changes.reset);
  EXPECT_THAT(texts(changes.sets), ElementsAre("make:/c=x"));
  EXPECT_FALSE(sets.changes({}, cursor, kAll).reset);
}

TEST(DiagnosticSets, BeyondTheLimitWhatChangedLongestAgoGoes) {
  DiagnosticSets sets({.diagnostics_max = 3});
  say(sets, "make", "/a", {"one", "two"});
  say(sets, "make", "/b", {"three"});
  DiagnosticSets::Cursor cursor;
  sets.changes({}, cursor, kAll);
  say(sets, "lint", "/c", {"four"});
  EXPECT_THAT(listed(sets), ElementsAre("make:/b=three", "lint:/c=four"));
  EXPECT_EQ(sets.left_out(), 2u);
  EXPECT_THAT(sets.take_evicted(), ElementsAre(SetKey{"/a", "make"}));
  EXPECT_THAT(texts(sets.changes({}, cursor, kAll).sets), ElementsAre("lint:/c=four", "make:/a="));
  EXPECT_EQ(sets.diagnostics(), 2u);
}

TEST(DiagnosticSets, VersionsGrowOverGenerations) {
  DiagnosticSets before;
  before.begin_generation(1);
  say(before, "make", "/a", {"one"});
  const DiagnosticSet saved = *before.find({"/a", "make"});
  say(before, "make", "/a", {"never saved"});
  const uint64_t told = before.find({"/a", "make"})->version;
  DiagnosticSets after;
  after.load(saved);
  after.begin_generation(2);
  say(after, "make", "/a", {"two"});
  EXPECT_GT(after.find({"/a", "make"})->version, told);
}

}  // namespace
}  // namespace zsync::daemon
