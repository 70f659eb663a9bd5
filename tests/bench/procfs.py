"""What the kernel counts: CPU time, context switches, memory of a process; the machine and its load."""
import os
import platform
import re
import resource
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def children(pid: int) -> list[int]:
    """Processes that it has started and that live."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def switches_by_thread(pid: int) -> dict[str, int]:
    """Voluntary context switches of each thread that lives: how often it was woken."""
    counts = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            status = (task / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        counts[task.name] = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M).group(1))
    return counts


def switches(pid: int) -> int:
    return sum(switches_by_thread(pid).values())


def switches_during(pid: int, seconds: float) -> int:
    """Looks every half second, so that what a thread did before it ended is counted as well."""
    total, known, end = 0, switches_by_thread(pid), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(0.5, left))
        now = switches_by_thread(pid)
        total += sum(count - known.get(thread, 0) for thread, count in now.items())
        known = now
    return total


def memory_mib(pid: int, field: str = "VmRSS") -> float:
    """VmRSS: now; VmHWM: the peak since reset_peak()."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+)", status, re.M).group(1)) / 1024


def reset_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def file_system(path: Path) -> str:
    """Type and device of the file system that holds `path`; an ext4 without a journal says so, since it syncs otherwise."""
    words = subprocess.run(["df", "--output=fstype,source", path], capture_output=True, text=True, check=True)
    kind, device = words.stdout.splitlines()[1].split()
    journals = Path("/proc/fs/jbd2")
    journal = any(entry.name.startswith(Path(device).name) for entry in journals.iterdir()) if journals.exists() else False
    return f"{kind} on {device}" + ("" if journal or kind != "ext4" else " without journal")


def waited_seconds() -> float:
    """CPU time of all processes that this one has waited for, with theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def machine() -> str:
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} x {model.group(1) if model else platform.machine()}, Linux {platform.release()}"


def load() -> str:
    return " ".join(Path("/proc/loadavg").read_text().split()[:3])
