// Terminals: a command on a pseudo-terminal, which believes that a person sits there.
//
// Prints:
//   the command's terminal: 30 lines, 100 columns
//   it says: hello, world
//   Ctrl-C: signal 2 (Interrupt)
#include <cstdio>
#include <string>
#include <vector>

#include "zsync/zsync.hpp"

// Reads what is shown until a line is complete. -> that line.
zsync::Task<std::string> line_of(zsync::Pty& pty) {
  std::string line;
  std::byte byte[1];
  while (!line.ends_with("\r\n")) {
    absl::StatusOr<size_t> count = co_await pty.read_some(byte);
    if (!count.ok() || *count == 0) co_return line;
    line += static_cast<char>(byte[0]);
  }
  co_return line.substr(0, line.size() - 2);
}

zsync::Task<void> main_task() {
  absl::StatusOr<zsync::Pty> pty = zsync::Pty::open({.rows = 30, .columns = 100});
  if (!pty.ok()) {
    std::printf("%s\n", pty.status().ToString().c_str());
    co_return;
  }
  absl::StatusOr<zsync::Process> command = zsync::Process::spawn(
      {.argv = {"sh", "-c", "stty -echo; stty size; read name; echo hello, $name; exec cat"},
       .terminal = pty->path()});
  if (!command.ok()) co_return;
  const std::string size = co_await line_of(*pty);
  const size_t space = size.find(' ');
  std::printf("the command's terminal: %s lines, %s columns\n", size.substr(0, space).c_str(),
              size.substr(space + 1).c_str());
  (void)co_await pty->write_all("world\n");  // as if it were typed
  std::printf("it says: %s\n", (co_await line_of(*pty)).c_str());
  (void)co_await pty->write_all("\x03");
  absl::StatusOr<zsync::ExitStatus> ended = co_await command->wait();
  if (ended.ok()) std::printf("Ctrl-C: %s\n", ended->to_string().c_str());
}

int main() { zsync::run(main_task()); }
