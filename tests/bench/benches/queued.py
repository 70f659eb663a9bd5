"""100,000 queued tasks: the memory of each, and how long the next daemon takes until it serves them again.

Submitted from one client, 1,000 a call, into a paused group. Memory is the growth of zsyncd's resident set.
"""
import time

import procfs
from report import Target
from world import Build, Sample, World

RUNS = 2
TASKS = 100_000
BATCH = 1_000
TARGETS = {"memory": Target(1.5), "restart": Target(2)}


def measure(world: World, build: Build) -> list[Sample]:
    with world.daemon(build) as daemon:
        daemon.control("tasks", "set-group", "later", "1")
        daemon.control("tasks", "group", "pause", "later")
        before = procfs.memory_mib(daemon.pid, "VmRSS")
        world.client("submit-batch", daemon.socket, "later", TASKS, BATCH, "true")
        grown = procfs.memory_mib(daemon.pid, "VmRSS") - before
        daemon.stop()
        start = time.monotonic()
        daemon.start()
        seconds = time.monotonic() - start
        again = procfs.memory_mib(daemon.pid, "VmRSS") - before
    return [Sample("memory", "KiB/task", grown * 1024 / TASKS, build.name),
            Sample("memory after a restart", "KiB/task", again * 1024 / TASKS, build.name),
            Sample("restart", "s", seconds, build.name)]


def peers(world: World) -> list[Sample]:
    return []
