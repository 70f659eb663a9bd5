// A child process for tests that need limits of their own.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <string_view>

#include "watch/fd.hpp"

namespace zsync::watching {

// Runs `body` in a child, whose privileges it may drop, and gives back what it returned.
inline std::string in_child(const std::function<std::string()>& body) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string answer = body();
    const ssize_t written = ::write(ends[1], answer.data(), answer.size());
    ::_exit(written == static_cast<ssize_t>(answer.size()) ? 0 : 1);
  }
  Fd read_end(ends[0]);
  Fd(ends[1]).reset();
  std::string out;
  char buffer[4096];
  ssize_t n = 0;
  while ((n = ::read(read_end.get(), buffer, sizeof buffer)) > 0)
    out.append(buffer, static_cast<size_t>(n));
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  return out;
}

inline bool write_text(const char* file, std::string_view text) {
  Fd fd(::open(file, O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// In a user namespace of its own, whose limits are its own.
inline constexpr char kNoNamespace[] = "no user namespace here";

// In a child: `limit` is a file of /proc/sys/user. False: not here.
inline bool limit_this_process(const std::string& limit, std::string_view value) {
  return ::unshare(CLONE_NEWUSER) == 0 && write_text(("/proc/sys/user/" + limit).c_str(), value);
}

}  // namespace zsync::watching
