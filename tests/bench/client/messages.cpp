// durable, fanout, try-send, echo-server, echo: messages beside NATS and a bare gRPC call.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "tests/bench/client/commands.hpp"
#include "tests/bench/client/connect.hpp"
#include "tests/bench/client/measure.hpp"
#include "zsync/client.hpp"

namespace zsync::bench {
namespace {

constexpr size_t kFanoutBatch = 256;  // messages of one frame

uint64_t to_count(const std::string& word) { return std::strtoull(word.c_str(), nullptr, 10); }

// What one receiver gets: numbers that follow each other, but for gaps that are told.
class Numbers {
 public:
  explicit Numbers(size_t bytes) : bytes_(bytes) {}
  void take(const v1::RecvBatch& batch) {
    if (batch.has_gap()) {
      const uint64_t missing = batch.gap().to() - batch.gap().from() + 1;
      next_ += missing;
      missing_ += missing;
    }
    for (const v1::Record& record : batch.records()) {
      if (record.data().size() != bytes_ ||
          std::memcmp(record.data().data(), &next_, sizeof next_) != 0) {
        ++wrong_;
      }
      ++next_;
      ++received_;
    }
  }
  uint64_t received() const { return received_; }
  uint64_t missing() const { return missing_; }
  uint64_t wrong() const { return wrong_; }

 private:
  const size_t bytes_;
  uint64_t next_ = 0;
  uint64_t received_ = 0;
  uint64_t missing_ = 0;
  uint64_t wrong_ = 0;
};

absl::Status send_numbers(client::Client& client, const std::string& channel, uint64_t count,
                          size_t bytes, size_t batch_max) {
  client::ChannelSender stream = client.channels().send(channel);
  std::vector<std::string> batch;
  std::string message(bytes, 'x');
  for (uint64_t i = 0; i < count; ++i) {
    std::memcpy(message.data(), &i, sizeof i);
    batch.push_back(message);
    if (batch.size() < batch_max && i + 1 < count) continue;
    if (!stream.send(std::exchange(batch, {}))) break;
  }
  return stream.finish().status();
}

// The smallest message holds its number.
bool check_size(size_t bytes) {
  if (bytes >= sizeof(uint64_t)) return true;
  std::fprintf(stderr, "bench-client: a message has at least %zu bytes\n", sizeof(uint64_t));
  return false;
}

}  // namespace

int durable(const Words& words) {
  const uint64_t count = to_count(words[2]);
  const size_t bytes = to_count(words[3]);
  const size_t batch_max = to_count(words[4]);
  if (!check_size(bytes)) return 2;
  auto sending = connect(words[0]);
  auto receiving = connect(words[0]);
  if (!sending.ok()) return fail("connect", sending.status());
  if (!receiving.ok()) return fail("connect", receiving.status());
  v1::CreateChannelRequest request;
  request.mutable_spec()->set_name(words[1]);
  request.mutable_spec()->set_class_(v1::CHANNEL_CLASS_DURABLE);
  request.mutable_spec()->set_unbounded(true);
  if (auto made = (*sending)->channels().create(request); !made.ok())
    return fail("create", made.status());
  v1::CreateGroupRequest group;
  group.set_channel(words[1]);
  group.mutable_spec()->set_name("bench");
  if (auto made = (*sending)->channels().create_group(group); !made.ok())
    return fail("group", made.status());
  const Usage used = Usage::now();
  const int64_t start = now_ns();
  absl::Status sent;
  double send_seconds = 0;
  std::thread sender([&] {
    sent = send_numbers(**sending, words[1], count, bytes, batch_max);
    send_seconds = static_cast<double>(now_ns() - start) / 1e9;
  });
  Numbers numbers(bytes);
  const absl::Status received = (*receiving)
                                    ->channels()
                                    .consume(words[1], "bench", count, client::Acks::kOnReturn,
                                             [&](const v1::RecvBatch& batch) {
                                               numbers.take(batch);
                                               return true;
                                             });
  const double seconds = static_cast<double>(now_ns() - start) / 1e9;
  sender.join();
  if (!sent.ok()) return fail("send", sent);
  if (!received.ok()) return fail("consume", received);
  const auto messages = static_cast<double>(count);
  Answer()
      .number("rate", messages / seconds)
      .number("send_rate", messages / send_seconds)
      .number("received", static_cast<double>(numbers.received()))
      .number("wrong", static_cast<double>(numbers.wrong() + numbers.missing()))
      .number("client_cpu_us", (Usage::now().cpu_seconds - used.cpu_seconds) * 1e6 / messages)
      .print();
  return 0;
}

int fanout(const Words& words) {
  const uint64_t count = to_count(words[2]);
  const size_t bytes = to_count(words[3]);
  const size_t subscribers = to_count(words[4]);
  if (!check_size(bytes)) return 2;
  auto sending = connect(words[0]);
  if (!sending.ok()) return fail("connect", sending.status());
  v1::CreateChannelRequest request;
  request.mutable_spec()->set_name(words[1]);
  request.mutable_spec()->set_form(v1::CHANNEL_FORM_BROADCAST);
  request.mutable_spec()->set_capacity(count);
  if (auto made = (*sending)->channels().create(request); !made.ok())
    return fail("create", made.status());
  std::vector<Numbers> numbers(subscribers, Numbers(bytes));
  std::vector<absl::Status> statuses(subscribers);
  std::vector<std::thread> threads;
  const Usage used = Usage::now();
  const int64_t start = now_ns();
  for (size_t i = 0; i < subscribers; ++i) {
    threads.emplace_back([&, i] {
      auto client = connect(words[0]);
      v1::FollowChannelRequest follow;
      follow.set_channel(words[1]);
      follow.set_from_start(true);
      statuses[i] = client.ok() ? (*client)->channels().follow(
                                      follow,
                                      [&](const v1::RecvBatch& batch) {
                                        numbers[i].take(batch);
                                        return numbers[i].received() + numbers[i].missing() < count;
                                      })
                                : client.status();
    });
  }
  const absl::Status sent = send_numbers(**sending, words[1], count, bytes, kFanoutBatch);
  for (std::thread& thread : threads) thread.join();
  const double seconds = static_cast<double>(now_ns() - start) / 1e9;
  if (!sent.ok()) return fail("send", sent);
  uint64_t received = 0;
  uint64_t missing = 0;
  uint64_t wrong = 0;
  for (size_t i = 0; i < subscribers; ++i) {
    if (!statuses[i].ok()) return fail("follow", statuses[i]);
    received += numbers[i].received();
    missing += numbers[i].missing();
    wrong += numbers[i].wrong();
  }
  const auto deliveries = static_cast<double>(received);
  Answer()
      .number("rate", deliveries / seconds)
      .number("received", deliveries)
      .number("missing", static_cast<double>(missing))
      .number("wrong", static_cast<double>(wrong))
      .number("client_cpu_us", (Usage::now().cpu_seconds - used.cpu_seconds) * 1e6 / deliveries)
      .print();
  return 0;
}

int try_send(const Words& words) {
  const uint64_t count = to_count(words[2]);
  auto client = connect(words[0]);
  if (!client.ok()) return fail("connect", client.status());
  v1::CreateChannelRequest create;
  create.mutable_spec()->set_name(words[1]);
  create.mutable_spec()->set_capacity(count);
  if (auto made = (*client)->channels().create(create); !made.ok())
    return fail("create", made.status());
  v1::SendRequest request;
  request.set_channel(words[1]);
  request.add_messages(std::string(64, 'x'));
  Series series;
  for (uint64_t i = 0; i < count; ++i) {
    const int64_t start = now_ns();
    if (auto sent = (*client)->channels().try_send(request); !sent.ok())
      return fail("try_send", sent.status());
    series.add(now_ns() - start);
  }
  Answer().series("call", series).print();
  return 0;
}

namespace {

// Answers any call with its request.
class Echo final : public grpc::CallbackGenericService {
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    Reactor() { StartRead(&message_); }
    void OnReadDone(bool ok) override {
      if (ok) StartWriteAndFinish(&message_, {}, grpc::Status::OK);
      if (!ok) Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no request"));
    }
    void OnDone() override { delete this; }

