"""Several channels at once, and why nothing arrives, against a real zsyncd."""
import asyncio
import unittest

import grpc
import zsync
from harness import CALL_SECONDS_MAX, DaemonTest
from zsync import v1


class ChannelsTest(DaemonTest, unittest.TestCase):
    def setUp(self):
        self.client = zsync.Client(self.daemon.socket, timeout=CALL_SECONDS_MAX)
        self.addCleanup(self.client.close)
        self.channels = self.client.channels

    def test_a_selection_gives_what_comes_first_and_ends_with_its_last_channel(self):
        for name in ("s1", "s2"):
            self.channels.create(name)
        self.channels.create("s3", form="broadcast")
        self.channels.send("s2", [b"a", b"b"])
        self.channels.send("s3", [b"seen"])
        got = []
        observed = v1.RecvSource(channel="s3", follow=True, from_seq=1)
        for channel, item in self.channels.select("s1", "s2", observed):
            got.append((channel, item.data if item else None))
            if len(got) == 3:
                self.channels.send("s1", [b"c"])
                for name in ("s1", "s2", "s3"):
                    self.channels.close(name)
        self.assertEqual([("s2", b"a"), ("s2", b"b"), ("s3", b"seen"), ("s1", b"c")], [one for one in got if one[1]])
        self.assertEqual({"s1", "s2", "s3"}, {channel for channel, data in got if data is None})
        self.assertEqual(0, self.channels.get("s2").depth)

    def test_a_selection_that_is_left_takes_nothing_that_was_not_handed_out(self):
        for name in ("l1", "l2"):
            self.channels.create(name)
            self.channels.send(name, [b"1", b"2", b"3"])
        selected = next(iter(self.channels.select("l1", "l2", limit=1)))
        self.assertIsInstance(selected, zsync.Selected)
        self.assertEqual(("l1", b"1"), (selected.channel, selected.item.data))
        for one in self.channels.select("l1", "l2"):
            break
        while self.channels.get("l1").depth + self.channels.get("l2").depth != 4:
            pass
        with self.assertRaisesRegex(zsync.InvalidArgument, "twice"):
            next(self.channels.select("l1", "l1"))
        with self.assertRaises(zsync.InvalidArgument):
            self.channels.select()

    def test_a_selection_may_be_a_consumer_of_groups(self):
        self.channels.create("jobs", durable=True)
        self.channels.create_group("jobs", "g")
        self.channels.create("urgent")
        self.channels.send("jobs", [b"work"])
        ((channel, item),) = self.channels.select(("jobs", "g"), "urgent", limit=1)
        self.assertEqual(("jobs", b"work", 1), (channel, item.data, item.delivery))
        self.assertEqual(0, self.channels.get("jobs").groups[0].lag)

    def test_a_receiver_is_told_with_what_it_waits_for(self):
        self.channels.create("idle")
        self.channels.send("idle", [b"x"])
        receiver = self.channels.recv("idle")
        next(receiver)
        # The message may be here before the daemon hears that it was taken.
        states = (self.channels.get("idle").consumers[0] for _ in range(10_000))
        told = next(one for one in states if one.state != v1.CONSUMER_STATE_NOT_READING)
        self.assertEqual((v1.CONSUMER_STATE_OUTSTANDING, 1), (told.state, told.in_hand))
        self.assertIn("is in its own hands", told.why)
        receiver.close()

    def test_a_message_has_the_trace_of_its_call_unless_it_says_its_own(self):
        of_call, own = f"00-{'a' * 32}-{'b' * 16}-01", f"00-{'c' * 32}-{'d' * 16}-01"
        with grpc.insecure_channel(f"unix:{self.daemon.socket}") as wire:
            method = v1.METHODS["Channels.TrySend"]
            send = wire.unary_unary(
                method.path, request_serializer=method.request.SerializeToString, response_deserializer=method.reply.FromString
            )
            for name, kind in (("t1", {}), ("t2", {"durable": True}), ("t3", {"unbounded": True})):
                self.channels.create(name, **kind)
                for trace in ("", own):
                    request = v1.SendRequest(channel=name, messages=[b"x"], trace=trace)
                    send(request, metadata=[("traceparent", of_call)], timeout=CALL_SECONDS_MAX)
                self.assertEqual([of_call, own], [one.trace for one in self.channels.recv(name, limit=2)], name)

    def test_followers_of_one_channel_get_the_same_whatever_they_share(self):
        self.channels.create("shared", form="broadcast", capacity=10_000)
        self.channels.send("shared", [b"%d" % i for i in range(3000)])
        followers = [iter(self.channels.follow("shared", from_start=True)) for _ in range(3)]
        got = [[], [], []]
        for follower in (0, 1, 2) * 3000:
            got[follower].append(next(followers[follower]).data)
        self.assertEqual([[b"%d" % i for i in range(3000)]] * 3, got)

    def test_bytes_that_are_no_request_to_follow_are_refused(self):
        with grpc.insecure_channel("unix:" + self.daemon.socket) as raw:
            follow = raw.unary_stream("/zsync.v1.Channels/Follow")
            with self.assertRaises(grpc.RpcError) as refused:
                next(follow(b"\xff\xff", timeout=CALL_SECONDS_MAX))
        self.assertEqual(grpc.StatusCode.INVALID_ARGUMENT, refused.exception.code())
        self.assertIn("no FollowChannelRequest", refused.exception.details())

    def test_asyncio_selects_as_well(self):
        async def run():
            async with zsync.aio.Client(self.daemon.socket, timeout=CALL_SECONDS_MAX) as client:
                for name in ("a1", "a2"):
                    await client.channels.create(name)
                await client.channels.send("a2", b"x")
                await client.channels.close("a1")
                await client.channels.close("a2")
                return [(channel, item and item.data) async for channel, item in client.channels.select("a1", "a2")]

        self.assertEqual([("a1", None), ("a2", b"x"), ("a2", None)], asyncio.run(run()))


if __name__ == "__main__":
    unittest.main()
