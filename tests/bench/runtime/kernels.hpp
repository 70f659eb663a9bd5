// The work in the leaves of the fork-join rows, the same code for zsync and for oneTBB.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/bench/runtime/rows.hpp"

namespace zsync::bench {

// fib(n): one task a call, nothing but forking and adding.
struct FibSize {
  int n;
  uint64_t result;
  uint64_t calls;
  const char* metric;
};
inline constexpr FibSize kFib{30, 832'040, 2'692'537, "fib(30)"};
inline constexpr FibSize kFibLong{39, 63'245'986, 204'668'309, "fib(39)"};

// skynet: a tree of ten children a node, whose leaves give their number.
inline constexpr int kSkynetWidth = 10;
struct SkynetSize {
  uint64_t leaves;
  uint64_t result;
  uint64_t tasks;
  const char* metric;
};
inline constexpr SkynetSize kSkynet{1'000'000, 499'999'500'000, 1'111'111, "skynet(10^6)"};
inline constexpr SkynetSize kSkynetLong{100'000'000, 4'999'999'950'000'000, 111'111'111,
                                        "skynet(10^8)"};

// n queens on a board: one task for each placing that is not attacked, down to the last row.
inline constexpr int kBoardMax = 16;
struct Board {
  std::array<int8_t, kBoardMax> column{};  // of the queen in each row
  bool may_place(int row, int8_t at) const {
    for (int above = 0; above < row; ++above) {
      const int apart = column[above] - at;
      if (apart == 0 || apart == row - above || apart == above - row) return false;
    }
    return true;
  }
  Board with(int row, int8_t at) const {
    Board next = *this;
    next.column[row] = at;
    return next;
  }
};
struct QueensSize {
  int n;
  uint64_t result;
  const char* metric;
};
inline constexpr QueensSize kQueens{11, 2'680, "nqueens(11)"};
inline constexpr QueensSize kQueensLong{14, 365'596, "nqueens(14)"};

// Square matrices, multiplied by quarters down to a block that is multiplied in place.
inline constexpr int kBlock = 64;  // rows and columns
struct MatmulSize {
  int n;
  const char* metric;
};
inline constexpr MatmulSize kMatmul{1024, "matmul(1024)"};
inline constexpr MatmulSize kMatmulLong{2048, "matmul(2048)"};

// c += a * b; each is a quarter of a matrix whose rows are `stride` apart.
struct Product {
  const float* a;
  const float* b;
  float* c;
  int n;
  int stride;

  Product part(int row, int inner, int column) const {
    const int half = n / 2;
    const auto at = [this, half](int i, int j) {
      return static_cast<ptrdiff_t>(i) * half * stride + static_cast<ptrdiff_t>(j) * half;
    };
    return {a + at(row, inner), b + at(inner, column), c + at(row, column), half, stride};
  }

  // Not inlined, so that it is compiled alike in a coroutine and in a function.
  [[gnu::noinline]] void multiply_block() const {
    for (int i = 0; i < n; ++i) {
      for (int k = 0; k < n; ++k) {
        const float factor = a[i * stride + k];
        for (int j = 0; j < n; ++j) c[i * stride + j] += factor * b[k * stride + j];
      }
    }
  }
};

// a[i][j] = i mod 7, b[i][j] = j mod 5, so that c[i][j] = n * (i mod 7) * (j mod 5), exactly.
struct Matrices {
  explicit Matrices(int size)
      : n(size), a(static_cast<size_t>(n) * n), b(a.size()), c(a.size(), 0) {
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < n; ++j) {
        a[static_cast<size_t>(i) * n + j] = static_cast<float>(i % 7);
        b[static_cast<size_t>(i) * n + j] = static_cast<float>(j % 5);
      }
    }
  }
  Product product() { return {a.data(), b.data(), c.data(), n, n}; }
  void check() const {
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < n; ++j) {
        const auto right = static_cast<float>(n * (i % 7) * (j % 5));
        expect(c[static_cast<size_t>(i) * n + j] == right, "matmul");
      }
    }
  }

  int n;
  std::vector<float> a, b, c;
};

}  // namespace zsync::bench
