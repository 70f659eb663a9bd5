// One invocation of the command line inside the test's process, its streams captured.
#pragma once

#include <string>
#include <vector>

#include "cli/testing/fake_server.hpp"

namespace zsync::cli::testing {

struct CliResult {
  int code;
  std::string out;
  std::string err;
};

// Runs zsyncctl against `server`, stdin holding `input` (nullopt: /dev/null).
CliResult run(FakeServer& server, std::vector<std::string> args,
              const std::optional<std::string>& input = std::nullopt);

// The same without a server.
CliResult run_alone(std::vector<std::string> args);

// Runs the installed program as a process; `seconds` bounds it.
class Process {
 public:
  // `environment` is added to the test's own; stdout and stderr are pipes.
  Process(const std::vector<std::string>& argv, const std::vector<std::string>& environment);
  ~Process();  // killed if it still runs

  int pid() const { return pid_; }
  void signal(int number) const;
  void close_stdout();
  // Reads until the program has printed `text`; false when it ends or 10 s pass before.
  bool prints(const std::string& text);
  // Waits for the end (SIGKILL after 20 s); the code as a shell reports it.
  CliResult wait();

 private:
  void read_some();  // what its streams hold now, within 100 ms

  int pid_ = -1;
  int out_ = -1;  // -1: at its end, or closed
  int err_ = -1;
  CliResult result_{};
};

// The zsyncctl that was built.
std::string program();

// Waits until `condition` holds; false after ten seconds.
bool eventually(const std::function<bool()>& condition);

}  // namespace zsync::cli::testing
