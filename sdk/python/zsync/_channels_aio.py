"""Channels: named message streams between processes, for asyncio."""
from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Unpack

from zsync import _channel_core, _core, _requests, v1
from zsync._exchange_aio import Exchange
from zsync._requests import ChannelPolicy, Duration, Form, Overflow

if TYPE_CHECKING:
    from zsync.aio import _Driver


class Sender:
    """A stream of batches into one channel. Leaving the `with` block waits until all of it is accepted."""

    def __init__(self, driver: _Driver, name: str, trace: str, timeout: Duration | None):
        self._driver = driver
        self._core = _channel_core.Sender(name, driver.deadline(timeout), trace)

    async def send(self, *messages: bytes, keys: Sequence[str] = (), ids: Sequence[str] = ()) -> None:
        """Puts one batch on the way; waits while a full channel holds earlier ones back.

        Keys and ids: none, or one for each message. A group has messages of one key in one consumer's hands at a time; a
        message whose id was accepted within the last two minutes is not kept twice.
        """
        await self._driver.run(self._core.send(list(messages), keys, ids))

    async def flush(self) -> v1.SendReply:
        """Waits until everything sent so far is accepted (durable: is on disk)."""
        return await self._driver.run(self._core.flush())

    async def finish(self) -> v1.SendReply:
        """Ends the stream -> how many messages were accepted, and the seq of the last."""
        return await self._driver.run(self._core.finish())

    async def __aenter__(self) -> "Sender":
        return self

    async def __aexit__(self, kind: object, value: object, trace: object) -> None:
        if kind is not None:
            self._core.cancel()
        elif not self._core.finished:
            await self.finish()


