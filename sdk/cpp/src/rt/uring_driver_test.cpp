#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "rt/driver.hpp"
#include "zsync/fd.hpp"

namespace zsync::rt {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

#define SKIP_WITHOUT_IO_URING() \
  if (!probe_backends().io_uring) GTEST_SKIP() << probe_backends().reason

std::unique_ptr<Driver> make_driver() { return std::move(make_uring_driver()).value(); }

struct Told final : FdListener {
  void on_ready(uint32_t events) override {
    ++times;
    last = events;
  }
  int times = 0;
  uint32_t last = 0;
};

UniqueFd make_event() { return UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

void raise(const UniqueFd& event) {
  const uint64_t one = 1;
  EXPECT_EQ(::write(event.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
}

// Removes a source and drives until the driver has let go of it.
void remove_and_wait(Driver& driver, FdSource& source) {
  bool closed = false;
  driver.remove(source, [&closed] { closed = true; });
  for (int turns = 0; !closed && turns < 10000; ++turns) driver.poll();
  EXPECT_TRUE(closed);
}

TEST(UringDriver, AWakeBeforeAParkEndsIt) {
  SKIP_WITHOUT_IO_URING();
  const std::unique_ptr<Driver> driver = make_driver();
  for (int i = 0; i < 100; ++i) {
    driver->wake();
    driver->park(std::nullopt);
    driver->wake();
    driver->park(Clock::now() + 1h);
  }
}

TEST(UringDriver, AWakeFromAnotherThreadEndsAPark) {
  SKIP_WITHOUT_IO_URING();
  const std::unique_ptr<Driver> driver = make_driver();
  std::atomic<int> wanted{0};
  std::thread waker([&] {
    for (int done = 0; done < 1000; ++done) {
      while (wanted.load() == done) std::this_thread::yield();
      driver->wake();
    }
  });
  for (int i = 0; i < 1000; ++i) {
    wanted.store(i + 1);
    driver->park(std::nullopt);
  }
  waker.join();
}

TEST(UringDriver, AParkEndsAtItsDeadlineAndNotAMillisecondLater) {
  SKIP_WITHOUT_IO_URING();
  const std::unique_ptr<Driver> driver = make_driver();
  auto least = Clock::duration::max();
  for (int i = 0; i < 50; ++i) {
    const auto deadline = Clock::now() + 100us;
    while (Clock::now() < deadline) driver->park(deadline);
    least = std::min(least, Clock::now() - deadline);
  }
  EXPECT_LT(least, 800us);
}

TEST(UringDriver, NewsAreToldOnceForEachChangeWithoutBeingAskedForAgain) {
  SKIP_WITHOUT_IO_URING();
  const std::unique_ptr<Driver> driver = make_driver();
  const UniqueFd event = make_event();
  Told told;
  FdSource* source = *driver->add(event.get(), told);
  driver->arm(*source, kNews);
  driver->poll();
  EXPECT_EQ(told.times, 0);
  for (int i = 1; i <= 3; ++i) {
    raise(event);
    driver->park(Clock::now() + 10s);
    EXPECT_EQ(told.times, i);
    EXPECT_EQ(told.last & kReadable, kReadable);
    driver->poll();
    EXPECT_EQ(told.times, i);
  }
  remove_and_wait(*driver, *source);
}

TEST(UringDriver, AskingForReadinessTellsWhatIsThereAlready) {
  SKIP_WITHOUT_IO_URING();
  const std::unique_ptr<Driver> driver = make_driver();
  const UniqueFd event = make_event();
  raise(event);
  Told told;
  FdSource* source = *driver->add(event.get(), told);
  for (int i = 1; i <= 3; ++i) {
    driver->arm(*source, kReadable);
    driver->poll();
    EXPECT_EQ(told.times, i);
  }
  remove_and_wait(*driver, *source);
}

TEST(UringDriver, MoreRequestsAndEventsThanTheQueuesHoldAreAllTold) {
  SKIP_WITHOUT_IO_URING();
  constexpr size_t kEvents = 5000;  // the queues have 256 and 2048
  const std::unique_ptr<Driver> driver = make_driver();
  std::vector<UniqueFd> events;
  std::vector<Told> told(kEvents);
  std::vector<FdSource*> sources;
  for (size_t i = 0; i < kEvents; ++i) {
    events.push_back(make_event());
    ASSERT_TRUE(events.back()) << "raise the limit of open files (ulimit -n)";
    sources.push_back(*driver->add(events.back().get(), told[i]));
    driver->arm(*sources.back(), kNews);
  }
  driver->poll();
  for (int round = 1; round <= 3; ++round) {
    for (const UniqueFd& event : events) raise(event);
    if (round == 3) {  // what is there already is told while the requests are still being made
      for (FdSource* source : sources) driver->arm(*source, kReadable);
    }
    const auto all_told = [&] {
      return std::all_of(told.begin(), told.end(),
                         [round](const Told& one) { return one.times >= round; });
    };
    // The kernel shows a few each time.
    for (size_t turns = 0; turns < kEvents && !all_told(); ++turns) {
      driver->park(Clock::now() + 1s);
      // A poll that met the full queue has ended; whoever waits arms it again.
      for (FdSource* source : sources) driver->arm(*source, kNews);
    }
    EXPECT_TRUE(all_told());
  }
  for (FdSource* source : sources) remove_and_wait(*driver, *source);
}

TEST(UringDriver, ARemovedSourceIsClosedThoughAnEventIsOnItsWay) {
  SKIP_WITHOUT_IO_URING();
  const std::unique_ptr<Driver> driver = make_driver();
  for (int round = 0; round < 200; ++round) {
    const UniqueFd event = make_event();
    Told told;
    FdSource* source = *driver->add(event.get(), told);
    driver->arm(*source, kNews | kReadable | kHangup);
    if (round % 3 == 0) driver->poll();
    if (round % 2 == 0) raise(event);
    remove_and_wait(*driver, *source);
  }
}

TEST(UringDriver, TheKernelHasLetGoOfADescriptorWhenItsDriverSaysSo) {
  SKIP_WITHOUT_IO_URING();
  const std::unique_ptr<Driver> driver = make_driver();
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const UniqueFd reader(ends[0]);
  Told told;
  FdSource* source = *driver->add(ends[1], told);
  driver->arm(*source, kHangup);
  driver->poll();
  bool closed = false;
  driver->remove(*source, [&] {
    ::close(ends[1]);
    closed = true;
  });
  while (!closed) driver->poll();
  pollfd end{reader.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&end, 1, 0), 1);
  EXPECT_TRUE(end.revents & POLLHUP);
}

TEST(UringDriver, AnotherThreadMayGoOnWithWhatTheFirstOneAskedFor) {
  SKIP_WITHOUT_IO_URING();
  const std::unique_ptr<Driver> driver = make_driver();
  const UniqueFd first = make_event(), second = make_event();
  Told first_told, second_told;
  FdSource* first_source = *driver->add(first.get(), first_told);
  FdSource* second_source = *driver->add(second.get(), second_told);
  std::thread([&] {
    driver->arm(*first_source, kNews);
    driver->poll();
    driver->leave();
  }).join();
  raise(first);  // while nobody drives
  std::thread([&] {
    driver->arm(*second_source, kReadable);
    raise(second);
    for (int i = 0; i < 10 && first_told.times + second_told.times < 2; ++i) {
      driver->park(Clock::now() + 10s);
    }
    driver->leave();
  }).join();
  EXPECT_EQ(first_told.times, 1);
  EXPECT_EQ(second_told.times, 1);
  remove_and_wait(*driver, *first_source);
  remove_and_wait(*driver, *second_source);
}

TEST(UringDriver, AChildOfForkMayDestroyItsCopyWithoutHarmToTheParent) {
  SKIP_WITHOUT_IO_URING();
  std::unique_ptr<Driver> driver = make_driver();
  const UniqueFd event = make_event();
  Told told;
  FdSource* source = *driver->add(event.get(), told);
  driver->arm(*source, kNews);
  driver->poll();
  const pid_t child = ::fork();
  if (child == 0) {
    driver.reset();
    ::_exit(0);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  raise(event);
  driver->park(Clock::now() + 10s);
  EXPECT_EQ(told.times, 1);
  remove_and_wait(*driver, *source);
}

}  // namespace
}  // namespace zsync::rt
