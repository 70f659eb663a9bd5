// Round trips of 64 bytes with async_read and async_write, both ends in one io_context.
#pragma once

#include <array>
#include <atomic>
#include <future>
#include <memory>

#include "tests/bench/peers/asio/world.hpp"

namespace zsync::bench {

using boost::system::error_code;

inline constexpr size_t kTrips = 60'000;  // of all connections together
inline constexpr size_t kBytes = 64;

struct Count {
  explicit Count(size_t connections) : left(connections) {}
  std::atomic<size_t> left;
  std::promise<int64_t> done;
};

// One end of a connection; keeps itself alive while it has trips to make.
template <typename Socket>
class End : public std::enable_shared_from_this<End<Socket>> {
 public:
  End(asio::io_context& context, size_t trips, Count* count)
      : socket(context), trips_(trips), count_(count) {}

  void ping() {
    if (trip_ == trips_) {
      if (count_->left.fetch_sub(1) == 1) count_->done.set_value(now_ns());
      return;
    }
    message_[0] = static_cast<char>(trip_);
    asio::async_write(socket, asio::buffer(message_),
                      [self = this->shared_from_this()](error_code e, size_t) {
                        expect(!e, "write");
                        self->message_[0] = 0;
                        self->read_answer();
                      });
  }
  void pong() {
    if (trip_++ == trips_) return;
    asio::async_read(socket, asio::buffer(message_),
                     [self = this->shared_from_this()](error_code e, size_t) {
                       expect(!e, "read");
                       self->write_answer();
                     });
  }

  Socket socket;

 private:
  void read_answer() {
    asio::async_read(socket, asio::buffer(message_),
                     [self = this->shared_from_this()](error_code e, size_t) {
                       expect(!e && self->message_[0] == static_cast<char>(self->trip_), "echo");
                       ++self->trip_;
                       self->ping();
                     });
  }
  void write_answer() {
    asio::async_write(socket, asio::buffer(message_),
                      [self = this->shared_from_this()](error_code e, size_t) {
                        expect(!e, "write");
                        self->pong();
                      });
  }

  std::array<char, kBytes> message_{};
  size_t trip_ = 0;
  const size_t trips_;
  Count* count_;
};

// `connect`: makes two sockets the ends of one connection.
template <typename Socket, typename Connect>
double ping_pong_rate(const Settings& settings, size_t connections, Connect connect) {
  Count count(connections);
  World world(settings);
  const int64_t start = now_ns();
  for (size_t i = 0; i < connections; ++i) {
    auto near = std::make_shared<End<Socket>>(world.context, kTrips / connections, &count);
    auto far = std::make_shared<End<Socket>>(world.context, kTrips / connections, nullptr);
    connect(near->socket, far->socket);
    asio::post(world.context, [near] { near->ping(); });
    asio::post(world.context, [far] { far->pong(); });
  }
  return kTrips * 1e9 / static_cast<double>(count.done.get_future().get() - start);
}

}  // namespace zsync::bench