class Channels(Exchange):
    def __init__(self, driver: _Driver):
        self._driver = driver

    async def create(
        self, name: str, *, capacity: int = 0, unbounded: bool = False, bytes_max: int = 0, overflow: Overflow = "block",
        durable: bool = False, form: Form = "queue", if_absent: bool = False, disk_bytes_max: int | None = None,
        timeout: Duration | None = None,
        **policy: Unpack[ChannelPolicy],
    ) -> v1.Channel:  # fmt: skip
        """Makes a channel; `if_absent` takes an equal one that exists already for success.

        An unbounded memory channel holds `bytes_max` in memory, and `disk_bytes_max` beyond that on disk (1 GiB; 0: nothing).
        """
        request = _requests.create_channel(name, capacity, unbounded, bytes_max, overflow, durable, if_absent, form, policy)
        if disk_bytes_max is not None:
            request.spec.disk_bytes_max = disk_bytes_max
        return await self._driver.unary("Channels.Create", request, timeout, if_absent)

    async def get(self, name: str, *, timeout: Duration | None = None) -> v1.Channel:
        return await self._driver.unary("Channels.Get", v1.GetChannelRequest(name=name), timeout, True)

    def list(self, *, limit: int | None = None, timeout: Duration | None = None) -> AsyncIterator[v1.Channel]:
        driver, request = self._driver, v1.ListChannelsRequest()
        steps = _core.pages(driver.settings, "Channels.List", request, "channels", limit, driver.deadline(timeout))
        return driver.iterate(steps)

    async def close(self, name: str, *, timeout: Duration | None = None) -> v1.Channel:
        """Later sends fail; receivers drain what is there and then see the end."""
        return await self._driver.unary("Channels.Close", v1.CloseChannelRequest(name=name), timeout, True)

    async def remove(self, name: str, *, timeout: Duration | None = None) -> None:
        await self._driver.unary("Channels.Remove", v1.RemoveChannelRequest(name=name), timeout, False)

    async def update(self, name: str, *, timeout: Duration | None = None, **policy: Unpack[ChannelPolicy]) -> v1.Channel:
        """Changes how long a channel keeps messages and their ids; what is left out stays."""
        request = v1.UpdateChannelRequest(name=name, policy=_requests.channel_policy(policy))
        return await self._driver.unary("Channels.Update", request, timeout, True)

    async def try_send(
        self, name: str, *messages: bytes, trace: str = "", keys: Sequence[str] = (), ids: Sequence[str] = (),
        timeout: Duration | None = None,
    ) -> v1.SendReply:  # fmt: skip
        """One batch that never waits for room -> how many messages of it were accepted."""
        request = v1.SendRequest(channel=name, messages=messages, trace=trace, keys=keys, ids=ids)
        return await self._driver.unary("Channels.TrySend", request, timeout, False)

    async def send(
        self, name: str, messages: bytes | Iterable[bytes], *, trace: str = "", timeout: Duration | None = None
    ) -> v1.SendReply:
        """Sends one message or many, in batches; returns once all are accepted. For what comes over time: sender()."""
        async with self.sender(name, trace=trace, timeout=timeout) as sender:
            for batch in _channel_core.batches_of([messages] if isinstance(messages, bytes) else messages):
                await sender.send(*batch)
            return await sender.finish()

    def sender(self, name: str, *, trace: str = "", timeout: Duration | None = None) -> Sender:
        return Sender(self._driver, name, trace, timeout)

    def recv(self, name: str, *, limit: int = 0, timeout: Duration | None = None) -> AsyncIterator[v1.Record | v1.Gap]:
        """Competes for messages: each goes to one receiver. Ends after `limit`, or when the channel is closed and drained.

        Never resumed. What was not handed out when it ends goes back to the front of the channel.
        """
        receiver = _channel_core.Receiver(
            self._driver.settings, v1.RecvRequest(channel=name, limit=limit), self._driver.deadline(timeout)
        )
        return self._driver.iterate(receiver.receive(), receiver.settle())

    async def create_group(
        self, channel: str, group: str, *, ack_wait: Duration | None = None, max_deliveries: int = 0,
        in_flight_max: int = 0, from_seq: int = 0, from_now: bool = False, from_start: bool = False,
        from_time: datetime | None = None, timeout: Duration | None = None,
    ) -> v1.ChannelGroup:  # fmt: skip
        """Makes a consumer group of a durable channel; one of the same settings that exists is a success."""
        request = _requests.create_group(
            channel, group, ack_wait, max_deliveries, in_flight_max, from_seq, from_now, from_start, from_time
        )
        return await self._driver.unary("Channels.CreateGroup", request, timeout, True)

    async def remove_group(self, channel: str, group: str, *, timeout: Duration | None = None) -> None:
        """Forgets how far a group came."""
        request = v1.RemoveGroupRequest(channel=channel, group=group)
        await self._driver.unary("Channels.RemoveGroup", request, timeout, False)

    def consume(
        self, channel: str, group: str, *, limit: int = 0, by_hand: bool = False, timeout: Duration | None = None
    ) -> AsyncIterator[v1.Record | v1.Gap]:
        """Receives as a consumer of a group; ends as recv() does.

        What was handed out is acknowledged with its batch, or by ack() when `by_hand`. The rest goes to another consumer:
        at once when this ends, after the group's ack_wait when it takes too long.
        When the daemon restarts it joins the group again: what was not acknowledged by then is delivered again.
        """
        driver = self._driver
        request = v1.RecvRequest(channel=channel, group=group, limit=limit)
        receiver = _channel_core.Receiver(driver.settings, request, driver.deadline(timeout), by_hand)
        return driver.iterate(receiver.receive(), receiver.settle())

    def select(
        self, *sources: _requests.Source, limit: int = 0, by_hand: bool = False, timeout: Duration | None = None
    ) -> AsyncIterator[_channel_core.Selected]:
        """Whatever comes first from any of several channels, as (channel, item); those that have something take turns.

        A source is a channel's name, (channel, group) to be a consumer of that group, or a v1.RecvSource, which may also be
        followed. A closed and drained channel comes as (channel, None) and leaves; the last one ends the loop, as does `limit`.
        What was handed out is confirmed, or acknowledged unless `by_hand`; the rest stays where it was.
        """
        driver = self._driver
        request = v1.RecvRequest(sources=_requests.sources(sources), limit=limit)
        receiver = _channel_core.Receiver(driver.settings, request, driver.deadline(timeout), by_hand)
        return driver.iterate(receiver.receive(), receiver.settle())

    async def _settle(self, name: str, request: Any, timeout: Duration | None) -> v1.AckReply:
        driver = self._driver
        return await driver.run(_channel_core.settle(driver.settings, name, request, driver.deadline(timeout)))

    async def ack(
        self, channel: str, group: str, *messages: v1.Record | int, timeout: Duration | None = None
    ) -> v1.AckReply:
        """Settles messages for good. The refusal of a single one is raised, those of several are in the reply."""
        request = v1.AckRequest(channel=channel, group=group, messages=_requests.delivered(messages))
        return await self._settle("Channels.Ack", request, timeout)

    async def nack(
        self, channel: str, group: str, *messages: v1.Record | int, delay: Duration | None = None, reason: str = "",
        timeout: Duration | None = None,
    ) -> v1.AckReply:  # fmt: skip
        """Gives messages back, to be delivered again after `delay`."""
        request = _requests.nack(channel, group, messages, delay, reason)
        return await self._settle("Channels.Nack", request, timeout)

    async def extend(
        self, channel: str, group: str, *messages: v1.Record | int, timeout: Duration | None = None
    ) -> v1.AckReply:
        """Begins the ack wait of messages anew: the heartbeat of work that takes longer."""
        request = v1.ExtendRequest(channel=channel, group=group, messages=_requests.delivered(messages))
        return await self._settle("Channels.Extend", request, timeout)

    def follow(
        self, name: str, *, from_seq: int = 0, from_start: bool = False, from_time: datetime | None = None,
        timeout: Duration | None = None,
    ) -> AsyncIterator[v1.Record | v1.Gap]:  # fmt: skip
        """Observes from a message, from the oldest that is kept, or from a time, and takes nothing away.

        From the first next() on unless one of them is given.
        """
        request = _requests.follow_channel(name, from_seq, from_start, from_time)
        driver = self._driver
        return driver.iterate(_core.follow_channel(driver.settings, request, driver.deadline(timeout)))
