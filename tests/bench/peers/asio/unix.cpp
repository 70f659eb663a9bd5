// As runtime/unix.cpp, with async_read and async_write.
#include "tests/bench/peers/asio/ping_pong.hpp"

namespace zsync::bench {
namespace {

using Socket = asio::local::stream_protocol::socket;

double rate(const Settings& settings, size_t connections) {
  return ping_pong_rate<Socket>(settings, connections, [](Socket& near, Socket& far) {
    asio::local::connect_pair(near, far);
  });
}

}  // namespace

void unix_rows(const Settings& settings) {
  report("Unix ping-pong, 1 connection", "trips/s", rate(settings, 1));
  report("Unix ping-pong, 20 connections", "trips/s", rate(settings, 20));
}

}  // namespace zsync::bench
