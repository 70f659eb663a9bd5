// A zsync-shim that waits: for each attempt that zsyncd names it forks, and the child is the shim
// of that attempt. A fork of this small process costs less than executing it anew (the C library's
// questions to the processor, the page faults of a first run), and shims share its memory.
//
//   zsync-shim --fork-server ROOM      descriptor 3: a sequenced-packet socket to zsyncd
//   server to zsyncd   kForkServerReady, once
//   zsyncd to server   an attempt's directory, and one descriptor: the shim's first connection
//
// It ends when zsyncd has closed the socket. ROOM is blanks: there the child writes its directory,
// so that `ps` tells shims apart.
#pragma once

#include <optional>
#include <string>

#include "daemon/store/segment_log.hpp"

namespace zsync::daemon::shim {

inline constexpr char kForkServerFlag[] = "--fork-server";
inline constexpr char kForkServerReady[] = "ready";
inline constexpr int kForkServerFd = 3;
inline constexpr size_t kAttemptDirBytesMax = 4095;  // PATH_MAX without its end

// What a child of the server has to do.
struct ForkedAttempt {
  std::string dir;
  segment_log::Fd connection;
};

// Serves zsyncd; returns in each child with its attempt, and in the server, when zsyncd is gone,
// with nullopt.
std::optional<ForkedAttempt> serve_forks(int argc, char** argv);

}  // namespace zsync::daemon::shim
