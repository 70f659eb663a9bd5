#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "cli/app.hpp"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const int code = zsync::cli::run_cli(std::vector<std::string>(argv + 1, argv + argc), {});
  // gRPC's and the loader's destructors cost a third of a short call and change nothing.
  std::fflush(nullptr);
  ::_exit(code);
}
