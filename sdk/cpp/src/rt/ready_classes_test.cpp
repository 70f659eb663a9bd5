#include "rt/ready_classes.hpp"

#include <gtest/gtest.h>

#include <list>
#include <random>
#include <string>

namespace zsync::rt {
namespace {

using namespace std::chrono_literals;

constexpr int kAnyWorker = -1;

struct Job {
  std::string name;
  Urgency urgency;
};

Urgency due(Duration time) { return {.rank = Rank::kDeadline, .deadline = TimePoint(time)}; }
Urgency level(Rank rank) { return {.rank = rank}; }

std::string drain(ReadyClasses<Job>& ready, int worker = 0) {
  std::string names;
  while (Job* job = ready.pop(worker, Rank::kLow)) names += job->name;
  return names;
}

TEST(ReadyClasses, DeadlinesGoFirstThenCriticalHighNormalLow) {
  Job low{"l"}, normal{"n"}, high{"h"}, critical{"c"}, deadline{"d"};
  ReadyClasses<Job> ready(1);
  ready.push(&low, level(Rank::kLow), kAnyWorker);
  ready.push(&normal, level(Rank::kNormal), kAnyWorker);
  ready.push(&high, level(Rank::kHigh), kAnyWorker);
  ready.push(&critical, level(Rank::kCritical), kAnyWorker);
  ready.push(&deadline, due(1s), kAnyWorker);
  EXPECT_EQ(ready.above_normal(), 3u);
  EXPECT_EQ(drain(ready), "dchnl");
  EXPECT_EQ(ready.above_normal(), 0u);
}

TEST(ReadyClasses, TheEarliestDeadlineGoesFirstAndEqualOnesInTheOrderInWhichTheyCame) {
  Job a{"a"}, b{"b"}, c{"c"}, d{"d"}, e{"e"};
  ReadyClasses<Job> ready(1);
  ready.push(&a, due(3s), kAnyWorker);
  ready.push(&b, due(1s), kAnyWorker);
  ready.push(&c, due(2s), kAnyWorker);
  ready.push(&d, due(1s), kAnyWorker);
  ready.push(&e, due(1s), kAnyWorker);
  EXPECT_EQ(drain(ready), "bdeca");
}

TEST(ReadyClasses, WhatIsForOneWorkerIsForNoOtherAndKeepsItsPlaceAmongTheRest) {
  Job a{"a"}, b{"b"}, c{"c"};
  ReadyClasses<Job> ready(2);
  ready.push(&a, level(Rank::kHigh), kAnyWorker);
  ready.push(&b, level(Rank::kHigh), 1);
  ready.push(&c, level(Rank::kHigh), kAnyWorker);
  EXPECT_EQ(ready.pinned(1), 1u);
  EXPECT_EQ(ready.pop(0, Rank::kHigh)->name, "a");
  EXPECT_EQ(drain(ready, 0), "c");
  EXPECT_EQ(drain(ready, 1), "b");
}

TEST(ReadyClasses, OneThatWaitsIsRaisedByALevelForEveryKAgingRoundsThatAreTaken) {
  Job low{"l"}, high{"h"};
  ReadyClasses<Job> ready(1);
  ready.push(&low, level(Rank::kLow), kAnyWorker);
  uint32_t taken = 0;
  while (true) {
    ready.push(&high, due(1s), kAnyWorker);
    if (ready.pop(0, Rank::kHigh) == &low) break;
    ++taken;
  }
  EXPECT_EQ(taken, kAgingRounds * static_cast<uint32_t>(Rank::kOverdue));
}

TEST(ReadyClasses, NobodyStarvesWhateverComesBesides) {
  std::mt19937 random(1);
  for (int run = 0; run < 50; ++run) {
    ReadyClasses<Job> ready(1);
    std::vector<Job> waiting(20);
    for (Job& job : waiting) {
      job.name = "waits";
      ready.push(&job, level(static_cast<Rank>(random() % 4)), kAnyWorker);
    }
    Job flood{"f"};
    size_t left = waiting.size(), rounds = 0;
    const size_t rounds_max = kAgingRounds * 5 + waiting.size();
    for (; left > 0 && rounds <= rounds_max; ++rounds) {
      ready.push(&flood, random() % 2 ? due(1s) : level(Rank::kCritical), kAnyWorker);
      left -= ready.pop(0, Rank::kHigh) != &flood;
    }
    EXPECT_EQ(left, 0u) << rounds;
  }
}

// The rules of the header, by looking at every entry.
class Oracle {
 public:
  void push(Job* job, const Urgency& urgency, int home) {
    entries_.push_back({job, urgency, home, rounds_});
  }
  Job* pop(int worker, Rank least) {
    auto best = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (it->home >= 0 && it->home != worker) continue;
      if (rank(*it) < least) continue;
      if (best == entries_.end() || before(*it, *best)) best = it;
    }
    if (best == entries_.end()) return nullptr;
    Job* const job = best->job;
    entries_.erase(best);
    ++rounds_;
    return job;
  }
  std::vector<Job*> extract(const Urgency& urgency) {
    std::vector<Job*> found;
    for (int home = -1; home < 3; ++home) {
      for (auto it = entries_.begin(); it != entries_.end();) {
        const bool taken = it->home == home && it->job->urgency == urgency;
        if (taken) found.push_back(it->job);
        it = taken ? entries_.erase(it) : std::next(it);
      }
    }
    return found;
  }

