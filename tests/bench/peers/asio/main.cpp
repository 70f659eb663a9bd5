// Boost.Asio's part of `./dev bench runtime`: the rows of tests/bench/runtime that an io_context
// has, with handlers instead of coroutines; THREADS threads run one io_context. A posted handler
// has no handle, so that "join" is the moment the last one has run.
#include "tests/bench/peers/asio/world.hpp"

int main(int argc, char** argv) {
  using namespace zsync::bench;
  return run_groups({{"spawn", spawn_rows},
                     {"yield", yield_rows},
                     {"sleep", sleep_rows},
                     {"lateness", lateness_rows},
                     {"wake", wake_rows},
                     {"unix", unix_rows},
                     {"tcp", tcp_rows}},
                    argc, argv);
}
