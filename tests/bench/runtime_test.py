#!/usr/bin/env python3
"""The bench `runtime` around its programs: what is read from them, what is said when one is absent, which rows exist."""
import os
import re
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import runtime_peers  # noqa: E402
from benches import runtime, uring  # noqa: E402
from world import Build, Sample, World  # noqa: E402

METRIC = re.compile(r'"((?:[^"\\]|\\.)+)",\s*"(?:ns|ns/task|ns/sleep|us|msg/s|trips/s|bytes|1/s|)"')
SIZED = re.compile(r'"((?:fib|skynet|nqueens|matmul)\([^"]*)"')


def metrics_in(folder: Path) -> set[str]:
    """The metrics that a program's sources report."""
    text = "\n".join(file.read_text() for file in sorted(folder.rglob("*")) if file.suffix in (".cpp", ".hpp", ".rs"))
    return set(METRIC.findall(text)) | set(SIZED.findall(text))


class Runtime(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.world = World(self.folder / "scratch", self.folder, [Build("zsync", self.folder)])

    def program(self, script: str, name: str = "bench-runtime") -> Path:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        os.chmod(path, 0o755)
        return path

    def test_each_line_of_a_program_is_a_sample_of_its_system_and_threads(self):
        program = self.program("""echo '{"metric": "a '"$2"'", "unit": "ns", "value": 1.5}'""")
        self.assertEqual(runtime.run_groups(self.world, program, "zsync", ("lock",)),
                         [Sample("a lock", "ns", 1.5, "zsync", 1), Sample("a lock", "ns", 1.5, "zsync", 2)])

    def test_the_long_sizes_are_asked_for_by_a_word(self):
        self.world.long = True
        program = self.program("""echo '{"metric": "'"$*"'", "unit": "ns", "value": 1}'""")
        self.assertEqual(runtime.run_group(self.world, program, "zsync", 2, "lock")[0].metric, "2 --long lock")

    def test_a_group_that_an_older_program_does_not_know_is_skipped_with_a_line(self):
        program = self.program(f"exit {runtime.NO_SUCH_GROUP}")
        self.assertEqual(runtime.run_group(self.world, program, "zsync@old", 1, "unix"), [])
        self.assertIn("skipped: unix of zsync@old", " ".join(self.world.notes))

    def test_a_program_that_fails_fails_the_bench(self):
        with self.assertRaisesRegex(RuntimeError, "exit code 3"):
            runtime.run_group(self.world, self.program("exit 3"), "zsync", 1, "unix")

    def test_a_second_build_without_the_program_is_skipped_with_a_line_and_the_first_one_fails(self):
        self.assertEqual(runtime.measure(self.world, Build("zsync@old", self.folder)), [])
        self.assertIn("skipped: zsync@old", " ".join(self.world.notes))
        with self.assertRaisesRegex(RuntimeError, "bench-runtime is missing"):
            runtime.measure(self.world, self.world.builds[0])

    def test_a_builds_program_is_found_beside_zsyncd_and_where_meson_makes_it(self):
        build = Build("zsync", self.folder / "bin")
        self.assertIsNone(build.program("p"))
        made = self.folder / "meson/tests/bench/p"
        made.parent.mkdir(parents=True)
        made.touch()
        self.assertEqual(build.program("p"), made)
        build.bin.mkdir()
        (build.bin / "p").touch()
        self.assertEqual(build.program("p"), build.bin / "p")

    def test_a_peer_whose_build_fails_is_skipped_with_the_line_that_says_why(self):
        argv = ["sh", "-c", "echo main.cpp:1:10: fatal error: tbb.h not found >&2; echo 1 error generated >&2; exit 1"]
        self.assertIsNone(runtime_peers.built(self.world, "oneTBB", argv, self.folder / "peers/p"))
        self.assertEqual(list(self.world.notes), ["skipped: oneTBB (main.cpp:1:10: fatal error: tbb.h not found)"])

    def test_a_program_is_built_again_after_one_of_its_inputs_was_written(self):
        program, source = self.program(""), self.program("", "source")
        os.utime(source, (1, 1))
        self.assertTrue(runtime_peers.newer(program, [source]))
        os.utime(program, (1, 1))
        self.assertFalse(runtime_peers.newer(program, [source]))
        self.assertFalse(runtime_peers.newer(self.folder / "absent", []))

    def test_the_version_of_tokio_is_the_pinned_one(self):
        lock = '[[package]]\nname = "tokio-macros"\nversion = "2.0.0"\n\n[[package]]\nname = "tokio"\nversion = "1.2.3"\n'
        self.assertEqual(runtime_peers.locked_version(lock, "tokio"), "1.2.3")
        self.assertRegex(runtime_peers.tokio_version(), r"^1\.\d+\.\d+$")

    def test_every_target_names_a_row_and_every_row_of_a_peer_is_one_of_zsyncs(self):
        ours = metrics_in(HERE / "runtime")
        self.assertEqual(set(runtime.TARGETS) - ours, set())
        for peer in ("tokio", "asio", "tbb"):
            self.assertEqual(metrics_in(HERE / "peers" / peer) - ours, set())

    def test_the_drivers_way_of_io_uring_is_zsyncs_row_and_the_others_stand_beside_it(self):
        self.program("""echo '{"metric": "wake by eventfd", "unit": "us", "value": 2}
{"metric": "wake by MSG_RING", "unit": "us", "value": 3}'""", "bench-uring")
        self.assertEqual(uring.measure(self.world, self.world.builds[0]),
                         [Sample("wake", "us", 2, "zsync"), Sample("wake", "us", 3, "MSG_RING")])
        self.assertEqual(uring.measure(self.world, Build("zsync@old", self.folder)), [])

    def test_a_kernel_without_io_uring_costs_its_rows_one_line(self):
        self.program("echo bench: io_uring_setup: error 1 >&2; exit 1", "bench-uring")
        self.assertEqual(uring.measure(self.world, self.world.builds[0]), [])
        self.assertEqual(list(self.world.notes), ["skipped: io_uring (bench: io_uring_setup: error 1)"])

    def test_targets_are_set_beside_systems_that_exist(self):
        systems = {peer.system for peer in runtime_peers.PEERS}
        for goals in runtime.TARGETS.values():
            for goal in goals if isinstance(goals, tuple) else (goals,):
                self.assertIn(goal.beside, systems | {""})


if __name__ == "__main__":
    unittest.main()
