// pattern, follow, channel, watch: what flows.
#include <unistd.h>

#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

#include "tests/bench/client/commands.hpp"
#include "tests/bench/client/connect.hpp"
#include "tests/bench/client/measure.hpp"
#include "zsync/client.hpp"

namespace zsync::bench {
namespace {

constexpr size_t kPatternBlock = 64u << 10;  // bytes of one write

// The bytes of the pattern from `offset` on; `offset` and `size` need no alignment.
void make_pattern(uint64_t offset, char* out, size_t size) {
  for (size_t at = 0; at < size;) {
    const uint64_t number = (offset + at) / sizeof(number);
    const size_t skip = (offset + at) % sizeof(number);
    const size_t part = std::min(sizeof(number) - skip, size - at);
    std::memcpy(out + at, reinterpret_cast<const char*>(&number) + skip, part);
    at += part;
  }
}

// Compares what one follower gets with the pattern, byte for byte and in order.
class Checker {
 public:
  bool take(const v1::TaskOutputBatch& batch) {
    if (batch.has_gap()) ++gaps_;
    for (const v1::Record& record : batch.records()) {
      if (record.stream() != 1) continue;
      expected_.resize(record.data().size());
      make_pattern(bytes_, expected_.data(), expected_.size());
      if (expected_ != record.data()) ++wrong_;
      bytes_ += record.data().size();
    }
    return true;
  }
  uint64_t bytes() const { return bytes_; }
  uint64_t wrong() const { return wrong_ + gaps_; }

 private:
  std::string expected_;
  uint64_t bytes_ = 0;
  uint64_t wrong_ = 0;
  uint64_t gaps_ = 0;
};

}  // namespace

int pattern(const Words& words) {
  const uint64_t bytes = std::strtoull(words[0].c_str(), nullptr, 10);
  std::vector<char> block(kPatternBlock);
  for (uint64_t offset = 0; offset < bytes;) {
    const size_t size = static_cast<size_t>(std::min<uint64_t>(block.size(), bytes - offset));
    make_pattern(offset, block.data(), size);
    for (size_t written = 0; written < size;) {
      const ssize_t put = write(STDOUT_FILENO, block.data() + written, size - written);
      if (put <= 0) return 1;
      written += static_cast<size_t>(put);
    }
    offset += size;
  }
  return 0;
}

int follow(const Words& words) {
  const auto followers = static_cast<size_t>(std::atoi(words[2].c_str()));
  std::vector<Checker> checkers(followers);
  std::vector<absl::Status> statuses(followers);
  std::vector<std::thread> threads;
  const Usage used = Usage::now();
  const int64_t start = now_ns();
  for (size_t i = 0; i < followers; ++i) {
    threads.emplace_back([&, i] {
      auto client = connect(words[0]);
      statuses[i] = client.ok() ? (*client)->tasks().output(
                                      words[1], 1, true,
                                      [&](const auto& batch) { return checkers[i].take(batch); })
                                : client.status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double seconds = static_cast<double>(now_ns() - start) / 1e9;
  uint64_t least = UINT64_MAX;
  uint64_t wrong = 0;
  for (size_t i = 0; i < followers; ++i) {
    if (!statuses[i].ok()) return fail("output", statuses[i]);
    least = std::min(least, checkers[i].bytes());
    wrong += checkers[i].wrong();
  }
  Answer()
      .number("seconds", seconds)
      .number("bytes", static_cast<double>(least))
      .number("wrong", static_cast<double>(wrong))
      .number("client_cpu_s", Usage::now().cpu_seconds - used.cpu_seconds)
      .print();
  return 0;
}

int channel(const Words& words) {
  const uint64_t count = std::strtoull(words[2].c_str(), nullptr, 10);
  const auto bytes = static_cast<size_t>(std::atoi(words[3].c_str()));
  const auto batch_max = static_cast<size_t>(std::atoi(words[4].c_str()));
  auto sending = connect(words[0]);
  auto receiving = connect(words[0]);
  if (!sending.ok()) return fail("connect", sending.status());
  if (!receiving.ok()) return fail("connect", receiving.status());
  v1::CreateChannelRequest request;
  request.mutable_spec()->set_name(words[1]);
  if (auto made = (*sending)->channels().create(request); !made.ok()) {
    return fail("create", made.status());
  }
  const Usage used = Usage::now();
  const int64_t start = now_ns();
  absl::StatusOr<v1::SendReply> sent;
  std::thread sender([&] {
    client::ChannelSender stream = (*sending)->channels().send(words[1]);
    std::vector<std::string> batch;
    std::string message(bytes, 'x');
    for (uint64_t i = 0; i < count; ++i) {
      std::memcpy(message.data(), &i, std::min(sizeof(i), bytes));
      batch.push_back(message);
      if (batch.size() < batch_max && i + 1 < count) continue;
      if (!stream.send(std::exchange(batch, {}))) break;
    }
    sent = stream.finish();
  });
  uint64_t received = 0;
  uint64_t wrong = 0;
  const absl::Status status =
      (*receiving)->channels().recv(words[1], count, [&](const v1::RecvBatch& batch) {
        if (batch.has_gap()) ++wrong;
        for (const v1::Record& record : batch.records()) {
          const size_t size = std::min(sizeof(received), bytes);
          if (record.data().size() != bytes ||
              std::memcmp(record.data().data(), &received, size) != 0) {
            ++wrong;
          }
          ++received;
        }
        return true;
      });
  const double seconds = static_cast<double>(now_ns() - start) / 1e9;
  sender.join();
  if (!status.ok()) return fail("recv", status);
  if (!sent.ok()) return fail("send", sent.status());
  (void)(*sending)->channels().remove(words[1]);
  const Usage now = Usage::now();
  const auto messages = static_cast<double>(count);
  Answer()
      .number("rate", messages / seconds)
      .number("received", static_cast<double>(received))
      .number("wrong", static_cast<double>(wrong))
      .number("client_cpu_us", (now.cpu_seconds - used.cpu_seconds) * 1e6 / messages)
      .print();
  return 0;
}

int watch(const Words& words) {
  auto client = connect(words[0]);
  if (!client.ok()) return fail("connect", client.status());
  v1::SubscribeWatchRequest request;
  request.set_path(words[1]);
  request.set_since(words[2]);
  std::printf("start %" PRId64 "\n", now_ns());
  std::fflush(stdout);
  const absl::Status status =
      (*client)->watch().subscribe(request, [](const v1::WatchBatch& batch) {
        std::printf("batch %" PRId64 " %d %d %s\n", now_ns(), batch.fresh() ? 1 : 0,
                    batch.changes_size(), batch.clock().empty() ? "-" : batch.clock().c_str());
        for (const v1::FileChange& change : batch.changes()) {
          std::printf("%d %d %" PRIu64 " %" PRId64 " %s\t%s\n", static_cast<int>(change.kind()),
                      change.directory() ? 1 : 0, static_cast<uint64_t>(change.size()),
                      static_cast<int64_t>(change.mtime_unix_nano()), change.path().c_str(),
                      change.renamed_from().c_str());
        }
        return std::fflush(stdout) == 0;
      });
  return status.ok() ? 0 : fail("watch", status);
}

}  // namespace zsync::bench
