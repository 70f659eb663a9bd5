#include "rt/process_life.hpp"

#include <pthread.h>

#include <atomic>

namespace zsync::rt {
namespace {

std::atomic<uint32_t> forks{0};

void before_fork() {
  lock_global_runtime();
  lock_frame_store();
}
void after_fork() {
  unlock_frame_store();
  unlock_global_runtime();
}
void in_child() {
  forks.fetch_add(1, std::memory_order_relaxed);
  after_fork();
}

constinit thread_local bool ending = false;

struct ThreadEnd {
  void watch() {}
  ~ThreadEnd() { ending = true; }
};
thread_local ThreadEnd thread_end;

}  // namespace

uint32_t forked_processes() noexcept { return forks.load(std::memory_order_relaxed); }

void watch_forks() {
  static const int watched = pthread_atfork(before_fork, after_fork, in_child);
  (void)watched;  // without memory for it a child's misuse has no message
}

void watch_thread_end() noexcept {
  if (!ending) thread_end.watch();
}

bool thread_is_ending() noexcept { return ending; }

}  // namespace zsync::rt
