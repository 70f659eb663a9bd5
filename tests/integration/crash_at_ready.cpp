// Preloaded into a zsyncd: raises the signal CRASH_WITH where the daemon says that it serves.
#include <signal.h>
#include <stdlib.h>
#include <string.h>

extern "C" int sd_notify(int, const char* state) {
  const char* number = getenv("CRASH_WITH");
  if (number && strncmp(state, "READY=1", 7) == 0) raise(atoi(number));
  return 0;
}
