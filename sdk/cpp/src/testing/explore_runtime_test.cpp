// The runtime's own channels, sync and flow under seeded schedules: random programs against what
// has to hold in every one of them. `./dev sim` runs a hundred times as many.
//
// Waits are cut short by everything that can do so: a timeout, a lost race, a cancelled task. What
// was told to have happened has, once; what was told not to have happened has not.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "zsync/testing/sim_runtime.hpp"
#include "zsync/zsync.hpp"

namespace zsync::testing {
namespace {

using namespace std::chrono_literals;

const SimOptions kOverloaded{.step_time = 1us, .overload_percent = 10};

Task<void> linger(SimRuntime& sim) {
  for (uint64_t turns = sim.random_below(4); turns > 0; --turns) co_await yield_now();
}

// Waits for the end of a task that may have been cancelled.
template <typename T>
Task<bool> ended(TaskHandle<T> handle) {
  try {
    (void)co_await std::move(handle);
    co_return true;
  } catch (const Cancelled&) {
    co_return false;
  }
}

// -- channels

// A message: who sent it and its number there.
using Message = std::pair<int, int>;

struct ChannelTrace {
  std::set<Message> sent;      // told to be sent
  std::set<Message> not_sent;  // told not to be
  std::vector<Message> received;
};

Task<void> produce(SimRuntime& sim, Channel<Message> out, int producer, ChannelTrace& trace) {
  for (int number = 0; number < 5; ++number) {
    const Message message{producer, number};
    absl::Status sent;
    switch (sim.random_below(4)) {
      case 0:
        sent = out.try_send(message);
        break;
      case 1: {
        auto chosen = co_await select(out.send(message), sleep(1us * sim.random_below(4)));
        sent = chosen.index == 0 ? std::get<0>(chosen.value) : absl::CancelledError();
        break;
      }
      default: {
        // In a task of its own that may be cancelled: its word counts.
        TaskHandle<absl::Status> sending =
            spawn([](Channel<Message> to,
                     Message what) -> Task<absl::Status> { co_return co_await to.send(what); },
                  out, message);
        co_await linger(sim);
        if (sim.random_below(3) == 0) sending.cancel();
        sent = co_await std::move(sending);
      }
    }
    (sent.ok() ? trace.sent : trace.not_sent).insert(message);
  }
}

Task<void> consume(SimRuntime& sim, Channel<Message> in, ChannelTrace& trace) {
  std::map<int, int> latest;
  const auto take = [&](const Message& message) {
    trace.received.push_back(message);
    const auto [entry, first] = latest.emplace(message.first, message.second);
    EXPECT_TRUE(first || entry->second < message.second) << "not in the order of sending";
    entry->second = message.second;
  };
  while (true) {
    co_await linger(sim);
    if (sim.random_below(3) == 0) {
      for (const Message& message : co_await in.recv_many(2)) take(message);
      if (in.is_closed() && in.size() == 0) break;
      continue;
    }
    auto chosen = co_await select(in.recv(), sleep(1us * sim.random_below(4)));
    if (chosen.index != 0) continue;
    if (!std::get<0>(chosen.value)) break;
    take(*std::get<0>(chosen.value));
  }
}

void explore_channel(int schedules, size_t capacity_max) {
  explore(
      schedules,
      [capacity_max](SimRuntime& sim) {
        ChannelTrace trace;
        sim.run([](SimRuntime& world, ChannelTrace& out, size_t most) -> Task<void> {
          Channel<Message> channel =
              most == 0 ? unbounded<Message>() : bounded<Message>(1 + world.random_below(most));
          std::vector<TaskHandle<void>> producers, consumers;
          for (int i = 0; i < 3; ++i) {
            producers.push_back(spawn(produce, std::ref(world), channel, i, std::ref(out)));
          }
          for (int i = 0; i < 2; ++i) {
            consumers.push_back(spawn(consume, std::ref(world), channel, std::ref(out)));
          }
          for (TaskHandle<void>& producer : producers) co_await std::move(producer);
          channel.close();
          for (TaskHandle<void>& consumer : consumers) co_await std::move(consumer);
        }(sim, trace, capacity_max));
        const std::set<Message> received(trace.received.begin(), trace.received.end());
        EXPECT_EQ(received.size(), trace.received.size()) << "one arrived twice";
        EXPECT_EQ(received, trace.sent) << "one was lost, or arrived although it was not sent";
      },
      kOverloaded);
}

TEST(ExploreChannel, BoundedLosesNothingRepeatsNothingAndKeepsTheOrderOfEachSender) {
  explore_channel(200, 3);
}

TEST(ExploreChannel, UnboundedLosesNothingRepeatsNothingAndKeepsTheOrderOfEachSender) {
  explore_channel(100, 0);
}

TEST(ExploreChannel, EverySubscriberOfABroadcastGetsEachMessageOrIsToldHowManyItMissed) {
  explore(150, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      Broadcast<int> broadcaster = broadcast<int>(1 + world.random_below(3));
      auto listen = [](SimRuntime& random, Subscription<int> in) -> Task<int> {
        int next = 0;
        while (true) {
          co_await linger(random);
          auto chosen = co_await select(in.recv(), sleep(1us * random.random_below(4)));
          if (chosen.index != 0) continue;
          const absl::StatusOr<int>& got = std::get<0>(chosen.value);
          if (absl::IsUnavailable(got.status())) co_return next;
          if (absl::IsDataLoss(got.status())) {
            next = -1;  // whatever comes next; later ones follow it
            continue;
          }
          if (next < 0) next = *got;
          EXPECT_EQ(*got, next);
          ++next;
        }
      };
      std::vector<TaskHandle<int>> listeners;
      for (int i = 0; i < 3; ++i) {
        listeners.push_back(spawn(listen(world, broadcaster.subscribe())));
      }
      for (int i = 0; i < 8; ++i) {
        EXPECT_TRUE(broadcaster.send(i).ok());
        co_await linger(world);
      }
      broadcaster.close();
      for (TaskHandle<int>& listener : listeners) EXPECT_EQ(co_await std::move(listener), 8);
    }(sim));
  });
}

