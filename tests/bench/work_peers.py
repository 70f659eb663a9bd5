"""pueue and NATS: how they are had and run. Neither is installed: a package would start its server on this machine."""
import functools
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from runtime_peers import HERE, built, newer
from world import World

PUEUE_VERSION = "4.0.1"  # its crate carries the lock file of everything that it is made of
START_LIMIT = 20  # seconds


@functools.cache
def pueue(world: World) -> Path | None:
    """The folder of pueue and pueued."""
    if not world.has("cargo", "pueue"):
        return None
    root = world.scratch.parent / "peers/pueue"
    program = root / "bin/pueued"
    command = ["cargo", "install", "--locked", "--version", PUEUE_VERSION, "--root", str(root), "pueue"]
    return program.parent if program.exists() or built(world, "pueue", command, program) else None


@functools.cache
def nats_client(world: World) -> Path | None:
    if not world.has("go", "NATS"):
        return None
    source, program = HERE / "peers/nats", world.scratch.parent / "peers/bench-nats"
    if newer(program, list(source.iterdir())):
        return program
    build = f"cd {source} && go build -mod=readonly -o {program} ."  # Debian's Go has no -C
    return built(world, "NATS", ["sh", "-c", build], program)


@functools.cache
def nats_server(world: World) -> Path | None:
    """The one that is installed, else Debian's package, unpacked."""
    if installed := shutil.which("nats-server"):
        return Path(installed)
    folder = world.scratch.parent / "peers/nats-server"
    program = folder / "usr/sbin/nats-server"
    folder.mkdir(parents=True, exist_ok=True)
    unpack = f"cd {folder} && apt-get download nats-server && dpkg -x nats-server_*.deb ."
    return program if program.exists() or built(world, "NATS", ["sh", "-c", unpack], program) else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(process: subprocess.Popen, what: str, ready) -> None:
    deadline = time.monotonic() + START_LIMIT
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not start")
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(argv: list, what: str, ready, **options):
    """A peer's server, until the block ends."""
    process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, **options)
    try:
        until(process, what, ready)
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def nats(world: World, server: Path):
    """A nats-server with JetStream in a folder of this run; its URL."""
    port, folder = free_port(), world.folder("nats")
    argv = [server, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder]
    with running(argv, "nats-server", lambda: listens(port)):
        yield f"nats://127.0.0.1:{port}"
