// ring-send, ring-recv, ring-echo, ring-ping: the ends of rings, each in a process of its own.
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "tests/bench/client/commands.hpp"
#include "tests/bench/client/connect.hpp"
#include "tests/bench/client/measure.hpp"
#include "zsync/client.hpp"

namespace zsync::bench {
namespace {

uint64_t to_count(const std::string& word) { return std::strtoull(word.c_str(), nullptr, 10); }

client::RingOptions spin_of(const std::string& microseconds) {
  return {std::chrono::microseconds(to_count(microseconds))};
}

// The ends of a channel's there and back.
struct PingPong {
  client::RingSender to;
  client::RingReceiver from;
};

absl::StatusOr<PingPong> open(client::Client& client, const std::string& there,
                              const std::string& back, const client::RingOptions& options) {
  auto to = client.channels().ring_sender(there, options);
  if (!to.ok()) return to.status();
  auto from = client.channels().ring_receiver(back, options);
  if (!from.ok()) return from.status();
  return PingPong{*std::move(to), *std::move(from)};
}

}  // namespace

int ring_send(const Words& words) {
  auto client = connect(words[0]);
  if (!client.ok()) return fail("connect", client.status());
  auto sender = (*client)->channels().ring_sender(words[1]);
  if (!sender.ok()) return fail("ring_sender", sender.status());
  const uint64_t count = to_count(words[2]);
  const size_t bytes = to_count(words[3]);
  const size_t batch_max = to_count(words[4]);
  std::vector<std::string> bodies(batch_max, std::string(bytes, 'x'));
  const std::vector<std::string_view> batch(bodies.begin(), bodies.end());
  const Usage used = Usage::now();
  const int64_t start = now_ns();
  for (uint64_t i = 0; i < count; i += batch_max) {
    for (size_t at = 0; at < batch_max; ++at) {
      const uint64_t number = i + at;
      std::memcpy(bodies[at].data(), &number, sizeof number);
    }
    const absl::Status sent = batch_max == 1 ? sender->send(batch[0]) : sender->send(batch);
    if (!sent.ok()) return fail("send", sent);
  }
  Answer()
      .number("start_ns", static_cast<double>(start))
      .number("cpu_us", (Usage::now().cpu_seconds - used.cpu_seconds) * 1e6)
      .print();
  return 0;
}

int ring_recv(const Words& words) {
  auto client = connect(words[0]);
  if (!client.ok()) return fail("connect", client.status());
  auto receiver = (*client)->channels().ring_receiver(words[1]);
  if (!receiver.ok()) return fail("ring_receiver", receiver.status());
  const uint64_t count = to_count(words[2]);
  const size_t bytes = to_count(words[3]);
  const Usage used = Usage::now();
  uint64_t next = 0;
  uint64_t wrong = 0;
  const absl::Status status = receiver->recv(count, [&](const client::RingBatch& batch) {
    for (std::string_view message : batch.messages) {
      if (message.size() != bytes || std::memcmp(message.data(), &next, sizeof next) != 0) ++wrong;
      ++next;
    }
    return true;
  });
  if (!status.ok()) return fail("recv", status);
  Answer()
      .number("end_ns", static_cast<double>(now_ns()))
      .number("received", static_cast<double>(next))
      .number("wrong", static_cast<double>(wrong))
      .number("cpu_us", (Usage::now().cpu_seconds - used.cpu_seconds) * 1e6)
      .print();
  return 0;
}

int ring_echo(const Words& words) {
  auto client = connect(words[0]);
  if (!client.ok()) return fail("connect", client.status());
  auto ends = open(**client, words[2], words[1], spin_of(words[4]));
  if (!ends.ok()) return fail("open", ends.status());
  const Usage used = Usage::now();
  absl::Status sent;
  const absl::Status status =
      ends->from.recv(to_count(words[3]), [&](const client::RingBatch& batch) {
        for (std::string_view message : batch.messages) sent = ends->to.send(message);
        return sent.ok();
      });
  if (!status.ok() || !sent.ok()) return fail("echo", status.ok() ? sent : status);
  Answer().number("cpu_us", (Usage::now().cpu_seconds - used.cpu_seconds) * 1e6).print();
  return 0;
}

int ring_ping(const Words& words) {
  auto client = connect(words[0]);
  if (!client.ok()) return fail("connect", client.status());
  auto ends = open(**client, words[1], words[2], spin_of(words[4]));
  if (!ends.ok()) return fail("open", ends.status());
  const uint64_t count = to_count(words[3]);
  const std::chrono::microseconds pause(to_count(words[5]));
  const client::StopSource never;
  std::string body(64, 'x');
  uint64_t wrong = 0;
  Series series;
  const Usage used = Usage::now();
  for (uint64_t i = 0; i < count; ++i) {
    if (pause.count() > 0) (void)never.wait_for(pause);  // until both are asleep
    std::memcpy(body.data(), &i, sizeof i);
    const int64_t start = now_ns();
    if (absl::Status sent = ends->to.send(body); !sent.ok()) return fail("send", sent);
    const absl::Status back = ends->from.recv(1, [&](const client::RingBatch& batch) {
      if (batch.messages.front() != body) ++wrong;
      return true;
    });
    series.add(now_ns() - start);
    if (!back.ok()) return fail("recv", back);
  }
  Answer()
      .series("trip", series)
      .number("wrong", static_cast<double>(wrong))
      .number("cpu_us", (Usage::now().cpu_seconds - used.cpu_seconds) * 1e6)
      .print();
  return 0;
}

}  // namespace zsync::bench
