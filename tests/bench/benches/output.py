"""1 GiB of output of one task, followed by three followers from the start, beside `cat | wc -c` of the same bytes.

The task writes the numbers 0, 1, 2, ... as 64 bits each; every follower compares every byte with what must stand there,
so a lost, doubled or swapped one is seen. The log on disk is kept by the supervisor; zsyncd reads it for each follower.
"""
import subprocess
import threading
import time

import procfs
from report import Target
from world import Build, Cost, Sample, World

RUNS = 3
TARGETS = {"bytes lost": Target(0, worst=True), "wrong records and gaps": Target(0, worst=True),
           "peak RSS of zsyncd": Target(100)}
BYTES = 1 << 30
MIB = BYTES / (1 << 20)
FOLLOWERS = 3


def measure(world: World, build: Build) -> list[Sample]:
    with world.daemon(build) as daemon:
        procfs.reset_peak(daemon.pid)
        cost = Cost(daemon)
        daemon.control("tasks", "submit", "-q", "--name", "writer", "--", *world.client_argv("pattern", BYTES))
        start = time.monotonic()
        writer = []
        waiting = threading.Thread(target=lambda: (daemon.control("tasks", "wait", "-q", "writer"),
                                                   writer.append(time.monotonic() - start)))
        waiting.start()
        answer = world.client("follow", daemon.socket, "writer", FOLLOWERS)
        waiting.join()
        samples = [Sample("bytes lost", "bytes", BYTES - answer["bytes"], build.name, FOLLOWERS),
                   Sample("wrong records and gaps", "", answer["wrong"], build.name, FOLLOWERS),
                   Sample("peak RSS of zsyncd", "MiB", procfs.memory_mib(daemon.pid, "VmHWM"), build.name, FOLLOWERS),
                   Sample("rate", "MiB/s", MIB / answer["seconds"], build.name, FOLLOWERS),
                   Sample("rate of the task itself", "MiB/s", MIB / writer[0], build.name, FOLLOWERS),
                   Sample("cpu of the followers", "ms/MiB", answer["client_cpu_s"] * 1000 / MIB, build.name, FOLLOWERS),
                   *cost.samples(build.name, MIB, "MiB", threads=FOLLOWERS)]
    world.note(f"zsync writes the log once and sends it {FOLLOWERS} times, each byte compared; the pipe copies once")
    return samples


def peers(world: World) -> list[Sample]:
    program = " ".join(world.client_argv("pattern", BYTES))
    used, start = procfs.waited_seconds(), time.monotonic()
    counted = subprocess.run(["sh", "-c", f"{program} | cat | wc -c"], check=True, capture_output=True, text=True)
    seconds, used = time.monotonic() - start, procfs.waited_seconds() - used
    assert int(counted.stdout) == BYTES
    return [Sample("rate", "MiB/s", MIB / seconds, "cat | wc -c"),
            Sample("cpu of writer, cat and wc", "ms/MiB", used * 1000 / MIB, "cat | wc -c")]
