#!/usr/bin/env python3
"""Builds the blocks for Tokio, Boost.Asio and threads of docs/guide/from-tokio-and-asio.md; runs those of the last two.

    run_peers.py asio|threads|tokio --build FOLDER

All blocks of a kind are one program, so that its headers are read once: each block stands in a namespace (a Rust module)
`pattern_N`, N being the number of its section, and `#line` lets the compiler name the place in the guide. In a namespace `main`
is a function like any other and has to return something, so a block's is called `void main_()`. peers/KIND.cpp calls what the
blocks define and checks what comes back. Tokio's are checked by `cargo check` with peers/tokio/Cargo.lock.

Exit code 77 after the one line that says why: the compiler, Boost or cargo is absent, or cargo cannot get the crates.
"""
import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from run_blocks import ROOT, Block, blocks_of  # noqa: E402

HERE = Path(__file__).resolve().parent
GUIDE = ROOT / "docs/guide/from-tokio-and-asio.md"
SECTION = re.compile(r"^## (\d+) ")
SKIPPED = 77
LIMIT = 240  # seconds
RUN_LIMIT = 60  # seconds
CXX = "clang++-19"
FLAGS = ["-std=c++20", "-O0", "-pthread", "-Wall", "-Werror", "-Wno-unused-function", "-fuse-ld=lld-19"]
ASIO_FLAGS = ["-DBOOST_ASIO_HAS_CO_AWAIT", "-DBOOST_ASIO_HAS_STD_COROUTINE"]
HEADERS = """atomic chrono condition_variable cstdio cstdlib deque functional future memory mutex optional semaphore
stop_token thread utility vector netinet/in.h sys/socket.h unistd.h""".split()


class Skipped(Exception):
    """The one line that says what is absent."""


def sections(path: Path) -> dict[int, int]:
    """For each line its section's number; 0 before the first one."""
    found, section = {}, 0
    for number, line in enumerate(path.read_text().splitlines(), 1):
        heading = SECTION.match(line)
        section = int(heading.group(1)) if heading else 0 if line.startswith("## ") else section
        found[number] = section
    return found


def blocks_for(path: Path, kind: str) -> dict[int, Block]:
    """The blocks marked `shown: KIND`, by the number of their section."""
    at, found = sections(path), {}
    for block in blocks_of(path, str(path)):
        if block.mark == f"shown: {kind}":
            if at[block.line] in found:
                raise ValueError(f"{block}: a second block for {kind} in one section")
            found[at[block.line]] = block
    if not found:
        raise ValueError(f"{path} has no block for {kind}")
    return found


def common_block(path: Path) -> Block:
    return next(block for block in blocks_of(path, str(path)) if block.mark == "shown: Asio's common lines")


def cxx_header(common: Block | None, blocks: dict[int, Block]) -> str:
    parts = ["#pragma once\n", *(f"#include <{name}>\n" for name in HEADERS)]
    if common:
        parts.append(f'#line {common.line + 1} "{common.file}"\n{common.text}\n')
    for number, block in sorted(blocks.items()):
        text = block.text.replace("int main()", "void main_()")
        parts.append(f'namespace pattern_{number} {{\n#line {block.line + 1} "{block.file}"\n{text}\n}}\n')
    return "".join(parts)


def rust_library(blocks: dict[int, Block]) -> str:
    """Blank lines keep a block's lines where they are in the guide, as far as they come in order."""
    lines = ["#![allow(dead_code)]"]
    for number, block in sorted(blocks.items()):
        lines += [""] * (block.line - 1 - len(lines)) + [f"mod pattern_{number} {{"] + block.text.splitlines() + ["}"]
    return "\n".join(lines) + "\n"


def run(argv: list[str], limit: int = LIMIT, **options) -> subprocess.CompletedProcess:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, **options)


def checked(what: str, done: subprocess.CompletedProcess) -> None:
    if done.returncode:
        raise ValueError(f"{what}, exit code {done.returncode}:\n{done.stdout}{done.stderr}")


def cxx_blocks(kind: str, path: Path, folder: Path) -> None:
    if not shutil.which(CXX):
        raise Skipped(f"{CXX} is not installed")
    if kind == "asio" and run([CXX, "-E", "-x", "c++", "-include", "boost/version.hpp", "/dev/null"]).returncode:
        raise Skipped("Boost's headers are not installed (libboost-dev)")
    blocks = blocks_for(path, "Asio" if kind == "asio" else "threads")
    (folder / f"{kind}_blocks.hpp").write_text(cxx_header(common_block(path) if kind == "asio" else None, blocks))
    source, program = HERE / "peers" / f"{kind}.cpp", folder / f"{kind}-blocks"
    flags = FLAGS + (ASIO_FLAGS if kind == "asio" else [])
    checked("does not compile", run([CXX, *flags, "-I", str(folder), str(source), "-o", str(program)]))
    checked("does not run", run([str(program)], RUN_LIMIT))
    print(f"{len(blocks)} blocks for {kind} built and run")


def tokio_blocks(path: Path, folder: Path) -> None:
    if not shutil.which("cargo"):
        raise Skipped("cargo is not installed")
    blocks = blocks_for(path, "Tokio")
    crate = folder / "tokio"
    (crate / "src").mkdir(parents=True, exist_ok=True)
    for name in ("Cargo.toml", "Cargo.lock"):
        shutil.copy(HERE / "peers/tokio" / name, crate / name)
    (crate / "src/lib.rs").write_text(rust_library(blocks))
    cargo = ["cargo", "--quiet", "--color=never"]
    fetch = run([*cargo, "fetch", "--locked"], cwd=crate)
    if "--locked" in fetch.stderr:
        raise ValueError(f"peers/tokio/Cargo.lock does not fit its Cargo.toml:\n{fetch.stderr}")
    if fetch.returncode:
        raise Skipped("cargo cannot get the crates: " + fetch.stderr.strip().splitlines()[-1].strip())
    checked("does not compile", run([*cargo, "check", "--locked", "--offline", "--tests"], cwd=crate))
    print(f"{len(blocks)} blocks for tokio checked")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("asio", "threads", "tokio"))
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="what is made goes into its folder docs-peers")
    parser.add_argument("--guide", type=Path, default=GUIDE)
    options = parser.parse_args()
    folder = options.build.resolve() / "docs-peers"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if options.kind == "tokio":
            tokio_blocks(options.guide, folder)
        else:
            cxx_blocks(options.kind, options.guide, folder)
    except Skipped as reason:
        print(f"skipped: the blocks for {options.kind}: {reason}")
        return SKIPPED
    except (ValueError, OSError, subprocess.SubprocessError) as problem:
        print(f"failed: the blocks for {options.kind}: {problem}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
