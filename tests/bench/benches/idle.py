"""What an idle zsyncd costs: resident memory, and voluntary context switches a second of all its threads.

Five stretches of one daemon: before any client; with one connected client that says nothing; after it has left and the
gRPC server has gone; after 2,000 tasks, with nobody; and then with an idle client again.
"""
import subprocess
import time

import procfs
from report import Target
from world import Build, Daemon, Sample, World

RUNS = 2
TARGETS = {"no client: RSS": Target(30), "no client: switches": Target(0), "idle client: RSS": Target(30),
           "idle client: switches": Target(10), "after a client: RSS": Target(30), "after a client: switches": Target(0),
           "after 2,000 tasks: RSS": Target(30), "after 2,000 tasks: switches": Target(0),
           "after 2,000 tasks, idle client: switches": Target(10)}
WINDOW = 10  # seconds
LINGER = 6  # seconds; the default grpc_linger is 5 s
TASKS = 2_000


def quiet(daemon: Daemon, label: str) -> list[Sample]:
    cpu = procfs.cpu_seconds(daemon.pid)
    woken = procfs.switches_during(daemon.pid, WINDOW)
    cpu = procfs.cpu_seconds(daemon.pid) - cpu
    return [Sample(f"{label}: RSS", "MiB", procfs.memory_mib(daemon.pid), daemon.build.name),
            Sample(f"{label}: switches", "1/s", woken / WINDOW, daemon.build.name),
            Sample(f"{label}: cpu", "ms/s", cpu * 1000 / WINDOW, daemon.build.name)]


def quiet_with_client(world: World, daemon: Daemon, label: str) -> list[Sample]:
    client = subprocess.Popen(world.client_argv("idle", daemon.socket, WINDOW + 60), stdout=subprocess.PIPE)
    try:
        client.stdout.readline()
        time.sleep(2)
        return quiet(daemon, label)
    finally:
        client.kill()
        client.wait()


def measure(world: World, build: Build) -> list[Sample]:
    world.note(f"each stretch lasts {WINDOW} s; configuration: the default, so the gRPC server lingers 5 s")
    with world.daemon(build) as daemon:
        # Starting asks with a client; the daemon must be as before the first one.
        daemon.stop()
        daemon.process = subprocess.Popen(daemon.argv(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                          stderr=subprocess.DEVNULL)
        time.sleep(2)
        samples = quiet(daemon, "no client")
        samples += quiet_with_client(world, daemon, "idle client")
        time.sleep(LINGER)
        samples += quiet(daemon, "after a client")
        world.client("submit-batch", daemon.socket, "", TASKS, TASKS, "true")
        world.client("drain", daemon.socket, "", TASKS)
        time.sleep(LINGER)
        samples += quiet(daemon, f"after {TASKS:,} tasks")
        samples += quiet_with_client(world, daemon, f"after {TASKS:,} tasks, idle client")
    return samples


def peers(world: World) -> list[Sample]:
    return []
