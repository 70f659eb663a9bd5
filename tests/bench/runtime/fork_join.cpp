// Fork-join by co_await all(...): fib, skynet, nqueens, matmul, one task a call. Wall time of the
// whole tree, from inside a task; fib and skynet divided by the number of calls.
//
// Cannot be optimised away: the result of every leaf goes into the result of the root, which is
// compared with the known one.
#include <vector>

#include "tests/bench/runtime/groups.hpp"
#include "tests/bench/runtime/kernels.hpp"

namespace zsync::bench {
namespace {

Task<uint64_t> fib(int n) {
  if (n < 2) co_return static_cast<uint64_t>(n);
  const auto [a, b] = co_await all(fib(n - 1), fib(n - 2));
  co_return a + b;
}

Task<uint64_t> skynet(uint64_t first, uint64_t leaves) {
  if (leaves == 1) co_return first;
  const uint64_t each = leaves / kSkynetWidth;
  std::vector<Task<uint64_t>> children;
  children.reserve(kSkynetWidth);
  for (uint64_t i = 0; i < kSkynetWidth; ++i) children.push_back(skynet(first + i * each, each));
  uint64_t sum = 0;
  for (const uint64_t part : co_await all(std::move(children))) sum += part;
  co_return sum;
}

Task<uint64_t> queens(Board board, int row, int n) {
  if (row == n) co_return 1;
  std::vector<Task<uint64_t>> children;
  children.reserve(static_cast<size_t>(n));
  for (int8_t at = 0; at < n; ++at) {
    if (board.may_place(row, at)) children.push_back(queens(board.with(row, at), row + 1, n));
  }
  uint64_t sum = 0;
  for (const uint64_t part : co_await all(std::move(children))) sum += part;
  co_return sum;
}

Task<void> matmul(Product product) {
  if (product.n <= kBlock) {
    product.multiply_block();
    co_return;
  }
  for (int inner : {0, 1}) {
    co_await all(matmul(product.part(0, inner, 0)), matmul(product.part(0, inner, 1)),
                 matmul(product.part(1, inner, 0)), matmul(product.part(1, inner, 1)));
  }
}

Task<void> fib_row(FibSize size) {
  const Stopwatch watch;
  expect(co_await fib(size.n) == size.result, size.metric);
  report(size.metric, "ns/call", watch.ns_each(static_cast<double>(size.calls)));
}

Task<void> skynet_row(SkynetSize size) {
  const Stopwatch watch;
  expect(co_await skynet(0, size.leaves) == size.result, size.metric);
  report(size.metric, "ns/call", watch.ns_each(static_cast<double>(size.tasks)));
}

Task<void> queens_row(QueensSize size) {
  const Stopwatch watch;
  expect(co_await queens(Board{}, 0, size.n) == size.result, size.metric);
  report(size.metric, "ms", watch.ns_each(1e6));
}

Task<void> matmul_row(MatmulSize size) {
  Matrices matrices(size.n);
  const Stopwatch watch;
  co_await matmul(matrices.product());
  report(size.metric, "ms", watch.ns_each(1e6));
  matrices.check();
}

Task<void> measured(bool long_rows) {
  expect(co_await fib(20) == 6'765, "warm-up");
  co_await fib_row(kFib);
  co_await skynet_row(kSkynet);
  co_await queens_row(kQueens);
  co_await matmul_row(kMatmul);
  if (!long_rows) co_return;
  co_await fib_row(kFibLong);
  co_await skynet_row(kSkynetLong);
  co_await queens_row(kQueensLong);
  co_await matmul_row(kMatmulLong);
}

}  // namespace

void fork_join_rows(const Settings& settings) { run_on(settings, measured(settings.long_rows)); }

}  // namespace zsync::bench
