// oneTBB's part of `./dev bench runtime`: the fork-join rows of tests/bench/runtime/fork_join.cpp
// with task_group. The last child of each task is called in place, as TBB's manual advises; the
// arena and the allowed parallelism are THREADS.
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include <array>

#include "tests/bench/runtime/kernels.hpp"

namespace zsync::bench {
namespace {

using oneapi::tbb::task_group;

uint64_t fib(int n) {
  if (n < 2) return static_cast<uint64_t>(n);
  uint64_t a = 0;
  task_group group;
  group.run([&a, n] { a = fib(n - 1); });
  const uint64_t b = fib(n - 2);
  group.wait();
  return a + b;
}

uint64_t skynet(uint64_t first, uint64_t leaves) {
  if (leaves == 1) return first;
  const uint64_t each = leaves / kSkynetWidth;
  std::array<uint64_t, kSkynetWidth> parts{};
  task_group group;
  for (uint64_t i = 0; i + 1 < kSkynetWidth; ++i) {
    group.run([&parts, i, first, each] { parts[i] = skynet(first + i * each, each); });
  }
  parts.back() = skynet(first + (kSkynetWidth - 1) * each, each);
  group.wait();
  uint64_t sum = 0;
  for (const uint64_t part : parts) sum += part;
  return sum;
}

uint64_t queens(const Board& board, int row, int n) {
  if (row == n) return 1;
  std::array<uint64_t, kBoardMax> parts{};
  task_group group;
  for (int8_t at = 0; at < n; ++at) {
    if (!board.may_place(row, at)) continue;
    group.run(
        [&parts, &board, row, at, n] { parts[at] = queens(board.with(row, at), row + 1, n); });
  }
  group.wait();
  uint64_t sum = 0;
  for (const uint64_t part : parts) sum += part;
  return sum;
}

void matmul(Product product) {
  if (product.n <= kBlock) return product.multiply_block();
  for (int inner : {0, 1}) {
    task_group group;
    group.run([=] { matmul(product.part(0, inner, 0)); });
    group.run([=] { matmul(product.part(0, inner, 1)); });
    group.run([=] { matmul(product.part(1, inner, 0)); });
    matmul(product.part(1, inner, 1));
    group.wait();
  }
}

void fib_row(FibSize size) {
  const Stopwatch watch;
  expect(fib(size.n) == size.result, size.metric);
  report(size.metric, "ns/call", watch.ns_each(static_cast<double>(size.calls)));
}

void skynet_row(SkynetSize size) {
  const Stopwatch watch;
  expect(skynet(0, size.leaves) == size.result, size.metric);
  report(size.metric, "ns/call", watch.ns_each(static_cast<double>(size.tasks)));
}

void queens_row(QueensSize size) {
  const Stopwatch watch;
  expect(queens(Board{}, 0, size.n) == size.result, size.metric);
  report(size.metric, "ms", watch.ns_each(1e6));
}

void matmul_row(MatmulSize size) {
  Matrices matrices(size.n);
  const Stopwatch watch;
  matmul(matrices.product());
  report(size.metric, "ms", watch.ns_each(1e6));
  matrices.check();
}

void fork_join_rows(const Settings& settings) {
  using oneapi::tbb::global_control;
  const global_control limit(global_control::max_allowed_parallelism, settings.threads);
  oneapi::tbb::task_arena arena(static_cast<int>(settings.threads));
  arena.execute([&settings] {
    expect(fib(20) == 6'765, "warm-up");
    fib_row(kFib);
    skynet_row(kSkynet);
    queens_row(kQueens);
    matmul_row(kMatmul);
    if (!settings.long_rows) return;
    fib_row(kFibLong);
    skynet_row(kSkynetLong);
    queens_row(kQueensLong);
    matmul_row(kMatmulLong);
  });
}

}  // namespace
}  // namespace zsync::bench

int main(int argc, char** argv) {
  using namespace zsync::bench;
  return run_groups({{"fork_join", fork_join_rows}}, argc, argv);
}
