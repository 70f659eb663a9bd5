"""The steps of an upgrade: another program of zsyncd takes over in the same process."""
from __future__ import annotations

from zsync import v1
from zsync._core import Deadline, Settings, Sleep, Steps, unary
from zsync.errors import Conflict

UPGRADE_TIMEOUT_S = 120.0
_POLL_S = 0.01


def upgrade(settings: Settings, program: str, deadline: Deadline) -> Steps:
    """-> DaemonInfo of the program that serves; Conflict when the one that was to failed."""
    request = v1.UpgradeRequest(program=program)
    chosen = yield from unary(settings, "Daemon.Upgrade", request, deadline, False)
    while True:
        now = yield from unary(settings, "Daemon.Info", v1.DaemonInfoRequest(), deadline, True)
        if now.instance != chosen.instance:
            break
        yield Sleep(_POLL_S)  # it has not begun to drain
    if now.takeover.failure:
        raise Conflict(
            f'"{chosen.program}" did not take over: {now.takeover.failure}; zsyncd {now.version} goes on'
        )
    return now
