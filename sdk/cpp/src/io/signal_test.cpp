#include "zsync/signal.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "io/io_test.hpp"
#include "zsync/process.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class SignalsOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(SignalsOnEveryModel);

void send(int signal) { EXPECT_EQ(::kill(::getpid(), signal), 0); }

std::atomic<int> foreign_count{0};
void foreign_handler(int) { foreign_count.fetch_add(1); }

void set_handler(int signal, void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  ::sigaction(signal, &action, nullptr);
}

auto handler_of(int signal) {
  struct sigaction action{};
  ::sigaction(signal, nullptr, &action);
  return action.sa_handler;
}

TEST_P(SignalsOnEveryModel, ASignalCompletesTheWaitOfEveryWatcher) {
  run_here([]() -> Task<void> {
    auto first = Signals::open({SIGUSR1, SIGUSR2});
    auto second = Signals::open({SIGUSR1});
    EXPECT_TRUE(first.ok() && second.ok());
    for (int i = 0; i < 20; ++i) {
      auto waiting = spawn(first->next());
      for (int turn = 0; turn < i % 3; ++turn) co_await yield_now();
      send(SIGUSR1);
      EXPECT_EQ(co_await waiting, SIGUSR1);
      EXPECT_EQ(co_await second->next(), SIGUSR1);
      send(SIGUSR2);
      EXPECT_EQ(co_await first->next(), SIGUSR2);
    }
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(second->next(), 1ms)).status()));
  }());
}

TEST_P(SignalsOnEveryModel, SeveralOfOneNumberAreOneAndTheLowestNumberComesFirst) {
  run_here([]() -> Task<void> {
    auto signals = Signals::open({SIGUSR2, SIGUSR1, SIGRTMIN, SIGUSR1});
    // To this thread, so that each has been delivered when raise() returns.
    for (const int signal : {SIGRTMIN, SIGUSR2, SIGUSR1, SIGUSR1}) EXPECT_EQ(::raise(signal), 0);
    for (const int signal : {SIGUSR1, SIGUSR2, SIGRTMIN}) {
      EXPECT_EQ(co_await signals->next(), signal);
    }
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(signals->next(), 1ms)).status()));
  }());
}

TEST_P(SignalsOnEveryModel, TheFormerDispositionIsRestoredWhenTheLastWatcherGoes) {
  set_handler(SIGUSR1, foreign_handler);
  run_here([]() -> Task<void> {
    {
      auto first = Signals::open({SIGUSR1});
      {
        auto second = Signals::open({SIGUSR1, SIGUSR1});
        auto third = *std::move(second);
      }
      const int before = foreign_count;
      send(SIGUSR1);
      EXPECT_EQ(co_await first->next(), SIGUSR1);
      EXPECT_EQ(foreign_count, before);
    }
    EXPECT_EQ(handler_of(SIGUSR1), &foreign_handler);
    // A handler that somebody sets meanwhile is left alone.
    {
      auto signals = Signals::open({SIGUSR1});
      set_handler(SIGUSR1, SIG_IGN);
    }
    EXPECT_EQ(handler_of(SIGUSR1), SIG_IGN);
    set_handler(SIGUSR1, SIG_DFL);
  }());
}

TEST_P(SignalsOnEveryModel, AThreadThatWasThereBeforeMayTakeTheSignal) {
  std::atomic<bool> ended{false};
  std::thread other([&ended] {
    while (!ended) std::this_thread::yield();
  });
  run_here([](pthread_t thread) -> Task<void> {
    auto signals = Signals::open({SIGTERM});
    ::pthread_kill(thread, SIGTERM);
    EXPECT_EQ(co_await signals->next(), SIGTERM);
  }(other.native_handle()));
  ended = true;
  other.join();
}

TEST_P(SignalsOnEveryModel, ChildrenKeepTheDefault) {
  SKIP_WITHOUT_PIDFD();
  run_here([]() -> Task<void> {
    auto signals = Signals::open({SIGTERM});
    auto child = Process::spawn({.argv = {"sleep", "1000"}});
    EXPECT_TRUE(child->kill(SIGTERM).ok());
    EXPECT_EQ((co_await child->wait())->signal, SIGTERM);
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(signals->next(), 1ms)).status()));
  }());
}

