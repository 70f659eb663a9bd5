// Cycles among tasks of one call. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace zsync::daemon {

// `waits_for[i]` are the indices that i waits for -> the indices of one cycle, the first one again
// at the end; empty: there is none.
inline std::vector<size_t> find_cycle(const std::vector<std::vector<size_t>>& waits_for) {
  enum : uint8_t { kNew, kOnPath, kDone };
  std::vector<uint8_t> state(waits_for.size(), kNew);
  std::vector<size_t> path;
  std::vector<size_t> next(waits_for.size(), 0);  // which of its edges is looked at next
  for (size_t root = 0; root < waits_for.size(); ++root) {
    if (state[root] != kNew) continue;
    path.push_back(root);
    state[root] = kOnPath;
    while (!path.empty()) {
      const size_t at = path.back();
      if (next[at] == waits_for[at].size()) {
        state[at] = kDone;
        path.pop_back();
        continue;
      }
      const size_t to = waits_for[at][next[at]++];
      if (state[to] == kOnPath) {
        path.erase(path.begin(), std::find(path.begin(), path.end(), to));
        path.push_back(to);
        return path;
      }
      if (state[to] == kNew) {
        state[to] = kOnPath;
        path.push_back(to);
      }
    }
  }
  return {};
}

}  // namespace zsync::daemon
