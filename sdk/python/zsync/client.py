"""The synchronous client.

    with zsync.Client() as client:
        task = client.tasks.submit("make", "-j4", cwd="/src/app")
        for batch in task.output():
            for record in batch.records:
                sys.stdout.buffer.write(record.data)
        print(task.wait().exit_code)

Threads: a Client and everything it gives out may be used from any thread; one iterator, Sender or TaskInput from one at a
time. Not across fork(). Bounds: every method takes `timeout` (seconds or a timedelta) and raises DeadlineExceeded when it
passes; what the daemon accepted stays accepted. Cancel: closing an iterator, or leaving its loop, ends its call.
Restarts: reads, waits and follow streams survive a restart of the daemon (`resume=True`): they come back at their cursor,
without hole or duplicate. What changes something is never sent twice.
"""
from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Unpack

import grpc

from zsync import _core, _endpoint, _requests, v1
from zsync._channels import Channels, Sender
from zsync._functions import Calling, Functions
from zsync._observe import Daemon, Diagnostics, Events, Traces
from zsync._projects import Projects
from zsync._requests import Argument, Completed, Duration, SpecOptions, seconds
from zsync._schedules import Planning
from zsync._triggers import Triggers
from zsync._watch import Watch
from zsync.errors import Conflict, DeadlineExceeded, Error, from_status

MESSAGE_BYTES_MAX = 4 << 20
WRITES_WAITING_MAX = 4  # requests of a client stream that wait for the wire
CANCEL_ON_INTERRUPT_TIMEOUT_S = 5.0

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # Each client its own connection: it ends with its client, and the daemon can count it.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.service_config_disable_resolution", 1),
)


def _error_of(error: Any) -> Error:
    return from_status(error.code().name, error.details() or "", error.trailing_metadata() or ())


