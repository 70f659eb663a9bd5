"""Functions: named work that one client does for others."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Unpack

from zsync import _core, _serving, v1
from zsync._requests import Duration, SpecOptions
from zsync._serving import HandlerResult, ServedCall
from zsync.errors import Error, is_broken_connection


class Functions:
    def __init__(self, client: Any):
        self._client, self._driver = client, client._driver

    async def serve(
        self, name: str, handler: Callable[[ServedCall], Awaitable[HandlerResult]], *, concurrency: int = 1, window: int = 0,
        stop: asyncio.Event | None = None,
    ) -> None:  # fmt: skip
        """Is a worker of the function until `stop` is set; then it gets no more calls, answers those it has, and returns.

        `concurrency` handlers run at once; `window` calls are fetched ahead. What a handler raises is a failure with its type's
        name as code (FunctionFailed says more). A broken connection is opened again, for as long as it takes; what was in hand then
        goes to other workers. Cancelling the asyncio task gives everything in hand to others at once.
        """
        stop = stop or asyncio.Event()
        pause = _core.BACKOFF_FIRST_S
        while not stop.is_set():
            hands = _serving.Hands(name, concurrency, window)
            try:
                return await self._session(hands, handler, concurrency, stop)
            except Error as error:
                if not is_broken_connection(error):
                    raise
            pause = _core.BACKOFF_FIRST_S if hands.served else min(pause * 2, _core.BACKOFF_MAX_S)
            with suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)

    async def _session(
        self, hands: _serving.Hands, handler: Callable[[ServedCall], Awaitable[HandlerResult]], concurrency: int,
        stop: asyncio.Event,
    ) -> None:  # fmt: skip
        perform = self._driver._perform
        stream = await perform(_core.Open(v1.METHODS["Functions.Serve"], None, None))
        places = asyncio.Semaphore(concurrency)
        working: set[asyncio.Task[None]] = set()

        async def work(served: ServedCall) -> None:
            async with places:
                try:
                    result = _serving.checked(await handler(served))
                except Exception as error:
                    result = error
            await perform(_core.Write(stream, hands.answer(served, result)))

        async def leave() -> None:
            await stop.wait()
            await perform(_core.Write(stream, v1.ServeRequest(drain=True)))

        leaver = asyncio.create_task(leave())
        try:
            await perform(_core.Write(stream, hands.open))
            drained = False
            while not drained:
                if (reply := await perform(_core.Read(stream))) is None:
                    break
                drained = reply.drained
                for served in hands.take(reply):
                    task = asyncio.create_task(work(served))
                    working.add(task)
                    task.add_done_callback(working.discard)
            await asyncio.gather(*working)
            await perform(_core.DoneWriting(stream))
            while await perform(_core.Read(stream)) is not None:
                pass
        finally:
            hands.drop()
            leaver.cancel()
            for task in working:
                task.cancel()
            stream.cancel()

    async def call(
        self, name: str, payload: bytes | str = b"", *, content_type: str = "", wait_for_worker: bool = False,
        timeout: Duration | None = None,
    ) -> v1.FunctionResult:  # fmt: skip
        """A direct call, in memory only -> its result, within `timeout` (30 s).

        NotFound names the functions that exist; Aborted says how the handler failed.
        """
        call = _serving.function_call(name, payload, content_type, wait_for_worker)
        return (await self._driver.unary("Functions.Call", _serving.direct(call, timeout), timeout, False)).result

    async def submit(
        self, name: str, payload: bytes | str = b"", *, content_type: str = "", wait_for_worker: bool = False,
        timeout: Duration | None = None, **options: Unpack[SpecOptions],
    ) -> Any:  # fmt: skip
        """A call as a task: on disk before this returns -> its Task, whose wait() has the `result`."""
        call = _serving.function_call(name, payload, content_type, wait_for_worker)
        return await self._client.tasks.submit(_serving.task_spec(call, options), timeout=timeout)

    async def list(self, *, timeout: Duration | None = None) -> Sequence[v1.Function]:
        """Those that are served, or were in the last 30 days."""
        return (await self._driver.unary("Functions.List", v1.ListFunctionsRequest(), timeout, True)).functions


class Calling:
    """The short ways of a client."""

    functions: Functions

    async def serve(self, name: str, handler: Any, **options: Any) -> None:
        """Functions.serve()"""
        await self.functions.serve(name, handler, **options)

    async def call(self, name: str, payload: bytes | str = b"", **options: Any) -> v1.FunctionResult:
        """Functions.call()"""
        return await self.functions.call(name, payload, **options)
