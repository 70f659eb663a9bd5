#include "cli/context.hpp"

#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/errors.hpp"
#include "cli/render/json.hpp"
#include "cli/words.hpp"

namespace zsync::cli {

absl::StatusOr<client::Client*> Context::client(bool may_start) {
  if (client_ != nullptr) return client_.get();
  client::Options options;
  options.socket = globals.socket;
  options.autostart = may_start && !globals.no_autostart;
  options.resume = true;
  options.on_started = [this](long pid) {
    note(pid == 0 ? "started zsyncd.socket of the user's service manager"
                  : absl::StrCat("started zsyncd (pid ", pid, ")"));
  };
  auto connected = client::Client::connect(std::move(options));
  if (!connected.ok()) return connected.status();
  client_ = *std::move(connected);
  return client_.get();
}

absl::StatusOr<client::CallOptions> Context::call() {
  client::CallOptions options;
  options.stop = &stop;
  if (globals.timeout.empty()) return options;
  const auto timeout = parse_duration(globals.timeout);
  if (!timeout.ok()) return usage_error(absl::StrCat("--timeout: ", timeout.status().message()));
  options.timeout = *timeout;
  return options;
}

bool Context::color() const {
  const char* never = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  return !globals.no_color && (never == nullptr || *never == '\0') && out.is_terminal() &&
         (terminal == nullptr || std::string(terminal) != "dumb");
}

void Context::note(const std::string& text) {
  if (globals.quiet) return;
  err.write("zsyncctl: " + text + "\n");
  err.flush();
}

bool Context::confirm(const std::string& question) {
  if (globals.yes || ::isatty(in) != 1 || !err.is_terminal()) return true;
  err.write(question + " [y/N] ");
  err.flush();
  char answer[64] = {};
  const ssize_t got = ::read(in, answer, sizeof answer - 1);
  return got > 0 && (answer[0] == 'y' || answer[0] == 'Y');
}

void Context::show(const google::protobuf::Message& message, const std::string& name,
                   const std::function<std::string()>& human) {
  if (json()) {
    out.write(to_json(message, true));
  } else if (jsonl()) {
    out.write(to_json(message, false) + "\n");
  } else if (names()) {
    out.write(name + "\n");
  } else {
    out.write(human());
  }
}

void Context::show_table(const Table& table, const std::string& when_empty) {
  if (!table.empty()) {
    out.write(table.text(out.width(), color()));
  } else if (!globals.quiet) {
    err.write(when_empty + "\n");
    err.flush();
  }
}

bool ListPrinter::add(const google::protobuf::Message& message, const std::string& name) {
  if (context_.json()) {
    context_.out.write(first_ ? "[" : ",\n ");
    context_.out.write(to_json(message, false));
    first_ = false;
    return true;
  }
  if (context_.jsonl()) {
    context_.out.write(to_json(message, false) + "\n");
    return true;
  }
  if (context_.names()) {
    context_.out.write(name + "\n");
    return true;
  }
  return false;
}

void ListPrinter::end() {
  if (context_.json()) context_.out.write(first_ ? "[]\n" : "]\n");
}

}  // namespace zsync::cli
