// Calls what the blocks for Boost.Asio define: docs/guide/from-tokio-and-asio.md, put together by
// run_peers.py. The echo server of section 11 has a port of its own, so one client of it is served
// over a connection to a free one.
#include "asio_blocks.hpp"

namespace {

int failures = 0;

void expect(bool right, const char* what) {
  if (right) return;
  std::printf("wrong: %s\n", what);
  ++failures;
}

// Runs one coroutine, and what it has started, to the end.
template <typename T>
T result_of(asio::io_context& context, awaitable<T> task) {
  std::future<T> result = asio::co_spawn(context, std::move(task), asio::use_future);
  context.run();
  context.restart();
  return result.get();
}

struct Connection {
  explicit Connection(asio::io_context& context) : client(context), server(context) {
    tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
    client.connect(acceptor.local_endpoint());
    acceptor.accept(server);
  }
  tcp::socket client, server;
};

void tasks(asio::io_context& context) {
  pattern_1::main_();
  {
    auto work = asio::make_work_guard(context);
    std::jthread thread([&context] { context.run(); });
    expect(pattern_2::join(context) == 9, "2: join from a thread");
    work.reset();
  }
  context.restart();
  expect(result_of(context, pattern_2::in_a_coroutine()) == 9, "2: join in a coroutine");
  expect(result_of(context, pattern_3::squares(4)) == std::vector<int>{0, 1, 4, 9},
         "3: several at once");
  steady_timer late(context, 1h), soon(context, 1ms);
  expect(result_of(context, pattern_4::first_of(late, soon)) == 1, "4: the first of several");
}

void deadline(asio::io_context& context) {
  Connection connection(context);
  char text[8];
  auto read = [&](std::chrono::milliseconds limit) {
    return result_of(context, pattern_5::read_within(connection.server, asio::buffer(text), limit));
  };
  expect(read(1ms) == 0, "5: too late");
  asio::write(connection.client, asio::buffer("hello", 5));
  expect(read(1h) == 5, "5: in time");
}

awaitable<void> produce(pattern_6::Channel<int>& channel) {
  for (int i = 1; i <= 10; ++i) co_await channel.send(i);
  channel.close();
}

awaitable<int> sum_of(pattern_6::Channel<int>& channel) {
  asio::co_spawn(co_await asio::this_coro::executor, produce(channel), asio::detached);
  int sum = 0;
  while (const std::optional<int> number = co_await channel.receive()) sum += *number;
  co_return sum;
}

awaitable<void> add(pattern_7::Semaphore& mutex, int& total) {
  co_await mutex.acquire();
  const int before = total;
  co_await asio::post(co_await asio::this_coro::executor, use_awaitable);
  total = before + 1;
  mutex.release();
}

awaitable<void> add_in_a_group(asio::io_context& context, int& total) {
  pattern_7::Semaphore mutex(context.get_executor(), 1);
  pattern_9::Group group(context.get_executor());
  for (int i = 0; i < 10; ++i) group.spawn([&] { return add(mutex, total); });
  co_await group.join();
}

void sharing(asio::io_context& context) {
  pattern_6::Channel<int> channel(context.get_executor(), 4);
  expect(result_of(context, sum_of(channel)) == 55, "6: a bounded channel");
  int total = 0;
  result_of(context, add_in_a_group(context, total));
  expect(total == 10, "7: a lock, 9: a group");
  asio::thread_pool pool(1);
  expect(WEXITSTATUS(result_of(context, pattern_8::program(pool))) == 3, "8: code that blocks");
  result_of(context, pattern_10::program());
}

void echo(asio::io_context& context) {
  Connection connection(context);
  asio::co_spawn(context, pattern_11::echo(std::move(connection.server)), asio::detached);
  std::jthread thread([&context] { context.run(); });
  char text[5] = {};
  asio::write(connection.client, asio::buffer("hello", 5));
  asio::read(connection.client, asio::buffer(text));
  expect(text[4] == 'o', "11: echoed");
  connection.client.close();
}

}  // namespace

int main() {
  asio::io_context context;
  tasks(context);
  deadline(context);
  sharing(context);
  echo(context);
  pattern_12::main_();
  return failures == 0 ? 0 : 1;
}
