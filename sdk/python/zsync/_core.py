"""What both clients do, without I/O: each operation is a generator of steps that a client performs.

A step's outcome comes back as the value of its `yield`; its failure is thrown in as a zsync.Error. `Emit` hands an item
to whoever iterates. So the cursors, windows and retries exist once, for threads and for asyncio alike.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from zsync import v1
from zsync.errors import Conflict, DataLoss, DeadlineExceeded, Error, NotFound, Unavailable
from zsync.errors import is_broken_connection, is_draining

BACKOFF_FIRST_S = 0.01
BACKOFF_MAX_S = 1.0
NEXT_ATTEMPT_POLL_S = 0.1
INPUT_CHUNK_BYTES_MAX = 256 << 10

_FINAL = frozenset({
    v1.TASK_STATE_SUCCEEDED, v1.TASK_STATE_FAILED, v1.TASK_STATE_SIGNALED, v1.TASK_STATE_TIMED_OUT,
    v1.TASK_STATE_CANCELED, v1.TASK_STATE_LOST, v1.TASK_STATE_SKIPPED,
})  # fmt: skip


class Stream(Protocol):
    """A call whose messages come one by one. After cancel() nothing more is asked of it."""

    def cancel(self) -> None: ...


@dataclass
class Call:
    """-> the reply of a unary call"""

    method: v1.Method
    request: Any
    timeout: float | None


@dataclass
class Open:
    """-> a Stream; `request` is None where the client streams too"""

    method: v1.Method
    request: Any
    timeout: float | None


@dataclass
class Read:
    """-> the next message, or None at the good end"""

    stream: Any


@dataclass
class Write:
    """-> False when the stream is over: reading says why

    `wait` holds the caller while earlier messages wait for the wire; only for a stream on which nothing is read meanwhile,
    because a stream that ended tells so only once everything that came on it was read.
    """

    stream: Any
    message: Any
    wait: bool = False


@dataclass
class DoneWriting:
    """-> None"""

    stream: Any


@dataclass
class Sleep:
    """-> None"""

    seconds: float


@dataclass
class Reach:
    """-> None once a daemon accepts"""


@dataclass
class Emit:
    """-> None once the item was taken"""

    item: Any


Step = Call | Open | Read | Write | DoneWriting | Sleep | Reach | Emit
Steps = Generator[Step, Any, Any]


@dataclass
class Settings:
    timeout: float | None = None
    resume: bool = True
    resume_timeout: float = 30.0
    #: (channel, group): the last message given to a consumer that then lost its call.
    breaks: dict[tuple[str, str], int] = field(default_factory=dict)


class Deadline:
    """When a call of several tries ends."""

    def __init__(self, seconds: float | None):
        self.end = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float | None:
        return None if self.end is None else max(self.end - time.monotonic(), 0.0)

    def passed(self) -> bool:
        return self.end is not None and time.monotonic() >= self.end


def is_final(state: int) -> bool:
    """Whether no later state will come."""
    return state in _FINAL


def resuming(
    settings: Settings, deadline: Deadline, attempt: Callable[[Callable[[], None]], Steps],
    worth_another: Callable[[Error], bool] = is_broken_connection,
) -> Steps:
    """Runs `attempt` again while it ends with a broken connection; it calls its argument when it got anything."""
    backoff, give_up = BACKOFF_FIRST_S, None

    def progressed() -> None:
        nonlocal backoff, give_up
        backoff, give_up = BACKOFF_FIRST_S, None

    while True:
        try:
            return (yield from attempt(progressed))
        except Error as error:
            if not settings.resume or not worth_another(error):
                raise
            broken = error
        if give_up is None:
            give_up = time.monotonic() + settings.resume_timeout
        reached = False
        while not reached:
            yield Sleep(min(backoff, deadline.remaining() or backoff))
            backoff = min(backoff * 2, BACKOFF_MAX_S)
            if deadline.passed():
                raise DeadlineExceeded("deadline passed while reconnecting to zsyncd")
            try:
                yield Reach()
                reached = True
            except Unavailable:
                if time.monotonic() >= give_up:
                    raise
        if time.monotonic() >= give_up:
            raise broken


def unary(settings: Settings, name: str, request: Any, deadline: Deadline, safe: bool) -> Steps:
    """One call -> its reply. `safe` calls may be made twice, so they survive a restart of the daemon."""
    method = v1.METHODS[name]

    def attempt(progressed: Callable[[], None]) -> Steps:
        return (yield Call(method, request, deadline.remaining()))

    return (yield from resuming(settings, deadline, attempt, is_broken_connection if safe else is_draining))


def pages(settings: Settings, name: str, request: Any, field: str, limit: int | None, deadline: Deadline) -> Steps:
    """Emits the items of every page, at most `limit`."""
    left = limit
    while left is None or left > 0:
        request.page_size = 1000 if left is None else min(left, 1000)
        reply = yield from unary(settings, name, request, deadline, True)
        for item in list(getattr(reply, field))[:left]:
            yield Emit(item)
        if left is not None:
            left -= len(getattr(reply, field))
        if not reply.next_page_token:
            return
        request.page_token = reply.next_page_token


def follow(
    settings: Settings, name: str, request: Any, deadline: Deadline, advance: Callable[[Any, Any], None],
    split: Callable[[Any], Iterable[Any]],
) -> Steps:  # fmt: skip
    """Emits what `split` makes of each batch; `advance(request, batch)` moves the request's cursor behind the batch."""
    method = v1.METHODS[name]

    def attempt(progressed: Callable[[], None]) -> Steps:
        stream: Stream = yield Open(method, request, deadline.remaining())
        try:
            while (batch := (yield Read(stream))) is not None:
                progressed()
                for item in split(batch):
                    yield Emit(item)
                advance(request, batch)
        finally:
            stream.cancel()

    yield from resuming(settings, deadline, attempt)


