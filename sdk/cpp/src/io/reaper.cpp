#include "io/reaper.hpp"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

namespace zsync::rt {
namespace {

constexpr int kLookMs = 100;  // between looks at a child without a pidfd

struct Orphan {
  pid_t pid;
  UniqueFd pidfd;
};

// True once the child is gone, whoever has collected it.
bool collected(const Orphan& orphan) {
  siginfo_t info{};
  const int result = waitid(P_PID, static_cast<id_t>(orphan.pid), &info, WEXITED | WNOHANG);
  return result == 0 ? info.si_pid == orphan.pid : errno == ECHILD;
}

// Never destroyed: a Process may be dropped by a destructor that runs after main().
class Reaper {
 public:
  static Reaper& get() {
    static Reaper* const reaper = new Reaper;
    static const struct AtExit {
      ~AtExit() { Reaper::get().stop(); }
    } at_exit;
    return *reaper;
  }

  void add(Orphan orphan) {
    std::lock_guard<std::mutex> guard(mutex_);
    if (owner_ != ::getpid()) forget_parent();
    orphans_.push_back(std::move(orphan));
    if (stopped_) return;  // the program is ending
    if (running_) {
      (void)::eventfd_write(wake_.get(), 1);
      return;
    }
    if (!wake_) wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    running_ = start_thread();  // if none can be had now, the next one that is added tries again
  }

  // Waits until the thread has ended.
  void stop() {
    std::unique_lock<std::mutex> guard(mutex_);
    stopped_ = true;
    if (owner_ != ::getpid()) return;
    (void)::eventfd_write(wake_.get(), 1);
    ended_.wait(guard, [this] { return !running_; });
  }

 private:
  // Not to be joined: a thread that has ended unjoined would seem leaked in a fork of this program.
  bool start_thread() {
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    const bool started = ::pthread_create(&thread, &attributes, &Reaper::work_on, this) == 0;
    ::pthread_attr_destroy(&attributes);
    return started;
  }

  static void* work_on(void* reaper) {
    static_cast<Reaper*>(reaper)->work();
    return nullptr;
  }

  // Neither the thread nor the children of the process that forked this one are ours.
  void forget_parent() {
    owner_ = ::getpid();
    orphans_.clear();
    wake_.reset();
    running_ = false;
  }

  void work() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    while (true) {
      std::vector<pollfd> waited;
      int timeout = -1;
      {
        std::lock_guard<std::mutex> guard(mutex_);
        std::erase_if(orphans_, collected);
        if (orphans_.empty() || stopped_) {
          running_ = false;
          ended_.notify_all();
          return;
        }
        waited.push_back({wake_.get(), POLLIN, 0});
        for (const Orphan& orphan : orphans_) {
          if (orphan.pidfd) waited.push_back({orphan.pidfd.get(), POLLIN, 0});
          if (!orphan.pidfd || !wake_) timeout = kLookMs;
        }
      }
      // Only this thread closes what it waits for.
      (void)::poll(waited.data(), waited.size(), timeout);
      eventfd_t ignored;
      (void)::eventfd_read(wake_.get(), &ignored);
    }
  }

  std::mutex mutex_;
  pid_t owner_ = ::getpid();
  std::vector<Orphan> orphans_;
  UniqueFd wake_;  // without it (no descriptor was left) the thread looks every kLookMs
  std::condition_variable ended_;
  bool running_ = false;  // the thread will look at `orphans_` again
  bool stopped_ = false;
};

}  // namespace

void reap_in_background(pid_t pid, UniqueFd pidfd) { Reaper::get().add({pid, std::move(pidfd)}); }

}  // namespace zsync::rt
