#include "diagnostics/symbols.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdlib>

#include "absl/strings/match.h"

namespace zsync {
namespace {

__attribute__((noinline)) void here() { asm volatile(""); }

TEST(Symbols, AFunctionThatIsNotExportedHasItsName) {
  Symbols symbols;
  EXPECT_EQ(symbols.known(reinterpret_cast<const void*>(&here)), nullptr);
  EXPECT_EQ(symbols.of(reinterpret_cast<const void*>(&here)).function,
            "zsync::(anonymous namespace)::here()");
  EXPECT_NE(symbols.known(reinterpret_cast<const void*>(&here)), nullptr);
}

TEST(Symbols, CodeOfALibraryIsFoundToo) {
  Symbols symbols;
  EXPECT_TRUE(
      absl::StrContains(symbols.of(reinterpret_cast<const void*>(&std::abort)).function, "abort"));
}

TEST(Symbols, WhatIsInNoFileIsShownByItsAddress) {
  void* const page =
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  Symbols symbols;
  EXPECT_TRUE(absl::StartsWith(symbols.of(page).function, "0x"));
  ::munmap(page, 4096);
}

TEST(Symbols, TheMiddleOfAFunctionIsNotTakenForIt) {
  Symbols symbols;
  const char* const inside = reinterpret_cast<const char*>(&here) + 1;
  EXPECT_TRUE(absl::StrContains(symbols.of(inside).function, "+0x"));
}

}  // namespace
}  // namespace zsync
