#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "zsync/trace/context.hpp"

namespace zsync::trace {
namespace {

using ::testing::HasSubstr;

std::string refusal(std::string_view header) {
  return std::string(TraceState::parse(header).status().message());
}

TEST(TraceState, KeepsTheMembersOfOthersInTheirOrder) {
  const auto state = TraceState::parse("congo=t61rcWkgMzE , rojo=00f067aa0ba902b7,,1a@b=c d");
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->to_header(), "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7,1a@b=c d");
  EXPECT_EQ(state->get("rojo"), "00f067aa0ba902b7");
  EXPECT_EQ(state->get("1a@b"), "c d");
  EXPECT_EQ(state->get("ojo"), std::nullopt);
}

TEST(TraceState, WhoWritesComesFirstAndOnlyOnce) {
  auto state = *TraceState::parse("congo=1,zs=old,rojo=2");
  ASSERT_TRUE(state.set("zs", "new").ok());
  EXPECT_EQ(state.to_header(), "zs=new,congo=1,rojo=2");
}

TEST(TraceState, WhatTheFormatCannotHoldIsNamed) {
  EXPECT_THAT(refusal("congo"), HasSubstr("\"congo\": not key=value"));
  EXPECT_THAT(refusal("Congo=1"), HasSubstr("a key is"));
  EXPECT_THAT(refusal("a@b@c=1"), HasSubstr("a key is"));
  EXPECT_THAT(refusal("=1"), HasSubstr("a key is"));
  EXPECT_THAT(refusal("a="), HasSubstr("a value is"));
  EXPECT_THAT(refusal("a=b=c"), HasSubstr("a value is"));
  EXPECT_THAT(refusal("a=\x01"), HasSubstr("\\x01"));
  EXPECT_THAT(refusal("a=1,b=2,a=3"), HasSubstr("there twice"));
  TraceState state;
  EXPECT_FALSE(state.set("a", "ends with a space ").ok());
  EXPECT_FALSE(state.set("a=b", "c").ok());
  EXPECT_FALSE(state.set("a", "b,c=d").ok());
  EXPECT_TRUE(state.empty());
}

TEST(TraceState, HasUpTo32Members) {
  std::vector<std::string> members;
  for (int i = 0; i < 32; ++i) members.push_back(absl::StrCat("k", i, "=v"));
  auto state = TraceState::parse(absl::StrJoin(members, ","));
  ASSERT_TRUE(state.ok()) << state.status();
  ASSERT_TRUE(state->set("new", "v").ok());  // the last one goes
  EXPECT_EQ(state->get("k31"), std::nullopt);
  EXPECT_EQ(state->get("k30"), "v");
  members.push_back("k32=v");
  EXPECT_THAT(refusal(absl::StrJoin(members, ",")), HasSubstr("more than 32"));
}

TEST(TraceState, OverItsBytesLongMembersGoFirstAndThenTheLast) {
  const std::string big = absl::StrCat("big=", std::string(200, 'x'));
  std::vector<std::string> members{big};
  for (int i = 0; i < 10; ++i) members.push_back(absl::StrCat("k", i, "=", std::string(40, 'v')));
  const auto state = *TraceState::parse(absl::StrJoin(members, ","));
  EXPECT_LE(state.to_header().size(), TraceState::kBytesMax);
  EXPECT_EQ(state.get("big"), std::nullopt);
  EXPECT_NE(state.get("k9"), std::nullopt);

  members.erase(members.begin());
  for (int i = 10; i < 15; ++i) members.push_back(absl::StrCat("k", i, "=", std::string(40, 'v')));
  const auto cut = *TraceState::parse(absl::StrJoin(members, ","));
  EXPECT_NE(cut.get("k0"), std::nullopt);
  EXPECT_EQ(cut.get("k14"), std::nullopt);
}

}  // namespace
}  // namespace zsync::trace
