// Channels: messages between tasks, with backpressure.
//
// A full channel makes the sender wait; nothing is dropped. Halves close the channel by themselves:
// the receiver sees the end when the last sender is gone.
//
// Prints:
//   received 30 messages, sum 135
//   a full channel: RESOURCE_EXHAUSTED
//   a closed channel: UNAVAILABLE
#include <cstdio>

#include "zsync/zsync.hpp"

zsync::Task<void> produce(zsync::Sender<int> out, int count) {
  for (int i = 0; i < count; ++i) {
    if (!(co_await out.send(i)).ok()) co_return;  // nobody listens any more
  }
}

zsync::Task<void> main_task() {
  zsync::Channel<int> channel = zsync::bounded<int>(4);
  for (int i = 0; i < 3; ++i) zsync::spawn(produce, channel.sender(), 10).detach();

  int count = 0, sum = 0;
  while (std::optional<int> message = co_await channel.recv()) {
    ++count;
    sum += *message;
  }
  std::printf("received %d messages, sum %d\n", count, sum);

  // The try_ forms never wait and may be called from any thread.
  zsync::Channel<int> small = zsync::bounded<int>(1);
  (void)small.try_send(1);
  std::printf("a full channel: %s\n", absl::StatusCodeToString(small.try_send(2).code()).c_str());
  small.close();
  std::printf("a closed channel: %s\n", absl::StatusCodeToString(small.try_send(3).code()).c_str());
}

int main() { zsync::run(main_task()); }
