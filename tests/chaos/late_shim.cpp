// Stands where zsync-shim is looked for, and starts the real one late now and then, as a loaded
// machine would: only so can a new daemon revoke the claim of a shim that is still on its way.
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <string>

// Of the daemons every other one finds a program that serves no forks and starts each shim by
// itself, late now and then; for the others the real server does it, and is only late to come.
int main(int argc, char** argv) {
  constexpr long kOneIn = 4;
  constexpr long kLateMsMax = 120;
  std::string path(4096, '\0');
  const ssize_t size = readlink("/proc/self/exe", path.data(), path.size());
  if (size <= 0) return 1;
  path.resize(static_cast<size_t>(size));
  path += ".real";
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const long dice = now.tv_nsec / 1000;
  if (argc > 1 && std::strcmp(argv[1], "--fork-server") == 0 && dice / kOneIn % 2 == 0) return 2;
  if (dice % kOneIn == 0) poll(nullptr, 0, static_cast<int>(dice / kOneIn % kLateMsMax));
  execv(path.c_str(), argv);
  return 1;
}
