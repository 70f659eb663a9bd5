#include "daemon/store/store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <cstdio>
#include <thread>
#include <vector>

#include "daemon/store/store_test_support.hpp"

namespace zsync::daemon {
namespace {

using ::testing::HasSubstr;

std::string text_of(const absl::Status& status) { return std::string(status.message()); }

TEST(Store, ACommittedRowIsThereForReadersAndAfterReopening) {
  ScratchDirectory dir;
  auto store = open_or_die(options_for(dir.file("store.db")));
  ASSERT_TRUE(commit_and_wait(*store, insert(1)).ok());
  EXPECT_EQ(count_items(*store), 1);
  store->close();
  store = open_or_die(options_for(dir.file("store.db")));
  EXPECT_EQ(count_items(*store), 1);
}

TEST(Store, TheFileIsPrivateAndDurableByItsSettings) {
  ScratchDirectory dir;
  const std::string path = dir.file("made/here/store.db");
  auto store = open_or_die(options_for(path));
  ASSERT_TRUE(commit_and_wait(*store, [](Database& db) {
                EXPECT_EQ(*db.query_int("PRAGMA synchronous"), 2);
                EXPECT_EQ(*db.query_int("PRAGMA foreign_keys"), 1);
                auto mode = db.query("PRAGMA journal_mode");
                EXPECT_TRUE(*mode->step());
                EXPECT_EQ(mode->text_at(0), "wal");
                return absl::OkStatus();
              }).ok());
  for (const char* name : {"", "-wal", "-shm", ".lock"}) {
    struct stat status{};
    ASSERT_EQ(::stat((path + name).c_str(), &status), 0) << name;
    EXPECT_EQ(status.st_mode & 0777, 0600u) << name;
  }
  struct stat status{};
  ASSERT_EQ(::stat(dir.file("made").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
}

TEST(Store, EverythingQueuedSharesOneCommit) {
  ScratchDirectory dir;
  auto store = open_or_die(options_for(dir.file("store.db")));
  Countdown told(1000);
  const uint64_t before = store->stats().commits;
  {
    HeldWriter held(*store);
    for (int id = 0; id < 1000; ++id) {
      store->commit(insert(id), [&told](absl::Status status) {
        EXPECT_TRUE(status.ok()) << status;
        told.count_down();
      });
    }
    EXPECT_EQ(store->stats().queue_depth, 1000u);
    held.release();
  }
  told.wait();
  EXPECT_EQ(count_items(*store), 1000);
  EXPECT_EQ(store->stats().commits - before, 2u);
  EXPECT_GE(store->stats().requests, 1000u);
  EXPECT_GT(store->stats().last_commit.count(), 0);
}

TEST(Store, ABatchIsNoLargerThanItsLimit) {
  ScratchDirectory dir;
  StoreOptions options = options_for(dir.file("store.db"));
  options.commit_batch_max = 10;
  auto store = open_or_die(options);
  Countdown told(95);
  {
    HeldWriter held(*store);
    for (int id = 0; id < 95; ++id) {
      store->commit(insert(id), [&told](absl::Status) { told.count_down(); });
    }
    held.release();
  }
  told.wait();
  EXPECT_EQ(store->stats().commits, 1u + 10u);
}

TEST(Store, AFailingRequestTakesBackItsOwnChangesOnly) {
  ScratchDirectory dir;
  auto store = open_or_die(options_for(dir.file("store.db")));
  std::vector<absl::Status> results(3);
  Countdown told(3);
  auto note = [&](size_t at) {
    return [&results, &told, at](absl::Status status) {
      results[at] = std::move(status);
      told.count_down();
    };
  };
  {
    HeldWriter held(*store);
    store->commit(insert(1), note(0));
    store->commit(
        [](Database& db) {
          EXPECT_TRUE(db.run("INSERT INTO item(id) VALUES(2)").ok());
          return absl::InvalidArgumentError("changed my mind");
        },
        note(1));
    store->commit(insert(3), note(2));
    held.release();
  }
  told.wait();
  EXPECT_TRUE(results[0].ok());
  EXPECT_EQ(results[1], absl::InvalidArgumentError("changed my mind"));
  EXPECT_TRUE(results[2].ok());
  EXPECT_EQ(count_items(*store), 2);
  EXPECT_EQ(store->stats().requests_failed, 1u);
}

TEST(Store, AFailingRequestThatIsAloneLeavesNothingBehind) {
  ScratchDirectory dir;
  auto store = open_or_die(options_for(dir.file("store.db")));
  ASSERT_TRUE(commit_and_wait(*store, insert(1)).ok());
  const absl::Status twice = commit_and_wait(*store, [](Database& db) {
    EXPECT_TRUE(db.run("INSERT INTO item(id) VALUES(2)").ok());
    return db.run("INSERT INTO item(id) VALUES(1)");
  });
  EXPECT_EQ(twice.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(count_items(*store), 1);
  EXPECT_TRUE(commit_and_wait(*store, insert(2)).ok());
}

TEST(Store, ARequestThatEndsTheTransactionFailsEverybodyInIt) {
  ScratchDirectory dir;
  auto store = open_or_die(options_for(dir.file("store.db")));
  EXPECT_EQ(commit_and_wait(*store, [](Database& db) { return db.run("ROLLBACK"); }).code(),
            absl::StatusCode::kInternal);
  EXPECT_TRUE(commit_and_wait(*store, insert(1)).ok());
}

TEST(Store, AnswersComeInTheOrderOfTheRequests) {
  ScratchDirectory dir;
  StoreOptions options = options_for(dir.file("store.db"));
  options.commit_batch_max = 7;
  auto store = open_or_die(options);
  std::vector<int> order;  // only the writer thread appends
  for (int id = 0; id < 300; ++id) {
    store->commit(insert(id), [&order, id](absl::Status) { order.push_back(id); });
  }
  store->close();
  ASSERT_EQ(order.size(), 300u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(Store, AnAnswerMayAskForTheNextCommit) {
  ScratchDirectory dir;
  auto store = open_or_die(options_for(dir.file("store.db")));
  Countdown finished;
  std::function<void(int)> next = [&](int id) {
    store->commit(insert(id), [&, id](absl::Status) {
      if (id == 20) return finished.count_down();
      next(id + 1);
    });
  };
  next(1);
  finished.wait();
  EXPECT_EQ(count_items(*store), 20);
}

TEST(Store, ManyThreadsCommitAtOnce) {
  ScratchDirectory dir;
  auto store = open_or_die(options_for(dir.file("store.db")));
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&store, thread] {
      for (int i = 0; i < 50; ++i) {
        EXPECT_TRUE(commit_and_wait(*store, insert(thread * 1000 + i)).ok());
        EXPECT_GE(count_items(*store), 1);
        (void)store->stats();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count_items(*store), 400);
}

TEST(Store, AFullQueueRefusesWithItsLimit) {
  ScratchDirectory dir;
  StoreOptions options = options_for(dir.file("store.db"));
  options.commit_queue_max = 2;
  auto store = open_or_die(options);
  HeldWriter held(*store);
  store->commit(insert(1), nullptr);
  store->commit(insert(2), nullptr);
  const absl::Status refused = commit_and_wait(*store, insert(3));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(text_of(refused), HasSubstr("commit_queue_max"));
  held.release();
}

TEST(Store, CloseAnswersWhatWasQueuedAndRefusesTheRest) {
  ScratchDirectory dir;
  auto store = open_or_die(options_for(dir.file("store.db")));
  int answered = 0;
  for (int id = 0; id < 100; ++id) {
    store->commit(insert(id),
                  [&answered](absl::Status status) { answered += status.ok() ? 1 : 0; });
  }
  store->close();
  store->close();
  EXPECT_EQ(answered, 100);
  EXPECT_EQ(commit_and_wait(*store, insert(500)).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(store->read([](Database&) { return absl::OkStatus(); }).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(store->checkpoint().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(std::filesystem::exists(dir.file("store.db-wal")));
  EXPECT_EQ(count_items(*open_or_die(options_for(dir.file("store.db")))), 100);
}

TEST(Store, ReadersCannotWrite) {
  ScratchDirectory dir;
  auto store = open_or_die(options_for(dir.file("store.db")));
  EXPECT_FALSE(store->read([](Database& db) { return db.run("DELETE FROM item"); }).ok());
  EXPECT_TRUE(commit_and_wait(*store, insert(1)).ok());
}

TEST(Store, TheLogStaysBounded) {
  ScratchDirectory dir;
  StoreOptions options = options_for(dir.file("store.db"));
  options.wal_pages_max = 50;
  options.wal_bytes_kept = 256 * 1024;
  auto store = open_or_die(options);
  const std::string body(20000, 'b');
  uintmax_t largest = 0;
  for (int id = 0; id < 200; ++id) {
    ASSERT_TRUE(commit_and_wait(*store, insert(id, body)).ok());
    largest = std::max(largest, std::filesystem::file_size(dir.file("store.db-wal")));
  }
  EXPECT_GT(store->stats().checkpoints, 5u);
  EXPECT_LT(largest, 1024u * 1024u);
  ASSERT_TRUE(store->checkpoint().ok());
  EXPECT_EQ(std::filesystem::file_size(dir.file("store.db-wal")), 0u);
  EXPECT_EQ(count_items(*store), 200);
}

TEST(Store, ALongReaderHoldsTheLogOnlyUntilItEnds) {
  ScratchDirectory dir;
  StoreOptions options = options_for(dir.file("store.db"));
  options.wal_pages_max = 20;
  auto store = open_or_die(options);
  ASSERT_TRUE(commit_and_wait(*store, insert(0)).ok());
  Countdown reading;
  Countdown enough;
  std::thread reader([&] {
    EXPECT_TRUE(store
                    ->read([&](Database& db) {
                      EXPECT_EQ(*db.query_int("SELECT count(*) FROM item"), 1);
                      reading.count_down();
                      enough.wait();
                      EXPECT_EQ(*db.query_int("SELECT count(*) FROM item"), 1);
                      return absl::OkStatus();
                    })
                    .ok());
  });
  reading.wait();
  for (int id = 1; id < 15; ++id) {
    ASSERT_TRUE(commit_and_wait(*store, insert(id, std::string(10000, 'b'))).ok());
  }
  enough.count_down();
  reader.join();
  ASSERT_TRUE(store->checkpoint().ok());
  EXPECT_EQ(count_items(*store), 15);
}

// Printed, not judged: the same statements raw, one after the other through the store, and 64 in
// flight.
double raw_seconds(const std::string& path, int commits) {
  auto db = Database::open(path, Database::Mode::create);
  EXPECT_TRUE((*db)
                  ->execute_script("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                                   "CREATE TABLE item(id INTEGER PRIMARY KEY, body BLOB)")
                  .ok());
  const auto start = std::chrono::steady_clock::now();
  for (int id = 0; id < commits; ++id) {
    EXPECT_TRUE((*db)->run("BEGIN IMMEDIATE").ok());
    EXPECT_TRUE((*db)->run("INSERT INTO item(id, body) VALUES(?, ?)", id, "x").ok());
    EXPECT_TRUE((*db)->run("COMMIT").ok());
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double store_seconds(const std::string& path, int commits, int in_flight) {
  auto store = open_or_die(options_for(path));
  Countdown told(commits);
  std::atomic<int> next{0};
  std::function<void()> submit = [&] {
    const int id = next.fetch_add(1);
    if (id >= commits) return;
    store->commit(insert(id), [&](absl::Status status) {
      EXPECT_TRUE(status.ok());
      submit();
      told.count_down();
    });
  };
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < in_flight; ++i) submit();
  told.wait();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double round_trip_seconds(const std::string& path, int commits) {
  auto store = open_or_die(options_for(path));
  const auto start = std::chrono::steady_clock::now();
  for (int id = 0; id < commits; ++id) EXPECT_TRUE(commit_and_wait(*store, insert(id)).ok());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(Store, PrintsWhatACommitCosts) {
  constexpr int kCommits = 500;
  constexpr int kMany = 10000;
  ScratchDirectory dir;
  const double raw = raw_seconds(dir.file("raw.db"), kCommits);
  const double chained = store_seconds(dir.file("a/store.db"), kCommits, 1);
  const double round_trip = round_trip_seconds(dir.file("b/store.db"), kCommits);
  const double many = store_seconds(dir.file("c/store.db"), kMany, 64);
  std::printf(
      "one row, one commit: raw sqlite %.0f us, store %.0f us (%.2fx), with a thread's round "
      "trip %.0f us (%.2fx); 64 in flight: %.0f commits/s\n",
      raw / kCommits * 1e6, chained / kCommits * 1e6, chained / raw, round_trip / kCommits * 1e6,
      round_trip / raw, kMany / many);
}

}  // namespace
}  // namespace zsync::daemon
