// One invocation: its streams, global flags, and its client, made when first needed.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/io.hpp"
#include "cli/render/table.hpp"
#include "zsync/client.hpp"

namespace zsync::cli {

struct Globals {
  std::string output = "table";  // table | json | jsonl | name
  bool quiet = false;
  bool yes = false;
  bool no_autostart = false;
  bool no_color = false;
  std::string socket;
  std::string timeout;
};

// What a command does once the line is parsed: an exit code, or the status that becomes one.
using Action = std::function<absl::StatusOr<int>()>;

// Threads: the main thread of the invocation.
class Context {
 public:
  explicit Context(Io io) : out(io.out), err(io.err), in(io.in) {}

  Globals globals;
  Out out;
  Out err;
  int in;
  client::StopSource stop;  // ends the call that the main thread is in

  Action action;
  bool passes_command_code = false;  // run: own failures are 125
  std::vector<std::string> command;  // what stood after the flags of a command that takes one

  // Connects at the first call. `may_start` false: never starts a daemon (status, stop).
  absl::StatusOr<client::Client*> client(bool may_start = true);
  // The call's bounds from the global flags.
  absl::StatusOr<client::CallOptions> call();

  bool json() const { return globals.output == "json"; }
  bool jsonl() const { return globals.output == "jsonl"; }
  bool names() const { return globals.output == "name" || globals.quiet; }
  bool color() const;

  // "zsyncctl: TEXT" on stderr, unless -q.
  void note(const std::string& text);
  // A question on the terminal; true when answered yes, with -y, or where nobody can be asked.
  bool confirm(const std::string& question);
  // One object in the wanted format; `human` makes the table form, `name` is what -q and -o name
  // print.
  void show(const google::protobuf::Message& message, const std::string& name,
            const std::function<std::string()>& human);
  void show_table(const Table& table, const std::string& when_empty);

 private:
  std::unique_ptr<client::Client> client_;
};

// Prints a list: an array, a line each, a name each, or (by the caller) a table.
class ListPrinter {
 public:
  explicit ListPrinter(Context& context) : context_(context) {}

  // True when the element was printed; false: the caller adds it to its table.
  bool add(const google::protobuf::Message& message, const std::string& name);
  // Closes the array.
  void end();

 private:
  Context& context_;
  bool first_ = true;
};

}  // namespace zsync::cli