class _Requests:
    """The requests of a client stream, on their way from the caller's thread to gRPC's."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Any] = deque()
        self._closed = False

    def put(self, message: Any, wait: bool) -> bool:
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._closed or len(self._waiting) < WRITES_WAITING_MAX)
            if self._closed:
                return False
            self._waiting.append(message)
            self._changed.notify_all()
            return True

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> "_Requests":
        return self

    def __next__(self) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._waiting))
            if not self._waiting:
                raise StopIteration
            self._changed.notify_all()
            return self._waiting.popleft()


class _Stream:
    def __init__(self, call: Any, requests: _Requests | None):
        self.call = call
        self.requests = requests
        if requests is not None and not call.add_callback(requests.close):
            requests.close()

    def cancel(self) -> None:
        self.call.cancel()


class _Driver:
    """Performs the steps of _core over one gRPC channel."""

    def __init__(self, socket: str, settings: _core.Settings, autostart: bool, daemon_path: str | None):
        self.socket, self.settings = socket, settings
        self.autostart, self.daemon_path = autostart, daemon_path
        self.channel = grpc.insecure_channel(f"unix:{socket}", options=CHANNEL_OPTIONS)
        self.closed = False
        self._methods: dict[str, Any] = {}

    def close(self) -> None:
        self.closed = True
        self.channel.close()

    def deadline(self, timeout: Duration | None) -> _core.Deadline:
        return _core.Deadline(self.settings.timeout if timeout is None else seconds(timeout))

    def unary(self, name: str, request: Any, timeout: Duration | None, safe: bool) -> Any:
        return self.run(_core.unary(self.settings, name, request, self.deadline(timeout), safe))

    def run(self, steps: _core.Steps) -> Any:
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
                    value = self._perform(step)
                except Error as failure:
                    error = failure
        finally:
            steps.close()

    def iterate(self, steps: _core.Steps, settle: _core.Steps | None = None) -> Iterator[Any]:
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
                    value = self._perform(step)
                except Error as failure:
                    error = failure
        finally:
            steps.close()
            if settle is not None:
                with suppress(Error):
                    self.run(settle)

    def _perform(self, step: _core.Step) -> Any:
        try:
            match step:
                case _core.Call(method, request, timeout):
                    return self._method(method)(request, timeout=timeout)
                case _core.Read(stream):
                    return next(stream.call, None)
                case _core.Write(stream, message, wait):
                    return stream.requests.put(message, wait)
                case _core.DoneWriting(stream):
                    return stream.requests.close()
                case _core.Open(method, request, timeout):
                    requests = _Requests() if method.client_streaming else None
                    source = requests if requests is not None else request
                    return _Stream(self._method(method)(source, timeout=timeout), requests)
                case _core.Sleep(pause):
                    return time.sleep(pause)
                case _core.Reach():
                    return _endpoint.reach(self.socket, self.autostart, self.daemon_path)
        except grpc.RpcError as error:
            raise _error_of(error) from None

    def _method(self, method: v1.Method) -> Any:
        if self.closed:
            raise Conflict("the client is closed")
        if (found := self._methods.get(method.path)) is None:
            # A client stream with one reply is read as a stream of one: both kinds look the same on the wire.
            kind: Any = self.channel.unary_unary
            if method.client_streaming:
                kind = self.channel.stream_stream
            elif method.server_streaming:
                kind = self.channel.unary_stream
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

    def write(self, data: bytes) -> None:
        """Waits while the task does not read."""
        self._driver.run(self._core.write(data))

    def resize(self, rows: int, columns: int) -> None:
        """The terminal of the task is as large from now on."""
        self._driver.run(self._core.resize(rows, columns))

    def finish(self, eof: bool = True) -> int:
        """-> how many bytes were taken. Closes the task's stdin with `eof`, else only this stream."""
        return self._driver.run(self._core.finish(eof))

    def __enter__(self) -> "TaskInput":
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is not None:
            self._core.cancel()
        elif not self._core.finished:
            self.finish()


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

    def get(self, *, timeout: Duration | None = None) -> v1.Task:
        return self._driver.unary("Tasks.Get", v1.GetTaskRequest(id=self.id), timeout, True)

    def wait(self, *, timeout: Duration | None = None) -> v1.Task:
        """-> the record, once the task is in a final state."""
        return self._driver.unary("Tasks.Wait", v1.WaitTasksRequest(ids=[self.id]), timeout, True).tasks[0]

    def output(
        self, *, from_seq: int = 1, follow: bool = True, attempt: int = 0, timeout: Duration | None = None
    ) -> Iterator[v1.TaskOutputBatch]:
        """Reads records in the order in which the supervisor read them. A batch's `gap` comes before its records.

        With `follow` it stays until the task has ended; the last batch then carries `finished`. With attempt 0 it begins
        with the newest attempt and goes on into later ones; a batch's `attempt` says where seq starts anew.
        """
        request = v1.TaskOutputRequest(id=self.id, from_seq=from_seq, follow=follow, attempt=attempt)
        return self._driver.iterate(_core.output(self._driver.settings, request, self._driver.deadline(timeout)))

    def read_output(self, *, timeout: Duration | None = None) -> bytes:
        """-> stdout and stderr as they came, of the last attempt, once the task has ended."""
        collector = _requests.OutputCollector()
        for batch in self.output(timeout=timeout):
            collector.take(batch)
        return collector.of()

    def completed(self, *, timeout: Duration | None = None) -> Completed:
        """-> the final record with the output of the last attempt, once the task has ended."""
        deadline = self._driver.deadline(timeout)
        collector = _requests.OutputCollector()
        for batch in self.output(timeout=deadline.remaining()):
            collector.take(batch)
        final = collector.final
        if final is None or not _core.is_final(final.state):
            final = self.wait(timeout=deadline.remaining())
        return collector.completed(final)

    def cancel(
        self, *, wait: bool = False, kill_grace: Duration | None = None, timeout: Duration | None = None
    ) -> v1.Task:
        """Ends the whole process tree; returns once the intent is on disk, with `wait` once the tree is gone."""
        return self._driver.unary("Tasks.Cancel", _requests.cancel(self.id, wait, kill_grace), timeout, True)

    def pause(self, *, timeout: Duration | None = None) -> v1.Task:
        """Stops every process of the running task. It keeps its place, its locks, and what is left of its timeout."""
        return self._driver.unary("Tasks.Pause", v1.PauseTaskRequest(id=self.id), timeout, True)

    def resume(self, *, timeout: Duration | None = None) -> v1.Task:
        """Lets the paused task go on."""
        return self._driver.unary("Tasks.Resume", v1.ResumeTaskRequest(id=self.id), timeout, True)

    def signal(self, number: int, *, timeout: Duration | None = None) -> v1.Task:
        """Sends a signal, as signal.SIGUSR1, to the command's process group."""
        return self._driver.unary("Tasks.Signal", v1.SignalTaskRequest(id=self.id, signal=number), timeout, False)

    def retry(self, *, timeout: Duration | None = None) -> v1.Task:
        """Queues another attempt of the finished task."""
        return self._driver.unary("Tasks.Retry", v1.RetryTaskRequest(id=self.id), timeout, False)

    def remove(self, *, timeout: Duration | None = None) -> None:
        """Forgets the finished task and its output."""
        self._driver.unary("Tasks.Remove", v1.RemoveTaskRequest(id=self.id), timeout, False)

    def why(self, *, timeout: Duration | None = None) -> v1.WhyTaskReply:
        """Says what the task is waiting for."""
        return self._driver.unary("Tasks.Why", v1.WhyTaskRequest(id=self.id), timeout, True)

    def input(self, *, timeout: Duration | None = None) -> TaskInput:
        """Opens stdin of a task that was submitted with stdin_stream."""
        return TaskInput(self._driver, self.id, timeout)


