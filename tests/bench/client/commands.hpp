// The load generators of the benches. Each prints one JSON object, or one line an event.
#pragma once

#include <string>
#include <vector>

namespace zsync::bench {

using Words = std::vector<std::string>;

// probe DIR COUNT PAGES: the disk's own price of an append and fdatasync.
int probe(const Words& words);
// spawn COUNT -- COMMAND...: fork/exec to exit, one after the other, output to /dev/null.
int spawn(const Words& words);
// start SOCKET -- ZSYNCD...: from fork/exec of the daemon to its first reply; prints its pid,
// leaves it running.
int start(const Words& words);
// idle SOCKET SECONDS: makes one call, prints `ready`, holds the connection.
int idle(const Words& words);

// submit-latency SOCKET GROUP COUNT DIR PAGES: one submit after the other, each followed by a probe
// of the same disk.
int submit_latency(const Words& words);
// start-latency SOCKET COUNT: from before the submission of `true` to the start in its record, one
// after the other.
int start_latency(const Words& words);
// submit-threads SOCKET GROUP COUNT IN_FLIGHT: that many threads share one client.
int submit_threads(const Words& words);
// submit-async SOCKET GROUP COUNT IN_FLIGHT: that many calls of one thread, on the generated stub.
int submit_async(const Words& words);
// submit-batch SOCKET GROUP COUNT BATCH ARGV...: one call after the other, BATCH tasks each.
int submit_batch(const Words& words);
// drain SOCKET BLOCKERS COUNT: cancels the tasks named BLOCKERS (a,b, or none) and waits until
// nothing is queued or runs.
int drain(const Words& words);

// pattern BYTES: writes the 64-bit numbers 0, 1, 2, ... to stdout.
int pattern(const Words& words);
// follow SOCKET TASK FOLLOWERS: follows the task's stdout and compares each byte with the pattern.
int follow(const Words& words);

// channel SOCKET NAME COUNT BYTES BATCH: one sender, one receiver, two clients; the content is
// compared.
int channel(const Words& words);

// durable SOCKET NAME COUNT BYTES BATCH: the same through a durable channel, to a consumer of a
// group that acknowledges.
int durable(const Words& words);
// fanout SOCKET NAME COUNT BYTES SUBSCRIBERS: one sender, that many followers of a broadcast.
int fanout(const Words& words);
// try-send SOCKET NAME COUNT: one message of 64 bytes a call, one call after the other.
int try_send(const Words& words);
// echo-server SOCKET: a bare gRPC server whose calls give their request back; until it is killed.
int echo_server(const Words& words);
// echo SOCKET COUNT: calls of it with 64 bytes, one after the other.
int echo(const Words& words);
// functions SOCKET COUNT IN_FLIGHT WINDOW: one worker that echoes 100 bytes. Direct calls one at a
// time, then COUNT of them with IN_FLIGHT on the way, then COUNT as tasks, submitted in batches of
// 1000 and waited for.
int functions(const Words& words);

// ring-send SOCKET NAME COUNT BYTES BATCH and ring-recv SOCKET NAME COUNT BYTES: the ends of a
// ring; the content is compared.
int ring_send(const Words& words);
int ring_recv(const Words& words);
// ring-echo SOCKET THERE BACK COUNT SPIN_US: sends back what comes.
int ring_echo(const Words& words);
// ring-ping SOCKET THERE BACK COUNT SPIN_US PAUSE_US: round trips, a pause before each.
int ring_ping(const Words& words);

// watch SOCKET DIR SINCE: one line a batch, `batch NS FRESH CHANGES`, then one line a change.
int watch(const Words& words);

}  // namespace zsync::bench
