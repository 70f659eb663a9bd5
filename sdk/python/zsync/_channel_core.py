"""What both clients do with channels, as the steps of _core."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from zsync import v1
from zsync._core import Call, Deadline, DoneWriting, Emit, Open, Read, Settings, Steps, Write, resuming
from zsync.errors import Conflict, DataLoss, Error, LimitExceeded, is_broken_connection

RECV_CREDIT = 4096  # messages let come before they were handed out; given back in halves
SEND_BATCHES_IN_FLIGHT_MAX = 16
SEND_BATCH_MESSAGES_MAX = 1024
SEND_BATCH_BYTES_MAX = 1 << 20


class Selected(NamedTuple):
    """What came, and from which of several channels."""

    channel: str
    #: A message; a gap before the next one; None: the channel is closed and drained, and has left the selection.
    item: v1.Record | v1.Gap | None


class Receiver:
    """One receiving call. What was handed out is confirmed; what was not goes back to the front of the channel."""

    def __init__(self, settings: Settings, first: v1.RecvRequest, deadline: Deadline, by_hand: bool = False):
        self.settings, self.first, self.limit, self.deadline = settings, first, first.limit, deadline
        self.by_hand = by_hand
        self.stream: Any = None
        self.seen = 0  # messages handed out by this stream
        self.highest = 0  # seq of those of all streams
        self.ended = False

    def receive(self) -> Steps:
        """Emits records and gaps. Ends after the limit, or when the channel is closed and drained.

        A consumer of a group joins it again after a restart of the daemon.
        """
        if not self.first.group:
            yield from self._attempt(lambda: None)
            return
        yield from resuming(self.settings, self.deadline, self._join)

    def _join(self, progressed: Callable[[], None]) -> Steps:
        try:
            yield from self._attempt(progressed)
        except Error as error:
            if is_broken_connection(error):
                self.limit -= self.seen if self.limit else 0
                group = (self.first.channel, self.first.group)
                self.settings.breaks[group] = max(self.settings.breaks.get(group, 0), self.highest)
                self.ended = True
            raise

    def _attempt(self, progressed: Callable[[], None]) -> Steps:
        self.seen, self.ended, self.first.limit = 0, False, self.limit
        self.stream = yield Open(v1.METHODS["Channels.Recv"], None, self.deadline.remaining())
        # By hand the group's in_flight_max is the credit.
        granted = 0 if self.by_hand else min(self.limit or RECV_CREDIT, RECV_CREDIT)
        self.first.credit, self.first.confirms = granted, True
        yield Write(self.stream, self.first)
        several = len(self.first.sources) > 0
        while (batch := (yield Read(self.stream))) is not None:
            progressed()
            if batch.HasField("gap"):
                yield Emit(Selected(batch.channel, batch.gap) if several else batch.gap)
            for record in batch.records:
                self.seen += 1
                self.highest = max(self.highest, record.seq)
                yield Emit(Selected(batch.channel, record) if several else record)
            if batch.closed and several:
                yield Emit(Selected(batch.channel, None))
            if (batch.closed and not batch.sources_left) or 0 < self.limit <= self.seen:
                return
            if self.by_hand:
                continue
            wanted = min(self.seen + RECV_CREDIT, self.limit) if self.limit else self.seen + RECV_CREDIT
            yield Write(self.stream, v1.RecvRequest(credit=wanted - granted, received=self.seen))
            granted = wanted
        self.ended = True

    def settle(self) -> Steps:
        """Ends the call, however far it went."""
        if self.stream is None:
            return
        try:
            confirmed = 0 if self.by_hand else self.seen
            if not self.ended and (yield Write(self.stream, v1.RecvRequest(received=confirmed))):
                yield DoneWriting(self.stream)
                while (yield Read(self.stream)) is not None:
                    pass
        finally:
            self.stream.cancel()


#: What is said of a message that was acknowledged meanwhile, or is or will be delivered again.
_LATE = frozenset(("SETTLED", "RETURNED", "REDELIVERED", "NOT_DELIVERED"))


def settle(settings: Settings, name: str, request: Any, deadline: Deadline) -> Steps:
    """Acknowledges, gives back or extends -> AckReply.

    A restart of the daemon makes the first try's outcome unknown and gives messages to others: a refusal that comes from
    that is told in the reply.
    """
    tries = 0

    def attempt(progressed: Callable[[], None]) -> Steps:
        nonlocal tries
        tries += 1
        return (yield Call(v1.METHODS[name], request, deadline.remaining()))

    try:
        return (yield from resuming(settings, deadline, attempt))
    except Error as error:
        if len(request.messages) != 1 or error.reason not in _LATE:
            raise
        seq = request.messages[0].seq
        if tries == 1 and seq > settings.breaks.get((request.channel, request.group), 0):
            raise
        return v1.AckReply(refused=[v1.AckRefusal(seq=seq, reason=error.reason, message=str(error))])


class Responder:
    """One replying call: emits one request at a time; answer() says what becomes of the last one."""

    def __init__(self, name: str, deadline: Deadline):
        self.name, self.deadline = name, deadline
        self.stream: Any = None
        self.answers: list[v1.Answer] = []

    def answer(self, inquiry: v1.Inquiry, body: bytes = b"", error: str = "") -> None:
        self.answers.append(v1.Answer(id=inquiry.id, body=body, error=error))

    def inquiries(self) -> Steps:
        """Until the channel is closed and nothing waits."""
        self.stream = yield Open(v1.METHODS["Channels.Reply"], None, self.deadline.remaining())
        yield Write(self.stream, v1.ReplyRequest(channel=self.name, credit=1))
        while (batch := (yield Read(self.stream))) is not None and not batch.closed:
            for inquiry in batch.inquiries:
                yield Emit(inquiry)
                answers, self.answers = self.answers, []
                yield Write(self.stream, v1.ReplyRequest(credit=1, answers=answers))
        yield DoneWriting(self.stream)
        while (yield Read(self.stream)) is not None:
            pass

    def settle(self) -> Steps:
        if self.stream is not None:
            self.stream.cancel()
        return
        yield  # a generator, as the driver wants it


class Sender:
    """A stream of batches into one channel; at most SEND_BATCHES_IN_FLIGHT_MAX wait for their acknowledgement."""

    def __init__(self, name: str, deadline: Deadline, trace: str):
        self.name = name
        self.deadline = deadline
        self.trace = trace
        self.stream: Any = None
        self.in_flight: deque[int] = deque()
        self.total = v1.SendReply()
        self.finished = False

    def send(self, messages: list[bytes], keys: Sequence[str] = (), ids: Sequence[str] = ()) -> Steps:
        if self.finished:
            raise Conflict(f"the sender into channel {self.name} is finished")
        request = v1.SendRequest(messages=messages, keys=keys, ids=ids)
        if self.stream is None:
            self.stream = yield Open(v1.METHODS["Channels.Send"], None, self.deadline.remaining())
            request.channel, request.trace = self.name, self.trace
        elif len(self.in_flight) >= SEND_BATCHES_IN_FLIGHT_MAX:
            yield from self._acknowledge()
        self.in_flight.append(len(messages))
        if not (yield Write(self.stream, request)):
            yield from self.flush()

    def flush(self) -> Steps:
        """-> SendReply: what was accepted so far"""
        while self.in_flight:
            yield from self._acknowledge()
        reply = v1.SendReply()
        reply.CopyFrom(self.total)
        return reply

    def finish(self) -> Steps:
        """-> SendReply"""
        if not self.finished:
            if self.stream is None:
                # A stream without a batch still names its channel, so that a wrong name is an error.
                yield from self.send([])
            self.finished = True
            yield DoneWriting(self.stream)
            yield from self.flush()
            if (yield Read(self.stream)) is not None:
                raise DataLoss("the daemon acknowledged more than was sent")
        return (yield from self.flush())

    def cancel(self) -> None:
        """Withdraws what was not accepted yet."""
        self.finished = True
        if self.stream is not None:
            self.stream.cancel()

    def _acknowledge(self) -> Steps:
        reply = yield Read(self.stream)
        if reply is None:
            self.finished = True
            raise DataLoss("the stream ended before every batch was accepted")
        self.total.accepted += reply.accepted
        self.total.duplicates += reply.duplicates
        self.total.last_seq = reply.last_seq or self.total.last_seq
        if reply.accepted < self.in_flight.popleft():
            self.cancel()
            raise LimitExceeded(f"channel {self.name} is full: {self.total.accepted} messages were accepted, not all")


def batches_of(messages: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Cuts messages into batches that fit into one request."""
    batch: list[bytes] = []
    size = 0
    for message in messages:
        if batch and (len(batch) >= SEND_BATCH_MESSAGES_MAX or size + len(message) > SEND_BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message)
    if batch:
        yield batch
