"""Where the daemon is, whether it answers, and how it is started on demand."""
from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from zsync.errors import Conflict, DeadlineExceeded, Denied, InvalidArgument, NotFound, Unavailable

SOCKET_PATH_BYTES_MAX = 107
START_TIMEOUT_S = 5.0
POLL_S = 0.002


def state_directory() -> str:
    """ZSYNC_STATE_DIR, else $XDG_STATE_HOME/zsync, else $HOME/.local/state/zsync."""
    if own := os.environ.get("ZSYNC_STATE_DIR"):
        return own
    if xdg := os.environ.get("XDG_STATE_HOME"):
        return f"{xdg}/zsync"
    if home := os.environ.get("HOME"):
        return f"{home}/.local/state/zsync"
    raise Conflict("no state directory: set ZSYNC_STATE_DIR, XDG_STATE_HOME or HOME")


def socket_path(wanted: str | os.PathLike[str] | None = None) -> str:
    """`wanted`, else ZSYNC_SOCKET, else $XDG_RUNTIME_DIR/zsync/zsyncd.sock, else zsyncd.sock in the state directory."""
    path = os.fspath(wanted) if wanted else os.environ.get("ZSYNC_SOCKET", "")
    if not path:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        path = f"{runtime}/zsync/zsyncd.sock" if runtime else f"{state_directory()}/zsyncd.sock"
    path = os.path.abspath(path)
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_BYTES_MAX:
        raise InvalidArgument(
            f"socket path {path} has {size} bytes, at most {SOCKET_PATH_BYTES_MAX} fit: set ZSYNC_SOCKET to a shorter one"
        )
    return path


def probe(path: str) -> None:
    """Connects and hangs up: raises Unavailable when nobody listens at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
        attempt.setblocking(False)
        code = attempt.connect_ex(path)
    if code in (0, errno.EAGAIN, errno.EINPROGRESS):
        return
    if code in (errno.EACCES, errno.EPERM):
        raise Denied(f"connect to {path}: permission denied: the daemon serves its own user and root")
    if code in (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED):
        why = " (the socket is there, nobody listens)" if code == errno.ECONNREFUSED else ""
        raise Unavailable(f"no zsyncd at {path}{why}: start one with `zsyncctl daemon start`")
    raise Unavailable(f"connect to {path}: {os.strerror(code)}")


def reach(path: str, autostart: bool, daemon_path: str | None) -> None:
    """Makes sure that a daemon accepts at `path`; starts one where `autostart` allows."""
    try:
        probe(path)
    except Unavailable:
        if not autostart:
            raise
        start(path, daemon_path)


def start(path: str, daemon_path: str | None) -> None:
    """Starts zsyncd in a session of its own. However many clients do this at once, one daemon is started."""
    program = daemon_path or shutil.which("zsyncd")
    if not program or not os.access(program, os.X_OK):
        raise NotFound(f"no zsyncd to start at {program}" if program else "no zsyncd to start: it is not in PATH")
    give_up = time.monotonic() + START_TIMEOUT_S
    state = Path(state_directory())
    for folder in (state, Path(path).parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(f"{path}.start", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for_lock(lock, give_up)
        try:
            return probe(path)
        except Unavailable:
            pass
        log = state / "zsyncd.log"
        with open(log, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as output:
            daemon = subprocess.Popen(
                [program, "--socket", path], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/",
                start_new_session=True,
            )  # fmt: skip
        _wait_for_accept(path, daemon, log, give_up)
    finally:
        os.close(lock)


def _wait_for_lock(lock: int, give_up: float) -> None:
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up:
                raise DeadlineExceeded("another client has been starting zsyncd for too long") from None
        time.sleep(POLL_S)


def _wait_for_accept(path: str, daemon: subprocess.Popen[bytes], log: Path, give_up: float) -> None:
    ended = False
    while True:
        try:
            probe(path)
            # The daemon outlives this object; Python need not warn of that.
            daemon.returncode = 0
            return
        except Unavailable:
            if ended:
                raise Unavailable(f"zsyncd ended as soon as it was started: {log} says why") from None
            if time.monotonic() >= give_up:
                message = f"zsyncd (pid {daemon.pid}) does not accept at {path}: {log} may say why"
                raise DeadlineExceeded(message) from None
        ended = daemon.poll() is not None
        time.sleep(POLL_S)