class Tasks(Planning):
    def submit(
        self, *command: Argument | Sequence[Argument] | v1.TaskSpec, timeout: Duration | None = None,
        **options: Unpack[SpecOptions],
    ) -> Task:  # fmt: skip
        """Queues `"make", "-j4"`, `["make", "-j4"]` or a TaskSpec; returns once the task is on disk."""
        return self.submit_many([_requests.spec(command, options)], timeout=timeout)[0]

    def submit_many(self, specs: Iterable[v1.TaskSpec], *, timeout: Duration | None = None) -> list[Task]:
        """Queues up to 10,000 tasks (zsync.spec() makes them); all are accepted, or none."""
        request = v1.SubmitTasksRequest(specs=specs)
        safe = all(spec.idempotency_key for spec in request.specs)
        reply = self._driver.unary("Tasks.Submit", request, timeout, safe)
        return [Task(self._driver, *found) for found in zip(reply.ids, reply.existing)]

    def task(self, task_id: str) -> Task:
        """-> a handle onto an existing task, by id, unique prefix of one, or unique name."""
        return Task(self._driver, task_id)

    def get(self, task_id: str, *, timeout: Duration | None = None) -> v1.Task:
        return self.task(task_id).get(timeout=timeout)

    def list(
        self, *, states: Iterable[int] = (), group: str = "", name: str = "", labels: Mapping[str, str] | None = None,
        oldest_first: bool = False, array: str = "", limit: int | None = None, timeout: Duration | None = None,
    ) -> Iterator[v1.Task]:  # fmt: skip
        """Reads page after page."""
        request = _requests.list_tasks(states, group, name, labels, oldest_first, array)
        driver = self._driver
        steps = _core.pages(driver.settings, "Tasks.List", request, "tasks", limit, driver.deadline(timeout))
        return driver.iterate(steps)

    def wait(self, tasks: Iterable[Task | str], *, timeout: Duration | None = None) -> Sequence[v1.Task]:
        """-> the records, once every task is in a final state."""
        request = v1.WaitTasksRequest(ids=[task if isinstance(task, str) else task.id for task in tasks])
        return self._driver.unary("Tasks.Wait", request, timeout, True).tasks


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
        #: The path that was connected to.
        self.socket = _endpoint.socket_path(socket)
        _endpoint.reach(self.socket, autostart, daemon_path)
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

    def run(
        self, *command: Argument | Sequence[Argument] | v1.TaskSpec, check: bool = False,
        timeout: Duration | None = None, **options: Unpack[SpecOptions],
    ) -> Completed:  # fmt: skip
        """Runs a command to its end -> its record and output; `check` raises CommandFailed unless it succeeded.

        When `timeout` passes, or on Ctrl-C, the task is cancelled.
        """
        deadline = self._driver.deadline(timeout)
        task = self.tasks.submit(*command, timeout=deadline.remaining(), **options)
        try:
            completed = task.completed(timeout=deadline.remaining())
        except (DeadlineExceeded, KeyboardInterrupt):
            with suppress(Error):
                task.cancel(timeout=CANCEL_ON_INTERRUPT_TIMEOUT_S)
            raise
        return completed.check() if check else completed

    def close(self) -> None:
        """Ends the connection and every call on it."""
        self._driver.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
