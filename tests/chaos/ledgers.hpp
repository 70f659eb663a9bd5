// What a chaos run remembers: what was promised to clients, what ran, what went wrong.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace zsync::chaos {

struct Promise {
  std::string name;  // unique; the idempotency key too
  std::string kind;
  uint64_t seed = 0;
  uint64_t bytes = 0;
  int exit_code = 0;
  uint32_t retries = 0;
  bool cancels = false;
};

enum Phase { kQueued, kBeforeClaim, kAfterExec, kDuringCommit, kDuringReply, kPhases };

// Threads: every member may be called from any thread.
class Ledgers {
 public:
  void fault(const std::string& text) {
    std::lock_guard<std::mutex> guard(mutex_);
    faults_.push_back(text);
  }
  std::vector<std::string> faults() const {
    std::lock_guard<std::mutex> guard(mutex_);
    return faults_;
  }

  void acknowledge(const std::string& id, const Promise& promise) {
    std::lock_guard<std::mutex> guard(mutex_);
    if (!promises_.emplace(id, promise).second) {
      faults_.push_back(id + " was given to two submits");
    }
  }
  std::map<std::string, Promise> promises() const {
    std::lock_guard<std::mutex> guard(mutex_);
    return promises_;
  }
  bool acknowledged(const std::string& id) const {
    std::lock_guard<std::mutex> guard(mutex_);
    return promises_.count(id) != 0;
  }
  void removed(const std::string& id) {
    std::lock_guard<std::mutex> guard(mutex_);
    removed_.insert(id);
  }
  bool was_removed(const std::string& id) const {
    std::lock_guard<std::mutex> guard(mutex_);
    return removed_.count(id) != 0;
  }

  // A client was told that this task has ended.
  void told_final(const std::string& id) {
    std::lock_guard<std::mutex> guard(mutex_);
    told_final_.insert(id);
  }
  // What clients were told has to be in a dead daemon's store: `final_on_disk` by id.
  void compare_with_disk(int kill, const std::map<std::string, bool>& final_on_disk) {
    std::lock_guard<std::mutex> guard(mutex_);
    for (const auto& [id, promise] : promises_) {
      if (removed_.count(id) != 0) continue;
      const auto row = final_on_disk.find(id);
      if (row == final_on_disk.end()) {
        faults_.push_back(id + " was acknowledged before it was on disk (kill " +
                          std::to_string(kill) + ")");
      } else if (told_final_.count(id) != 0 && !row->second) {
        faults_.push_back(id + " was told to have ended before that was on disk (kill " +
                          std::to_string(kill) + ")");
      }
    }
  }

  // A submit is on its way from here on; the names are those of its tasks.
  void submit_begins(int client, const std::vector<std::string>& names) {
    std::lock_guard<std::mutex> guard(mutex_);
    in_flight_[client] = {{names.begin(), names.end()}, {}};
    submit_began_.notify_all();
  }
  // Returns when the next submit begins, or after `limit`.
  void wait_for_submit(std::chrono::milliseconds limit) {
    std::unique_lock<std::mutex> guard(mutex_);
    submit_began_.wait_for(guard, limit);
  }
  // `broken`: it got no reply.
  void submit_ends(int client, bool broken) {
    std::lock_guard<std::mutex> guard(mutex_);
    if (!broken) {
      in_flight_.erase(client);
      return;
    }
    Submit& submit = in_flight_[client];
    for (const int kill : submit.durable_at_kills) lost_reply(submit, kill);
    submit.broken = true;  // mostly before anybody has looked at what the killed daemon left
  }
  // Kill number `kill` found the tasks of these names on disk. A submit that broke and was not
  // repeated yet broke by this kill.
  void look_at_submits(int kill, const std::set<std::string>& names_on_disk) {
    std::lock_guard<std::mutex> guard(mutex_);
    for (auto& [client, submit] : in_flight_) {
      bool durable = true;
      for (const std::string& name : submit.names) durable &= names_on_disk.count(name) != 0;
      if (durable) submit.durable_at_kills.push_back(kill);
      if (durable && submit.broken) lost_reply(submit, kill);
    }
    std::erase_if(in_flight_, [](const auto& one) { return one.second.broken; });
  }
  void hit(Phase phase, int kill) {
    std::lock_guard<std::mutex> guard(mutex_);
    hits_[phase].insert(kill);
  }
  size_t hits(Phase phase) const {
    std::lock_guard<std::mutex> guard(mutex_);
    return hits_[phase].size();
  }

  // A follow saw nothing of this attempt: right if it never ran.
  void saw_nothing(const std::string& id, uint32_t attempt) {
    std::lock_guard<std::mutex> guard(mutex_);
    empty_.emplace(id, attempt);
  }
  bool was_seen_empty(const std::string& id, uint32_t attempt) const {
    std::lock_guard<std::mutex> guard(mutex_);
    return empty_.count({id, attempt}) != 0;
  }

  // Messages `first` to `last` were acknowledged.
  void sent(uint64_t first, uint64_t last) {
    std::lock_guard<std::mutex> guard(mutex_);
    for (uint64_t number = first; number <= last; ++number) sent_.insert(number);
  }
  void received(uint64_t number) {
    std::lock_guard<std::mutex> guard(mutex_);
    if (!received_.insert(number).second) {
      ++redelivered_;
    } else if (number < newest_received_) {
      faults_.push_back("message " + std::to_string(number) + " came after " +
                        std::to_string(newest_received_));
    }
    newest_received_ = std::max(newest_received_, number);
  }
  // At the end: what was acknowledged came -> a line for the table.
  std::string compare_messages() {
    std::lock_guard<std::mutex> guard(mutex_);
    for (const uint64_t number : sent_) {
      if (received_.count(number) == 0) {
        faults_.push_back("message " + std::to_string(number) + " was acknowledged and is lost");
      }
    }
    return std::to_string(sent_.size()) + " acknowledged, " + std::to_string(received_.size()) +
           " received, " + std::to_string(redelivered_) + " times again";
  }

  void followed(uint64_t bytes) {
    std::lock_guard<std::mutex> guard(mutex_);
    followed_bytes_ += bytes;
  }
  uint64_t followed_bytes() const {
    std::lock_guard<std::mutex> guard(mutex_);
    return followed_bytes_;
  }

 private:
  struct Submit {
    std::set<std::string> names;
    std::vector<int> durable_at_kills;
    bool broken = false;
  };
  // A repeated submit finds the tasks of the first one: each counts once.
  void lost_reply(const Submit& submit, int kill) {
    if (lost_replies_.insert(*submit.names.begin()).second) hits_[kDuringReply].insert(kill);
  }

  mutable std::mutex mutex_;
  std::condition_variable submit_began_;
  std::set<std::string> lost_replies_;  // the first name of each
  std::vector<std::string> faults_;
  std::map<std::string, Promise> promises_;  // by task id
  std::set<std::string> removed_;
  std::set<std::string> told_final_;
  std::set<std::pair<std::string, uint32_t>> empty_;
  std::map<int, Submit> in_flight_;
  std::array<std::set<int>, kPhases> hits_;
  uint64_t followed_bytes_ = 0;
  std::set<uint64_t> sent_;
  std::set<uint64_t> received_;
  uint64_t newest_received_ = 0;
  uint64_t redelivered_ = 0;
};

}  // namespace zsync::chaos
