// The simulated disk, and processes that stop at one instant.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "zsync/file.hpp"
#include "zsync/files.hpp"
#include "zsync/tcp.hpp"
#include "zsync/testing/sim_host.hpp"
#include "zsync/zsync.hpp"

namespace zsync::testing {
namespace {

using namespace std::chrono_literals;

constexpr FileOptions kNewFile{.write = true, .create = FileCreate::if_missing};

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// Runs a task on the host and waits for it.
template <typename T>
T on(SimRuntime& sim, SimHost& host, Task<T> task) {
  return sim.run([](SimHost& there, Task<T> inner) -> Task<T> {
    co_return co_await there.spawn(std::move(inner));
  }(host, std::move(task)));
}

TEST(SimDisk, FilesAndDirectoriesAreThoseOfTheHostAlone) {
  SimRuntime sim(1);
  SimHost& host = sim.host("a");
  on(sim, host, []() -> Task<void> {
    EXPECT_TRUE((co_await create_directories("var/log")).ok());
    EXPECT_TRUE((co_await write_file_atomic("var/log/app", "hello")).ok());
    EXPECT_EQ(*co_await read_file("/var/log/app"), "hello");
    auto file = co_await File::open("var/log/app", {.write = true});
    EXPECT_TRUE((co_await file->append(" world")).ok());
    EXPECT_TRUE((co_await file->write_at(20, bytes_of("!"))).ok());
    EXPECT_EQ(*co_await file->size(), 21u);
    EXPECT_TRUE((co_await file->truncate(11)).ok());
    EXPECT_TRUE((co_await rename_file("var/log", "var/old")).ok());
    EXPECT_TRUE(absl::IsNotFound((co_await read_file("var/log/app")).status()));
    EXPECT_EQ(*co_await read_file("var/old/app"), "hello world");
    auto listed = co_await list_directory("var/old");
    EXPECT_EQ(listed->size(), 1u);
    EXPECT_EQ(listed->front().name, "app");
    EXPECT_EQ((*co_await file_metadata("var")).kind, FileKind::directory);
    EXPECT_TRUE((co_await remove_file("var/old/app")).ok());
    EXPECT_TRUE(absl::IsAlreadyExists(
        (co_await File::open("var", {.write = true, .create = FileCreate::always_new})).status()));
    EXPECT_TRUE(absl::IsNotFound((co_await File::open("nowhere/x", kNewFile)).status()));
  }());
  EXPECT_TRUE(host.disk().files().empty());
  EXPECT_TRUE(sim.host("b").disk().files().empty());
}

Task<void> write_unsynced(std::string text) {
  auto file = co_await File::open("log", kNewFile);
  EXPECT_TRUE((co_await file->append(text)).ok());
}

// What was in the file after power cuts with many seeds, and how often.
std::map<std::string, int> outcomes(int seeds, const SimDiskOptions& options,
                                    Task<void> (*program)()) {
  std::map<std::string, int> seen;
  for (int seed = 1; seed <= seeds; ++seed) {
    SimRuntime sim(static_cast<uint64_t>(seed));
    SimHost& host = sim.host("a");
    host.disk().set_options(options);
    host.disk().put("log", "");
    on(sim, host, program());
    host.spawn([]() -> Task<void> { co_return; }()).detach();
    host.crash();
    ++seen[host.disk().content("log").value_or("(none)")];
  }
  return seen;
}

TEST(SimDisk, WhatWasNotSyncedIsLostOrTornOrKeptByLuck) {
  // Two sectors: nothing, the one, the other, both.
  const auto seen = outcomes(200, {}, []() -> Task<void> {
    co_await write_unsynced(std::string(512, 'a') + std::string(512, 'b'));
  });
  const std::string a(512, 'a'), b(512, 'b'), gap(512, 0);
  std::set<std::string> found;
  for (const auto& [content, count] : seen) found.insert(content);
  EXPECT_EQ(found, (std::set<std::string>{"", a, gap + b, a + b}));
}

TEST(SimDisk, AKilledProcessLosesNothingThatItWrote) {
  SimRuntime sim(1);
  SimHost& host = sim.host("a");
  on(sim, host, write_unsynced("kept"));
  host.spawn([]() -> Task<void> { co_return; }()).detach();
  host.crash(SimCrash::kill);
  EXPECT_EQ(host.disk().content("log"), "kept");
}

TEST(SimDisk, WhatWasSyncedStaysUnlessTheDiskLies) {
  const auto write_synced = []() -> Task<void> {
    auto file = co_await File::open("log", kNewFile);
    EXPECT_TRUE((co_await file->append("safe")).ok());
    EXPECT_TRUE((co_await file->sync()).ok());
  };
  EXPECT_EQ(outcomes(100, {}, write_synced), (std::map<std::string, int>{{"safe", 100}}));
  EXPECT_EQ(outcomes(100, {.lying_sync_percent = 100}, write_synced).size(), 2u);
}

TEST(SimDisk, InOrderALaterWriteNeverOutlivesAnEarlierOne) {
  const auto write_two = []() -> Task<void> {
    auto file = co_await File::open("log", kNewFile);
    EXPECT_TRUE((co_await file->append("one,")).ok());
    EXPECT_TRUE((co_await file->append("two")).ok());
  };
  const std::string hole(4, 0);
  EXPECT_TRUE(outcomes(200, {}, write_two).contains(hole + "two"));
  EXPECT_FALSE(outcomes(200, {.reorder_unsynced = false}, write_two).contains(hole + "two"));
}

TEST(SimDisk, AFailedSyncLosesWhatItShouldHaveSyncedAndTheNextOneDoesNotTell) {
  SimRuntime sim(4);
  SimHost& host = sim.host("a");
  host.disk().put("log", "");
  host.disk().set_options({.failing_sync_percent = 100});
  on(sim, host, [](SimHost& here) -> Task<void> {
    auto file = co_await File::open("log", kNewFile);
    EXPECT_TRUE((co_await file->append("lost")).ok());
    EXPECT_FALSE((co_await file->sync()).ok());
    here.disk().set_options({});
    EXPECT_TRUE((co_await file->sync()).ok());
    EXPECT_EQ(*co_await read_file("log"), "lost");
  }(host));
  std::set<std::string> left;
  for (int i = 0; i < 1; ++i) {
    host.spawn([]() -> Task<void> { co_return; }()).detach();
    host.crash();
    left.insert(*host.disk().content("log"));
  }
  EXPECT_EQ(left.size(), 1u);
  EXPECT_TRUE(*left.begin() == "" || *left.begin() == "lost");
}

TEST(SimDisk, AFullDiskTakesAPartAndSaysSo) {
  SimRuntime sim(1);
  SimHost& host = sim.host("a");
  host.disk().set_options({.bytes_max = 10});
  on(sim, host, []() -> Task<void> {
    auto file = co_await File::open("log", kNewFile);
    EXPECT_TRUE((co_await file->append("12345678")).ok());
    EXPECT_TRUE(absl::IsResourceExhausted(co_await file->append("9abcdef")));
    EXPECT_TRUE((co_await file->write_at(0, bytes_of("over"))).ok());
    EXPECT_TRUE(absl::IsResourceExhausted(co_await write_file_atomic("other", "x")));
  }());
  EXPECT_EQ(host.disk().content("log"), "over56789a");
  EXPECT_EQ(host.disk().bytes(), 10u);
  EXPECT_EQ(host.disk().files(), std::vector<std::string>{"/log"});
}

TEST(SimDisk, ACrashAnywhereInAnAtomicReplacementLeavesTheOldOrTheNewContent) {
  std::set<std::string> seen;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SimRuntime sim(seed);
    SimHost& host = sim.host("a");
    host.disk().put("state", "old");
    host.crash_after_file_calls(sim.random_below(9));
    absl::Status replaced = absl::UnknownError("the process was stopped before");
    try {
      on(sim, host, [](absl::Status& out) -> Task<void> {
        out = co_await write_file_atomic("state", std::string(2000, 'n'));
      }(replaced));
    } catch (const Cancelled&) {
      // The task was, with its process.
    }
    const bool crashed = !host.running() && host.incarnations() == 1 && !replaced.ok();
    if (!crashed) {
      host.spawn([]() -> Task<void> { co_return; }()).detach();
      host.crash();
    }
    const std::string content = host.disk().content("state").value_or("(none)");
    EXPECT_TRUE(content == "old" || content == std::string(2000, 'n')) << "seed " << seed;
    if (replaced.ok()) EXPECT_NE(content, "old") << "seed " << seed;
    seen.insert(content);
  }
  EXPECT_EQ(seen.size(), 2u);
}

TEST(SimDisk, AFileWhoseDirectoryWasNotSyncedMayHaveNoNameAfterwards) {
  std::set<bool> there;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SimRuntime sim(seed);
    SimHost& host = sim.host("a");
    on(sim, host, []() -> Task<void> {
      auto file = co_await File::open("new", kNewFile);
      EXPECT_TRUE((co_await file->append("x")).ok());
      EXPECT_TRUE((co_await file->sync()).ok());
    }());
    host.spawn([]() -> Task<void> { co_return; }()).detach();
    host.crash();
    there.insert(host.disk().content("new").has_value());
  }
  EXPECT_EQ(there.size(), 2u);
}

