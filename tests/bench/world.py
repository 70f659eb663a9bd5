"""What a bench has: the programs of one build, a scratch folder on the checkout's disk, daemons that end by pid."""
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import procfs

START_LIMIT = 20  # seconds
STOP_LIMIT = 30  # seconds
COMMAND_LIMIT = 900  # seconds


@dataclass(frozen=True)
class Build:
    """One build of zsync: how its rows are called, and where zsyncd, zsyncctl and zsync-shim stand."""

    name: str
    bin: Path

    def program(self, name: str) -> Path | None:
        """A bench program of this build, beside zsyncd or where meson makes it; None for a build that has none."""
        places = (self.bin / name, self.bin.parent / "meson/tests/bench" / name)
        return next((place for place in places if place.exists()), None)


@dataclass(frozen=True)
class Sample:
    """One figure of one run."""

    metric: str
    unit: str
    value: float
    system: str
    threads: int = 1


class Daemon:
    """A private zsyncd. Its configuration is the default one and `config`."""

    def __init__(self, folder: Path, build: Build):
        self.folder, self.build = folder, build
        self.socket, self.state = folder / "s", folder / "state"
        self.config = folder / "zsyncd.yaml"
        self.environment = {**os.environ, "ZSYNC_SOCKET": str(self.socket), "ZSYNC_STATE_DIR": str(self.state)}
        self.process = None

    def argv(self) -> list[str]:
        words = [self.build.bin / "zsyncd", "--socket", self.socket, "--state-dir", self.state]
        return [str(word) for word in words + (["--config", self.config] if self.config.exists() else [])]

    def start(self) -> "Daemon":
        log = open(self.folder / "zsyncd.log", "ab")
        self.process = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_LIMIT
        while self.control("daemon", "info", check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"zsyncd did not start; its log is {log.name}")
            time.sleep(0.02)
        return self

    @property
    def pid(self) -> int:
        return self.process.pid

    def control_argv(self, *words: str) -> list[str]:
        return [str(self.build.bin / "zsyncctl"), "--no-autostart", *words]

    def control(self, *words: str, check: bool = True, **options) -> subprocess.CompletedProcess:
        """zsyncctl against this daemon."""
        return subprocess.run(self.control_argv(*words), env=self.environment, check=check, timeout=COMMAND_LIMIT,
                              capture_output=True, text=True, **options)

    def stop(self) -> None:
        """Commands that still run are cancelled first: they would outlive the daemon."""
        if self.process is None or self.process.poll() is not None:
            return
        running = self.control("tasks", "list", "-q", "--state", "running", check=False).stdout.split()
        if running:
            self.control("tasks", "cancel", "--wait", *running, check=False)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class World:
    """One invocation of `./dev bench`."""

    def __init__(self, scratch: Path, client: Path, builds: list[Build], long: bool = False):
        self.scratch, self.client_program, self.builds, self.long = scratch, client, builds, long
        self.notes: dict[str, None] = {}
        self.made = 0

    def note(self, line: str) -> None:
        """Said once, under the bench's table: a setting, or a peer that is absent."""
        self.notes.setdefault(line)

    def has(self, program: str, what: str) -> bool:
        """Whether a peer is installed; if not, the one line that says so."""
        if shutil.which(program):
            return True
        self.note(f"skipped: {what} ({program} is not installed)")
        return False

    def folder(self, name: str) -> Path:
        """A new folder for this run; the caller's daemon lives in it."""
        self.made += 1
        path = self.scratch / f"{name}.{self.made}"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    @contextmanager
    def daemon(self, build: Build, config: str = "", environment: dict | None = None):
        """A running daemon with an empty state. Its folder stays until all benches are done: deleting thousands of files
        between two runs would be paid for by the second one."""
        daemon = Daemon(self.folder("d"), build)
        if config:
            daemon.config.write_text(config)
        try:
            yield daemon.start()
        finally:
            daemon.stop()

    def client_argv(self, *words) -> list[str]:
        return [str(self.client_program), *map(str, words)]

    def client(self, *words) -> dict:
        """Runs the load generator; its answer."""
        done = subprocess.run(self.client_argv(*words), stdout=subprocess.PIPE, check=True, timeout=COMMAND_LIMIT)
        return json.loads(done.stdout.splitlines()[-1])


class Cost:
    """CPU time and voluntary switches of zsyncd itself over a stretch of work."""

    def __init__(self, daemon: Daemon):
        self.pid = daemon.pid
        self.cpu, self.woken = procfs.cpu_seconds(self.pid), procfs.switches(self.pid)

    def samples(self, system: str, count: float, unit: str, prefix: str = "", threads: int = 1) -> list[Sample]:
        """What `count` pieces of work cost each."""
        cpu, woken = procfs.cpu_seconds(self.pid) - self.cpu, procfs.switches(self.pid) - self.woken
        return [Sample(f"{prefix}zsyncd cpu", f"us/{unit}", cpu * 1e6 / count, system, threads),
                Sample(f"{prefix}zsyncd switches", f"1/{unit}", woken / count, system, threads)]
