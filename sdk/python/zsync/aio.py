"""The asyncio client: zsync.client with awaits.

    async with zsync.aio.Client() as client:
        task = await client.tasks.submit("make", "-j4", cwd="/src/app")
        async for batch in task.output():
            for record in batch.records:
                sys.stdout.buffer.write(record.data)
        print((await task.wait()).exit_code)

Threads: everything of one Client belongs to the event loop in which it was entered. Cancel: cancelling the awaiting asyncio
task ends the call; an iterator that is left early ends its call with `await iterator.aclose()` (contextlib.aclosing).
Bounds and restarts: as zsync.client.
"""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Unpack

import grpc.aio

from zsync import _core, _endpoint, _requests, client, v1
from zsync._channels_aio import Channels, Sender
from zsync._functions_aio import Calling, Functions
from zsync._observe_aio import Daemon, Diagnostics, Events, Traces
from zsync._projects_aio import Projects
from zsync._requests import Argument, Completed, Duration, SpecOptions, seconds
from zsync.client import CANCEL_ON_INTERRUPT_TIMEOUT_S, CHANNEL_OPTIONS
from zsync._schedules_aio import Planning
from zsync._triggers_aio import Triggers
from zsync._watch_aio import Watch
from zsync.errors import Conflict, DeadlineExceeded, Error, from_status

_EOF: Any = getattr(grpc.aio, "EOF")


class _ThreadedStream:
    """A client stream, on a thread of its own over gRPC's synchronous API.

    Not over grpc.aio: there a write that meets a stream which the daemon has ended hides what came before the end.
    """

    def __init__(self, driver: client._Driver, step: _core.Open):
        self._perform = driver._perform
        self._inner = driver._perform(step)
        self._thread = ThreadPoolExecutor(1, "zsync-stream")

    async def read(self) -> Any:
        return await self._wait_for(_core.Read(self._inner))

    async def write(self, message: Any, wait: bool) -> bool:
        step = _core.Write(self._inner, message, wait)
        return await self._wait_for(step) if wait else self._perform(step)

    def done_writing(self) -> None:
        self._perform(_core.DoneWriting(self._inner))

    def cancel(self) -> None:
        self._inner.cancel()
        self._thread.shutdown(wait=False)

    async def _wait_for(self, step: _core.Step) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._perform, step)


class _ReplyStream:
    """A stream of replies to one request."""

    def __init__(self, call: Any):
        self._call = call

    async def read(self) -> Any:
        message = await self._call.read()
        return None if message is _EOF else message

    def cancel(self) -> None:
        self._call.cancel()