// -- crashes

TEST(SimCrash, EveryTaskStopsAtOnceAndItsDestructorsRun) {
  struct Guard {
    int& count;
    ~Guard() { ++count; }
  };
  explore(50, [](SimRuntime& sim) {
    int unwound = 0, steps = 0;
    SimHost& host = sim.host("a");
    host.start([&]() -> Task<void> {
      const auto turn = [](int& unwound, int& steps) -> Task<void> {
        Guard guard{unwound};
        while (true) {
          ++steps;
          co_await sleep(1ms);
        }
      };
      for (int i = 0; i < 5; ++i) spawn(turn(unwound, steps)).detach();
      co_await all(turn(unwound, steps), turn(unwound, steps));
    });
    sim.run([](SimHost& there, int& steps_now, int& gone) -> Task<void> {
      co_await sleep(20ms);
      const int before = steps_now;
      there.crash();
      EXPECT_FALSE(there.running());
      co_await yield_now();
      EXPECT_EQ(gone, 7);  // before anybody else went on
      // Those whose time had come go on to their next await and no further.
      EXPECT_LE(steps_now, before + 7);
      const int after = steps_now;
      co_await sleep(1s);
      EXPECT_EQ(steps_now, after);
    }(host, steps, unwound));
    EXPECT_GT(steps, 7);
  });
}

