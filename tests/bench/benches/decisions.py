"""The scheduler's own time for a decision with 100,000 tasks queued: no disk, no processes, nobody beside it.

Three queues: priorities with aging; earliest deadline first; and one of locks, counted resources and dependencies.
"""
import json
import subprocess

from report import Target
from world import Build, Sample, World

RUNS = 3
TASKS = 100_000
DECISIONS = 100_000
MIXES = ("priorities", "deadlines", "contended")
TARGETS = {mix: Target(20) for mix in MIXES}


def measure(world: World, build: Build) -> list[Sample]:
    program = build.program("bench-scheduler")
    if program is None:
        world.note(f"skipped: {build.name} (its build has no bench-scheduler)")
        return []
    done = subprocess.run([program, str(TASKS), str(DECISIONS)], capture_output=True, text=True, timeout=300, check=True)
    answer = json.loads(done.stdout)
    return [sample for mix in MIXES
            for sample in (Sample(mix, "us/decision", answer[f"{mix}_us"], build.name),
                           Sample(f"{mix}: p99", "us", answer[f"{mix}_p99_us"], build.name))]


def peers(world: World) -> list[Sample]:
    return []