 private:
  struct Entry {
    Job* job;
    Urgency urgency;
    int home;
    uint64_t since;
  };
  Rank rank(const Entry& entry) const {
    if (entry.urgency.rank == Rank::kDeadline) return Rank::kDeadline;
    const auto raised =
        static_cast<uint64_t>(entry.urgency.rank) + (rounds_ - entry.since) / kAgingRounds;
    return static_cast<Rank>(std::min<uint64_t>(raised, 5));
  }
  bool before(const Entry& a, const Entry& b) const {  // `a` came later
    return rank(a) != rank(b) ? rank(a) > rank(b) : a.urgency.deadline < b.urgency.deadline;
  }
  std::list<Entry> entries_;  // in the order of push()
  uint64_t rounds_ = 0;
};

TEST(ReadyClasses, DoesWhatAnOracleThatLooksAtEveryEntryDoes) {
  std::mt19937 random(7);
  for (int run = 0; run < 100; ++run) {
    ReadyClasses<Job> ready(3);
    Oracle oracle;
    std::list<Job> jobs;
    for (int step = 0; step < 1000; ++step) {
      const int kind = static_cast<int>(random() % 20);
      if (kind < 10) {
        Job& job = jobs.emplace_back();
        job.urgency =
            random() % 5 == 0 ? due(1s * (random() % 5)) : level(static_cast<Rank>(random() % 4));
        const int home = static_cast<int>(random() % 6) - 3;
        ready.push(&job, job.urgency, std::max(home, kAnyWorker));
        oracle.push(&job, job.urgency, std::max(home, kAnyWorker));
      } else if (kind < 19) {
        const int worker = static_cast<int>(random() % 3);
        const Rank least = static_cast<Rank>(random() % 3);
        ASSERT_EQ(ready.pop(worker, least), oracle.pop(worker, least));
      } else {
        const Urgency urgency = level(static_cast<Rank>(random() % 4));
        std::vector<Job*> taken;
        ready.extract([&](const Job* job) { return job->urgency == urgency; },
                      [&](Job* job, int) { taken.push_back(job); });
        ASSERT_EQ(taken, oracle.extract(urgency));
      }
    }
  }
}

// Jobs of one processor, in slots of time.
struct SlotJob {
  int release;
  int deadline;
  int cost;
  int left = cost;
  bool released = false;
};

// Feasible if and only if no interval is asked for more than it has (Baruah, Rosier, Howell 1990).
bool feasible(const std::vector<SlotJob>& jobs) {
  for (const SlotJob& first : jobs) {
    for (const SlotJob& last : jobs) {
      int demand = 0;
      for (const SlotJob& job : jobs) {
        if (job.release >= first.release && job.deadline <= last.deadline) demand += job.cost;
      }
      if (demand > std::max(last.deadline - first.release, 0)) return false;
    }
  }
  return true;
}

// Whether the engine's order keeps every deadline.
bool keeps_deadlines(std::vector<SlotJob> jobs) {
  ReadyClasses<SlotJob> ready(1);
  for (int now = 0; now < 200; ++now) {
    for (SlotJob& job : jobs) {
      if (job.release > now || std::exchange(job.released, true)) continue;
      ready.push(&job, due(1s * job.deadline), kAnyWorker);
    }
    SlotJob* const job = ready.pop(0, Rank::kLow);
    if (!job) continue;
    if (now >= job->deadline) return false;
    if (--job->left > 0) ready.push(job, due(1s * job->deadline), kAnyWorker);
  }
  return true;
}

TEST(ReadyClasses, OnOneWorkerEarliestDeadlineFirstKeepsEveryDeadlineThatCanBeKept) {
  std::mt19937 random(3);
  int kept = 0, missed = 0;
  for (int run = 0; run < 3000; ++run) {
    std::vector<SlotJob> jobs;
    const size_t count = 1 + random() % 7;
    for (size_t i = 0; i < count; ++i) {
      const int release = static_cast<int>(random() % 20);
      const int cost = 1 + static_cast<int>(random() % 5);
      jobs.push_back({release, release + cost + static_cast<int>(random() % 12), cost});
    }
    const bool can = feasible(jobs);
    ASSERT_EQ(keeps_deadlines(jobs), can) << "run " << run;
    (can ? kept : missed)++;
  }
  EXPECT_GT(kept, 300);
  EXPECT_GT(missed, 300);
}

TEST(ClassTurns, ANormalOneGoesAfterEveryKAgingRoundsOfThoseAboveIt) {
  ClassTurns turns;
  std::string order;
  for (int i = 0; i < 3 * (static_cast<int>(kAgingRounds) + 1); ++i) {
    const bool classed = turns.next(/*above=*/true, /*normal=*/true).has_value();
    turns.took(classed);
    order += classed ? 'c' : 'n';
  }
  const std::string turn = std::string(kAgingRounds, 'c') + "n";
  EXPECT_EQ(order, turn + turn + turn);
}

TEST(ClassTurns, ALowOneGoesAfterEveryKAgingRoundsOfNormalOnes) {
  ClassTurns turns;
  std::string order;
  for (int i = 0; i < 2 * (static_cast<int>(kAgingRounds) + 1); ++i) {
    const bool classed = turns.next(/*above=*/false, /*normal=*/true).has_value();
    turns.took(classed);
    order += classed ? 'l' : 'n';
  }
  const std::string turn = std::string(kAgingRounds, 'n') + "l";
  EXPECT_EQ(order, turn + turn);
}

TEST(ClassTurns, WithoutANormalOneEveryRankMayGo) {
  ClassTurns turns;
  EXPECT_EQ(turns.next(/*above=*/true, /*normal=*/false), Rank::kLow);
  EXPECT_EQ(turns.next(/*above=*/false, /*normal=*/false), Rank::kLow);
  EXPECT_EQ(turns.next(/*above=*/true, /*normal=*/true), Rank::kHigh);
}

}  // namespace
}  // namespace zsync::rt
