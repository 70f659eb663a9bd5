// What the daemon finds around itself when it starts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace zsync::daemon {

// The variables of this process whose names match one of the globs (* and ?), as NAME=VALUE.
std::vector<std::string> passed_environment(const std::vector<std::string>& globs);

// NAME in the directory of this executable, else beside it in ../libexec/zsync, else from PATH.
std::string program_beside_this(const std::string& name);

// The path of the file that this process was started from, also where another one has taken its
// place since.
std::string own_program();

// The kernel's id of this run of the machine; empty where /proc is not mounted.
std::string boot_id();

// Raises the soft limit of open files to the hard one -> the soft limit before, which is for
// commands: above 1024 select() breaks.
uint64_t raise_open_files();

// $HOME, else the user database's, else "/".
std::string home_directory();

}  // namespace zsync::daemon
