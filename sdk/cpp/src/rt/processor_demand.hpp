// ProcessorDemand: whether declared run times fit before their deadlines.
//
// The processor demand criterion (Baruah, Rosier, Howell: Algorithms and Complexity Concerning the
// Preemptive Scheduling of Periodic, Real-Time Tasks on One Processor, 1990) for jobs that are all
// there already: up to each deadline, what is left of the jobs that are due by then must not exceed
// the time that is left. An engine without clock and tasks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "zsync/rt/scheduler.hpp"

namespace zsync::rt {

// Threads: one at a time.
class ProcessorDemand {
 public:
  explicit ProcessorDemand(size_t processors) : processors_(processors) {}

  // Time has passed: the plan, which is to run the earliest deadline first, has gone on. A job that
  // has used up what it declared reserves nothing any more, and neither does one that is late.
  void advance(TimePoint now);

  // What is missing up to the first deadline that would not be kept if this job were added; zero
  // when it fits.
  Duration missing(TimePoint deadline, Duration cost) const;

  // `job` is the caller's name for it.
  void add(uint64_t job, TimePoint deadline, Duration cost);
  void remove(uint64_t job);
  // The job with the latest deadline.
  struct Latest {
    uint64_t job;
    TimePoint deadline;
  };
  std::optional<Latest> latest() const;

 private:
  struct Job {
    uint64_t job;
    Duration left;
  };

  const size_t processors_;
  TimePoint now_{};
  std::multimap<TimePoint, Job> jobs_;  // by deadline
};

}  // namespace zsync::rt
