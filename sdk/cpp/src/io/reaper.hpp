// Collects children whose Process was dropped while they ran, so that none stays a zombie.
#pragma once

#include <sys/types.h>

#include "zsync/fd.hpp"

namespace zsync::rt {

// Waits for the child on a thread of its own, which serves the whole program and ends when there is
// nobody left to wait for. Without a pidfd the thread looks after it ten times a second.
// Threads: any.
void reap_in_background(pid_t pid, UniqueFd pidfd);

}  // namespace zsync::rt
