"""The runtimes that stand beside libzsync: where their sources are, how they are built, what is said when one is absent.

They are no part of the project: nothing of it links them, and a machine without them skips their rows.
"""
import functools
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from world import World

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD_LIMIT = 600  # seconds
CXX = "clang++-19"
CXX_FLAGS = ["-std=c++20", "-O2", "-fno-omit-frame-pointer", "-pthread"]  # as libzsync is built


@dataclass(frozen=True)
class Peer:
    """A system and its bench program, which is called and answers as bench-runtime does."""

    system: str
    groups: tuple[str, ...]
    build: Callable[[World], Path | None]
    threads: tuple[int, ...] = (1, 2)


def built(world: World, what: str, argv: list[str], program: Path) -> Path | None:
    """Runs the build; the program, or None after the one line that says why there is none."""
    program.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_LIMIT)
    except subprocess.TimeoutExpired:
        world.note(f"skipped: {what} (its build took over {BUILD_LIMIT} s)")
        return None
    if done.returncode == 0:
        return program
    world.note(f"skipped: {what} ({reason(done.stderr)})")
    return None


def reason(stderr: str) -> str:
    """The line of a compiler's or cargo's talk that says what is wrong."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return next((line for line in lines if re.search(r"\berror\b", line)), lines[-1] if lines else "its build failed")


@functools.cache
def tokio(world: World) -> Path | None:
    if not world.has("cargo", "Tokio"):
        return None
    target = world.scratch.parent / "peers/tokio"
    return built(world, "Tokio", ["cargo", "build", "--release", "--locked", "--manifest-path",
                                  str(HERE / "peers/tokio/Cargo.toml"), "--target-dir", str(target)],
                 target / "release/bench-tokio")


def newer(program: Path, inputs: list[Path]) -> bool:
    """Whether the program was built after all of its inputs were written."""
    return program.exists() and all(program.stat().st_mtime > file.stat().st_mtime for file in inputs)


def cxx_peer(world: World, what: str, folder: str, libraries: list[str]) -> Path | None:
    """All of a folder in one call of the compiler, unless it was built before."""
    if not world.has(CXX, what):
        return None
    program = world.scratch.parent / f"peers/bench-{folder}"
    sources = sorted((HERE / "peers" / folder).glob("*.cpp"))
    headers = [*(HERE / "peers" / folder).glob("*.hpp"), *(HERE / "runtime").glob("*.hpp")]
    if newer(program, [*sources, *headers, Path(__file__)]):
        return program
    return built(world, what, [CXX, *CXX_FLAGS, f"-I{ROOT}", *map(str, sources), *libraries, "-o", str(program)], program)


@functools.cache
def tbb(world: World) -> Path | None:
    return cxx_peer(world, "oneTBB", "tbb", ["-ltbb"])


@functools.cache
def asio(world: World) -> Path | None:
    return cxx_peer(world, "Boost.Asio", "asio", [])


def locked_version(lock: str, crate: str) -> str:
    """The version of a crate that a Cargo.lock pins."""
    found = re.search(rf'^name = "{re.escape(crate)}"\nversion = "([^"]+)"', lock, re.MULTILINE)
    return found.group(1) if found else "unknown"


def tokio_version() -> str:
    return locked_version((HERE / "peers/tokio/Cargo.lock").read_text(), "tokio")


PEERS = (
    Peer("tokio", ("spawn", "channel", "lock", "yield", "sleep", "lateness", "wake", "memory", "life", "unix",
                   "tcp"), tokio),
    Peer("tokio current_thread", ("tcp_current_thread",), tokio, threads=(1,)),
    Peer("oneTBB", ("fork_join",), tbb),
    Peer("Boost.Asio", ("spawn", "yield", "sleep", "lateness", "wake", "unix", "tcp"), asio),
)
