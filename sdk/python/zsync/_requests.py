"""From Python's values to the messages of zsync.v1."""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, TypedDict

from zsync import v1
from zsync.errors import CommandFailed, InvalidArgument

#: Seconds, or a timedelta.
Duration = float | timedelta
Argument = str | os.PathLike[str]
Overflow = Literal["block", "error", "drop_oldest"]

_OVERFLOWS = {
    "block": v1.OVERFLOW_BLOCK, "error": v1.OVERFLOW_ERROR, "drop_oldest": v1.OVERFLOW_DROP_OLDEST,
}  # fmt: skip


class RetryOptions(TypedDict, total=False):
    """When another attempt follows a failed one; RetryPolicy in proto/zsync/v1/tasks.proto says what each means.

    `on` and `not_on` name exit codes, "timeout" and "signal".
    """

    backoff: Duration
    factor: float
    backoff_max: Duration
    jitter: bool
    on: Iterable[int | Literal["timeout", "signal"]]
    not_on: Iterable[int | Literal["timeout", "signal"]]


class LimitOptions(TypedDict, total=False):
    """ResourceLimits in proto/zsync/v1/tasks.proto says what each means; `cpus` is how many, as 1.5."""

    memory_bytes: int
    cpus: float
    processes: int
    io_weight: int


class SpecOptions(TypedDict, total=False):
    """What a task may be given beyond its command; TaskSpec in proto/zsync/v1/tasks.proto says what each means.

    `run_timeout` is TaskSpec.timeout: it bounds the run, where a call's own `timeout` bounds only the call.
    `terminal` is (rows, columns) of a terminal of its own, on which TaskInput types; `io` is "idle", "best-effort", or that with a level from 0 (first) to 7 (last), as in "best-effort:6".
    """

    shell: str
    cwd: Argument
    env: Mapping[str, str]
    replace_env: bool
    stdin: bytes
    stdin_stream: bool
    name: str
    labels: Mapping[str, str]
    group: str
    priority: int
    run_timeout: Duration
    kill_grace: Duration
    retries: int
    idempotency_key: str
    keep_children: bool
    traceparent: str
    retry: RetryOptions
    on_lost: Literal["fail", "retry"]
    after: Iterable[str | tuple[str, Literal["ok", "failed", "any"]]]
    delay: Duration
    start_at: datetime
    locks: Iterable[str]
    matchers: Iterable[str]
    resources: Mapping[str, int]
    start_deadline: Duration | datetime
    deadline: Duration | datetime
    nice: int
    io: str
    limits: LimitOptions
    terminal: tuple[int, int]
    array: str
    matrix: Mapping[str, Iterable[str]]


def diagnostic_filter(path: str, source: str, severity: str) -> v1.DiagnosticFilter:
    """`severity`: error, warning or note; these and worse."""
    words = {
        "": v1.DIAGNOSTIC_SEVERITY_UNSPECIFIED,
        "error": v1.DIAGNOSTIC_SEVERITY_ERROR,
        "warning": v1.DIAGNOSTIC_SEVERITY_WARNING,
        "note": v1.DIAGNOSTIC_SEVERITY_NOTE,
    }
    if severity not in words:
        raise ValueError(f'severity "{severity}" is none of error, warning, note')
    prefix = os.path.abspath(path) if path else ""
    return v1.DiagnosticFilter(path_prefix=prefix, source=source, severity=words[severity])


def seconds(duration: Duration | None) -> float | None:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def proto_duration(duration: Duration) -> Any:
    message = v1.Duration()
    message.FromNanoseconds(round((seconds(duration) or 0.0) * 1e9))
    return message


def condition(words: Iterable[int | str]) -> v1.RetryCondition:
    message = v1.RetryCondition()
    for word in words:
        if word in ("timeout", "signal"):
            setattr(message, str(word), True)
        else:
            message.exit_codes.append(int(word))
    return message


