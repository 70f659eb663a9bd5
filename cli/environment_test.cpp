#include "cli/environment.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace zsync::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

const char* const kCaller[] = {"PATH=/bin", "LC_ALL=C", "MY_OWN=1", "CARGO_REGISTRY_TOKEN=secret",
                               "TZ=\xff",   "=odd",     nullptr};

TEST(Environment, OnlyNamedVariablesOfTheCallerAreCaptured) {
  EXPECT_THAT(*capture_environment(kCaller, {}),
              ElementsAre(Pair("LC_ALL", "C"), Pair("PATH", "/bin")));
}

TEST(Environment, OverridesAndPassedVariablesComeOnTop) {
  EXPECT_THAT(
      *capture_environment(kCaller, {{"PATH=/x", "NEW="}, {"MY_OWN"}, false}),
      ElementsAre(Pair("LC_ALL", "C"), Pair("MY_OWN", "1"), Pair("NEW", ""), Pair("PATH", "/x")));
}

TEST(Environment, ClearedItHoldsOnlyWhatWasNamed) {
  EXPECT_THAT(*capture_environment(kCaller, {{"A=b"}, {"MY_OWN"}, true}),
              ElementsAre(Pair("A", "b"), Pair("MY_OWN", "1")));
}

TEST(Environment, WhatLooksLikeASecretIsPassedOnlyByName) {
  EXPECT_FALSE(is_captured("CARGO_REGISTRY_TOKEN"));
  EXPECT_FALSE(is_captured("NPM_PASSWORD"));
  EXPECT_TRUE(capture_environment(kCaller, {{}, {"CARGO_REGISTRY_TOKEN"}, true})
                  ->contains("CARGO_REGISTRY_TOKEN"));
}

TEST(Environment, AnUnsetOrUnsendableVariableThatWasAskedForIsAnError) {
  EXPECT_FALSE(capture_environment(kCaller, {{}, {"ABSENT"}, false}).ok());
  EXPECT_FALSE(capture_environment(kCaller, {{}, {"TZ"}, false}).ok());
  EXPECT_FALSE(capture_environment(kCaller, {{"NOPAIR"}, {}, false}).ok());
}

}  // namespace
}  // namespace zsync::cli
