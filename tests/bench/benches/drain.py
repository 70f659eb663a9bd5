"""10,000 queued `true` tasks on two slots, beside `xargs -P2 -n1 true`, pueue, and GNU parallel where it is installed.

The tasks are queued behind two that sleep; the clock starts when those are cancelled and stops when nothing is queued or
runs. Each of zsync's tasks is durable, supervised by a process of its own and has its output kept; xargs only forks.
"""
import subprocess
import time
from pathlib import Path

import procfs
import work_peers
from counters import TreeCost
from report import Target
from world import Build, Daemon, Sample, World

RUNS = 3
TARGETS = {"rate": (Target(1000, at_least=True), Target(5, at_least=True, beside="pueue")), "not succeeded": Target(0, worst=True)}
TASKS = 10_000
TASKS_COUNTED = 2_000
PUEUE_TASKS = 500
SLOTS = 2
CONFIG = f"version: 1\ntasks:\n  groups: {{default: {{parallel: {SLOTS}}}}}\n"


def drained(world: World, daemon: Daemon, tasks: int, count_cost: bool = False) -> tuple[dict, list[Sample]]:
    """Queues that many behind a sleeper on each slot, lets them go, waits; perf is attached only to count the cost."""
    names = [f"blocker{slot}of{tasks}" for slot in range(SLOTS)]
    for name in names:
        daemon.control("tasks", "submit", "-q", "--name", name, "--", "sleep", "100000")
    world.client("submit-batch", daemon.socket, "", tasks, tasks, "true")
    cost = TreeCost(daemon.pid, daemon.folder) if count_cost else None
    answer = world.client("drain", daemon.socket, ",".join(names), tasks)
    return answer, cost.samples(daemon.build.name, tasks, "task", SLOTS) if cost else []


def measure(world: World, build: Build) -> list[Sample]:
    with world.daemon(build, CONFIG) as daemon:
        alone = procfs.cpu_seconds(daemon.pid)
        answer, _ = drained(world, daemon, TASKS)
        alone = procfs.cpu_seconds(daemon.pid) - alone
        memory = procfs.memory_mib(daemon.pid, "VmHWM")
    with world.daemon(build, CONFIG) as daemon:
        _, whole = drained(world, daemon, TASKS_COUNTED, count_cost=True)
    world.note("zsync: synchronous=FULL, commits gathered; the peers make nothing durable")
    world.note(f"cpu and switches: zsyncd, its shims and their commands by perf stat over {TASKS_COUNTED} tasks of another "
               "daemon; of a peer, its own and its commands'")
    return [Sample("rate", "tasks/s", answer["rate"], build.name, SLOTS),
            Sample("not succeeded", "tasks", answer["not_succeeded"], build.name, SLOTS),
            *whole,
            Sample("cpu of the daemon alone", "us/task", alone * 1e6 / TASKS, build.name, SLOTS),
            Sample("peak RSS", "MiB", memory, build.name, SLOTS)]


def peer(system: str, command: str) -> list[Sample]:
    used, start = procfs.waited_seconds(), time.monotonic()
    subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.DEVNULL)
    seconds, used = time.monotonic() - start, procfs.waited_seconds() - used
    return [Sample("rate", "tasks/s", TASKS / seconds, system, SLOTS),
            Sample("cpu", "us/task", used * 1e6 / TASKS, system, SLOTS)]


def pueue(world: World, programs: Path) -> list[Sample]:
    """PUEUE_TASKS, queued while it is paused: each `add` is a process, which is not what is measured."""
    folder = world.folder("pueue")
    config = folder / "pueue.yml"
    config.write_text(f"shared: {{pueue_directory: {folder}, runtime_directory: {folder}, use_unix_socket: true, "
                      f"unix_socket_path: {folder}/s}}\nclient: {{}}\ndaemon: {{}}\n")

    def control(*words: str, check: bool = True) -> subprocess.CompletedProcess:
        return subprocess.run([programs / "pueue", "-c", config, *words], check=check, capture_output=True, text=True)

    started = [programs / "pueued", "-c", config]
    with work_peers.running(started, "pueued", lambda: control("status", check=False).returncode == 0) as daemon:
        control("parallel", str(SLOTS))
        control("pause")
        for _ in range(PUEUE_TASKS):
            control("add", "--", "true")
        used, start = procfs.cpu_seconds(daemon.pid), time.monotonic()
        control("start")
        control("wait", "--quiet")
        seconds, used = time.monotonic() - start, procfs.cpu_seconds(daemon.pid) - used
        control("shutdown")
    world.note(f"pueue {work_peers.PUEUE_VERSION}: {PUEUE_TASKS} tasks; its cpu is pueued's alone")
    return [Sample("rate", "tasks/s", PUEUE_TASKS / seconds, "pueue", SLOTS),
            Sample("cpu of the daemon alone", "us/task", used * 1e6 / PUEUE_TASKS, "pueue", SLOTS)]


def peers(world: World) -> list[Sample]:
    samples = peer("xargs -P2", f"seq {TASKS} | xargs -P{SLOTS} -n1 true")
    if world.has("parallel", "GNU parallel"):
        samples += peer("parallel -j2", f"seq {TASKS} | parallel -j{SLOTS} true")
    if programs := work_peers.pueue(world):
        samples += pueue(world, programs)
    return samples
