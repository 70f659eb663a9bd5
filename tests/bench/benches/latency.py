"""From the submission of a task to the start of its command, one after the other on an idle daemon.

The client reads the clock of day before it submits; the supervisor reads it when it has started the command, and that time
stands in the task's record. The submission is on disk before it starts, so the disk's price is in it and printed beside.
"""
from report import Target
from world import Build, Sample, World

RUNS = 3
TASKS = 200
TARGETS = {"submit to start: p50": Target(2), "submit to start: p99": Target(10)}


def measure(world: World, build: Build) -> list[Sample]:
    with world.daemon(build) as daemon:
        answer = world.client("start-latency", daemon.socket, TASKS)
        disk = world.client("probe", daemon.folder, TASKS, 1)
    return [Sample("submit to start: p50", "ms", answer["start_p50_us"] / 1000, build.name),
            Sample("submit to start: p99", "ms", answer["start_p99_us"] / 1000, build.name),
            Sample("submit to start: p50", "ms", disk["fsync_p50_us"] / 1000, "fdatasync"),
            Sample("submit to start: p99", "ms", disk["fsync_p99_us"] / 1000, "fdatasync")]


def peers(world: World) -> list[Sample]:
    return []
