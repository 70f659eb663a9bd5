"""client.watch against a real zsyncd."""
import os
import tempfile
import unittest
from pathlib import Path

import zsync
from harness import CALL_SECONDS_MAX, DaemonTest
from zsync import v1


class WatchTest(DaemonTest, unittest.TestCase):
    def setUp(self):
        self.client = zsync.Client(self.daemon.socket, timeout=CALL_SECONDS_MAX)
        self.addCleanup(self.client.close)

    def test_changes_arrive_with_a_clock_to_go_on_from(self):
        with tempfile.TemporaryDirectory() as folder:
            batches = self.client.watch.subscribe(folder, globs=["*.txt"])
            try:
                self.assertTrue(next(batches).clock)
            except zsync.Unimplemented as error:
                self.skipTest(str(error))
            Path(folder, "a.txt").write_text("1")
            Path(folder, "ignored.bin").write_text("1")
            batch = next(batches)
            self.assertEqual([("a.txt", v1.CHANGE_KIND_CREATED)], [(c.path, c.kind) for c in batch.changes])
            self.assertIn(str(folder), [root.path for root in self.client.watch.list()])
            batches.close()
            Path(folder, "b.txt").write_text("2")
            changed = set()
            for later in self.client.watch.subscribe(folder, globs=["*.txt"], since=batch.clock):
                changed |= {change.path for change in later.changes}
                if "b.txt" in changed:
                    break


    def test_a_batch_that_is_traced_carries_the_span_of_its_settling(self):
        with tempfile.TemporaryDirectory() as folder:
            batches = self.client.watch.subscribe(folder, traced=True)
            self.assertEqual("", next(batches).traceparent)
            os.mkdir(Path(folder, "new"))
            self.assertRegex(next(batches).traceparent, "^00-[0-9a-f]{32}-[0-9a-f]{16}-01$")
            batches.close()

    def test_a_touch_is_no_change_of_content(self):
        with tempfile.TemporaryDirectory() as folder:
            batches = self.client.watch.subscribe(folder, changed_content=True)
            self.assertTrue(next(batches).clock)
            os.mkdir(Path(folder, "empty"))
            self.assertEqual(["empty"], [change.path for change in next(batches).changes])
            os.symlink("nowhere", Path(folder, "link"))
            self.assertEqual(["link"], [change.path for change in next(batches).changes])
            os.utime(Path(folder, "link"), (1, 1), follow_symlinks=False)
            os.mkdir(Path(folder, "last"))
            self.assertEqual(["last"], [change.path for change in next(batches).changes])
            batches.close()

    def test_a_state_makes_those_silent_who_named_it(self):
        with tempfile.TemporaryDirectory() as folder:
            later = self.client.watch.subscribe(folder, defer=["build"])
            never = self.client.watch.subscribe(folder, drop=["build"])
            self.assertTrue(next(later).clock and next(never).clock)
            with self.client.watch.state(folder, "build") as held:
                self.assertEqual(2, held.silent)
                self.assertEqual(("build", ""), (next(later).state_entered, next(never).state_left))
                self.assertEqual(["build"], [state.name for state in self.client.watch.states()])
                os.mkdir(Path(folder, "during"))
            self.assertEqual(0, len(self.client.watch.states()))
            self.assertEqual("build", next(later).state_left)
            self.assertEqual(["during"], [change.path for change in next(later).changes])
            self.assertEqual("build", next(never).state_left)
            os.mkdir(Path(folder, "after"))
            self.assertEqual(["after"], [change.path for change in next(never).changes])
            with self.assertRaises(zsync.Error):
                with self.client.watch.state(folder, "no name"):
                    self.fail("it has no such name")
            later.close()
            never.close()

    def test_a_query_knows_of_every_change_made_before_it(self):
        with tempfile.TemporaryDirectory() as folder:
            clock = self.client.watch.sync(folder)
            for number in range(20):
                Path(folder, f"{number}.txt").write_text("1")
                batch = self.client.watch.since(folder, clock, globs=["*.txt"])
                self.assertEqual([f"{number}.txt"], [change.path for change in batch.changes])
                clock = batch.clock
            self.assertTrue(self.client.watch.since(folder, "c:another:1").fresh)


    def test_usage_names_this_daemon_among_those_that_watch(self):
        with tempfile.TemporaryDirectory() as folder:
            self.client.watch.sync(folder)
            usage = self.client.watch.usage()
            own = [user for user in usage.users if user.zsyncd]
            self.assertEqual([self.daemon.process.pid], [user.pid for user in own])
            self.assertGreaterEqual(own[0].watches, 1)
            self.assertGreaterEqual(usage.held, 1)


if __name__ == "__main__":
    unittest.main()
