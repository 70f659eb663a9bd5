"""Finding and starting a daemon, the tour, and installing the package."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import zsync
from harness import ROOT, Daemon, DaemonTest
from zsync import _endpoint

TOUR = """\
task: hello from a task
task: exit code 0
channel: one
channel: two
channel: three
watch: notes.txt created
"""


class EndpointTest(unittest.TestCase):
    def path(self, wanted=None, **environment):
        with mock.patch.dict(os.environ, environment, clear=True):
            return _endpoint.socket_path(wanted)

    def test_the_socket_is_found_in_the_documented_order(self):
        everything = {"ZSYNC_SOCKET": "/a", "XDG_RUNTIME_DIR": "/run", "ZSYNC_STATE_DIR": "/st", "HOME": "/h"}
        self.assertEqual("/w", self.path("/w", **everything))
        self.assertEqual("/a", self.path(**everything))
        self.assertEqual("/run/zsync/zsyncd.sock", self.path(XDG_RUNTIME_DIR="/run", HOME="/h"))
        self.assertEqual("/st/zsyncd.sock", self.path(ZSYNC_STATE_DIR="/st", HOME="/h"))
        self.assertEqual("/x/zsync/zsyncd.sock", self.path(XDG_STATE_HOME="/x", HOME="/h"))
        self.assertEqual("/h/.local/state/zsync/zsyncd.sock", self.path(HOME="/h"))

    def test_a_path_that_is_too_long_is_refused_with_its_length(self):
        with self.assertRaisesRegex(zsync.InvalidArgument, "has 200 bytes, at most 107 fit"):
            self.path("/" + "x" * 199)

    def test_no_daemon_is_one_clear_error_at_once(self):
        with self.assertRaisesRegex(zsync.Unavailable, "no zsyncd at /nowhere/s: start one"):
            zsync.Client("/nowhere/s")


class AutostartTest(unittest.TestCase):
    def test_a_missing_daemon_is_started_where_that_is_allowed(self):
        daemon = Daemon()
        self.addCleanup(shutil.rmtree, daemon.folder, True)
        with mock.patch.dict(os.environ, {"ZSYNC_STATE_DIR": str(daemon.folder / "state")}):
            with zsync.Client(daemon.socket, autostart=True, daemon_path=str(daemon.folder / "zsyncd")) as client:
                pid = client.daemon.info(timeout=10).pid
                client.daemon.shutdown(timeout=10)
        done, _ = os.waitpid(pid, 0)
        self.assertEqual(pid, done)


class GenerateTest(unittest.TestCase):
    def test_a_flag_that_it_does_not_know_is_no_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            generate = [sys.executable, str(ROOT / "sdk/python/generate.py"), "--help"]
            done = subprocess.run(generate, cwd=folder, capture_output=True, text=True, check=False)
            self.assertEqual((2, []), (done.returncode, os.listdir(folder)))
            self.assertIn("generate.py --tree DIR", done.stderr)


class TourTest(DaemonTest, unittest.TestCase):
    def test_the_tour_prints_what_every_sdk_prints(self):
        environment = {**os.environ, "ZSYNC_SOCKET": self.daemon.socket}
        done = subprocess.run(
            [sys.executable, ROOT / "sdk/python/examples/tour.py"], env=environment, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        if "Unimplemented" in done.stderr:
            self.skipTest(done.stderr.splitlines()[-1])
        self.assertEqual((TOUR, "", 0), (done.stdout, done.stderr, done.returncode))


class InstallTest(unittest.TestCase):
    def test_a_wheel_made_from_the_tree_imports(self):
        needed = "import setuptools, pip\ntry: import wheel\nexcept ImportError: import setuptools.command.bdist_wheel"
        if subprocess.run([sys.executable, "-c", needed], capture_output=True).returncode:
            self.skipTest("no pip, setuptools or wheel")
        with tempfile.TemporaryDirectory() as folder:
            # A copy: building writes beside the sources.
            tree = Path(folder, "tree")
            shutil.copytree(ROOT / "sdk/python", tree / "sdk/python", ignore=shutil.ignore_patterns("build", "*.egg-info"))
            shutil.copytree(ROOT / "proto/zsync", tree / "proto/zsync")
            build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
            done = subprocess.run(
                [*build, "-w", folder, tree / "sdk/python"], capture_output=True, text=True, timeout=120
            )
            self.assertEqual(0, done.returncode, done.stdout + done.stderr)
            (wheel,) = Path(folder).glob("zsync-*.whl")
            check = "import zsync; assert 'site.whl' in zsync.__file__; print(len(zsync.v1.METHODS))"
            shutil.move(wheel, Path(folder, "site.whl"))
            unpacked = Path(folder, "unpacked", "site.whl")
            shutil.unpack_archive(Path(folder, "site.whl"), unpacked, "zip")
            self.assertTrue((unpacked / "zsync/py.typed").exists())
            self.assertTrue((unpacked / "zsync/v1/tasks_pb2.pyi").exists())
            done = subprocess.run(
                [sys.executable, "-c", check], env={**os.environ, "PYTHONPATH": str(unpacked)}, capture_output=True,
                text=True, timeout=60,
            )  # fmt: skip
            self.assertEqual((0, ""), (done.returncode, done.stderr))


if __name__ == "__main__":
    unittest.main()
