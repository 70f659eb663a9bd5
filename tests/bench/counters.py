"""What strace and perf count where they may attach: waits for the disk, and the cost of a process with all below it."""
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable

import procfs
from world import Sample


ATTACH_LIMIT = 5  # seconds
PERF_ATTACH = 0.3  # seconds
TIMES = 10  # pieces of work that are counted
SYNC_CALLS = ("fsync", "fdatasync", "sync_file_range", "syncfs", "msync")


def traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return not re.search(r"^TracerPid:\s+0$", status, re.M)


def syncs_of(pid: int, work: Callable[[], None], folder: Path, otherwise: int) -> tuple[float, str]:
    """Calls that wait for the disk in one `work`, and how they were counted; `otherwise` is the design's number."""
    work()  # the first one may make files that stay
    log = folder / "strace.log"
    if not shutil.which("strace"):
        return otherwise, "from the design: strace is not installed"
    argv = ["strace", "-f", "-q", "-e", "trace=" + ",".join(SYNC_CALLS), "-o", str(log), "-p", str(pid)]
    tracer = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + ATTACH_LIMIT
    while not traced(pid) and tracer.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if not traced(pid):
        tracer.kill()
        tracer.wait()
        return otherwise, "from the design: strace may not attach"
    time.sleep(0.2)  # the daemon's other threads are attached to one after the other
    for _ in range(TIMES):
        work()
    time.sleep(0.2)
    tracer.terminate()
    tracer.wait()
    calls = re.findall(r"\b(" + "|".join(SYNC_CALLS) + r")\((?!.*resumed)", log.read_text())
    return len(calls) / TIMES, "counted with strace"


class TreeCost:
    """CPU time and context switches of a daemon, its shims and their commands over a stretch of work, by `perf stat`.

    The shims are nobody's children in the end, so getrusage knows nothing of them. Without perf there is no figure.
    """

    def __init__(self, pid: int, folder: Path):
        self.log, self.perf = folder / "perf.csv", None
        if not shutil.which("perf"):
            return
        # What the daemon has started before (the server that forks its shims) does not count as its child any more.
        pids = ",".join(str(one) for one in [pid, *procfs.children(pid)])
        argv = ["perf", "stat", "-x,", "-e", "task-clock,context-switches", "-p", pids, "-o", str(self.log)]
        self.perf = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(PERF_ATTACH)

    def samples(self, system: str, count: float, unit: str, threads: int = 1) -> list[Sample]:
        """Ends the counting."""
        if self.perf is None:
            return []
        self.perf.send_signal(signal.SIGINT)
        self.perf.wait()
        values = {words[2]: words[0] for words in (line.split(",") for line in self.log.read_text().splitlines())
                  if len(words) > 2}
        try:
            cpu, switched = float(values["task-clock"]), float(values["context-switches"])
        except (KeyError, ValueError):
            return []
        return [Sample("cpu", f"us/{unit}", cpu * 1000 / count, system, threads),
                Sample("switches", f"1/{unit}", switched / count, system, threads)]
