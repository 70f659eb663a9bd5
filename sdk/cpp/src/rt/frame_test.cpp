#include "zsync/rt/frame.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

namespace zsync::rt {
namespace {

constexpr size_t kPieceBytes = 208;
constexpr size_t kMegabyte = 1024 * 1024;

size_t resident_bytes() {
  size_t pages = 0;
  size_t resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

std::vector<void*> take_pieces(size_t count, size_t bytes) {
  std::vector<void*> pieces;
  pieces.reserve(count);
  for (size_t i = 0; i < count; ++i) pieces.push_back(frame_cache.take(bytes));
  return pieces;
}
void give_pieces(std::vector<void*>& pieces, size_t bytes) {
  for (void* piece : pieces) frame_cache.give(piece, bytes);
}

TEST(FrameMemory, PiecesThatAreInUseDoNotOverlapAndKeepTheirAlignment) {
  if (!FrameCache::kEnabled) GTEST_SKIP() << "every piece is an allocation under a sanitizer";
  // Enough for several chunks, so that small and large pages are among them.
  std::vector<void*> pieces = take_pieces(30'000, kPieceBytes);
  for (void* piece : pieces) std::memset(piece, 0x5a, kPieceBytes);
  std::vector<void*> sorted = pieces;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i + 1 < sorted.size(); ++i) {
    ASSERT_GE(static_cast<char*>(sorted[i + 1]) - static_cast<char*>(sorted[i]),
              static_cast<ptrdiff_t>(kPieceBytes));
    ASSERT_EQ(reinterpret_cast<uintptr_t>(sorted[i]) % kFrameGranule, 0u);
  }
  give_pieces(pieces, kPieceBytes);
}

TEST(FrameMemory, WhatManyPiecesTookGoesBackToTheSystemExceptAFewChunks) {
  if (!FrameCache::kEnabled) GTEST_SKIP() << "every piece is an allocation under a sanitizer";
  constexpr size_t kPieces = 400'000;  // 80 MiB
  std::vector<void*> pieces;
  pieces.reserve(kPieces);
  std::fill_n(std::back_inserter(pieces), kPieces, nullptr);
  const size_t before = resident_bytes();
  for (void*& piece : pieces) {
    piece = frame_cache.take(kPieceBytes);
    std::memset(piece, 0x5a, kPieceBytes);
  }
  const size_t full = resident_bytes();
  EXPECT_GT(full, before + kPieces * kPieceBytes * 3 / 4);
  EXPECT_LT(full, before + kPieces * kPieceBytes * 5 / 4);
  give_pieces(pieces, kPieceBytes);
  EXPECT_LT(resident_bytes(), before + 24 * kMegabyte);
}

TEST(FrameMemory, ASizeThatIsUsedLittleTakesLittle) {
  if (!FrameCache::kEnabled) GTEST_SKIP() << "every piece is an allocation under a sanitizer";
  const size_t before = resident_bytes();
  for (size_t bytes = 16; bytes <= FrameCache::kBytesMax; bytes += kFrameGranule) {
    std::vector<void*> pieces = take_pieces(3, bytes);
    give_pieces(pieces, bytes);
  }
  EXPECT_LT(resident_bytes(), before + 16 * kMegabyte);
}

TEST(FrameMemory, AnotherThreadMayFreeWhatOneTookAndEndAfterwards) {
  std::vector<void*> pieces = take_pieces(20'000, kPieceBytes);
  std::thread([&pieces] { give_pieces(pieces, kPieceBytes); }).join();
  std::vector<void*> again = take_pieces(20'000, kPieceBytes);
  std::sort(again.begin(), again.end());
  EXPECT_EQ(std::unique(again.begin(), again.end()), again.end());
  give_pieces(again, kPieceBytes);
}

}  // namespace
}  // namespace zsync::rt