TEST(ExploreChannel, AWatcherSeesValuesInOrderAndTheLastOneForCertain) {
  explore(150, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      WatchValue<int> value = watch<int>(0);
      auto follow = [](SimRuntime& random, WatchValue<int> in) -> Task<int> {
        int latest = 0;
        while (latest < 6) {
          auto chosen = co_await select(in.changed(), sleep(1us * random.random_below(4)));
          if (chosen.index != 0) continue;
          EXPECT_GT(*std::get<0>(chosen.value), latest);
          latest = *std::get<0>(chosen.value);
          co_await linger(random);
        }
        co_return latest;
      };
      TaskHandle<int> first = spawn(follow(world, value)), second = spawn(follow(world, value));
      for (int i = 1; i <= 6; ++i) {
        value.set(i);
        co_await linger(world);
      }
      EXPECT_EQ(co_await std::move(first), 6);
      EXPECT_EQ(co_await std::move(second), 6);
    }(sim));
  });
}

TEST(ExploreChannel, AOneshotGivesItsMessageOnceOrTellsThatThereIsNone) {
  explore(200, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      auto [sender, receiver] = oneshot<int>();
      const bool sends = world.random_below(2) == 0;
      TaskHandle<void> sending =
          spawn([](SimRuntime& random, OneshotSender<int> out, bool really) -> Task<void> {
            co_await linger(random);
            if (really) (void)std::move(out).send(7);
          }(world, std::move(sender), sends));
      std::optional<int> got;
      bool over = false;
      while (!over) {
        auto chosen = co_await select(receiver.recv(), sleep(1us * world.random_below(4)));
        if (chosen.index == 0) over = true, got = std::get<0>(chosen.value);
      }
      EXPECT_EQ(got, sends ? std::optional<int>(7) : std::nullopt);
      co_await std::move(sending);
    }(sim));
  });
}

// -- sync

// Holds what it was given for some turns, unless it gives up waiting or is cancelled.
template <typename Acquire>
Task<void> hold_for_some_turns(SimRuntime& sim, Acquire acquire, int& inside, int weight,
                               int most) {
  for (int round = 0; round < 3; ++round) {
    std::optional<Permit> permit;
    if (sim.random_below(2) == 0) {
      permit = co_await acquire();  // so a turn that nobody is given is a deadlock
    } else {
      auto chosen = co_await select(acquire(), sleep(1us * sim.random_below(6)));
      if (chosen.index != 0) continue;
      permit = std::get<0>(std::move(chosen.value));
    }
    struct Count {
      int& value;
      int weight;
      ~Count() { value -= weight; }
    } count{inside, weight};
    inside += weight;
    EXPECT_LE(inside, most);
    co_await linger(sim);
  }
}

