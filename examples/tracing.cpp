// Traces: what a program did because of what, and how long each part took, drawn as a waterfall.
//
// It runs in a simulation, so that the times are the same each time; in a program of your own use
// zsync::run().
//
// Prints:
//   trace 4bf92f3577b34da6a3ce929d0e0e4736
//   build                           80.0 ms  ███████████████████████████████
//     wait for the lock             20.0 ms  ████████
//     compile                       35.0 ms         ██████████████  error
//       b.cpp:3: expected ';'
//     compile                       60.0 ms         ███████████████████████
#include <iostream>

#include "zsync/testing/sim_runtime.hpp"
#include "zsync/trace.hpp"
#include "zsync/zsync.hpp"

using namespace std::chrono_literals;
namespace trace = zsync::trace;

zsync::Task<void> compile(trace::SpanContext cause, const trace::Tracer& tracer, std::string file,
                          std::chrono::milliseconds takes) {
  trace::Span span = tracer.start("compile", {.parent = cause});
  span.set("file", file);
  co_await zsync::sleep(takes);
  if (file == "b.cpp") span.set_status(absl::InternalError("b.cpp:3: expected ';'"));
}

zsync::Task<void> build(const trace::Tracer& tracer, trace::SpanContext caller) {
  trace::Span span = tracer.start("build", {.parent = caller, .kind = trace::SpanKind::server});
  trace::Span waited = span.child("wait for the lock");
  co_await zsync::sleep(20ms);
  waited.end();
  co_await zsync::all(compile(span.context(), tracer, "a.cpp", 60ms),
                      compile(span.context(), tracer, "b.cpp", 35ms));
}

int main() {
  zsync::testing::SimRuntime sim(1);
  trace::SpanStore store;
  const trace::Tracer tracer(
      store, {.unix_clock = [&sim]() -> int64_t { return sim.now().time_since_epoch().count(); }});
  // What a caller sent: over HTTP in a header, from a shell in the environment.
  const auto caller =
      trace::SpanContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  sim.run(build(tracer, *caller));
  std::cout << "trace " << store.traces()[0].id.to_hex() << '\n';
  trace::print_waterfall(std::cout, store.spans(caller->trace_id), {.width = 72});
}
