#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "cli/app.hpp"

// Of a build that counts which lines run (`./dev coverage`); else there is none.
extern "C" int __llvm_profile_write_file() __attribute__((weak));

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const int code = zsync::cli::run_cli(std::vector<std::string>(argv + 1, argv + argc), {});
  // gRPC's and the loader's destructors cost a third of a short call and change nothing.
  std::fflush(nullptr);
  if (__llvm_profile_write_file != nullptr) (void)__llvm_profile_write_file();
  ::_exit(code);
}
