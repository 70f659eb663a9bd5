// Sorting by the time of the start, with what began together in the order in which it came.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace zsync::trace {

// `start_of(entry)` -> nanoseconds. (std::stable_sort of libstdc++ 12 does not compile without a
// warning.)
template <typename T, typename StartOf>
void sort_by_start(std::vector<T>& entries, const StartOf& start_of) {
  std::vector<std::pair<int64_t, size_t>> order;
  order.reserve(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) order.emplace_back(start_of(entries[i]), i);
  std::sort(order.begin(), order.end());
  std::vector<T> sorted;
  sorted.reserve(entries.size());
  for (const auto& [start, place] : order) sorted.push_back(std::move(entries[place]));
  entries = std::move(sorted);
}

}  // namespace zsync::trace
