// The other channels: one answer, every message for everybody, the newest value.
//
// oneshot: one message between two halves. broadcast: each subscriber gets each message; a slow one
// is told what it missed. watch: only the newest value counts.
//
// Prints:
//   oneshot: 7 squared is 49
//   broadcast: a subscriber in time sees 1 2 3
//   broadcast: a slow one: missed 1 messages, then 2 3
//   watch: level 3 replaces 0
//   watch: closed
#include <cstdio>
#include <utility>

#include "zsync/zsync.hpp"

struct Question {
  int number;
  zsync::OneshotSender<int> reply;
};

zsync::Task<void> answer_all(zsync::Channel<Question> questions) {
  while (std::optional<Question> question = co_await questions.recv()) {
    (void)question->reply.send(question->number * question->number);  // fails if nobody waits
  }
}

zsync::Task<void> ask_by_oneshot() {
  zsync::Channel<Question> questions = zsync::bounded<Question>(1);
  zsync::spawn(answer_all, questions).detach();
  auto [reply, answer] = zsync::oneshot<int>();
  (void)co_await questions.send(Question{7, std::move(reply)});
  const std::optional<int> square = co_await answer.recv();
  std::printf("oneshot: 7 squared is %d\n", *square);
  questions.close();
}

zsync::Task<void> follow_broadcast() {
  zsync::Broadcast<int> numbers = zsync::broadcast<int>(2);
  zsync::Subscription<int> in_time = numbers.subscribe();
  zsync::Subscription<int> slow = numbers.subscribe();
  std::printf("broadcast: a subscriber in time sees");
  for (int n = 1; n <= 3; ++n) {
    (void)numbers.send(n);  // never waits
    const absl::StatusOr<int> received = co_await in_time.recv();
    std::printf(" %d", *received);
  }
  const absl::StatusOr<int> lagged = co_await slow.recv();  // kDataLoss: the ring holds two
  std::printf("\nbroadcast: a slow one: missed %d messages, then", static_cast<int>(slow.missed()));
  numbers.close();
  while (true) {
    const absl::StatusOr<int> received = co_await slow.recv();
    if (!received.ok()) break;  // kUnavailable: closed, and everything was received
    std::printf(" %d", *received);
  }
  std::printf("\n");
}

zsync::Task<void> watch_level() {
  zsync::WatchValue<int> level = zsync::watch(0);
  zsync::WatchValue<int> observer = level;
  const int before = observer.get();
  for (int n = 1; n <= 3; ++n) level.set(n);
  const std::optional<int> now = co_await observer.changed();
  std::printf("watch: level %d replaces %d\n", *now, before);
  level.close();
  const std::optional<int> end = co_await observer.changed();
  std::printf("watch: %s\n", end ? "changed" : "closed");
}

zsync::Task<void> main_task() {
  co_await ask_by_oneshot();
  co_await follow_broadcast();
  co_await watch_level();
}

int main() { zsync::run(main_task()); }
