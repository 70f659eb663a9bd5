#!/usr/bin/env python3
"""One whole run of zsyncd and zsyncctl under valgrind: no error, no definite leak, in either.

    valgrind_run.py --bin DIR

Every zsyncctl is a process of its own under memcheck too. zsync-shim is not: it is started by the daemon, and valgrind is told
not to follow.
"""
import argparse
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FOUND = 99  # valgrind's exit code for an error
SECONDS_MAX = 120
SUMMARY = re.compile(r"ERROR SUMMARY: (\d+) errors")
DEFINITE = re.compile(r"definitely lost: ([\d,]+) bytes")


class Run:
    def __init__(self, bin_folder: Path, work: Path):
        self.bin, self.work = bin_folder.resolve(), work
        self.socket = work / "s"
        self.reports = 0
        self.environment = {**os.environ, "ZSYNC_SOCKET": str(self.socket), "ZSYNC_STATE_DIR": str(work / "state")}

    def words(self, program: str, *arguments: object) -> list[str]:
        self.reports += 1
        report = self.work / f"valgrind.{self.reports}.{program}"
        return ["valgrind", "-v", "--leak-check=full", "--errors-for-leak-kinds=definite", "--fair-sched=yes",
                f"--error-exitcode={FOUND}", f"--log-file={report}", str(self.bin / program), *map(str, arguments)]

    def start(self, program: str, *arguments: object, **options) -> subprocess.Popen:
        return subprocess.Popen(self.words(program, *arguments), env=self.environment, text=True, **options)

    def ctl(self, *arguments: object, code: int = 0, stdin: str = "") -> str:
        words = self.words("zsyncctl", "--no-autostart", *arguments)
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=SECONDS_MAX, env=self.environment,
                              check=False)
        if done.returncode != code:
            raise AssertionError(f"zsyncctl {arguments}: exit code {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
        return done.stdout

    def check_reports(self) -> None:
        for report in sorted(self.work.glob("valgrind.*")):
            text = report.read_text()
            errors, lost = SUMMARY.search(text), DEFINITE.search(text)
            if not errors or int(errors[1]) or (lost and lost[1] != "0"):
                raise AssertionError(f"{report.name}:\n{text[-6000:]}")


def work_with(run: Run) -> None:
    """Every noun once, well and badly."""
    run.ctl("run", "--", "sh", "-c", "cat; echo err >&2; exit 3", code=3, stdin="hello\n")
    run.ctl("run", "--", "no-such-program", code=127)
    ids = run.ctl("tasks", "submit", "-q", "--name", "build", "--label", "a=b", "-c", "seq 1 20000").split()
    run.ctl("tasks", "wait", *ids)
    assert run.ctl("logs", ids[0]).count("\n") == 20000
    sleeper = run.ctl("tasks", "submit", "-q", "--", "sleep", "1000").strip()
    run.ctl("why", sleeper)
    run.ctl("tasks", "cancel", "--wait", sleeper)
    run.ctl("tasks", "retry", "build")
    run.ctl("tasks", "wait", "build")
    run.ctl("tasks", "get", "build", "-o", "json")
    run.ctl("tasks", "list")
    run.ctl("tasks", "get", "biuld", code=3)
    run.ctl("channels", "create", "memory", "--capacity", "50000")
    run.ctl("channels", "create", "disk", "--durable")
    lines = "".join(f"{number}\n" for number in range(1000))
    for name in ("memory", "disk"):
        run.ctl("channels", "send", name, stdin=lines)
        run.ctl("channels", "close", name)
        assert run.ctl("channels", "recv", name) == lines
        run.ctl("channels", "remove", "-y", name)
    watched = run.work / "watched"
    watched.mkdir()
    watch = run.start("zsyncctl", "--no-autostart", "watch", watched, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    line = ""
    for number in range(SECONDS_MAX * 10):  # it begins a moment after its process does
        (watched / f"file{number}").touch()
        if has_output(watch, 0.1):
            line = watch.stdout.readline()
            break
    watch.send_signal(signal.SIGINT)
    watch.communicate(timeout=SECONDS_MAX)
    assert "file" in line, f"the watch printed {line!r}"
    run.ctl("tasks", "remove", "-y", "build")
    for words in (("status",), ("doctor",), ("daemon", "info"), ("daemon", "stats"), ("events", "list"), ("ps", "-a")):
        run.ctl(*words)


def has_output(process: subprocess.Popen, seconds: float) -> bool:
    return bool(select.select([process.stdout], [], [], seconds)[0])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=Path, required=True)
    arguments = parser.parse_args()
    if not shutil.which("valgrind"):
        print("skipped: valgrind is not installed")
        return 77
    with tempfile.TemporaryDirectory(prefix="zsync-valgrind-") as folder:
        run = Run(arguments.bin, Path(folder))
        daemon = run.start("zsyncd", "--socket", run.socket, "--state-dir", run.work / "state", stderr=subprocess.DEVNULL)
        try:
            give_up = time.monotonic() + SECONDS_MAX
            while not run.socket.exists():
                if daemon.poll() is not None or time.monotonic() > give_up:
                    raise AssertionError("zsyncd does not start under valgrind")
                time.sleep(0.05)
            work_with(run)
            run.ctl("daemon", "stop")
            code = daemon.wait(timeout=SECONDS_MAX)
            if code != 0:
                raise AssertionError(f"zsyncd ended with code {code}")
        finally:
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
        run.check_reports()
        print(f"{run.reports} programs under valgrind: 0 errors, 0 bytes definitely lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
