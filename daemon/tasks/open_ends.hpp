// Ends of attempts that have given their place in the queue away and are on their way to the disk.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "daemon/tasks/task.hpp"

namespace zsync::daemon {

// Who begins in such a place waits with being heard of until the end before it has been, so that
// events never show more in a group, or with a lock or resource, than may be there. Not
// thread-safe.
class OpenEnds {
 public:
  // What a task occupies while it runs.
  struct Place {
    std::string group;
    std::vector<std::string> needs;  // locks and resources

    static Place of(const TaskSpec& spec) {
      Place place{group_of(spec), {}};
      for (const std::string& lock : spec.locks) place.needs.push_back("lock " + lock);
      for (const ResourceNeed& need : spec.resources) place.needs.push_back(need.name);
      return place;
    }
    bool shares(const Place& other) const {
      return group == other.group ||
             std::find_first_of(needs.begin(), needs.end(), other.needs.begin(),
                                other.needs.end()) != needs.end();
    }
  };

  uint64_t open(Place place) {
    open_.emplace(++newest_, std::move(place));
    return newest_;
  }
  void close(uint64_t end) { open_.erase(end); }

  // Adds the open ends that were in this place, or in a part of it.
  void add_sharing(const Place& place, std::vector<uint64_t>& ends) const {
    for (const auto& [end, was] : open_) {
      if (was.shares(place)) ends.push_back(end);
    }
  }
  bool any_open(const std::vector<uint64_t>& ends) const {
    return std::any_of(ends.begin(), ends.end(),
                       [this](uint64_t end) { return open_.count(end) > 0; });
  }

 private:
  std::map<uint64_t, Place> open_;
  uint64_t newest_ = 0;
};

}  // namespace zsync::daemon
