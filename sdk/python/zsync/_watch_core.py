"""The calls of a watch as steps, without I/O; see _core."""
from __future__ import annotations

from collections.abc import Callable

from zsync import v1
from zsync._core import Deadline, Emit, Open, Read, Settings, Steps, Stream, follow, resuming


def subscribe(settings: Settings, request: v1.SubscribeWatchRequest, deadline: Deadline) -> Steps:
    """Emits WatchBatch. A large one comes in parts, the clock in the last: only a whole one is given out."""

    def attempt(progressed: Callable[[], None]) -> Steps:
        stream: Stream = yield Open(v1.METHODS["Watch.Subscribe"], request, deadline.remaining())
        whole = v1.WatchBatch()
        try:
            while (part := (yield Read(stream))) is not None:
                progressed()
                whole.MergeFrom(part)
                if part.clock:
                    yield Emit(whole)
                    request.since = part.clock
                    whole = v1.WatchBatch()
        finally:
            stream.cancel()

    yield from resuming(settings, deadline, attempt)


def hold_state(settings: Settings, request: v1.HoldStateRequest, deadline: Deadline) -> Steps:
    """Emits HoldStateReply when the state is held; again when a restart of the daemon had interrupted it."""
    yield from follow(settings, "Watch.HoldState", request, deadline, lambda *_: None, lambda reply: (reply,))


def query(settings: Settings, request: v1.QueryWatchRequest, deadline: Deadline) -> Steps:
    """Emits one WatchBatch, put together from its parts."""

    def attempt(progressed: Callable[[], None]) -> Steps:
        stream: Stream = yield Open(v1.METHODS["Watch.Query"], request, deadline.remaining())
        whole = v1.WatchBatch()
        try:
            while (part := (yield Read(stream))) is not None:
                whole.MergeFrom(part)
            yield Emit(whole)
        finally:
            stream.cancel()

    yield from resuming(settings, deadline, attempt)
