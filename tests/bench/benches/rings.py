"""Messages of 64 bytes through a ring (shared memory) between two processes: rate, round trips, and what they cost.

The rate is from the first send to the last receipt, both ends compare every number. A round trip goes through two rings
and back. Spinning: both ends look for 50 us before they sleep, and the next message comes at once. Parked: they sleep at
once, and each message comes 200 us after the last answer, to two sleeping processes. The CPU time is of both processes.
"""
import json
import subprocess

from report import Target
from world import Build, Daemon, Sample, World

RUNS = 3
MESSAGES = 16_777_216
SINGLE = 2_097_152
TRIPS = 20_000
PARKED = 2_000
BYTES = 64
TARGETS = {"batches of 64: rate": Target(20_000_000, at_least=True), "batches of 64: wrong": Target(0, worst=True),
           "single: wrong": Target(0, worst=True), "round trip, spinning: p50": Target(10),
           "round trip, parked: p50": Target(60), "round trip: wrong": Target(0, worst=True)}


def together(world: World, first: tuple, second: tuple) -> tuple[dict, dict]:
    """Two clients at once -> their answers."""
    other = subprocess.Popen(world.client_argv(*first), stdout=subprocess.PIPE, text=True)
    answer = world.client(*second)
    said, _ = other.communicate(timeout=60)
    return json.loads(said), answer


def rate(world: World, daemon: Daemon, label: str, count: int, batch: int) -> list[Sample]:
    name, system = f"r{batch}", daemon.build.name
    daemon.control("channels", "create", name, "--form", "ring")
    sent, received = together(world, ("ring-send", daemon.socket, name, count, BYTES, batch),
                              ("ring-recv", daemon.socket, name, count, BYTES))
    seconds = (received["end_ns"] - sent["start_ns"]) / 1e9
    return [Sample(f"{label}: rate", "msg/s", count / seconds, system, 2),
            Sample(f"{label}: wrong", "", received["wrong"] + count - received["received"], system, 2),
            Sample(f"{label}: cpu", "ns/msg", (sent["cpu_us"] + received["cpu_us"]) * 1e3 / count, system, 2)]


def trips(world: World, daemon: Daemon, label: str, count: int, spin_us: int, pause_us: int) -> list[Sample]:
    there, back, system = f"{label}-there", f"{label}-back", daemon.build.name
    for name in (there, back):
        daemon.control("channels", "create", name, "--form", "ring")
    echo, ping = together(world, ("ring-echo", daemon.socket, there, back, count, spin_us),
                          ("ring-ping", daemon.socket, there, back, count, spin_us, pause_us))
    return [Sample(f"round trip, {label}: p50", "us", ping["trip_p50_us"], system, 2),
            Sample(f"round trip, {label}: p99", "us", ping["trip_p99_us"], system, 2),
            Sample(f"round trip, {label}: cpu", "us/trip", (echo["cpu_us"] + ping["cpu_us"]) / count, system, 2),
            Sample("round trip: wrong", "", ping["wrong"], system, 2)]


def measure(world: World, build: Build) -> list[Sample]:
    with world.daemon(build) as daemon:
        return (rate(world, daemon, "batches of 64", MESSAGES, 64) + rate(world, daemon, "single", SINGLE, 1)
                + trips(world, daemon, "spinning", TRIPS, 50, 0) + trips(world, daemon, "parked", PARKED, 0, 200))


def peers(world: World) -> list[Sample]:
    return []
