"""libzsync beside Tokio, oneTBB and Boost.Asio: tasks, fork-join, channels, locks, timers, wakes, memory; 1 and 2 threads.

Each group of rows is a process of its own (bench-runtime THREADS GROUP), so that none finds the heap or the threads of
another; the clock is read inside it. The header of tests/bench/runtime/GROUP.cpp says what is measured, and why it
cannot be optimised away; tests/bench/peers has the same rows for the peers.
"""
import json
import subprocess
from pathlib import Path

import runtime_peers
from report import Target
from world import Build, Sample, World

RUNS = 5
THREADS = (1, 2)
GROUPS = ("spawn", "fork_join", "channel", "lock", "yield", "sleep", "lateness", "wake", "memory", "life", "unix", "tcp")
GROUP_LIMIT = 120  # seconds
LONG_LIMIT = 900  # seconds
NO_SUCH_GROUP = 64  # exit code

NEVER = Target(0, worst=True)
LOCK = (Target(15), Target(0.5, beside="tokio"))
YIELD = (Target(20), Target(0.5, beside="tokio"))
CHANNEL = (Target(1e6, at_least=True), Target(3, at_least=True, beside="tokio"))
WAKE = Target(1, beside="tokio")
TCP = (Target(1.1, at_least=True, beside="tokio current_thread"), Target(1, at_least=True, beside="Boost.Asio"))
FIB, SKYNET, QUEENS, MATMUL = (Target(factor, beside="oneTBB") for factor in (0.45, 0.60, 0.90, 1.10))
TARGETS = {
    "spawn + join of 1 M": (Target(1000), Target(0.25, beside="tokio")),
    "fib(30)": FIB, "fib(39)": FIB, "skynet(10^6)": SKYNET, "skynet(10^8)": SKYNET,
    "nqueens(11)": QUEENS, "nqueens(14)": QUEENS, "matmul(1024)": MATMUL, "matmul(2048)": MATMUL,
    "channel 1-1": CHANNEL, "channel 4-1": CHANNEL, "channel 4-4": Target(1e6, at_least=True),
    "channel 1-1, batches of 256": Target(1e8, at_least=True),
    "Semaphore acquire + release": LOCK, "Mutex lock + unlock": LOCK,
    "yield_now alone": YIELD, "yield_now among 100 tasks": YIELD,
    "1 M sleeps: fire + insert": Target(150), "1 M sleeps: insert + cancel": Target(150), "1 M sleeps: early": NEVER,
    "1 ms sleep, 10 k live: late p99": Target(200), "1 ms sleep, 10 k live: early": NEVER,
    "wake, idle: p50": WAKE, "wake, idle: p99": WAKE, "wake, busy: p50": WAKE, "wake, busy: p99": WAKE,
    "idle task beyond its locals": Target(200), "start + stop": Target(300), "idle: wake-ups": Target(0),
    "TCP ping-pong, 1 connection": TCP, "TCP ping-pong, 20 connections": TCP,
}
NOTES = (
    "zsync: t workers that steal (ExecutionModel::multi_thread), io_uring, -O2 without LTO, glibc malloc, no spinning",
    "tokio: multi_thread with t workers, LIFO slot and coop budget as they come, enable_all (epoll); opt-level 3, fat LTO; "
    "rows run in a spawned task; mpsc has one receiver, so 4-4 has no peer; its timers count whole milliseconds",
    "tokio current_thread: the rows of one thread without stealing; they run in a spawned task of block_on",
    "oneTBB: task_group in an arena of t, last child called in place; its tasks are plain functions that cannot suspend",
    "Boost.Asio: one io_context run by t threads; handlers, not coroutines; a posted handler has no handle to join",
)


def samples_of(output: str, system: str, threads: int) -> list[Sample]:
    """What a bench program printed: one JSON object a line."""
    rows = [json.loads(line) for line in output.splitlines()]
    return [Sample(row["metric"], row["unit"], row["value"], system, threads) for row in rows]


def run_group(world: World, program: Path, system: str, threads: int, group: str) -> list[Sample]:
    argv = [str(program), str(threads), *(["--long"] if world.long else []), group]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          timeout=LONG_LIMIT if world.long else GROUP_LIMIT)
    if done.returncode == NO_SUCH_GROUP:
        world.note(f"skipped: {group} of {system} (its {program.name} does not know it)")
        return []
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit code {done.returncode}")
    return samples_of(done.stdout, system, threads)


def run_groups(world: World, program: Path, system: str, groups: tuple[str, ...],
               each: tuple[int, ...] = THREADS) -> list[Sample]:
    return [sample for group in groups for threads in each
            for sample in run_group(world, program, system, threads, group)]


def measure(world: World, build: Build) -> list[Sample]:
    program = build.program("bench-runtime")
    if program is None and build is world.builds[0]:
        raise RuntimeError("bench-runtime is missing: ninja -C build/meson tests/bench/bench-runtime")
    if program is None:
        world.note(f"skipped: {build.name} (its build has no bench-runtime)")
        return []
    return run_groups(world, program, build.name, GROUPS)


def peers(world: World) -> list[Sample]:
    for note in NOTES:
        world.note(note)
    samples = []
    for peer in runtime_peers.PEERS:
        program = peer.build(world)
        if program is not None:
            samples += run_groups(world, program, peer.system, peer.groups, peer.threads)
    if any(sample.system == "tokio" for sample in samples):
        world.note(f"Tokio {runtime_peers.tokio_version()} of tests/bench/peers/tokio/Cargo.lock")
    return samples
