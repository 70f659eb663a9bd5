"""Messages of 64 bytes through a channel: a million with zsyncctl send | recv, and with the C++ client in batches and alone.

A channel of the memory class with the default capacity of 1,024 messages, one sender and one receiver. The C++ client
compares the number in each message with the one that must come next; the command line's lines are counted and hashed.
"""
import hashlib
import subprocess
import time
from pathlib import Path

from report import Target
from world import Build, Cost, Daemon, Sample, World

RUNS = 3
TARGETS = {"zsyncctl: lost or changed": Target(0, worst=True), "client, batches of 256: wrong": Target(0, worst=True),
           "client, single: wrong": Target(0, worst=True)}
MESSAGES = 1_000_000
SINGLE = 100_000
BYTES = 64


def lines_of(world: World) -> tuple[Path, str]:
    """A file of MESSAGES lines, each a message of BYTES, and its hash."""
    path = world.scratch / "lines"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{i:0{BYTES}d}\n" for i in range(MESSAGES)))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def command_line(world: World, daemon: Daemon) -> list[Sample]:
    path, expected = lines_of(world)
    system, received = daemon.build.name, daemon.folder / "received"
    daemon.control("channels", "create", "lines")
    cost, start = Cost(daemon), time.monotonic()
    with open(path, "rb") as source, open(received, "wb") as sink:
        receiver = subprocess.Popen(daemon.control_argv("channels", "recv", "lines"), env=daemon.environment, stdout=sink)
        subprocess.run(daemon.control_argv("channels", "send", "lines"), env=daemon.environment, stdin=source, check=True)
        daemon.control("channels", "close", "lines")
        receiver.wait()
    seconds = time.monotonic() - start
    same = hashlib.sha256(received.read_bytes()).hexdigest() == expected
    return [Sample("zsyncctl: rate", "msg/s", MESSAGES / seconds, system, 2),
            Sample("zsyncctl: lost or changed", "", 0 if same else 1, system, 2),
            *cost.samples(system, MESSAGES, "msg", "zsyncctl: ", 2)]


def client(world: World, daemon: Daemon, label: str, count: int, batch: int) -> list[Sample]:
    cost, system = Cost(daemon), daemon.build.name
    answer = world.client("channel", daemon.socket, f"c{batch}", count, BYTES, batch)
    return [Sample(f"{label}: rate", "msg/s", answer["rate"], system, 2),
            Sample(f"{label}: wrong", "", answer["wrong"] + count - answer["received"], system, 2),
            Sample(f"{label}: client cpu", "us/msg", answer["client_cpu_us"], system, 2),
            *cost.samples(system, count, "msg", f"{label}: ", 2)]


def measure(world: World, build: Build) -> list[Sample]:
    with world.daemon(build) as daemon:
        return (command_line(world, daemon) + client(world, daemon, "client, batches of 256", MESSAGES, 256)
                + client(world, daemon, "client, single", SINGLE, 1))


def peers(world: World) -> list[Sample]:
    """The floor: the same lines through a pipe of the kernel, 64 KiB at a time."""
    path, _ = lines_of(world)
    start = time.monotonic()
    subprocess.run(["sh", "-c", f"cat {path} | wc -l"], check=True, stdout=subprocess.DEVNULL)
    world.note("cat | wc -l copies 64 KiB at a time and knows no messages: a floor, no equal")
    return [Sample("zsyncctl: rate", "msg/s", MESSAGES / (time.monotonic() - start), "cat | wc -l", 2)]
