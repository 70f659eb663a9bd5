// Calls what the blocks for threads define: docs/guide/from-tokio-and-asio.md, put together by
// run_peers.py. The echo server of section 11 has a port of its own and no end, so one client of it
// is served over a pair of sockets.
#include "threads_blocks.hpp"

namespace {

using namespace std::chrono_literals;

int failures = 0;

void expect(bool right, const char* what) {
  if (right) return;
  std::printf("wrong: %s\n", what);
  ++failures;
}

void counts() {
  pattern_1::main_();
  expect(pattern_2::join() == 9, "2: spawn and join");
  expect(pattern_3::squares(4) == std::vector<int>{0, 1, 4, 9}, "3: several at once");
  expect(pattern_4::first_of(1h, 1ms) == 1, "4: the first of several");
  expect(pattern_5::in_time([] { return 1; }, 1h), "5: in time");
  std::promise<void> end;
  auto late = [ended = end.get_future().share()] { return ended.wait(), 1; };
  expect(!pattern_5::in_time(late, 1ms), "5: too late");
  end.set_value();
}

void channel() {
  pattern_6::Channel<int> channel(4);
  std::jthread sender([&channel] {
    for (int i = 1; i <= 10; ++i) channel.send(i);
    channel.close();
  });
  int sum = 0;
  while (const std::optional<int> number = channel.receive()) sum += *number;
  expect(sum == 55, "6: a bounded channel");
}

void rest() {
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 10; ++i) threads.emplace_back(pattern_7::add);
  }
  expect(pattern_7::total == 10, "7: a lock");
  expect(WEXITSTATUS(pattern_8::program()) == 3, "8: code that blocks");
  expect(pattern_9::program() == 30, "9: a group");
  pattern_10::program();
}

void echo() {
  int ends[2];
  expect(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "11: a pair of sockets");
  std::jthread server(pattern_11::echo, ends[1]);
  char text[5] = {};
  expect(write(ends[0], "hello", 5) == 5, "11: written");
  expect(read(ends[0], text, 5) == 5 && text[4] == 'o', "11: echoed");
  close(ends[0]);
}

}  // namespace

int main() {
  counts();
  channel();
  rest();
  echo();
  return failures == 0 ? 0 : 1;
}
