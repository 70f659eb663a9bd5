"""zsyncd from fork/exec to the first reply of a call, with an empty state directory and with one of 10,000 finished tasks.

The clock runs from before the fork until a client of another process has the answer to `daemon info`; building that
client's gRPC channel is included. The second state directory is made by running 10,000 tasks; it is the same for all runs.
"""
import os
import signal
import time

import procfs
from report import Target
from world import Build, Daemon, Sample, World

RUNS = 7
TARGETS = {"empty: first reply": Target(100), "10,000 tasks: first reply": Target(100)}
RECORDS = 10_000
filled: dict[str, Daemon] = {}


def fill(world: World, build: Build) -> Daemon:
    """A daemon that has stopped, whose state directory remembers RECORDS tasks."""
    daemon = Daemon(world.folder("records"), build).start()
    world.client("submit-batch", daemon.socket, "", RECORDS, RECORDS, "true")
    world.client("drain", daemon.socket, "", RECORDS)
    daemon.stop()
    return daemon


def started(world: World, daemon: Daemon, label: str) -> list[Sample]:
    answer = world.client("start", daemon.socket, "--", *daemon.argv())
    pid = int(answer["pid"])
    used = procfs.cpu_seconds(pid)
    memory = procfs.memory_mib(pid)
    os.kill(pid, signal.SIGTERM)
    while os.path.exists(f"/proc/{pid}"):
        time.sleep(0.01)
    return [Sample(f"{label}: first reply", "ms", answer["reply_ms"], daemon.build.name),
            Sample(f"{label}: accepts", "ms", answer["accept_ms"], daemon.build.name),
            Sample(f"{label}: zsyncd cpu", "ms", used * 1000, daemon.build.name),
            Sample(f"{label}: RSS", "MiB", memory, daemon.build.name)]


def measure(world: World, build: Build) -> list[Sample]:
    if build.name not in filled:
        filled[build.name] = fill(world, build)
    empty = Daemon(world.folder("empty"), build)
    samples = started(world, empty, "empty") + started(world, filled[build.name], "10,000 tasks")
    world.note("CPU time is counted in ticks of 10 ms; the page cache is warm")
    return samples


def peers(world: World) -> list[Sample]:
    return []