def retry_policy(options: RetryOptions) -> v1.RetryPolicy:
    for name in options:
        if name not in RetryOptions.__annotations__:
            raise TypeError(f"retry has no option {name!r}; there are: {', '.join(RetryOptions.__annotations__)}")
    message = v1.RetryPolicy(factor=options.get("factor", 0.0))
    message.jitter = v1.JITTER_FULL if options.get("jitter", True) else v1.JITTER_NONE
    if "backoff" in options:
        message.backoff.CopyFrom(proto_duration(options["backoff"]))
    if "backoff_max" in options:
        message.backoff_max.CopyFrom(proto_duration(options["backoff_max"]))
    if "on" in options:
        message.on.CopyFrom(condition(options["on"]))
    if "not_on" in options:
        message.not_on.CopyFrom(condition(options["not_on"]))
    return message


_CONDITIONS = {
    "ok": v1.DEPENDENCY_CONDITION_OK, "failed": v1.DEPENDENCY_CONDITION_FAILED, "any": v1.DEPENDENCY_CONDITION_ANY,
}  # fmt: skip


def unix_nano(time: datetime) -> int:
    """Of a time; one without a zone is local."""
    since = time.astimezone(timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000


_ON_LOST = {"fail": v1.ON_LOST_FAIL, "retry": v1.ON_LOST_RETRY}


_IO_CLASSES = {"best-effort": v1.IO_CLASS_BEST_EFFORT, "idle": v1.IO_CLASS_IDLE}


def set_machine(message: v1.TaskSpec, io: str | None, limits: LimitOptions | None) -> None:
    """How urgently a command may use the disk, and how much it may use of the machine."""
    if io is not None:
        word, _, level = io.partition(":")
        if word not in _IO_CLASSES:
            raise ValueError(f"io is {io!r}; there are: {', '.join(_IO_CLASSES)}")
        message.io_class = _IO_CLASSES[word]
        message.io_level = int(level or 0)
    for name, value in (limits or {}).items():
        if name not in LimitOptions.__annotations__:
            raise TypeError(f"limits has no option {name!r}; there are: {', '.join(LimitOptions.__annotations__)}")
        if name == "cpus":
            message.limits.cpu_millis = round(float(value) * 1000)  # type: ignore[arg-type]
        else:
            setattr(message.limits, name, value)


def spec(command: Sequence[Argument | Sequence[Argument] | v1.TaskSpec], options: SpecOptions) -> v1.TaskSpec:
    """One task from `"make", "-j4"`, from `["make", "-j4"]`, or from a whole TaskSpec."""
    first = command[0] if command else None
    message = v1.TaskSpec()
    if isinstance(first, v1.TaskSpec):
        message.CopyFrom(first)
    else:
        words = command if first is None or isinstance(first, (str, os.PathLike)) else first
        message.argv.extend(os.fspath(word) for word in words)  # type: ignore[arg-type]
    values: dict[str, Any] = dict(options)
    for each in values.pop("after", None) or ():
        task, how = (each, "ok") if isinstance(each, str) else each
        message.after.add(task=task, condition=_CONDITIONS[how])
    message.locks.extend(values.pop("locks", None) or ())
    message.matchers.extend(values.pop("matchers", None) or ())
    for resource, amount in (values.pop("resources", None) or {}).items():
        message.resources.add(name=resource, amount=amount)
    if (array := values.pop("array", None)) is not None:
        message.array.indexes = array
    for axis, axis_values in (values.pop("matrix", None) or {}).items():
        message.array.matrix.add(name=axis, values=axis_values)
    for name in ("start_deadline", "deadline"):
        due = values.pop(name, None)
        if isinstance(due, datetime):
            setattr(message, f"{name}_unix_nano", unix_nano(due))
        elif due is not None:
            getattr(message, name).CopyFrom(proto_duration(due))
    if (terminal := values.pop("terminal", None)) is not None:
        message.terminal.rows, message.terminal.columns = terminal
    set_machine(message, values.pop("io", None), values.pop("limits", None))
    if (start_at := values.pop("start_at", None)) is not None:
        message.start_at_unix_nano = unix_nano(start_at)
    for name, own in (("run_timeout", "timeout"), ("kill_grace", "kill_grace"), ("delay", "delay")):
        if values.get(name) is not None:
            getattr(message, own).CopyFrom(proto_duration(values[name]))
        values.pop(name, None)
    if (retry := values.pop("retry", None)) is not None:
        message.retry.CopyFrom(retry_policy(retry))
    if (on_lost := values.pop("on_lost", None)) is not None:
        message.on_lost = _ON_LOST[on_lost]
    for name in ("env", "labels"):
        getattr(message, name).update(values.pop(name, None) or {})
    for name, value in values.items():
        if name not in SpecOptions.__annotations__:
            raise TypeError(f"a task has no option {name!r}; there are: {', '.join(SpecOptions.__annotations__)}")
        if value is not None:
            setattr(message, name, os.fspath(value) if name == "cwd" else value)
    return message


_ORDERS = {"priority": v1.GROUP_ORDER_PRIORITY, "deadline": v1.GROUP_ORDER_DEADLINE, "rate": v1.GROUP_ORDER_RATE}
_POLICIES = {"queue": v1.OVERLOAD_POLICY_QUEUE, "reject": v1.OVERLOAD_POLICY_REJECT, "shed": v1.OVERLOAD_POLICY_SHED}


class GroupOptions(TypedDict, total=False):
    """What of a group is to be changed; SetGroupRequest in proto/zsync/v1/tasks.proto says what each means."""

    order: Literal["priority", "deadline", "rate"]
    overload: Literal["queue", "reject", "shed"]
    queued_max: int
    memory_bytes_max: int
    cpus_max: float
    paused: bool
    drained: bool


def set_task_group(name: str, parallel: int, options: GroupOptions) -> v1.SetGroupRequest:
    for option in options:
        if option not in GroupOptions.__annotations__:
            raise TypeError(f"a group has no option {option!r}; there are: {', '.join(GroupOptions.__annotations__)}")
    request = v1.SetGroupRequest(name=name, parallel=parallel)
    if "order" in options:
        request.order = _ORDERS[options["order"]]
    if "overload" in options:
        request.overload = _POLICIES[options["overload"]]
    if "queued_max" in options:
        request.queued_max = options["queued_max"]
    if "memory_bytes_max" in options:
        request.memory_bytes_max = options["memory_bytes_max"]
    if "cpus_max" in options:
        request.cpu_millis_max = round(options["cpus_max"] * 1000)
    if "paused" in options:
        request.paused = options["paused"]
    if "drained" in options:
        request.drained = options["drained"]
    return request


_MISSED = {"skip": v1.MISSED_RUNS_SKIP, "once": v1.MISSED_RUNS_ONCE, "all": v1.MISSED_RUNS_ALL}
_OVERLAPS = {"skip": v1.OVERLAP_POLICY_SKIP, "queue": v1.OVERLAP_POLICY_QUEUE}


def create_schedule(
    name: str, task: v1.TaskSpec, every: Duration | None, cron: str, time_zone: str, missed: Literal["skip", "once", "all"],
    missed_max: int, overlap: Literal["skip", "queue"], guaranteed: bool, replace: bool,
) -> v1.CreateScheduleRequest:  # fmt: skip
    request = v1.CreateScheduleRequest(replace=replace)
    request.spec.name, request.spec.cron, request.spec.time_zone = name, cron, time_zone
    request.spec.missed, request.spec.missed_max, request.spec.overlap = _MISSED[missed], missed_max, _OVERLAPS[overlap]
    request.spec.guaranteed = guaranteed
    if every is not None:
        request.spec.every.CopyFrom(proto_duration(every))
    request.spec.task.CopyFrom(task)
    return request


def cancel_array(array_id: str, wait: bool, kill_grace: Duration | None) -> v1.CancelArrayRequest:
    request = v1.CancelArrayRequest(id=array_id, wait=wait)
    if kill_grace is not None:
        request.kill_grace.CopyFrom(proto_duration(kill_grace))
    return request


def create_channel(
    name: str, capacity: int, unbounded: bool, bytes_max: int, overflow: Overflow, durable: bool, if_absent: bool,
    form: "Form", policy: "ChannelPolicy",
) -> v1.CreateChannelRequest:  # fmt: skip
    channel = v1.ChannelSpec(name=name, capacity=capacity, unbounded=unbounded, bytes_max=bytes_max)
    channel.overflow = _OVERFLOWS[overflow]
    setattr(channel, "class", v1.CHANNEL_CLASS_DURABLE if durable else v1.CHANNEL_CLASS_MEMORY)
    channel.form = _FORMS[form]
    channel.policy.CopyFrom(channel_policy(policy))
    return v1.CreateChannelRequest(spec=channel, if_absent=if_absent)


#: What a channel is for: each message to one receiver; the newest of each key; all to every follower; questions and answers;
#: shared memory, whose ends are in C++ and zsyncctl.
Form = Literal["queue", "latest", "broadcast", "request", "ring"]

_FORMS = {
    "queue": v1.CHANNEL_FORM_QUEUE, "latest": v1.CHANNEL_FORM_LATEST, "broadcast": v1.CHANNEL_FORM_BROADCAST,
    "request": v1.CHANNEL_FORM_REQUEST, "ring": v1.CHANNEL_FORM_RING,
}  # fmt: skip


def ask(channel: str, body: bytes, trace: str, timeout: Duration | None) -> v1.RequestRequest:
    request = v1.RequestRequest(channel=channel, body=body, trace=trace)
    if timeout is not None:
        request.timeout.CopyFrom(proto_duration(timeout))
    return request


class ChannelPolicy(TypedDict, total=False):
    """How long a channel keeps messages and their ids; 0 is no limit. What is left out is the default, or stays."""

    #: Of durable channels: older messages go; default 7 days.
    retention_age: Duration
    #: Of durable channels: the oldest messages go while the log is larger; default 1 GiB.
    retention_bytes: int
    #: Also what a group, or without groups a receiver, still has to get.
    retention_drops_unsettled: bool
    #: How long ids are remembered; default 2 min; 0: not at all.
    dedup_window: Duration
    dedup_ids_max: int


def channel_policy(policy: ChannelPolicy) -> v1.ChannelPolicy:
    durations = ("retention_age", "dedup_window")
    values: dict[str, Any] = {name: proto_duration(policy[name]) for name in durations if name in policy}
    return v1.ChannelPolicy(**values, **{name: value for name, value in policy.items() if name not in durations})


def follow_channel(name: str, from_seq: int, from_start: bool, from_time: datetime | None) -> v1.FollowChannelRequest:
    return v1.FollowChannelRequest(
        channel=name, from_seq=from_seq, from_start=from_start, from_time_unix_nano=unix_nano(from_time)
    )


def unix_nano(time: datetime | None) -> int:
    """A time without a zone is local."""
    if time is None:
        return 0
    since = time.astimezone(timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return since // timedelta(microseconds=1) * 1000


def create_group(
    channel: str, group: str, ack_wait: Duration | None, max_deliveries: int, in_flight_max: int, from_seq: int,
    from_now: bool, from_start: bool, from_time: datetime | None,
) -> v1.CreateGroupRequest:  # fmt: skip
    request = v1.CreateGroupRequest(
        channel=channel, from_seq=from_seq, from_now=from_now, from_start=from_start, from_time_unix_nano=unix_nano(from_time)
    )
    request.spec.name = group
    request.spec.max_deliveries = max_deliveries
    request.spec.in_flight_max = in_flight_max
    if ack_wait is not None:
        request.spec.ack_wait.CopyFrom(proto_duration(ack_wait))
    return request


#: One of several channels: its name, (name, group), or a whole source.
Source = str | tuple[str, str] | v1.RecvSource


def sources(wanted: Iterable[Source]) -> list[v1.RecvSource]:
    found = []
    for one in wanted:
        if isinstance(one, str):
            one = v1.RecvSource(channel=one)
        elif isinstance(one, tuple):
            one = v1.RecvSource(channel=one[0], group=one[1])
        found.append(one)
    if not found:
        raise InvalidArgument("a selection needs a channel")
    return found


def delivered(messages: Sequence[v1.Record | int]) -> list[v1.Delivered]:
    """Records as they were received, or plain numbers: then whichever delivery was the last."""
    return [
        v1.Delivered(seq=one) if isinstance(one, int) else v1.Delivered(seq=one.seq, delivery=one.delivery)
        for one in messages
    ]


def nack(
    channel: str, group: str, messages: Sequence[v1.Record | int], delay: Duration | None, reason: str
) -> v1.NackRequest:
    request = v1.NackRequest(channel=channel, group=group, messages=delivered(messages), reason=reason)
    if delay is not None:
        request.delay.CopyFrom(proto_duration(delay))
    return request


def subscribe(
    path: Argument, globs: Iterable[str], ignore: Iterable[str], gitignore: bool, settle: Duration | None,
    max_wait: Duration | None, since: str, changed_content: bool, defer: Iterable[str],
    drop: Iterable[str],
) -> v1.SubscribeWatchRequest:  # fmt: skip
    request = v1.SubscribeWatchRequest(path=os.path.abspath(path), since=since)
    request.filter.globs.extend(globs)
    request.filter.ignore.extend(ignore)
    request.filter.no_gitignore = not gitignore
    request.filter.changed_content = changed_content
    request.filter.defer.extend(defer)
    request.filter.drop.extend(drop)
    if settle is not None:
        request.filter.settle.CopyFrom(proto_duration(settle))
    if max_wait is not None:
        request.filter.max_wait.CopyFrom(proto_duration(max_wait))
    return request


def create_trigger(
    name: str, like: v1.SubscribeWatchRequest, writes: Iterable[str], task: v1.TaskSpec, replace: bool
) -> v1.CreateTriggerRequest:
    request = v1.CreateTriggerRequest(replace=replace)
    request.spec.name, request.spec.path = name, like.path
    request.spec.filter.CopyFrom(like.filter)
    request.spec.writes.extend(writes)
    request.spec.task.CopyFrom(task)
    return request


def query(
    path: Argument, since: str, globs: Iterable[str], ignore: Iterable[str], gitignore: bool
) -> v1.QueryWatchRequest:
    request = v1.QueryWatchRequest(path=os.path.abspath(path), since=since)
    request.filter.globs.extend(globs)
    request.filter.ignore.extend(ignore)
    request.filter.no_gitignore = not gitignore
    return request


def cancel(task_id: str, wait: bool, kill_grace: Duration | None) -> v1.CancelTaskRequest:
    request = v1.CancelTaskRequest(id=task_id, wait=wait)
    if kill_grace is not None:
        request.kill_grace.CopyFrom(proto_duration(kill_grace))
    return request


def list_tasks(
    states: Iterable[int], group: str, name: str, labels: Mapping[str, str] | None, oldest_first: bool, array: str
) -> v1.ListTasksRequest:
    request = v1.ListTasksRequest(group=group, name=name, oldest_first=oldest_first, array=array)
    request.states.extend(states)  # type: ignore[arg-type]
    request.labels.update(labels or {})
    return request


@dataclass
class Completed:
    """A command that was run to its end: its final record and the output of its last attempt."""

    task: v1.Task
    stdout: bytes = b""
    stderr: bytes = b""
    #: Parts of the output that are gone, in order.
    gaps: list[v1.Gap] = field(default_factory=list)

    @property
    def returncode(self) -> int | None:
        """As subprocess has it: the exit code, or minus the signal; None when no command ended by itself."""
        if self.task.state == v1.TASK_STATE_SIGNALED:
            return -self.task.signal
        ended = self.task.state in (v1.TASK_STATE_SUCCEEDED, v1.TASK_STATE_FAILED)
        return self.task.exit_code if ended else None

    def check(self) -> "Completed":
        """Raises CommandFailed unless the command succeeded."""
        if self.task.state != v1.TASK_STATE_SUCCEEDED:
            state = v1.TaskState.Name(self.task.state).removeprefix("TASK_STATE_").lower()
            why = self.task.reason or f"exit code {self.task.exit_code}"
            raise CommandFailed(f"task {self.task.id} {state}: {why}", self)
        return self


class OutputCollector:
    """Takes TaskOutputBatch after TaskOutputBatch; keeps the last attempt's."""

    def __init__(self) -> None:
        self.attempt = 0
        self.final: v1.Task | None = None
        self._reset()

    def _reset(self) -> None:
        self.gaps: list[v1.Gap] = []
        self.parts: list[tuple[int, bytes]] = []

    def take(self, batch: v1.TaskOutputBatch) -> None:
        if batch.attempt and batch.attempt != self.attempt:
            self.attempt = batch.attempt
            self._reset()
        if batch.HasField("gap"):
            self.gaps.append(batch.gap)
        self.parts += [(record.stream, record.data) for record in batch.records]
        if batch.HasField("finished"):
            self.final = batch.finished

    def of(self, stream: int | None = None) -> bytes:
        return b"".join(data for source, data in self.parts if stream is None or source == stream)

    def completed(self, task: v1.Task) -> Completed:
        return Completed(task, self.of(v1.STREAM_STDOUT), self.of(v1.STREAM_STDERR), self.gaps)
