// As runtime/tcp.cpp, with async_read and async_write.
#include "tests/bench/peers/asio/ping_pong.hpp"

namespace zsync::bench {
namespace {

using asio::ip::tcp;

double rate(const Settings& settings, size_t connections) {
  asio::io_context listening;
  tcp::acceptor listener(listening, {asio::ip::address_v4::loopback(), 0});
  return ping_pong_rate<tcp::socket>(settings, connections,
                                     [&listener](tcp::socket& near, tcp::socket& far) {
                                       near.connect(listener.local_endpoint());
                                       listener.accept(far);
                                       near.set_option(tcp::no_delay(true));
                                       far.set_option(tcp::no_delay(true));
                                     });
}

}  // namespace

void tcp_rows(const Settings& settings) {
  report("TCP ping-pong, 1 connection", "trips/s", rate(settings, 1));
  report("TCP ping-pong, 20 connections", "trips/s", rate(settings, 20));
}

}  // namespace zsync::bench
