// Loaded into zsyncd before libc: now and then a sync takes as long as on a busy disk, so that
// kills fall between what was decided and what is durable.
#include <dlfcn.h>
#include <poll.h>
#include <time.h>

namespace {

constexpr long kOneIn = 3;
constexpr long kLateMsMax = 25;

void be_slow() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const long dice = now.tv_nsec / 1000;
  if (dice % kOneIn == 0) poll(nullptr, 0, static_cast<int>(dice / kOneIn % kLateMsMax));
}

int passed_on(const char* name, int fd) {
  be_slow();
  return reinterpret_cast<int (*)(int)>(dlsym(RTLD_NEXT, name))(fd);
}

}  // namespace

extern "C" int fsync(int fd) { return passed_on("fsync", fd); }
extern "C" int fdatasync(int fd) { return passed_on("fdatasync", fd); }
