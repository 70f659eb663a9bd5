#!/usr/bin/env python3
"""The runner of the blocks for Tokio, Asio and threads: that it turns red where it must, and what it skips. Needs clang."""
import os
import re
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import run_peers  # noqa: E402

LOCKS = [run_peers.HERE / "peers/tokio/Cargo.lock", run_peers.ROOT / "tests/bench/peers/tokio/Cargo.lock"]
CRATE = re.compile(r'^name = "([^"]+)"\nversion = "([^"]+)"\nsource = .*\nchecksum = "([^"]+)"', re.M)


class RunPeers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def runs(self, kind: str, code: int, *words: str, path: str | None = None, change=("", "")) -> None:
        """The runner on a copy of the guide with one change."""
        guide = self.folder / "guide.md"
        text = run_peers.GUIDE.read_text()
        self.assertIn(change[0], text)
        guide.write_text(text.replace(*change, 1))
        argv = [sys.executable, str(Path(run_peers.__file__)), kind, "--build", str(self.folder), "--guide", str(guide)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, env={**os.environ, "PATH": path or os.environ["PATH"]})
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        for word in words:
            self.assertIn(word, done.stdout)

    def program(self, name: str, script: str) -> str:
        """A folder for PATH with nothing but this program."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path.parent)

    def test_a_block_that_does_not_compile_fails_with_its_line_in_the_guide(self):
        self.runs("threads", 1, "does not compile", "guide.md:", "no_such_name",
                  change=("std::async(std::launch::async, square, 3)", "no_such_name(square, 3)"))

    def test_a_block_that_computes_something_else_fails(self):
        self.runs("threads", 1, "wrong: 2: spawn and join",
                  change=("int square(int x) { return x * x; }", "int square(int x) { return x + x; }"))

    def test_what_is_absent_is_skipped_with_one_line(self):
        self.runs("threads", 77, "skipped: the blocks for threads: clang++-19 is not installed", path=str(self.folder))
        self.runs("tokio", 77, "skipped: the blocks for tokio: cargo is not installed", path=str(self.folder))
        self.runs("asio", 77, "Boost's headers are not installed", path=self.program("clang++-19", "exit 1"))
        self.runs("tokio", 77, "cannot get the crates: no network", path=self.program("cargo", "echo no network >&2; exit 101"))

    def test_a_lock_file_that_does_not_fit_is_no_reason_to_skip(self):
        talk = "echo 'the lock file needs to be updated but --locked was passed' >&2; exit 101"
        self.runs("tokio", 1, "does not fit", path=self.program("cargo", talk))

    def test_a_block_that_cargo_refuses_fails(self):
        script = '[ "$3" = fetch ] || { echo "error: mismatched types" >&2; exit 101; }'
        self.runs("tokio", 1, "does not compile", "mismatched types", path=self.program("cargo", script))

    def test_a_block_of_rust_stands_where_it_stands_in_the_guide(self):
        for number, block in run_peers.blocks_for(run_peers.GUIDE, "Tokio").items():
            lines = run_peers.rust_library(run_peers.blocks_for(run_peers.GUIDE, "Tokio")).splitlines()
            self.assertEqual(lines[block.line - 1], f"mod pattern_{number} {{")

    def test_every_pattern_has_its_blocks_and_threads_lack_only_virtual_time(self):
        patterns = set(run_peers.sections(run_peers.GUIDE).values()) - {0}
        for kind, without in (("Tokio", set()), ("Asio", set()), ("threads", {12})):
            self.assertEqual(set(run_peers.blocks_for(run_peers.GUIDE, kind)), patterns - without)

    def test_the_crates_are_those_that_the_bench_runs(self):
        mine, benched = ({name: (version, digest) for name, version, digest in CRATE.findall(lock.read_text())} for lock in LOCKS)
        self.assertIn("tokio-util", mine)
        self.assertEqual({name: mine.get(name) for name in benched}, benched)


if __name__ == "__main__":
    unittest.main()
