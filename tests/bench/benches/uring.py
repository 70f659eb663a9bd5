"""io_uring itself: the ways in which a runtime can receive, accept and wake, without one; CPU time of the process.

The row of zsync is the way of sdk/cpp/src/rt/uring_driver.cpp; docs/internals/performance.md says what follows from the
others. The head of tests/bench/uring/ways.cpp says what is measured.
"""
import json
import subprocess

from world import Build, Sample, World

RUNS = 5
TARGETS = {}
LIMIT = 120  # seconds
DRIVERS_WAYS = ("polls", "eventfd")


def measure(world: World, build: Build) -> list[Sample]:
    """Once a run: no build of zsync is in it."""
    if build is not world.builds[0]:
        return []
    program = build.program("bench-uring")
    if program is None:
        raise RuntimeError("bench-uring is missing: ninja -C build/meson tests/bench/bench-uring")
    done = subprocess.run([str(program)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode != 0:
        world.note(f"skipped: io_uring ({done.stderr.strip()})")
        return []
    samples = []
    for line in done.stdout.splitlines():
        row = json.loads(line)
        metric, _, way = row["metric"].rpartition(" by ")
        samples.append(Sample(metric, row["unit"], row["value"], build.name if way in DRIVERS_WAYS else way))
    return samples


def peers(world: World) -> list[Sample]:
    return []
