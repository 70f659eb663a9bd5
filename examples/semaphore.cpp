// Semaphore: at most n tasks inside at a time, served in the order of their asking.
//
// A permit comes back at the end of its life. Unlike a thread's lock it is held across co_await.
//
// Prints:
//   20 downloads, never more than 3 at a time
//   permits that nobody holds: 3
#include <algorithm>
#include <cstdio>
#include <vector>

#include "zsync/zsync.hpp"

struct Counts {
  zsync::Mutex mutex;
  int inside = 0;  // guarded by mutex
  int most = 0;    // guarded by mutex
};

zsync::Task<int> download(zsync::Semaphore& slots, Counts& counts) {
  zsync::Permit slot = co_await slots.acquire();
  {
    zsync::Permit guard = co_await counts.mutex.lock();
    counts.most = std::max(counts.most, ++counts.inside);
  }
  co_await zsync::sleep(std::chrono::milliseconds(1));
  zsync::Permit guard = co_await counts.mutex.lock();
  --counts.inside;
  co_return 1;
}

zsync::Task<void> main_task() {
  zsync::Semaphore slots(3);
  Counts counts;
  std::vector<zsync::Task<int>> downloads;
  for (int i = 0; i < 20; ++i) downloads.push_back(download(slots, counts));
  const std::vector<int> done = co_await zsync::all(std::move(downloads));
  std::printf("%zu downloads, never more than %d at a time\n", done.size(), counts.most);
  std::printf("permits that nobody holds: %zu\n", slots.available());
}

int main() { zsync::run(main_task()); }
