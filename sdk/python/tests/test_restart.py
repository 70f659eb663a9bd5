"""zsync.Client while its zsyncd is killed, started anew or replaced by another program."""
import threading
import time
import unittest

import zsync
from harness import CALL_SECONDS_MAX, LINES
from test_sync import SyncTest


class RestartTest(SyncTest):
    def setUp(self):
        super().setUp()
        if self.daemon.process.poll() is not None:
            self.daemon.start()

    def restart_soon(self):
        def restart():
            time.sleep(0.4)
            self.daemon.kill()
            time.sleep(0.2)
            self.daemon.start()

        thread = threading.Thread(target=restart)
        thread.start()
        self.addCleanup(thread.join)

    def test_an_output_follow_survives_kill_9_without_hole_or_duplicate(self):
        task = self.client.tasks.submit("sh", "-c", LINES)
        self.restart_soon()
        records = [record for batch in task.output() for record in batch.records]
        self.assertEqual("".join(f"line {i}\n" for i in range(60)), b"".join(r.data for r in records).decode())
        self.assertEqual(list(range(1, len(records) + 1)), [record.seq for record in records])

    def test_an_output_follow_goes_on_into_later_attempts_after_kill_9(self):
        script = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.1; done; exit 1"
        task = self.client.tasks.submit("sh", "-c", script, retries=2)
        self.restart_soon()
        lines = [(b.attempt, r.data) for b in task.output() for r in b.records]
        expected = [(attempt, b"%d\n" % i) for attempt in (1, 2, 3) for i in range(1, 9)]
        self.assertEqual(expected, lines)

    def test_an_event_follow_survives_kill_9_without_hole_or_duplicate(self):
        task = self.client.tasks.submit("sleep", "1.2")
        events = self.client.events.follow(from_seq=1)
        self.restart_soon()
        seqs = []
        for event in events:
            seqs.append(event.seq)
            if event.type == "task.finished" and event.subject == task.id:
                break
        self.assertEqual(list(range(1, len(seqs) + 1)), seqs)

    def test_a_durable_channel_is_followed_across_kill_9(self):
        try:
            self.client.channels.create("lasting", durable=True)
        except zsync.Unimplemented as error:
            self.skipTest(str(error))
        followed = self.client.channels.follow("lasting", from_seq=1)
        self.client.channels.send("lasting", [b"1", b"2"])
        got = [next(followed), next(followed)]
        self.daemon.kill()
        self.daemon.start()
        again = zsync.Client(self.daemon.socket, timeout=CALL_SECONDS_MAX)
        self.addCleanup(again.close)
        again.channels.send("lasting", [b"3"])
        got.append(next(followed))
        self.assertEqual([(1, b"1"), (2, b"2"), (3, b"3")], [(record.seq, record.data) for record in got])
        followed.close()

    def test_a_consumer_joins_its_group_again_after_kill_9(self):
        channels = self.client.channels
        channels.create("jobs", durable=True)
        channels.create_group("jobs", "g")
        channels.send("jobs", [b"1"])
        consumed = channels.consume("jobs", "g", by_hand=True)
        first = next(consumed)
        self.assertEqual((1, 1), (first.seq, first.delivery))
        self.daemon.kill()
        self.daemon.start()
        again = next(consumed)
        self.assertEqual((1, 2), (again.seq, again.delivery))
        late = channels.ack("jobs", "g", first)
        self.assertEqual((0, "REDELIVERED"), (late.done, late.refused[0].reason))
        with zsync.Client(self.daemon.socket, timeout=CALL_SECONDS_MAX) as other:
            with self.assertRaises(zsync.Error):
                other.channels.ack("jobs", "g", first)
        self.assertEqual(1, channels.ack("jobs", "g", again).done)
        channels.send("jobs", [b"2", b"3"])
        second = next(consumed)
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(2, second.seq)
        consumed.close()
        taken = [(one.seq, one.data) for one in channels.consume("jobs", "g", limit=2)]
        self.assertEqual([(2, b"2"), (3, b"3")], taken)
        self.assertEqual(0, channels.get("jobs").groups[0].lag)

    def test_a_wait_survives_kill_9(self):
        task = self.client.tasks.submit("sh", "-c", "sleep 1; exit 4")
        self.restart_soon()
        self.assertEqual(4, task.wait().exit_code)

    def test_an_upgrade_keeps_process_output_and_memory_channels(self):
        task = self.client.tasks.submit("sh", "-c", LINES)
        self.client.channels.create("kept")
        self.client.channels.send("kept", [b"1", b"2"])
        before = self.client.daemon.info()
        records, output = [], task.output()
        records += next(output).records
        with zsync.Client(self.daemon.socket, timeout=CALL_SECONDS_MAX) as other:
            self.assertEqual(before.version, other.daemon.check_upgrade().version)
            now = other.daemon.upgrade()
        self.assertEqual(before.pid, now.pid)
        self.assertNotEqual(before.instance, now.instance)
        records += [record for batch in output for record in batch.records]
        self.assertEqual("".join(f"line {i}\n" for i in range(60)), b"".join(r.data for r in records).decode())
        self.assertEqual(list(range(1, len(records) + 1)), [record.seq for record in records])
        kept = self.client.channels.follow("kept", from_seq=1)
        self.assertEqual([b"1", b"2"], [next(kept).data, next(kept).data])
        kept.close()

    def test_an_upgrade_to_what_is_no_zsyncd_is_refused_and_nothing_changes(self):
        before = self.client.daemon.info()
        with self.assertRaises(zsync.Conflict) as raised:
            self.client.daemon.upgrade("/bin/true")
        self.assertIn("did not pass its check", str(raised.exception))
        with self.assertRaises(zsync.InvalidArgument):
            self.client.daemon.upgrade("zsyncd")
        self.assertEqual(before.instance, self.client.daemon.info().instance)

    def test_without_resume_the_break_is_an_error(self):
        client = zsync.Client(self.daemon.socket, resume=False)
        self.addCleanup(client.close)
        task = client.tasks.submit("sleep", "1")
        self.restart_soon()
        with self.assertRaises(zsync.Unavailable):
            for _ in task.output():
                pass


if __name__ == "__main__":
    unittest.main()
