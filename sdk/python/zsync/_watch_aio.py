"""What changes below directories, for asyncio."""
from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from zsync import _requests, _watch_core, v1
from zsync._requests import Argument, Duration
from zsync.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from zsync.aio import _Driver


class Watch:
    def __init__(self, driver: _Driver):
        self._driver = driver

    def subscribe(
        self, path: Argument, *, globs: Iterable[str] = (), ignore: Iterable[str] = (), gitignore: bool = True,
        settle: Duration | None = None, max_wait: Duration | None = None, since: str = "",
        changed_content: bool = False, defer: Iterable[str] = (), drop: Iterable[str] = (),
        traced: bool = False, timeout: Duration | None = None,
    ) -> AsyncIterator[v1.WatchBatch]:  # fmt: skip
        """Settled batches of changes under a directory; the first tells the clock at which the subscription begins.

        `changed_content`: not files that were touched, or written anew with what was there. While a state of `defer` is
        held (see state()) nothing is told until it is left; what changes while one of `drop` is held never is. Both are
        told in batches of their own (`state_entered`, `state_left`). `traced`: a batch carries the `traceparent` of its
        settling, for a task that it causes.
        """
        request = _requests.subscribe(path, globs, ignore, gitignore, settle, max_wait, since, changed_content, defer, drop)
        request.traced = traced
        driver = self._driver
        return driver.iterate(_watch_core.subscribe(driver.settings, request, driver.deadline(timeout)))

    async def since(
        self, path: Argument, clock: str = "", *, globs: Iterable[str] = (), ignore: Iterable[str] = (),
        gitignore: bool = True, timeout: Duration | None = None,
    ) -> v1.WatchBatch:  # fmt: skip
        """What changed since a clock, as one batch, with all that was complete before the call; no clock: just that of now."""
        request = _requests.query(path, clock, globs, ignore, gitignore)
        driver = self._driver
        return await anext(driver.iterate(_watch_core.query(driver.settings, request, driver.deadline(timeout))))

    async def sync(self, path: Argument, *, timeout: Duration | None = None) -> str:
        """The clock of now: all that was complete before the call is before it."""
        return (await self.since(path, timeout=timeout)).clock

    @asynccontextmanager
    async def state(
        self, path: Argument, name: str, *, timeout: Duration | None = None
    ) -> AsyncIterator[v1.HoldStateReply]:
        """Holds a named state of a directory in the block: subscriptions that name it in `defer` or `drop` are silent."""
        request = v1.HoldStateRequest(path=os.path.abspath(path), name=name)
        driver = self._driver
        held = driver.iterate(_watch_core.hold_state(driver.settings, request, driver.deadline(timeout)))
        try:
            reply = await anext(held)
            try:
                yield reply
            finally:
                # What changes after the block is told as ever; where the daemon is gone, so is the state.
                with suppress(NotFound, Unavailable):
                    await driver.unary("Watch.LeaveState", v1.LeaveStateRequest(hold=reply.hold), timeout, False)
        finally:
            await held.aclose()

    async def list(self, *, timeout: Duration | None = None) -> Sequence[v1.WatchRoot]:
        return (await self._driver.unary("Watch.List", v1.ListWatchesRequest(), timeout, True)).roots

    async def states(self, *, timeout: Duration | None = None) -> Sequence[v1.HeldState]:
        """The named states that are held, and by whom."""
        return (await self._driver.unary("Watch.List", v1.ListWatchesRequest(), timeout, True)).states

    async def usage(self, *, timeout: Duration | None = None) -> v1.WatchUsageReply:
        """Who uses the inotify watches of the machine, and what sharing them saves."""
        return await self._driver.unary("Watch.Usage", v1.WatchUsageRequest(), timeout, True)