TEST(SimCrash, ATaskThatStopsItsOwnHostGetsNothingOutAfterwards) {
  SimRuntime sim(1);
  SimHost& host = sim.host("a");
  host.disk().put("log", "");
  host.start([&host]() -> Task<void> {
    auto file = co_await File::open("log", {.write = true});
    host.crash(SimCrash::kill);
    EXPECT_FALSE(host.running());
    try {
      EXPECT_FALSE((co_await file->append("after the crash")).ok());
    } catch (const Cancelled&) {
    }
    EXPECT_FALSE((co_await shield(file->append("nor now"))).ok());
    EXPECT_FALSE((co_await shield(TcpStream::connect(host.at(1)))).ok());
    throw std::runtime_error("nobody hears this");
  });
  EXPECT_THROW(sim.run([]() -> Task<void> { co_await sleep(1s); }()), SimFailure);
  EXPECT_EQ(host.disk().content("log"), "");
}

TEST(SimCrash, PeersSeeAResetAndCanConnectToTheNextIncarnation) {
  explore(20, [](SimRuntime& sim) {
    SimHost& server = sim.host("server");
    server.start([]() -> Task<void> {
      auto listener = TcpListener::bind({IpAddress::any_v4(), 80});
      while (true) {
        auto stream = co_await listener->accept();
        if (!stream.ok()) co_return;
        spawn([](TcpStream peer) -> Task<void> {
          (void)co_await peer.write_all("hello");
          (void)co_await peer.hangup();
        }(*std::move(stream)))
            .detach();
      }
    });
    sim.run([](SimHost& there, SimHost& here) -> Task<void> {
      auto client = [](SimHost& host) -> Task<void> {
        for (int round = 0; round < 3; ++round) {
          absl::StatusOr<TcpStream> stream = co_await TcpStream::connect(host.at(80));
          while (!stream.ok()) {
            co_await sleep(1ms);
            stream = co_await TcpStream::connect(host.at(80));
          }
          std::string greeting(5, 0);
          EXPECT_TRUE(
              (co_await stream->read_exact(std::as_writable_bytes(std::span(greeting)))).ok());
          EXPECT_EQ(greeting, "hello");
          host.restart(round == 1 ? SimCrash::kill : SimCrash::power_loss);
          auto end = co_await stream->read_some(std::as_writable_bytes(std::span(greeting)));
          if (round != 1) EXPECT_TRUE(absl::IsUnavailable(end.status())) << end.status();
          if (round == 1) EXPECT_EQ(end.value_or(99), 0u) << end.status();
        }
      };
      co_await here.spawn(client(there));
    }(server, sim.host("client")));
    EXPECT_EQ(server.incarnations(), 4u);
  });
}

TEST(SimCrash, AWaitThatCannotBeCancelledWakesUpToAnError) {
  SimRuntime sim(1);
  bool ended = false;
  SimHost& host = sim.host("a");
  host.start([&ended]() -> Task<void> {
    auto listener = TcpListener::bind({IpAddress::any_v4(), 80});
    const auto stream = co_await shield(listener->accept());
    EXPECT_FALSE(stream.ok());
    ended = true;
  });
  sim.run([](SimHost& there) -> Task<void> {
    co_await sleep(1s);
    there.crash();
    co_await sleep(1s);
  }(host));
  EXPECT_TRUE(ended);
}

TEST(SimCrash, AfterStepsItCanFallBetweenAnyTwo) {
  std::set<int> positions;
  for (uint64_t steps = 0; steps < 20; ++steps) {
    SimRuntime sim(1);
    int position = 0;
    SimHost& host = sim.host("a");
    host.start([&position]() -> Task<void> {
      for (; position < 12; ++position) co_await yield_now();
    });
    host.crash_after_steps(steps);
    sim.run([]() -> Task<void> { co_await sleep(1s); }());
    positions.insert(position);
  }
  EXPECT_EQ(positions.size(), 13u);
}

TEST(SimHost, AnExceptionThatLeavesAProgramFailsTheRunWithItsHost) {
  SimRuntime sim(1);
  sim.host("a").start([]() -> Task<void> {
    co_await sleep(1ms);
    throw std::runtime_error("no config");
  });
  try {
    sim.run([]() -> Task<void> { co_await sleep(1s); }());
    FAIL() << "it was not told";
  } catch (const SimFailure& failure) {
    EXPECT_NE(std::string(failure.what()).find("host \"a\" threw: no config"), std::string::npos);
  }
}

}  // namespace
}  // namespace zsync::testing
