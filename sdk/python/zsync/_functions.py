"""Functions: named work that one client does for others."""
from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Unpack

from zsync import _core, _serving, v1
from zsync._requests import Duration, SpecOptions
from zsync._serving import HandlerResult, ServedCall
from zsync.errors import Error, is_broken_connection

_STOP_POLL_S = 0.2


class Functions:
    def __init__(self, client: Any):
        self._client, self._driver = client, client._driver

    def serve(
        self, name: str, handler: Callable[[ServedCall], HandlerResult], *, concurrency: int = 1, window: int = 0,
        stop: threading.Event | None = None,
    ) -> None:  # fmt: skip
        """Is a worker of the function until `stop` is set; then it gets no more calls, answers those it has, and returns.

        `handler` runs in `concurrency` threads; `window` calls are fetched ahead. What it raises is a failure with its type's name
        as code (FunctionFailed says more). A broken connection is opened again, for as long as it takes; what was in hand then goes
        to other workers.
        """
        stop = stop or threading.Event()
        pause = _core.BACKOFF_FIRST_S
        while not stop.is_set():
            hands = _serving.Hands(name, concurrency, window)
            try:
                return self._session(hands, handler, concurrency, stop)
            except Error as error:
                if not is_broken_connection(error):
                    raise
            pause = _core.BACKOFF_FIRST_S if hands.served else min(pause * 2, _core.BACKOFF_MAX_S)
            stop.wait(pause)

    def _session(
        self, hands: _serving.Hands, handler: Callable[[ServedCall], HandlerResult], concurrency: int, stop: threading.Event,
    ) -> None:  # fmt: skip
        perform = self._driver._perform
        stream = perform(_core.Open(v1.METHODS["Functions.Serve"], None, None))
        over = threading.Event()

        def work(served: ServedCall) -> None:
            try:
                result = _serving.checked(handler(served))
            except Exception as error:
                result = error
            perform(_core.Write(stream, hands.answer(served, result)))

        def leave() -> None:
            while not over.is_set():
                if stop.wait(_STOP_POLL_S):
                    perform(_core.Write(stream, v1.ServeRequest(drain=True)))
                    return

        leaver = threading.Thread(target=leave, name="zsync-serve", daemon=True)
        leaver.start()
        try:
            perform(_core.Write(stream, hands.open))
            with ThreadPoolExecutor(concurrency, "zsync-function") as pool:
                try:
                    drained = False
                    while not drained:
                        if (reply := perform(_core.Read(stream))) is None:
                            break
                        drained = reply.drained
                        for served in hands.take(reply):
                            pool.submit(work, served)
                except BaseException:
                    hands.drop()
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
            perform(_core.DoneWriting(stream))
            while perform(_core.Read(stream)) is not None:
                pass
        finally:
            over.set()
            with suppress(Error):
                stream.cancel()

    def call(
        self, name: str, payload: bytes | str = b"", *, content_type: str = "", wait_for_worker: bool = False,
        timeout: Duration | None = None,
    ) -> v1.FunctionResult:  # fmt: skip
        """A direct call, in memory only -> its result, within `timeout` (30 s).

        NotFound names the functions that exist; Aborted says how the handler failed.
        """
        call = _serving.function_call(name, payload, content_type, wait_for_worker)
        return self._driver.unary("Functions.Call", _serving.direct(call, timeout), timeout, False).result

    def submit(
        self, name: str, payload: bytes | str = b"", *, content_type: str = "", wait_for_worker: bool = False,
        timeout: Duration | None = None, **options: Unpack[SpecOptions],
    ) -> Any:  # fmt: skip
        """A call as a task: on disk before this returns -> its Task, whose wait() has the `result`."""
        call = _serving.function_call(name, payload, content_type, wait_for_worker)
        return self._client.tasks.submit(_serving.task_spec(call, options), timeout=timeout)

    def list(self, *, timeout: Duration | None = None) -> Sequence[v1.Function]:
        """Those that are served, or were in the last 30 days."""
        return self._driver.unary("Functions.List", v1.ListFunctionsRequest(), timeout, True).functions


class Calling:
    """The short ways of a client."""

    functions: Functions

    def serve(self, name: str, handler: Any, **options: Any) -> None:
        """Functions.serve()"""
        self.functions.serve(name, handler, **options)

    def call(self, name: str, payload: bytes | str = b"", **options: Any) -> v1.FunctionResult:
        """Functions.call()"""
        return self.functions.call(name, payload, **options)
