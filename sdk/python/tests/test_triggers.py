"""client.triggers against a real zsyncd, synchronously and for asyncio."""
import asyncio
import tempfile
import unittest
from pathlib import Path

import zsync
from harness import CALL_SECONDS_MAX, DaemonTest
from zsync import aio, v1

SAY = ("sh", "-c", "echo $ZSYNC_TRIGGER $ZSYNC_CHANGED")


class TriggersTest(DaemonTest, unittest.TestCase):
    def test_a_trigger_runs_its_command_on_changes_until_it_is_removed(self):
        with zsync.Client(self.daemon.socket, timeout=CALL_SECONDS_MAX) as client, tempfile.TemporaryDirectory() as folder:
            triggers = client.triggers
            made = triggers.create(
                "say", folder, *SAY, globs=["*.txt"], writes=["out.txt"], settle=0.01, labels={"a": "b"}, group="serial"
            )
            self.assertEqual((str(Path(folder).resolve()), ["out.txt"]), (made.spec.path, list(made.spec.writes)))
            with self.assertRaises(zsync.AlreadyExists):
                triggers.create("say", folder, "true")
            with self.assertRaises(zsync.NotFound):
                triggers.create("other", folder + "/none", "true")
            with self.assertRaises(zsync.NotFound):
                triggers.get("sai")
            Path(folder, "out.txt").write_text("1")
            Path(folder, "in.txt").write_text("1")
            for event in client.events.follow("trigger.fired", from_seq=1):
                if event.subject == "say":
                    break
            last = triggers.get("say").last
            self.assertEqual(["in.txt"], list(last.changed))
            task = client.tasks.get(last.task)
            self.assertEqual({"a": "b", "trigger": "say"}, dict(task.spec.labels))
            client.tasks.wait([last.task])
            output = b"".join(record.data for batch in client.tasks.task(last.task).output() for record in batch.records)
            self.assertEqual(b"say in.txt\n", output)
            self.assertTrue(triggers.pause("say").HasField("paused"))
            triggers.run("say")
            fired = (event for event in client.events.follow("trigger.fired", from_seq=1) if event.subject == "say")
            next(fired), next(fired)
            self.assertEqual((True, 2), (triggers.get("say").last.by_hand, triggers.get("say").last.number))
            self.assertFalse(triggers.resume("say").HasField("paused"))
            self.assertEqual(["say"], [trigger.spec.name for trigger in triggers.list()])
            self.assertEqual([], list(triggers.list("none")))
            replaced = triggers.create("say", folder, v1.TaskSpec(argv=["true"]), replace=True)
            self.assertEqual(made.id, replaced.id)
            triggers.remove("say")
            self.assertEqual([], list(triggers.list()))

    def test_the_same_for_asyncio(self):
        async def body(folder: str) -> None:
            async with aio.Client(self.daemon.socket, timeout=CALL_SECONDS_MAX) as client:
                triggers = client.triggers
                made = await triggers.create("later", folder, *SAY, settle=0.01)
                self.assertEqual("later", made.spec.name)
                await triggers.pause("later")
                self.assertTrue((await triggers.get("later")).HasField("paused"))
                await triggers.resume("later")
                await triggers.run("later")
                async for event in client.events.follow("trigger.fired", from_seq=1):
                    if event.subject == "later":
                        break
                self.assertTrue((await triggers.get("later")).last.by_hand)
                self.assertEqual(1, len(await triggers.list()))
                await triggers.remove("later")
                self.assertEqual([], list(await triggers.list()))

        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(body(folder))
