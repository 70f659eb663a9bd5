// bench-runtime: libzsync's part of `./dev bench runtime`; one line of JSON a figure.
#include "tests/bench/runtime/groups.hpp"

int main(int argc, char** argv) {
  using namespace zsync::bench;
  return run_groups({{"spawn", spawn_rows},
                     {"fork_join", fork_join_rows},
                     {"channel", channel_rows},
                     {"lock", lock_rows},
                     {"yield", yield_rows},
                     {"sleep", sleep_rows},
                     {"lateness", lateness_rows},
                     {"wake", wake_rows},
                     {"memory", memory_rows},
                     {"life", life_rows},
                     {"unix", unix_rows},
                     {"tcp", tcp_rows}},
                    argc, argv);
}