def gap_and(field: str) -> Callable[[Any], Iterator[Any]]:
    """Splits a batch into its gap, if any, and the messages of `field`."""

    def split(batch: Any) -> Iterator[Any]:
        if batch.HasField("gap"):
            yield batch.gap
        yield from getattr(batch, field)

    return split


def behind(field: str) -> Callable[[Any, Any], None]:
    """Moves `from_seq` behind a batch of `field`."""

    def advance(request: Any, batch: Any) -> None:
        if batch.HasField("gap"):
            request.from_seq = batch.gap.to + 1
            begun(request)
        items = getattr(batch, field)
        if items:
            request.from_seq = items[-1].seq + 1
            begun(request)

    return advance


def begun(request: Any) -> None:
    """From a number on, wherever it was to begin."""
    if isinstance(request, v1.FollowChannelRequest):
        request.ClearField("from_start")
        request.ClearField("from_time_unix_nano")


def follow_channel(settings: Settings, request: v1.FollowChannelRequest, deadline: Deadline) -> Steps:
    from_now = request.from_seq == 0 and not request.from_start and request.from_time_unix_nano == 0
    if from_now and settings.resume:
        # "From now on" must be a number, or what is sent during a restart would be a silent hole.
        get = v1.GetChannelRequest(name=request.channel)
        channel = yield from unary(settings, "Channels.Get", get, deadline, True)
        if channel.spec.form != v1.CHANNEL_FORM_LATEST:  # of the values of now the newest are wanted
            request.from_seq = channel.next_seq
    steps = follow(settings, "Channels.Follow", request, deadline, behind("records"), gap_and("records"))
    yield from steps


def follow_events(settings: Settings, request: v1.FollowEventsRequest, deadline: Deadline) -> Steps:
    if request.from_seq == 0 and settings.resume:
        stats = yield from unary(settings, "Daemon.Stats", v1.DaemonStatsRequest(), deadline, True)
        request.from_seq = stats.event_seq + 1
    yield from follow(settings, "Events.Follow", request, deadline, behind("events"), gap_and("events"))


def follow_project(settings: Settings, request: v1.FollowProjectRequest, deadline: Deadline) -> Steps:
    """Emits Project; a snapshot, so there is no cursor to move."""
    yield from follow(settings, "Projects.Follow", request, deadline, lambda *_: None, lambda project: (project,))


def subscribe_diagnostics(settings: Settings, request: v1.SubscribeDiagnosticsRequest, deadline: Deadline) -> Steps:
    """Emits DiagnosticSetBatch; each stream begins with what is there, so there is no cursor to move."""
    yield from follow(settings, "Diagnostics.Subscribe", request, deadline, lambda *_: None, lambda batch: (batch,))


def list_diagnostics(settings: Settings, filter: v1.DiagnosticFilter, deadline: Deadline) -> Steps:
    """Every page -> ListDiagnosticsReply."""
    whole = v1.ListDiagnosticsReply()
    token = ""
    while True:
        request = v1.ListDiagnosticsRequest(filter=filter, page_token=token)
        page = yield from unary(settings, "Diagnostics.List", request, deadline, True)
        whole.sets.extend(page.sets)
        whole.left_out = page.left_out
        token = page.next_page_token
        if not token:
            return whole