class _Driver:
    """Performs the steps of _core over one gRPC channel."""

    def __init__(self, socket: str, settings: _core.Settings, autostart: bool, daemon_path: str | None):
        self.socket, self.settings = socket, settings
        self.autostart, self.daemon_path = autostart, daemon_path
        self.channel: Any = None
        self._threaded: client._Driver | None = None
        self._methods: dict[str, Any] = {}

    async def connect(self) -> None:
        await self._reach()
        self.channel = grpc.aio.insecure_channel(f"unix:{self.socket}", options=CHANNEL_OPTIONS)

    async def close(self) -> None:
        if self.channel is not None:
            await self.channel.close()
        if self._threaded is not None:
            self._threaded.close()
        self.channel = self._threaded = None
        self._methods.clear()

    def deadline(self, timeout: Duration | None) -> _core.Deadline:
        return _core.Deadline(self.settings.timeout if timeout is None else seconds(timeout))

    async def unary(self, name: str, request: Any, timeout: Duration | None, safe: bool) -> Any:
        return await self.run(_core.unary(self.settings, name, request, self.deadline(timeout), safe))

    async def run(self, steps: _core.Steps) -> Any:
        """Performs steps that emit nothing -> their value."""
        value, error = None, None
        try:
            while True:
                try:
                    step = steps.throw(error) if error else steps.send(value)
                except StopIteration as end:
                    return end.value
                value, error = None, None
                try:
                    value = await self._perform(step)
                except Error as failure:
                    error = failure
        finally:
            steps.close()

    async def iterate(self, steps: _core.Steps, settle: _core.Steps | None = None) -> AsyncIterator[Any]:
        """Performs steps, giving out what they emit; `settle` last, however they end."""
        value, error = None, None
        try:
            while True:
                try:
                    step = steps.throw(error) if error else steps.send(value)
                except StopIteration:
                    return
                value, error = None, None
                if isinstance(step, _core.Emit):
                    yield step.item
                    continue
                try:
                    value = await self._perform(step)
                except Error as failure:
                    error = failure
        finally:
            steps.close()
            if settle is not None:
                with suppress(Error):
                    await self.run(settle)

    async def _perform(self, step: _core.Step) -> Any:
        try:
            match step:
                case _core.Call(method, request, timeout):
                    return await self._method(method)(request, timeout=timeout)
                case _core.Read(stream):
                    return await stream.read()
                case _core.Write(stream, message, wait):
                    return await stream.write(message, wait)
                case _core.DoneWriting(stream):
                    return stream.done_writing()
                case _core.Open(method, request, timeout) if method.client_streaming:
                    return _ThreadedStream(self._streams(), step)
                case _core.Open(method, request, timeout):
                    return _ReplyStream(self._method(method)(request, timeout=timeout))
                case _core.Sleep(pause):
                    return await asyncio.sleep(pause)
                case _core.Reach():
                    return await self._reach()
        except grpc.aio.AioRpcError as error:
            trailers: Any = error.trailing_metadata() or ()
            raise from_status(error.code().name, error.details() or "", trailers) from None

    async def _reach(self) -> None:
        if self.autostart:  # starting waits
            await asyncio.to_thread(_endpoint.reach, self.socket, True, self.daemon_path)
        else:
            _endpoint.reach(self.socket, False, None)

    def _check_open(self) -> None:
        if self.channel is None:
            raise Conflict("the client is not open: use `async with zsync.aio.Client() as client:`")

    def _streams(self) -> client._Driver:
        self._check_open()
        if self._threaded is None:
            self._threaded = client._Driver(self.socket, self.settings, False, None)
        return self._threaded

    def _method(self, method: v1.Method) -> Any:
        self._check_open()
        if (found := self._methods.get(method.path)) is None:
            kind: Any = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
            found = kind(
                method.path, request_serializer=method.request.SerializeToString,
                response_deserializer=method.reply.FromString,
            )  # fmt: skip
            self._methods[method.path] = found
        return found


class TaskInput:
    """Feeds stdin of one task, or types on its terminal. Leaving the `with` block closes stdin, or types Ctrl-D."""

    def __init__(self, driver: _Driver, task_id: str, timeout: Duration | None):
        self._driver = driver
        self._core = _core.Input(driver.settings, task_id, driver.deadline(timeout))

    async def write(self, data: bytes) -> None:
        """Waits while the task does not read."""
        await self._driver.run(self._core.write(data))

    async def resize(self, rows: int, columns: int) -> None:
        """The terminal of the task is as large from now on."""
        await self._driver.run(self._core.resize(rows, columns))

    async def finish(self, eof: bool = True) -> int:
        """-> how many bytes were taken. Closes the task's stdin with `eof`, else only this stream."""
        return await self._driver.run(self._core.finish(eof))

    async def __aenter__(self) -> "TaskInput":
        return self

    async def __aexit__(self, kind: object, value: object, trace: object) -> None:
        if kind is not None:
            self._core.cancel()
        elif not self._core.finished:
            await self.finish()


