"""Function calls through one worker, which echoes 100 bytes: the round trip of a direct call, and calls a second.

Caller and worker are two connections of one process. Direct calls are in memory only; calls as tasks are on disk before they are
acknowledged, before they are handed over, and with their results. There is no peer: what one round trip of a request over a channel
costs stands in `channels`.
"""
from report import Target
from world import Build, Cost, Sample, World

RUNS = 3
TARGETS = {"direct: p50": Target(300), "direct: rate, 64 in flight": Target(20_000, at_least=True), "tasks: rate": Target(20_000, at_least=True)}
COUNT = 20_000
IN_FLIGHT = 64
WINDOW = 512


def measure(world: World, build: Build) -> list[Sample]:
    world.note(f"one worker with a window of {WINDOW} calls and one handler at a time; tasks are submitted in batches of 1000")
    with world.daemon(build, "version: 1\n") as daemon:
        cost = Cost(daemon)
        answer = world.client("functions", daemon.socket, COUNT, IN_FLIGHT, WINDOW)
        return [Sample("direct: p50", "us", answer["direct_p50_us"], build.name),
                Sample("direct: p99", "us", answer["direct_p99_us"], build.name),
                Sample("direct: rate, 64 in flight", "calls/s", answer["direct_rate"], build.name),
                Sample("tasks: rate", "calls/s", answer["task_rate"], build.name),
                *cost.samples(build.name, 2 * COUNT, "call")]


def peers(world: World) -> list[Sample]:
    return []