class _OutputCursor:
    """Where an output stream stands: seq starts anew with each attempt, so a resumed stream names its attempt."""

    def __init__(self, request: v1.TaskOutputRequest):
        self.request = request
        self.attempt = 0  # 0: nothing came yet
        self.next_seq = 0

    def advance(self, request: Any, batch: Any) -> None:
        if batch.attempt and batch.attempt != self.attempt:
            self.next_seq = 0 if self.attempt else self.next_seq
            self.attempt = batch.attempt
        if batch.HasField("gap"):
            self.next_seq = batch.gap.to + 1
        if batch.records:
            self.next_seq = batch.records[-1].seq + 1
        if self.attempt:
            request.attempt = self.attempt
            request.from_seq = self.next_seq or request.from_seq


def output(settings: Settings, request: v1.TaskOutputRequest, deadline: Deadline) -> Steps:
    """Emits TaskOutputBatch; a follow of attempt 0 goes on into later attempts, across restarts of the daemon too.

    Once a stream had to name its attempt, the daemon ends it with that attempt, and the later ones are asked for here.
    """
    every_attempt = request.attempt == 0 and request.follow
    first = True
    while True:
        cursor = _OutputCursor(request)
        broke = False

        def attempt(progressed: Callable[[], None], cursor: _OutputCursor = cursor) -> Steps:
            nonlocal broke
            live = v1.TaskOutputRequest()
            live.CopyFrom(request)
            unnamed = live.attempt == 0
            stream: Stream = yield Open(v1.METHODS["Tasks.Output"], live, deadline.remaining())
            try:
                while (batch := (yield Read(stream))) is not None:
                    progressed()
                    yield Emit(batch)
                    cursor.advance(request, batch)
            finally:
                stream.cancel()
            broke = not unnamed

        missing = False
        try:
            yield from resuming(settings, deadline, attempt)
        except NotFound:
            if not every_attempt or first or cursor.attempt:
                raise
            missing = True
        if not every_attempt or not broke and not missing:
            return
        first = False
        task = yield from unary(settings, "Tasks.Get", v1.GetTaskRequest(id=request.id), deadline, True)
        if is_final(task.state) and task.attempt <= request.attempt:
            return
        if not missing or task.attempt > request.attempt:
            request.attempt += 1
        request.from_seq = 1
        if missing or task.attempt < request.attempt:
            yield Sleep(min(NEXT_ATTEMPT_POLL_S, deadline.remaining() or NEXT_ATTEMPT_POLL_S))
            if deadline.passed():
                raise DeadlineExceeded("deadline passed while waiting for the next attempt")


def gather(steps: Steps, take: Callable[[Any], None]) -> Steps:
    """Runs `steps`, but gives what they emit to `take`."""
    value, error = None, None
    while True:
        try:
            step = steps.throw(error) if error else steps.send(value)
        except StopIteration as end:
            return end.value
        value, error = None, None
        if isinstance(step, Emit):
            take(step.item)
            continue
        try:
            value = yield step
        except GeneratorExit:
            steps.close()
            raise
        except Exception as failure:  # the step's own
            error = failure


class Input:
    """Feeds stdin of one task that was submitted with stdin_stream."""

    def __init__(self, settings: Settings, task_id: str, deadline: Deadline):
        self.id = task_id
        self.deadline = deadline
        self.stream: Any = None
        self.finished = False

    def write(self, data: bytes) -> Steps:
        if self.finished:
            raise Conflict(f"the input of task {self.id} is finished")
        for start in range(0, len(data), INPUT_CHUNK_BYTES_MAX):
            yield from self._chunk(v1.TaskInputChunk(data=data[start : start + INPUT_CHUNK_BYTES_MAX]))

    def resize(self, rows: int, columns: int) -> Steps:
        if self.finished:
            raise Conflict(f"the input of task {self.id} is finished")
        yield from self._chunk(v1.TaskInputChunk(resize=v1.TerminalSize(rows=rows, columns=columns)))

    def finish(self, eof: bool) -> Steps:
        """-> how many bytes the task's stdin took; `eof` closes it"""
        if self.finished:
            raise Conflict(f"the input of task {self.id} is finished")
        if eof or self.stream is None:
            yield from self._chunk(v1.TaskInputChunk(eof=eof))
        self.finished = True
        yield DoneWriting(self.stream)
        reply = yield Read(self.stream)
        return reply.bytes if reply is not None else 0

    def cancel(self) -> None:
        self.finished = True
        if self.stream is not None:
            self.stream.cancel()

    def _chunk(self, chunk: v1.TaskInputChunk) -> Steps:
        if self.stream is None:
            self.stream = yield Open(v1.METHODS["Tasks.Input"], None, self.deadline.remaining())
            chunk.id = self.id
        if not (yield Write(self.stream, chunk, wait=True)):
            self.finished = True
            yield Read(self.stream)
            raise DataLoss(f"the task {self.id} stopped reading its input")
