"""A private zsyncd for the tests, in a folder of its own."""
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import zsync
import zsync._endpoint

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS_MAX = 20
CALL_SECONDS_MAX = 60
LINES = "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.03; done"  # for a shell


def program(name: str) -> Path:
    """The environment names the programs, as ZSYNCD and ZSYNC_SHIM; else build/bin has them."""
    return Path(os.environ.get(name.upper().replace("-", "_")) or ROOT / "build" / "bin" / name).resolve()


class Daemon:
    def __init__(self):
        # A short path: a socket's is limited to 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="zp", dir="/tmp"))
        self.socket = str(self.folder / "s")
        for name in ("zsyncd", "zsync-shim"):  # the daemon looks for the shim beside itself
            try:
                os.link(program(name), self.folder / name)
            except OSError:
                shutil.copy(program(name), self.folder / name)
        self.process = None

    def start(self):
        command = [self.folder / "zsyncd", "--socket", self.socket, "--state-dir", self.folder / "state"]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        give_up = time.monotonic() + START_SECONDS_MAX
        # The socket of a killed daemon may still be held by what it was starting, so it is asked for this one.
        while f"pid={self.process.pid}\n" not in self.log():
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError("zsyncd did not start:\n" + self.log())
            time.sleep(0.005)
        zsync._endpoint.probe(self.socket)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            with zsync.Client(self.socket, timeout=10, resume=False) as client:
                for task in client.tasks.list(states=[zsync.v1.TASK_STATE_QUEUED, zsync.v1.TASK_STATE_RUNNING]):
                    client.tasks.task(task.id).cancel(wait=True, kill_grace=0.2)
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        return (self.folder / "log").read_text()


class DaemonTest:
    """One daemon a class of tests; `self.daemon`."""

    @classmethod
    def setUpClass(cls):
        missing = [str(program(name)) for name in ("zsyncd", "zsync-shim") if not program(name).exists()]
        if missing:
            raise unittest.SkipTest(f"not built: {', '.join(missing)}")
        cls.daemon = Daemon()
        cls.daemon.start()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