   private:
    grpc::ByteBuffer message_;
  };

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new Reactor;
  }
};

}  // namespace

int echo_server(const Words& words) {
  Echo echo;
  grpc::ServerBuilder builder;
  builder.RegisterCallbackGenericService(&echo);
  builder.AddListeningPort("unix:" + words[0], grpc::InsecureServerCredentials());
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) return fail("echo-server", absl::UnavailableError("cannot listen at " + words[0]));
  std::puts("ready");
  std::fflush(stdout);
  server->Wait();  // until it is killed
  return 0;
}

int echo(const Words& words) {
  const uint64_t count = to_count(words[1]);
  grpc::GenericStub stub(
      grpc::CreateChannel("unix:" + words[0], grpc::InsecureChannelCredentials()));
  const grpc::Slice body(std::string(64, 'x'));
  Series series;
  for (uint64_t i = 0; i < count; ++i) {
    const int64_t start = now_ns();
    grpc::ClientContext context;
    const grpc::ByteBuffer request(&body, 1);
    grpc::ByteBuffer reply;
    std::mutex lock;
    std::condition_variable done;
    std::optional<grpc::Status> status;
    stub.UnaryCall(&context, "/bench.Echo/Echo", {}, &request, &reply, [&](grpc::Status ended) {
      const std::lock_guard guard(lock);
      status = std::move(ended);
      done.notify_one();
    });
    std::unique_lock guard(lock);
    done.wait(guard, [&] { return status.has_value(); });
    if (!status->ok()) return fail("echo", absl::UnknownError(status->error_message()));
    series.add(now_ns() - start);
  }
  Answer().series("call", series).print();
  return 0;
}

}  // namespace zsync::bench