class Task:
    """A handle onto one task; making one asks the daemon nothing."""

    def __init__(self, driver: _Driver, task_id: str, existing: bool = False):
        self._driver = driver
        #: An id, a unique prefix of one, or a unique name.
        self.id = task_id
        #: Whether an idempotency key matched an earlier task.
        self.existing = existing

    def __repr__(self) -> str:
        return f"<zsync.Task {self.id}>"

    async def get(self, *, timeout: Duration | None = None) -> v1.Task:
        return await self._driver.unary("Tasks.Get", v1.GetTaskRequest(id=self.id), timeout, True)

    async def wait(self, *, timeout: Duration | None = None) -> v1.Task:
        """-> the record, once the task is in a final state."""
        return (await self._driver.unary("Tasks.Wait", v1.WaitTasksRequest(ids=[self.id]), timeout, True)).tasks[0]

    def output(
        self, *, from_seq: int = 1, follow: bool = True, attempt: int = 0, timeout: Duration | None = None
    ) -> AsyncIterator[v1.TaskOutputBatch]:
        """Reads records in the order in which the supervisor read them. A batch's `gap` comes before its records.

        With `follow` it stays until the task has ended; the last batch then carries `finished`. With attempt 0 it begins
        with the newest attempt and goes on into later ones; a batch's `attempt` says where seq starts anew.
        """
        request = v1.TaskOutputRequest(id=self.id, from_seq=from_seq, follow=follow, attempt=attempt)
        return self._driver.iterate(_core.output(self._driver.settings, request, self._driver.deadline(timeout)))

    async def read_output(self, *, timeout: Duration | None = None) -> bytes:
        """-> stdout and stderr as they came, of the last attempt, once the task has ended."""
        collector = _requests.OutputCollector()
        async for batch in self.output(timeout=timeout):
            collector.take(batch)
        return collector.of()

    async def completed(self, *, timeout: Duration | None = None) -> Completed:
        """-> the final record with the output of the last attempt, once the task has ended."""
        deadline = self._driver.deadline(timeout)
        collector = _requests.OutputCollector()
        async for batch in self.output(timeout=deadline.remaining()):
            collector.take(batch)
        final = collector.final
        if final is None or not _core.is_final(final.state):
            final = await self.wait(timeout=deadline.remaining())
        return collector.completed(final)

    async def cancel(
        self, *, wait: bool = False, kill_grace: Duration | None = None, timeout: Duration | None = None
    ) -> v1.Task:
        """Ends the whole process tree; returns once the intent is on disk, with `wait` once the tree is gone."""
        return await self._driver.unary("Tasks.Cancel", _requests.cancel(self.id, wait, kill_grace), timeout, True)

    async def pause(self, *, timeout: Duration | None = None) -> v1.Task:
        """Stops every process of the running task. It keeps its place, its locks, and what is left of its timeout."""
        return await self._driver.unary("Tasks.Pause", v1.PauseTaskRequest(id=self.id), timeout, True)

    async def resume(self, *, timeout: Duration | None = None) -> v1.Task:
        """Lets the paused task go on."""
        return await self._driver.unary("Tasks.Resume", v1.ResumeTaskRequest(id=self.id), timeout, True)

    async def signal(self, number: int, *, timeout: Duration | None = None) -> v1.Task:
        """Sends a signal, as signal.SIGUSR1, to the command's process group."""
        return await self._driver.unary("Tasks.Signal", v1.SignalTaskRequest(id=self.id, signal=number), timeout, False)

    async def retry(self, *, timeout: Duration | None = None) -> v1.Task:
        """Queues another attempt of the finished task."""
        return await self._driver.unary("Tasks.Retry", v1.RetryTaskRequest(id=self.id), timeout, False)

    async def remove(self, *, timeout: Duration | None = None) -> None:
        """Forgets the finished task and its output."""
        await self._driver.unary("Tasks.Remove", v1.RemoveTaskRequest(id=self.id), timeout, False)

    async def why(self, *, timeout: Duration | None = None) -> v1.WhyTaskReply:
        """Says what the task is waiting for."""
        return await self._driver.unary("Tasks.Why", v1.WhyTaskRequest(id=self.id), timeout, True)

    def input(self, *, timeout: Duration | None = None) -> TaskInput:
        """Opens stdin of a task that was submitted with stdin_stream."""
        return TaskInput(self._driver, self.id, timeout)


