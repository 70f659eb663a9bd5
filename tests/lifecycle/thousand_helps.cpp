// Runs `timeout 1 PROG ARGUMENTS...` 1,000 times: each ends by itself with code 0 and creates no
// thread. A filter of the kernel's kills whoever creates one.
//
//   thousand-helps PROG ARGUMENTS...
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <thread>
#include <vector>

namespace {

constexpr int kTimes = 1000;

// clone3() has its flags in memory, where a filter cannot look; without it glibc calls clone().
bool forbid_threads() {
  sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
                          BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog program{std::size(filter), filter};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// So that the filter is known to work.
bool a_thread_is_deadly() {
  const pid_t child = ::fork();
  if (child == 0) {
    std::thread([] {}).join();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

int run_once(char** arguments) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, arguments[0], &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    std::fprintf(stderr, "starting %s: %s\n", arguments[0], std::strerror(error));
    return -1;
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fputs("usage: thousand-helps PROG ARGUMENTS...\n", stderr), 2;
  if (!forbid_threads()) {
    std::puts("no filters here: only the exit codes are looked at");
  } else if (!a_thread_is_deadly()) {
    return std::fputs("the filter lets threads be created\n", stderr), 1;
  }
  char timeout[] = "timeout", second[] = "1";
  std::vector<char*> arguments{timeout, second};
  arguments.insert(arguments.end(), argv + 1, argv + argc + 1);  // with the closing nullptr
  for (int i = 0; i < kTimes; ++i) {
    if (const int status = run_once(arguments.data()); status != 0) {
      std::fprintf(stderr, "run %d of %s ended with status %#x\n", i, argv[1], status);
      return 1;
    }
  }
  std::printf("%d runs of %s: code 0, no thread\n", kTimes, argv[1]);
  return 0;
}