TEST_P(SignalsOnEveryModel, BadListsAreRefusedAndTheNumberOfWatchersIsLimited) {
  run_here([]() -> Task<void> {
    const auto refused = [](std::vector<int> signals) {
      const absl::Status status = Signals::open(std::move(signals)).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      return std::string(status.message());
    };
    EXPECT_EQ(refused({}), "watching signals: the list is empty; name at least one");
    EXPECT_EQ(refused({SIGUSR1, SIGKILL}),
              "watching signals: 9 ends or stops this program and cannot be awaited; leave it out");
    for (const int signal : {0, -1, 65, 32}) {
      EXPECT_EQ(refused({signal}), "watching signals: " + std::to_string(signal) +
                                       " is no signal that a program may use");
    }
    std::vector<Signals> open;
    for (size_t i = 0; i < Signals::kOpenMax; ++i) open.push_back(*Signals::open({SIGUSR1}));
    EXPECT_EQ(Signals::open({SIGUSR1}).status().message(),
              "watching signals: 64 watchers are open; close some, or share one");
    open.pop_back();
    EXPECT_TRUE(Signals::open({SIGUSR1}).ok());
    open.clear();
    EXPECT_EQ(handler_of(SIGUSR1), SIG_DFL);
    co_return;
  }());
}

Task<int> next_or_zero(Signals& signals) {
  try {
    co_return co_await signals.next();
  } catch (const Cancelled&) {
    co_return 0;
  }
}

TEST_P(SignalsOnEveryModel, ACancelLosesNoSignalBeforeTheStartWhileWaitingOrRacing) {
  run_here([]() -> Task<void> {
    auto signals = Signals::open({SIGUSR1});
    send(SIGUSR1);
    auto early = spawn(signals->next());
    early.cancel();
    const absl::StatusOr<int> outcome =
        co_await [](TaskHandle<int>& handle) -> Task<absl::StatusOr<int>> {
      while (!handle.done()) co_await yield_now();
      co_return handle.outcome();
    }(early);
    EXPECT_TRUE(!outcome.ok() || *outcome == SIGUSR1);
    if (!outcome.ok()) EXPECT_EQ(co_await signals->next(), SIGUSR1);
    auto pending = spawn(next_or_zero, std::ref(*signals));
    for (int i = 0; i < 3; ++i) co_await yield_now();
    pending.cancel();
    EXPECT_EQ(co_await pending, 0);
    for (int round = 0; round < 100; ++round) {
      auto racing = spawn(next_or_zero, std::ref(*signals));
      for (int i = 0; i < round % 3; ++i) co_await yield_now();
      send(SIGUSR1);
      if (round % 2) co_await yield_now();
      racing.cancel();
      if (co_await racing == 0) EXPECT_EQ(co_await signals->next(), SIGUSR1);
    }
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(signals->next(), 1ms)).status()));
  }());
}

// Handlers run on another thread while watchers come and go: none writes to a closed descriptor.
TEST_P(SignalsOnEveryModel, WatchersComeAndGoUnderAStormOfSignals) {
  set_handler(SIGUSR1, foreign_handler);
  std::atomic<bool> ended{false};
  std::thread storm([&ended] {
    while (!ended) {
      ::pthread_kill(::pthread_self(), SIGUSR1);
      std::this_thread::yield();
    }
  });
  run_here([]() -> Task<void> {
    auto steady = Signals::open({SIGUSR1});
    for (int i = 0; i < 100; ++i) {
      auto passing = Signals::open({SIGUSR1});
      auto pipe = make_pipe();  // takes the number of a descriptor that was closed too early
      EXPECT_EQ(co_await passing->next(), SIGUSR1);
      pipe->second.close();
      EXPECT_TRUE((co_await pipe->first.read_to_end(0)).ok());
    }
    EXPECT_EQ(co_await steady->next(), SIGUSR1);
  }());
  ended = true;
  storm.join();
  set_handler(SIGUSR1, SIG_DFL);
}

TEST(SignalsDeathTest, ASimulationHasNoSignals) {
  EXPECT_DEATH(testing::SimRuntime(1).run([]() -> Task<void> {
    (void)Signals::open({SIGUSR1});
    co_return;
  }()),
               "use the real runtime");
}

}  // namespace
}  // namespace zsync
