#include "tests/chaos/channel_traffic.hpp"

#include <poll.h>

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "zsync/client.hpp"

namespace zsync::chaos {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kChannel[] = "chaos-ledger";
constexpr std::chrono::seconds kPatience{90};
constexpr uint64_t kBatchMax = 50;     // messages in one send
constexpr uint64_t kCapacity = 2'000;  // so that the sender also waits for room
constexpr int kPauseMs = 2;

// Repeats `call` with fresh connections until it is not unavailable, or none can be had for long.
absl::Status repeat(const std::string& socket,
                    const std::function<absl::Status(client::Client&)>& call) {
  Clock::time_point give_up = Clock::now() + kPatience;
  absl::Status status = absl::UnavailableError("no connection");
  while (absl::IsUnavailable(status) && Clock::now() < give_up) {
    auto client = client::Client::connect({socket});
    if (client.ok()) give_up = Clock::now() + kPatience;
    status = client.ok() ? call(**client) : absl::UnavailableError(client.status().message());
    if (absl::IsUnavailable(status)) poll(nullptr, 0, kPauseMs);
  }
  return status;
}

absl::Status create(client::Client& client) {
  v1::CreateChannelRequest request;
  request.mutable_spec()->set_name(kChannel);
  request.mutable_spec()->set_capacity(kCapacity);
  request.mutable_spec()->set_class_(v1::CHANNEL_CLASS_DURABLE);
  request.set_if_absent(true);
  return client.channels().create(request).status();
}

// Batches over one connection until it breaks; `next` is the number of the first message.
absl::Status send_batches(client::Client& client, uint64_t& next, Ledgers& ledgers,
                          const std::atomic<bool>& stop) {
  while (!stop.load()) {
    const uint64_t first = next;
    std::vector<std::string> batch;
    for (uint64_t count = 1 + first % kBatchMax; count > 0; --count) {
      batch.push_back(absl::StrCat(next++));  // never again, whatever becomes of it
    }
    client::ChannelSender sender = client.channels().send(kChannel, {kPatience, nullptr});
    (void)sender.send(std::move(batch));
    const auto reply = sender.finish();
    // A stream that broke says so by its status or by having ended too early.
    if (absl::IsDataLoss(reply.status())) return absl::UnavailableError("");
    if (!reply.ok()) return reply.status();
    ledgers.sent(first, next - 1);
  }
  return absl::OkStatus();
}

}  // namespace

void send_messages(const std::string& socket, Ledgers& ledgers, const std::atomic<bool>& stop) {
  uint64_t next = 1;
  absl::Status status = repeat(socket, create);
  if (status.ok()) {
    status = repeat(
        socket, [&](client::Client& client) { return send_batches(client, next, ledgers, stop); });
  }
  if (status.ok()) {
    status = repeat(
        socket, [](client::Client& client) { return client.channels().close(kChannel).status(); });
  }
  if (!status.ok()) ledgers.fault(absl::StrCat("the sender: ", status.ToString()));
}

void receive_messages(const std::string& socket, Ledgers& ledgers) {
  absl::Status status = repeat(socket, create);
  if (status.ok()) {
    status = repeat(socket, [&](client::Client& client) {
      return client.channels().recv(
          kChannel, 0,
          [&](const v1::RecvBatch& batch) {
            if (batch.has_gap()) ledgers.fault("a gap: " + batch.gap().ShortDebugString());
            for (const v1::Record& record : batch.records()) {
              uint64_t number = 0;
              if (!absl::SimpleAtoi(record.data(), &number)) {
                ledgers.fault("a message that nobody sent: " + record.data());
              }
              ledgers.received(number);
            }
            return true;
          },
          {std::chrono::hours(1), nullptr});
    });
  }
  if (!status.ok()) ledgers.fault(absl::StrCat("the receiver: ", status.ToString()));
}

}  // namespace zsync::chaos