TEST(ExploreSync, ASemaphoreNeverGivesMoreThanItHasAndGetsEverythingBack) {
  explore(
      200,
      [](SimRuntime& sim) {
        sim.run([](SimRuntime& world) -> Task<void> {
          Semaphore semaphore(3);
          int inside = 0;
          std::vector<TaskHandle<void>> holders;
          for (int weight : {1, 2, 3, 1, 2}) {
            holders.push_back(spawn(hold_for_some_turns(
                world,
                [&semaphore, weight] { return semaphore.acquire(static_cast<size_t>(weight)); },
                inside, weight, 3)));
          }
          co_await linger(world);
          holders[world.random_below(holders.size())].cancel();
          for (TaskHandle<void>& holder : holders) co_await ended(std::move(holder));
          EXPECT_EQ(semaphore.available(), 3u);
          EXPECT_EQ(inside, 0);
        }(sim));
      },
      kOverloaded);
}

TEST(ExploreSync, AMutexLetsOneInAndAnRwLockOneWriterOrManyReaders) {
  explore(
      200,
      [](SimRuntime& sim) {
        sim.run([](SimRuntime& world) -> Task<void> {
          Mutex mutex;
          RwLock shared;
          constexpr int kWriter = 100;
          int alone = 0, inside = 0;
          std::vector<TaskHandle<void>> holders;
          for (int i = 0; i < 3; ++i) {
            holders.push_back(
                spawn(hold_for_some_turns(world, [&mutex] { return mutex.lock(); }, alone, 1, 1)));
            holders.push_back(spawn(hold_for_some_turns(
                world, [&shared] { return shared.read(); }, inside, 1, kWriter - 1)));
          }
          for (int i = 0; i < 2; ++i) {
            holders.push_back(spawn(hold_for_some_turns(
                world, [&shared] { return shared.write(); }, inside, kWriter, kWriter)));
          }
          co_await linger(world);
          for (int i = 0; i < 2; ++i) holders[world.random_below(holders.size())].cancel();
          for (TaskHandle<void>& holder : holders) co_await ended(std::move(holder));
          EXPECT_TRUE(mutex.try_lock().has_value());
          EXPECT_TRUE(shared.try_write().has_value());
        }(sim));
      },
      kOverloaded);
}

TEST(ExploreSync, ANotificationWakesOneWaiterAlsoWhenAnotherOneGivesUp) {
  explore(200, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      Notify notify;
      int work = 0, done = 0;
      auto serve = [](SimRuntime& random, Notify& bell, int& todo, int& finished) -> Task<void> {
        while (true) {
          while (todo > 0) --todo, ++finished;
          if (random.random_below(2) == 0) {
            co_await bell.notified();
          } else {
            co_await select(bell.notified(), sleep(1us * random.random_below(4)));
          }
        }
      };
      std::vector<TaskHandle<void>> workers;
      for (int i = 0; i < 3; ++i) workers.push_back(spawn(serve(world, notify, work, done)));
      for (int i = 0; i < 5; ++i) {
        ++work;
        notify.notify_one();
        if (i == 2) workers[world.random_below(2)].cancel();
        co_await linger(world);
      }
      // One that was cancelled at the moment of its notification has passed it on.
      while (done < 5) co_await yield_now();
      for (TaskHandle<void>& worker : workers) worker.cancel();
      for (TaskHandle<void>& worker : workers) co_await ended(std::move(worker));
    }(sim));
  });
}

TEST(ExploreSync, ABarrierOpensWhenAllAreThereAndHasOneLeader) {
  explore(150, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      Barrier barrier(3);
      int arrived = 0, leaders = 0;
      auto party = [](SimRuntime& random, Barrier& gate, int& count, int& first) -> Task<void> {
        for (int round = 1; round <= 3; ++round) {
          co_await linger(random);
          ++count;
          if (co_await gate.arrive_and_wait()) ++first;
          EXPECT_GE(count, 3 * round);
        }
      };
      // One that gives up before the last has come is not counted.
      const absl::Status gone = co_await timeout(
          [](Barrier& gate) -> Task<void> { (void)co_await gate.arrive_and_wait(); }(barrier), 0s);
      EXPECT_TRUE(absl::IsDeadlineExceeded(gone));
      co_await all(party(world, barrier, arrived, leaders), party(world, barrier, arrived, leaders),
                   party(world, barrier, arrived, leaders));
      EXPECT_EQ(leaders, 3);
    }(sim));
  });
}

TEST(ExploreSync, AOnceCellIsFilledOnceAlsoWhenWhoFillsItIsCancelled) {
  explore(200, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      OnceCell<int> cell;
      int filling = 0, filled = 0;
      auto use = [](SimRuntime& random, OnceCell<int>& shared, int& running,
                    int& complete) -> Task<void> {
        co_await linger(random);
        int& value = co_await shared.get_or_init([&]() -> Task<int> {
          struct Count {
            int& value;
            ~Count() { --value; }
          } count{running};
          EXPECT_EQ(++running, 1);
          co_await yield_now();
          co_await yield_now();
          ++complete;
          co_return 42;
        });
        EXPECT_EQ(value, 42);
      };
      std::vector<TaskHandle<void>> users;
      for (int i = 0; i < 4; ++i) users.push_back(spawn(use(world, cell, filling, filled)));
      co_await linger(world);
      users[world.random_below(4)].cancel();
      for (TaskHandle<void>& user : users) co_await ended(std::move(user));
      EXPECT_EQ(filled, 1);
      EXPECT_EQ(*cell.get(), 42);
    }(sim));
  });
}