class Tasks(Planning):
    async def submit(
        self, *command: Argument | Sequence[Argument] | v1.TaskSpec, timeout: Duration | None = None,
        **options: Unpack[SpecOptions],
    ) -> Task:  # fmt: skip
        """Queues `"make", "-j4"`, `["make", "-j4"]` or a TaskSpec; returns once the task is on disk."""
        return (await self.submit_many([_requests.spec(command, options)], timeout=timeout))[0]

    async def submit_many(self, specs: Iterable[v1.TaskSpec], *, timeout: Duration | None = None) -> list[Task]:
        """Queues up to 10,000 tasks (zsync.spec() makes them); all are accepted, or none."""
        request = v1.SubmitTasksRequest(specs=specs)
        safe = all(spec.idempotency_key for spec in request.specs)
        reply = await self._driver.unary("Tasks.Submit", request, timeout, safe)
        return [Task(self._driver, *found) for found in zip(reply.ids, reply.existing)]

    def task(self, task_id: str) -> Task:
        """-> a handle onto an existing task, by id, unique prefix of one, or unique name."""
        return Task(self._driver, task_id)

    async def get(self, task_id: str, *, timeout: Duration | None = None) -> v1.Task:
        return await self.task(task_id).get(timeout=timeout)

    def list(
        self, *, states: Iterable[int] = (), group: str = "", name: str = "", labels: Mapping[str, str] | None = None,
        oldest_first: bool = False, array: str = "", limit: int | None = None, timeout: Duration | None = None,
    ) -> AsyncIterator[v1.Task]:  # fmt: skip
        """Reads page after page."""
        request = _requests.list_tasks(states, group, name, labels, oldest_first, array)
        driver = self._driver
        steps = _core.pages(driver.settings, "Tasks.List", request, "tasks", limit, driver.deadline(timeout))
        return driver.iterate(steps)

    async def wait(self, tasks: Iterable[Task | str], *, timeout: Duration | None = None) -> Sequence[v1.Task]:
        """-> the records, once every task is in a final state."""
        request = v1.WaitTasksRequest(ids=[task if isinstance(task, str) else task.id for task in tasks])
        return (await self._driver.unary("Tasks.Wait", request, timeout, True)).tasks


class Client(Calling):
    """One connection to the daemon of this user.

    `socket`: else ZSYNC_SOCKET, else $XDG_RUNTIME_DIR/zsync/zsyncd.sock, else zsyncd.sock in the state directory.
    `autostart`: start a daemon (`daemon_path`, else the zsyncd in PATH) when none answers.
    `timeout`: of every call that has none of its own. `resume`: see above; `resume_timeout` bounds each reconnection.
    """

    def __init__(
        self, socket: Argument | None = None, *, autostart: bool = False, daemon_path: str | None = None,
        timeout: Duration | None = None, resume: bool = True, resume_timeout: Duration = 30.0,
    ):  # fmt: skip
        #: The path that `async with` connects to.
        self.socket = _endpoint.socket_path(socket)
        settings = _core.Settings(seconds(timeout), resume, seconds(resume_timeout) or 0.0)
        self._driver = _Driver(self.socket, settings, autostart, daemon_path)
        self.tasks = Tasks(self._driver)
        self.channels = Channels(self._driver)
        self.watch = Watch(self._driver)
        self.triggers = Triggers(self._driver)
        self.events = Events(self._driver)
        self.traces = Traces(self._driver)
        self.diagnostics = Diagnostics(self._driver)
        self.projects = Projects(self._driver)
        self.daemon = Daemon(self._driver)
        self.functions = Functions(self)

    async def run(
        self, *command: Argument | Sequence[Argument] | v1.TaskSpec, check: bool = False,
        timeout: Duration | None = None, **options: Unpack[SpecOptions],
    ) -> Completed:  # fmt: skip
        """Runs a command to its end -> its record and output; `check` raises CommandFailed unless it succeeded.

        When `timeout` passes, or the asyncio task is cancelled, so is zsync's.
        """
        deadline = self._driver.deadline(timeout)
        task = await self.tasks.submit(*command, timeout=deadline.remaining(), **options)
        try:
            completed = await task.completed(timeout=deadline.remaining())
        except (DeadlineExceeded, asyncio.CancelledError):
            with suppress(Error):
                await task.cancel(timeout=CANCEL_ON_INTERRUPT_TIMEOUT_S)
            raise
        return completed.check() if check else completed

    async def connect(self) -> None:
        """What `async with` begins with: makes sure that a daemon accepts."""
        await self._driver.connect()

    async def close(self) -> None:
        """Ends the connection and every call on it."""
        await self._driver.close()

    async def __aenter__(self) -> "Client":
        await self.connect()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
