// Messages a second through a bounded channel of 1024 u64: one sender and one receiver, four and
// one, four and four, and one and one by batches of 256. Each end is a task; from the spawn of the
// first to the end of the last.
//
// Cannot be optimised away: the sum of everything received is compared with the sum sent.
#include <numeric>
#include <vector>

#include "tests/bench/runtime/groups.hpp"

namespace zsync::bench {
namespace {

constexpr size_t kCapacity = 1024;         // messages
constexpr size_t kBatch = 256;             // messages
constexpr uint64_t kMessages = 2'000'000;  // in a run, from all senders together
constexpr uint64_t kBatched = 10'240'000;
constexpr uint64_t kWarmUp = 102'400;

Task<void> send_all(Sender<uint64_t> sender, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) expect((co_await sender.send(i)).ok(), "send");
}

Task<uint64_t> receive_all(Receiver<uint64_t> receiver) {
  uint64_t sum = 0;
  while (const std::optional<uint64_t> message = co_await receiver.recv()) sum += *message;
  co_return sum;
}

Task<void> send_batches(Sender<uint64_t> sender, uint64_t count) {
  std::vector<uint64_t> batch;
  for (uint64_t first = 0; first < count; first += kBatch) {
    batch.resize(kBatch);
    std::iota(batch.begin(), batch.end(), first);
    expect((co_await sender.send_many(batch)).ok(), "send_many");
  }
}

Task<uint64_t> receive_batches(Receiver<uint64_t> receiver) {
  uint64_t sum = 0;
  while (true) {
    const std::vector<uint64_t> batch = co_await receiver.recv_many(kBatch);
    if (batch.empty()) co_return sum;
    sum = std::accumulate(batch.begin(), batch.end(), sum);
  }
}

// Rate of `count` messages, of which each sender sends its share.
Task<double> rate(size_t senders, size_t receivers, uint64_t count, bool batches) {
  const uint64_t share = count / senders;
  std::vector<TaskHandle<void>> sending;
  std::vector<TaskHandle<uint64_t>> receiving;
  const Stopwatch watch;
  {
    Channel<uint64_t> channel = bounded<uint64_t>(kCapacity);
    for (size_t i = 0; i < receivers; ++i) {
      receiving.push_back(
          spawn(batches ? receive_batches(channel.receiver()) : receive_all(channel.receiver())));
    }
    for (size_t i = 0; i < senders; ++i) {
      sending.push_back(spawn(batches ? send_batches(channel.sender(), share)
                                      : send_all(channel.sender(), share)));
    }
  }
  for (TaskHandle<void>& handle : sending) co_await handle;
  uint64_t sum = 0;
  for (TaskHandle<uint64_t>& handle : receiving) sum += co_await handle;
  const double result = watch.per_second(static_cast<double>(count));
  expect(sum == senders * (share * (share - 1) / 2), "channel");
  co_return result;
}

Task<void> measured() {
  (void)co_await rate(1, 1, kWarmUp, false);
  report("channel 1-1", "msg/s", co_await rate(1, 1, kMessages, false));
  report("channel 4-1", "msg/s", co_await rate(4, 1, kMessages, false));
  report("channel 4-4", "msg/s", co_await rate(4, 4, kMessages, false));
  report("channel 1-1, batches of 256", "msg/s", co_await rate(1, 1, kBatched, true));
}

}  // namespace

void channel_rows(const Settings& settings) { run_on(settings, measured()); }

}  // namespace zsync::bench
