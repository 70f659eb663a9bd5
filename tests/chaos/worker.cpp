// chaos-worker LEDGER SEED BYTES KIND EXIT_CODE: the command of a chaos task.
//
// It writes its id and attempt into the ledger, prints what the seed says, and ends as KIND says:
//   plain   with EXIT_CODE            slow    the same, with pauses between the lines
//   child   leaving a child behind    daemon  leaving a daemon that ignores SIGTERM behind
//   hang    never
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "tests/chaos/worker_output.hpp"

namespace {

bool write_all(int fd, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = write(fd, text.data() + done, text.size() - done);
    if (count < 0) return false;
    done += static_cast<size_t>(count);
  }
  return true;
}

[[noreturn]] void stay() {
  while (true) pause();
}

void leave_child() {
  if (fork() == 0) stay();
}

void leave_daemon() {
  if (fork() != 0) return;
  setsid();
  signal(SIGTERM, SIG_IGN);
  if (fork() != 0) _exit(0);
  stay();
}

}  // namespace

int main(int argc, char** argv) {
  const char* id = std::getenv("ZSYNC_TASK_ID");
  const char* attempt = std::getenv("ZSYNC_ATTEMPT");
  if (argc != 6 || id == nullptr || attempt == nullptr) return 99;
  const int ledger = open(argv[1], O_WRONLY | O_APPEND | O_CLOEXEC);
  const std::string entry = std::string(id) + " " + attempt + "\n";
  if (ledger < 0 || write(ledger, entry.data(), entry.size()) < 0) return 98;
  const std::string kind = argv[4];
  if (kind == "child") leave_child();
  if (kind == "daemon") leave_daemon();
  zsync::chaos::OutputSource source(std::strtoull(argv[2], nullptr, 10),
                                    std::strtoull(argv[3], nullptr, 10));
  for (uint64_t lines = 0; !source.done(); ++lines) {
    const zsync::chaos::OutputLine line = source.next();
    if (!write_all(line.stream, line.text)) return 97;
    if (kind == "slow" && lines % 8 == 0) poll(nullptr, 0, 3);
  }
  if (kind == "hang") stay();
  return std::atoi(argv[5]);
}
