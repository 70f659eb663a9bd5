"""Tasks that changes below a directory submit, kept by zsyncd, for asyncio."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Unpack

from zsync import _requests, v1
from zsync._requests import Argument, Duration, SpecOptions


class Triggers:
    """TriggerSpec in proto/zsync/v1/triggers.proto says what each option means."""

    def __init__(self, driver: Any):
        self._driver = driver

    async def create(
        self, name: str, path: Argument, *command: Argument | Sequence[Argument] | v1.TaskSpec, globs: Iterable[str] = (),
        ignore: Iterable[str] = (), gitignore: bool = True, writes: Iterable[str] = (), settle: Duration | None = None,
        max_wait: Duration | None = None, changed_content: bool = False, defer: Iterable[str] = (),
        drop: Iterable[str] = (), replace: bool = False, timeout: Duration | None = None,
        **options: Unpack[SpecOptions],
    ) -> v1.Trigger:  # fmt: skip
        """Returns once it is on disk and the directory is watched: what changes from then on makes a run.

        The command finds the paths in ZSYNC_CHANGED, a line each. A name that is there is AlreadyExists, unless `replace`.
        """
        like = _requests.subscribe(path, globs, ignore, gitignore, settle, max_wait, "", changed_content, defer, drop)
        request = _requests.create_trigger(name, like, writes, _requests.spec(command, options), replace)
        return await self._driver.unary("Triggers.Create", request, timeout, replace)

    async def get(self, name: str, *, timeout: Duration | None = None) -> v1.Trigger:
        """Its state, its newest run, and what comes next."""
        return await self._driver.unary("Triggers.Get", v1.GetTriggerRequest(name=name), timeout, True)

    async def list(self, project: str = "", *, timeout: Duration | None = None) -> Sequence[v1.Trigger]:
        """Those of one project, or all."""
        return (await self._driver.unary("Triggers.List", v1.ListTriggersRequest(project=project), timeout, True)).triggers

    async def pause(self, name: str, *, timeout: Duration | None = None) -> v1.Trigger:
        """No further runs; what changes meanwhile makes one when it is resumed."""
        return await self._driver.unary("Triggers.Pause", v1.PauseTriggerRequest(name=name), timeout, True)

    async def resume(self, name: str, *, timeout: Duration | None = None) -> v1.Trigger:
        """Lets one go on that is paused, or was stopped as a loop."""
        return await self._driver.unary("Triggers.Resume", v1.ResumeTriggerRequest(name=name), timeout, True)

    async def run(self, name: str, *, timeout: Duration | None = None) -> v1.Trigger:
        """A run now; while one is under way, another one after it."""
        return await self._driver.unary("Triggers.Run", v1.RunTriggerRequest(name=name), timeout, False)

    async def remove(self, name: str, *, timeout: Duration | None = None) -> None:
        """Forgets it; its tasks stay."""
        await self._driver.unary("Triggers.Delete", v1.DeleteTriggerRequest(name=name), timeout, False)