// -- flow

// Counts who is alive, for some turns, and ends as it was told.
enum class End { value, exception, status };

Task<absl::StatusOr<int>> branch(SimRuntime& sim, int& alive, End end, int value) {
  struct Count {
    int& value;
    explicit Count(int& counted) : value(counted) { ++value; }
    ~Count() { --value; }
  } count(alive);
  co_await linger(sim);
  if (sim.random_below(2) == 0) co_await sleep(1us * sim.random_below(5));
  if (end == End::exception) throw std::runtime_error("branch");
  if (end == End::status) co_return absl::NotFoundError("");
  co_return value;
}

End some_end(SimRuntime& sim) { return static_cast<End>(sim.random_below(3)); }

// Each combinator once, with what has to hold of its result.
Task<void> combine(SimRuntime& sim, int& alive) {
  const End first = some_end(sim), second = some_end(sim), third = some_end(sim);
  const bool throws = first == End::exception || second == End::exception;
  try {
    switch (sim.random_below(5)) {
      case 0: {
        auto [a, b] = co_await all(branch(sim, alive, first, 1), branch(sim, alive, second, 2));
        EXPECT_FALSE(throws);
        EXPECT_EQ(a.ok(), first == End::value);
        EXPECT_EQ(b.ok(), second == End::value);
        break;
      }
      case 1: {
        auto won = co_await race(branch(sim, alive, first, 0), branch(sim, alive, second, 1));
        EXPECT_LT(won.index, 2u);
        break;
      }
      case 2: {
        auto won = co_await any(branch(sim, alive, first, 0), branch(sim, alive, second, 1),
                                branch(sim, alive, third, 2));
        (void)won;
        break;
      }
      case 3: {
        auto late = co_await timeout(branch(sim, alive, first, 1), 1us * sim.random_below(5));
        EXPECT_TRUE(late.ok() || absl::IsDeadlineExceeded(late.status()) ||
                    absl::IsCancelled(late.status()) || absl::IsNotFound(late.status()));
        break;
      }
      default:
        co_await Executor::scope([&](Executor& group) -> Task<void> {
          (void)group.spawn(branch(sim, alive, first, 1));
          (void)group.spawn(branch(sim, alive, second, 2));
          co_await linger(sim);
          if (sim.random_below(3) == 0) group.cancel_all();
          co_await linger(sim);
        });
    }
  } catch (const std::runtime_error&) {
    EXPECT_TRUE(throws || third == End::exception);
  }
  EXPECT_EQ(alive, 0) << "a combinator has returned before its branches had ended";
}

TEST(ExploreFlow, WhenACombinatorReturnsItsBranchesHaveEndedAlsoWhenItIsCancelled) {
  explore(
      600,
      [](SimRuntime& sim) {
        int alive = 0;
        sim.run([](SimRuntime& world, int& count) -> Task<void> {
          for (int round = 0; round < 3; ++round) {
            TaskHandle<void> handle = spawn(combine(world, count));
            co_await linger(world);
            if (world.random_below(3) == 0) handle.cancel();
            co_await ended(std::move(handle));
            EXPECT_EQ(count, 0);
          }
        }(sim, alive));
      },
      kOverloaded);
}

TEST(ExploreFlow, AShieldedTaskEndsByItselfWhateverHappensAroundIt) {
  explore(200, [](SimRuntime& sim) {
    int begun = 0, finished = 0;
    sim.run([](SimRuntime& world, int& first, int& last) -> Task<void> {
      TaskHandle<void> handle = spawn(
          [](SimRuntime& random, int& in, int& out) -> Task<void> {
            co_await linger(random);
            co_await shield([](SimRuntime& inner, int& enter, int& leave) -> Task<void> {
              ++enter;
              co_await linger(inner);
              co_await sleep(1us);
              ++leave;
            }(random, in, out));
          },
          std::ref(world), std::ref(first), std::ref(last));
      co_await linger(world);
      handle.cancel();
      co_await ended(std::move(handle));
      EXPECT_EQ(first, last);
    }(sim, begun, finished));
  });
}

}  // namespace
}  // namespace zsync::testing
