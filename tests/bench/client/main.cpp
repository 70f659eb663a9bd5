// bench-client COMMAND WORDS...: what the benches of tests/bench measure from inside a process,
// because starting one would drown the figure.
#include <cstdio>
#include <string>
#include <string_view>

#include "tests/bench/client/commands.hpp"

namespace {

using zsync::bench::Words;

struct Command {
  std::string_view name;
  size_t words_min;
  int (*run)(const Words&);
};

constexpr Command kCommands[] = {
    {"probe", 3, zsync::bench::probe},
    {"spawn", 3, zsync::bench::spawn},
    {"start", 3, zsync::bench::start},
    {"idle", 2, zsync::bench::idle},
    {"submit-latency", 5, zsync::bench::submit_latency},
    {"start-latency", 2, zsync::bench::start_latency},
    {"submit-threads", 4, zsync::bench::submit_threads},
    {"submit-async", 4, zsync::bench::submit_async},
    {"submit-batch", 5, zsync::bench::submit_batch},
    {"drain", 3, zsync::bench::drain},
    {"pattern", 1, zsync::bench::pattern},
    {"follow", 3, zsync::bench::follow},
    {"channel", 5, zsync::bench::channel},
    {"durable", 5, zsync::bench::durable},
    {"fanout", 5, zsync::bench::fanout},
    {"try-send", 3, zsync::bench::try_send},
    {"echo-server", 1, zsync::bench::echo_server},
    {"echo", 2, zsync::bench::echo},
    {"functions", 4, zsync::bench::functions},
    {"ring-send", 5, zsync::bench::ring_send},
    {"ring-recv", 4, zsync::bench::ring_recv},
    {"ring-echo", 5, zsync::bench::ring_echo},
    {"ring-ping", 6, zsync::bench::ring_ping},
    {"watch", 3, zsync::bench::watch},
};

}  // namespace

int main(int argc, char** argv) {
  const Words all(argv + 1, argv + argc);
  for (const Command& command : kCommands) {
    if (all.empty() || all[0] != command.name) continue;
    const Words words(all.begin() + 1, all.end());
    if (words.size() < command.words_min) break;
    return command.run(words);
  }
  std::fprintf(stderr,
               "bench-client: unknown command or too few words; they are in commands.hpp\n");
  return 2;
}
