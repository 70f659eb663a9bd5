#!/usr/bin/env python3
"""The user units: well formed, without a sandbox that tasks would inherit, and a daemon that takes its socket from systemd.

    units_test.py [--bin build/bin]

Where systemd is not the first process the units cannot be started; systemd-analyze and systemd-socket-activate stand in.
"""
import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNITS = ["zsyncd.socket", "zsyncd.service"]
WAIT_SECONDS_MAX = 20
# What a task would inherit and stumble over.
SANDBOX = (
    "NoNewPrivileges PrivateTmp PrivateUsers PrivateNetwork PrivateDevices ProtectHome ProtectSystem ProtectProc SystemCallFilter "
    "MemoryDenyWriteExecute LockPersonality RestrictNamespaces RestrictAddressFamilies RestrictSUIDSGID RestrictRealtime UMask"
).split()
REQUIRED = {
    "Type": "notify", "KillMode": "process", "Delegate": "yes", "TasksMax": "infinity", "OOMPolicy": "continue",
}  # fmt: skip


def check(condition: bool, text: str) -> None:
    if not condition:
        raise AssertionError(text)


def run(*command: object, **options) -> subprocess.CompletedProcess:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=WAIT_SECONDS_MAX, check=False, **options)


def settings(name: str) -> dict[str, str]:
    lines = (ROOT / "systemd" / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def wait_until(condition, what: str) -> None:
    give_up = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        check(time.monotonic() < give_up, f"{what}: not within {WAIT_SECONDS_MAX} s")
        time.sleep(0.01)


def units_for(folder: Path, binaries: Path) -> list[Path]:
    """Copies whose ExecStart exists here: `verify` looks for the program."""
    copies = []
    for name in UNITS:
        text = (ROOT / "systemd" / name).read_text().replace("/usr/bin/zsyncd", str(binaries / "zsyncd"))
        (folder / name).write_text(text)
        copies.append(folder / name)
    return copies


def the_units_are_well_formed(folder: Path, binaries: Path) -> None:
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    answer = run("systemd-analyze", "verify", "--user", "--man=no", *units_for(folder, binaries), env=environment)
    complaints = [line for line in answer.stderr.splitlines() if "zsyncd" in line]
    check(answer.returncode == 0 and not complaints, f"systemd-analyze verify: {answer.stderr}")


def the_units_leave_tasks_alone(folder: Path, binaries: Path) -> None:
    service = settings("zsyncd.service")
    for key, value in REQUIRED.items():
        check(service.get(key) == value, f"zsyncd.service: {key}={service.get(key)}, wanted {value}")
    check(not set(SANDBOX) & set(service), f"tasks would inherit {sorted(set(SANDBOX) & set(service))}")
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    copies = units_for(folder, binaries)
    answer = run("systemd-analyze", "security", "--user", "--offline=true", "--no-pager", *copies, env=environment)
    last = [line for line in answer.stdout.splitlines() if "Overall exposure" in line]
    check(len(last) >= 1, f"systemd-analyze security: {answer.stdout}{answer.stderr}")
    print("  " + last[-1].lstrip("→ ") + " (no sandbox on purpose: the unit says why)")


def the_socket_is_closed_to_others(_folder: Path, _binaries: Path) -> None:
    unit = settings("zsyncd.socket")
    check(unit["SocketMode"] == "0600" and unit["DirectoryMode"] == "0700", "the socket is open to others")
    check(unit["ListenStream"] == "%t/zsync/zsyncd.sock", "not the socket that zsyncctl looks for")


def a_first_call_starts_the_daemon(folder: Path, binaries: Path) -> None:
    path = folder / "zsyncd.sock"
    environment = {**os.environ, "ZSYNC_SOCKET": str(path), "ZSYNC_STATE_DIR": str(folder / "state")}
    ctl = [binaries / "zsyncctl", "--no-autostart"]
    (folder / "state").mkdir()
    # -E: socket-activate hands on nothing but what it is told to.
    activate = ["systemd-socket-activate", "-l", str(path)]
    for name in ("ZSYNC_SOCKET", "ZSYNC_STATE_DIR", "HOME", "PATH"):
        activate += ["-E", f"{name}={environment.get(name, '/')}"]
    with open(folder / "log", "w+", encoding="utf-8") as log:
        daemon = subprocess.Popen([*activate, str(binaries / "zsyncd")], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until(path.exists, "the socket")
            check(not (folder / "state/store.db").exists(), "the daemon ran before anybody called")
            answer = run(*ctl, "run", "--", "sh", "-c", "echo activated; exit 7", env=environment)
            log.seek(0)
            check(answer.stdout == "activated\n", f"run: {answer.stdout}{answer.stderr}\n{log.read()}")
            check(answer.returncode == 7, f"run: exit code {answer.returncode}, wanted 7")
            # The program took the place of systemd-socket-activate: same pid, descriptor 3, no lock file of its own.
            listening = os.readlink(f"/proc/{daemon.pid}/fd/3")
            check(listening.startswith("socket:"), f"descriptor 3 is {listening}")
            second = run(binaries / "zsyncd", "--socket", path, "--state-dir", folder / "other")
            check(second.returncode != 0 and "serves" in second.stderr, f"a second daemon: {second.stderr}")
            # The supervisor's task must not hold the listener open.
            task = run(*ctl, "run", "--", "sh", "-c", "ls -l /proc/self/fd", env=environment)
            check("socket" not in task.stdout, f"a task inherited a socket:\n{task.stdout}")
        finally:
            daemon.send_signal(signal.SIGTERM)
            code = daemon.wait(timeout=WAIT_SECONDS_MAX)
        check(code == 0, f"zsyncd ended with {code}")
        check(path.exists(), "the socket belongs to systemd, and zsyncd removed it")


def the_daemon_tells_systemd_how_it_is_doing(folder: Path, binaries: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(folder / "notify"))
        notify.settimeout(WAIT_SECONDS_MAX)

        def told(wanted: str) -> str:
            while wanted not in (message := notify.recv(4096).decode()):
                pass
            return message

        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "400000"}
        environment.pop("ZSYNC_SOCKET", None)
        command = [str(binaries / "zsyncd"), "--socket", str(folder / "s"), "--state-dir", str(folder / "state")]
        with open(folder / "log", "w", encoding="utf-8") as log:
            daemon = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            told("READY=1")
            told("WATCHDOG=1")
            daemon.send_signal(signal.SIGHUP)
            check("MONOTONIC_USEC=" in told("RELOADING=1"), "a reload without its time")
            told("READY=1")
        finally:
            daemon.send_signal(signal.SIGTERM)
        told("STOPPING=1")
        check(daemon.wait(timeout=WAIT_SECONDS_MAX) == 0, "zsyncd did not stop well")


CASES = [
    the_daemon_tells_systemd_how_it_is_doing,
    the_units_are_well_formed,
    the_units_leave_tasks_alone,
    the_socket_is_closed_to_others,
    a_first_call_starts_the_daemon,
]
NEEDS = {
    the_units_are_well_formed: "systemd-analyze",
    the_units_leave_tasks_alone: "systemd-analyze",
    a_first_call_starts_the_daemon: "systemd-socket-activate",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=str(ROOT / "build/bin"), help="folder of zsyncd, zsyncctl and zsync-shim")
    binaries = Path(parser.parse_args().bin).resolve()
    failed = 0
    for case in CASES:
        tool = NEEDS.get(case)
        if tool and not shutil.which(tool):
            print(f"skipped: {case.__name__}: there is no {tool} here")
            continue
        with tempfile.TemporaryDirectory(prefix="zu", dir="/tmp") as short:
            try:
                case(Path(short), binaries)
                print(f"passed: {case.__name__}", flush=True)
            except (AssertionError, OSError, subprocess.SubprocessError) as problem:
                failed += 1
                print(f"failed: {case.__name__}: {problem}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
