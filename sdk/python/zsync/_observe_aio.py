"""What is only looked at: events, traces and the daemon itself, for asyncio."""
from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from zsync import _core, v1
from zsync._requests import Duration, diagnostic_filter
from zsync._upgrade import UPGRADE_TIMEOUT_S, upgrade

if TYPE_CHECKING:
    from zsync.aio import _Driver


class Events:
    def __init__(self, driver: _Driver):
        self._driver = driver

    def follow(
        self, *types: str, from_seq: int = 0, follow: bool = True, timeout: Duration | None = None
    ) -> AsyncIterator[v1.Event | v1.Gap]:
        """The daemon's log from a cursor (0: from the first next() on; 1: all that is kept); `types` are prefixes."""
        request = v1.FollowEventsRequest(from_seq=from_seq, types=types, follow=follow)
        driver = self._driver
        return driver.iterate(_core.follow_events(driver.settings, request, driver.deadline(timeout)))


class Traces:
    def __init__(self, driver: _Driver):
        self._driver = driver

    async def list(self, limit: int = 0, *, timeout: Duration | None = None) -> Sequence[v1.TraceSummary]:
        """Those where something happened last come first; `limit` 0 leaves it to the daemon."""
        request = v1.ListTracesRequest(limit=limit)
        return (await self._driver.unary("Traces.List", request, timeout, True)).traces

    async def get(self, id: str, *, timeout: Duration | None = None) -> v1.Trace:
        """`id`: of a trace, or its first 4 digits or more; of a task; or "last"."""
        return await self._driver.unary("Traces.Get", v1.GetTraceRequest(id=id), timeout, True)


class Diagnostics:
    def __init__(self, driver: _Driver):
        self._driver = driver

    async def list(
        self, path: str = "", *, source: str = "", severity: str = "", timeout: Duration | None = None
    ) -> Sequence[v1.DiagnosticSet]:
        """The newest set of each file and source; what a task printed is in them once it has ended.

        `path`: of this file, or below this directory; `severity`: error, warning or note; these and worse.
        """
        driver = self._driver
        wanted = diagnostic_filter(path, source, severity)
        return (await driver.run(_core.list_diagnostics(driver.settings, wanted, driver.deadline(timeout)))).sets

    def subscribe(
        self, path: str = "", *, source: str = "", severity: str = "", timeout: Duration | None = None
    ) -> AsyncIterator[v1.DiagnosticSetBatch]:
        """First the sets that are there, then each that changed; an empty one was cleared, `reset` begins anew."""
        driver = self._driver
        request = v1.SubscribeDiagnosticsRequest(filter=diagnostic_filter(path, source, severity))
        return driver.iterate(_core.subscribe_diagnostics(driver.settings, request, driver.deadline(timeout)))


class Daemon:
    def __init__(self, driver: _Driver):
        self._driver = driver

    async def info(self, *, timeout: Duration | None = None) -> v1.DaemonInfo:
        return await self._driver.unary("Daemon.Info", v1.DaemonInfoRequest(), timeout, True)

    async def stats(self, *, timeout: Duration | None = None) -> v1.DaemonStats:
        return await self._driver.unary("Daemon.Stats", v1.DaemonStatsRequest(), timeout, True)

    async def config(self, *, timeout: Duration | None = None) -> Sequence[v1.ConfigValue]:
        return (await self._driver.unary("Daemon.Config", v1.DaemonConfigRequest(), timeout, True)).values

    async def doctor(self, *, timeout: Duration | None = None) -> Sequence[v1.Finding]:
        return (await self._driver.unary("Daemon.Doctor", v1.DoctorRequest(), timeout, True)).findings

    async def check_upgrade(self, program: str = "", *, timeout: Duration | None = None) -> v1.UpgradeReply:
        """Whether another program of zsyncd could take over: it reads the configuration and a copy of the store."""
        request = v1.UpgradeRequest(program=program, check_only=True)
        return await self._driver.unary("Daemon.Upgrade", request, timeout, True)

    async def upgrade(self, program: str = "", *, timeout: Duration = UPGRADE_TIMEOUT_S) -> v1.DaemonInfo:
        """Has another program of zsyncd take over in the same process -> its info, once it serves.

        Running commands, channels and the socket stay, and every client goes on where it was. `program`: its
        absolute path; empty: the file the daemon was started from, as it is now.

        Raises InvalidArgument, and Conflict with its own words when the program fails its check, or before it
        serves: then the one before goes on.
        """
        driver = self._driver
        return await driver.run(upgrade(driver.settings, program, driver.deadline(timeout)))

    async def shutdown(self, *, timeout: Duration | None = None) -> None:
        """Returns once the drain has begun; running commands go on under their supervisors."""
        await self._driver.unary("Daemon.Shutdown", v1.ShutdownRequest(), timeout, False)
