"""zsync.aio.Client against a real zsyncd."""
import asyncio
import tempfile
import unittest
from contextlib import aclosing
from pathlib import Path

import zsync
from harness import CALL_SECONDS_MAX, LINES, DaemonTest
from zsync import v1


class AioTest(DaemonTest, unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().slow_callback_duration = CALL_SECONDS_MAX
        self.client = await self.enterAsyncContext(zsync.aio.Client(self.daemon.socket, timeout=CALL_SECONDS_MAX))


class TasksTest(AioTest):
    async def test_a_task_is_submitted_followed_and_waited_for(self):
        task = await self.client.tasks.submit("sh", "-c", "echo out; echo err >&2; exit 3", labels={"a": "b"})
        records = [record async for batch in task.output() for record in batch.records]
        self.assertEqual([1, 2], [record.seq for record in records])
        self.assertEqual(3, (await task.wait()).exit_code)
        self.assertEqual([task.id], [found.id async for found in self.client.tasks.list(labels={"a": "b"})])

    async def test_run_gives_exit_code_and_both_streams(self):
        done = await self.client.run("sh", "-c", "cat; echo err >&2; exit 7", stdin=b"in")
        self.assertEqual((7, b"in", b"err\n"), (done.returncode, done.stdout, done.stderr))
        with self.assertRaises(zsync.CommandFailed):
            await self.client.run("false", check=True)

    async def test_groups_resources_schedules_and_arrays_are_reached(self):
        tasks = self.client.tasks
        self.assertEqual(2, (await tasks.set_resource("gpu", 2)).capacity)
        self.assertEqual(["gpu"], [one.name for one in await tasks.resources()])
        self.assertTrue((await tasks.set_group("aio", 2, paused=True)).HasField("paused"))
        made = await tasks.schedules.create("rare", "true", cron="30 2 * * *", time_zone="Europe/Berlin", missed="once")
        self.assertGreater(made.next_unix_nano, 0)
        self.assertEqual(5, len(await tasks.schedules.upcoming("rare")))
        self.assertTrue((await tasks.schedules.pause("rare")).HasField("paused"))
        self.assertEqual(0, (await tasks.schedules.get("rare")).next_unix_nano)
        await tasks.schedules.resume("rare")
        await tasks.schedules.remove("rare")
        self.assertEqual([], list(await tasks.schedules.list()))
        array = await tasks.submit_array("echo", "{index}", array="3,5", resources={"gpu": 1})
        self.assertEqual(["3", "5"], [task.spec.argv[1] for task in await array.wait()])
        self.assertEqual(2, len(await array.cancel()))

    async def test_a_trace_is_found_by_its_task_and_listed(self):
        done = await self.client.run("true")
        trace = await self.client.traces.get(done.task.id)
        self.assertEqual(3, len(trace.spans))
        self.assertIn(trace.summary.id, [summary.id for summary in await self.client.traces.list(limit=5)])

    async def test_what_a_task_printed_is_listed_and_followed(self):
        line = "printf '/w/a.c:1:2: error: no [-Wx]\\n'; exit 1"
        task = await self.client.tasks.submit("sh", "-c", line, name="aio", cwd="/", matchers=["gcc"])
        await task.wait()
        (found,) = await self.client.diagnostics.list(source="aio in /")
        self.assertEqual("no", found.diagnostics[0].message)
        async for batch in self.client.diagnostics.subscribe(source="aio in /"):
            self.assertEqual(["/w/a.c"], [one.path for one in batch.sets])
            break

    async def test_a_project_is_brought_up_followed_and_taken_down(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "zsync.yaml")
            file.write_text("version: 1\nproject: aio\nservices: {a: {run: [sleep, '60']}}\n")
            await self.client.projects.up(file)
            async with aclosing(self.client.projects.follow("aio")) as projects:
                async for project in projects:
                    if project.settled:
                        break
            self.assertTrue(project.healthy)
            down = await self.client.projects.down("aio", "a")
            self.assertEqual(v1.UNIT_STATE_STOPPED, down.units[0].state)
            self.assertEqual(["aio"], [project.name for project in await self.client.projects.list()])
            await self.client.projects.remove("aio")

    async def test_cancelling_the_asyncio_task_of_a_run_cancels_the_task(self):
        run = asyncio.create_task(self.client.run("sleep", "60", name="dropped"))
        async with aclosing(self.client.events.follow("task.started", from_seq=1)) as events:
            async for event in events:
                if (await self.client.tasks.get(event.subject)).spec.name == "dropped":
                    break
        run.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await run
        final = await self.client.tasks.task("dropped").wait()
        self.assertEqual(v1.TASK_STATE_CANCELED, final.state)

    async def test_a_task_is_paused_resumed_and_sent_signals(self):
        task = await self.client.tasks.submit("sh", "-c", "echo up; exec sleep 60")
        async with aclosing(task.output()) as output:
            await anext(output)
        self.assertGreater((await task.pause()).paused_unix_nano, 0)
        self.assertEqual(0, (await task.resume()).paused_unix_nano)
        await task.signal(15)
        self.assertEqual(v1.TASK_STATE_SIGNALED, (await task.wait()).state)

    async def test_cancelling_a_wait_leaves_the_task_alone(self):
        task = await self.client.tasks.submit("sleep", "60")
        with self.assertRaises(TimeoutError):
            await asyncio.wait_for(task.wait(), 0.2)
        self.assertFalse((await task.get()).cancel_requested)
        self.assertEqual(v1.TASK_STATE_CANCELED, (await task.cancel(wait=True)).state)

    async def test_input_reaches_the_task(self):
        task = await self.client.tasks.submit("cat", stdin_stream=True)
        async with task.input() as stdin:
            await stdin.write(b"a" * 1000)
        self.assertEqual(b"a" * 1000, await task.read_output())

    async def test_a_thousand_concurrent_submits_are_all_run_once(self):
        tasks = await asyncio.gather(*(self.client.tasks.submit("true") for _ in range(1000)))
        self.assertEqual(1000, len({task.id for task in tasks}))
        records = await self.client.tasks.wait(tasks)
        self.assertEqual({(v1.TASK_STATE_SUCCEEDED, 1)}, {(record.state, record.attempt) for record in records})

    async def test_a_large_output_arrives_whole_and_in_order(self):
        done = await self.client.run("seq", "1000000")
        self.assertEqual(b"".join(b"%d\n" % number for number in range(1, 1000001)), done.stdout)

    async def test_errors_carry_what_the_daemon_said(self):
        with self.assertRaises(zsync.InvalidArgument) as found:
            await self.client.tasks.submit()
        self.assertEqual("spec.argv", found.exception.field)
        with self.assertRaises(zsync.NotFound) as found:
            await self.client.tasks.get("task_nope")
        self.assertEqual(("NOT_FOUND", "id"), (found.exception.reason, found.exception.field))

    async def test_a_client_that_was_not_entered_says_so(self):
        with self.assertRaisesRegex(zsync.Conflict, "async with"):
            await zsync.aio.Client(self.daemon.socket).daemon.info()


class StreamsTest(AioTest):
    async def test_a_channel_carries_messages_with_backpressure(self):
        try:
            await self.client.channels.create("order", capacity=8)
        except zsync.Unimplemented as error:
            self.skipTest(str(error))

        async def receive():
            return [record.data async for record in self.client.channels.recv("order")]

        receiver = asyncio.create_task(receive())
        sent = [b"%d" % number for number in range(10_000)]
        self.assertEqual(10_000, (await self.client.channels.send("order", sent)).accepted)
        await self.client.channels.close("order")
        self.assertEqual(sent, await receiver)

    async def test_a_cancelled_receiver_gives_back_what_it_did_not_hand_out(self):
        try:
            await self.client.channels.create("back")
        except zsync.Unimplemented as error:
            self.skipTest(str(error))
        await self.client.channels.send("back", [b"%d" % number for number in range(50)])
        async with aclosing(self.client.channels.recv("back")) as messages:
            first = [(await anext(messages)).data for _ in range(5)]
        rest = [record.data async for record in self.client.channels.recv("back", limit=45)]
        self.assertEqual([b"%d" % number for number in range(50)], first + rest)

    async def test_requests_are_answered_by_a_coroutine(self):
        channels = self.client.channels
        await channels.create("upper", form="request")

        async def answer(inquiry):
            return inquiry.body.upper()

        responder = asyncio.create_task(channels.reply("upper", answer))
        while not (await channels.get("upper")).requests.responders:
            pass
        self.assertEqual([b"A", b"B"], await asyncio.gather(channels.request("upper", b"a"), channels.request("upper", b"b")))
        await channels.close("upper")
        await responder

    async def test_a_query_tells_what_changed_since_a_clock(self):
        with tempfile.TemporaryDirectory() as folder:
            clock = await self.client.watch.sync(folder)
            Path(folder, "a.txt").write_text("1")
            batch = await self.client.watch.since(folder, clock)
            self.assertEqual(["a.txt"], [change.path for change in batch.changes])

    async def test_a_state_is_held_in_its_block(self):
        with tempfile.TemporaryDirectory() as folder:
            async with self.client.watch.state(folder, "build") as held:
                self.assertEqual(0, held.silent)
                self.assertEqual(["build"], [state.name for state in await self.client.watch.states()])
            while await self.client.watch.states():
                await asyncio.sleep(0.01)

    async def test_a_watch_tells_changes(self):
        with tempfile.TemporaryDirectory() as folder:
            async with aclosing(self.client.watch.subscribe(folder)) as batches:
                try:
                    await anext(batches)
                except zsync.Unimplemented as error:
                    self.skipTest(str(error))
                Path(folder, "a.txt").write_text("1")
                self.assertEqual(["a.txt"], [change.path for change in (await anext(batches)).changes])


class RestartTest(AioTest):
    async def asyncSetUp(self):
        if self.daemon.process.poll() is not None:
            await asyncio.to_thread(self.daemon.start)
        await super().asyncSetUp()

    async def restart(self):
        await asyncio.sleep(0.4)
        await asyncio.to_thread(self.daemon.kill)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(self.daemon.start)

    async def test_an_output_follow_survives_kill_9_without_hole_or_duplicate(self):
        task = await self.client.tasks.submit("sh", "-c", LINES)
        restart = asyncio.create_task(self.restart())
        records = [record async for batch in task.output() for record in batch.records]
        await restart
        self.assertEqual("".join(f"line {i}\n" for i in range(60)), b"".join(r.data for r in records).decode())
        self.assertEqual(list(range(1, len(records) + 1)), [record.seq for record in records])

    async def test_an_output_follow_and_a_wait_survive_an_upgrade(self):
        task = await self.client.tasks.submit("sh", "-c", LINES)
        waiting = asyncio.create_task(task.wait())
        upgrade = asyncio.create_task(self.client.daemon.upgrade())
        records = [record async for batch in task.output() for record in batch.records]
        self.assertEqual(self.daemon.process.pid, (await upgrade).pid)
        self.assertEqual("".join(f"line {i}\n" for i in range(60)), b"".join(r.data for r in records).decode())
        self.assertEqual(list(range(1, len(records) + 1)), [record.seq for record in records])
        self.assertEqual(0, (await waiting).exit_code)
        self.assertTrue((await self.client.daemon.check_upgrade()).program.endswith("/zsyncd"))

    async def test_a_wait_survives_kill_9(self):
        task = await self.client.tasks.submit("sh", "-c", "sleep 1; exit 4")
        restart = asyncio.create_task(self.restart())
        self.assertEqual(4, (await task.wait()).exit_code)
        await restart


if __name__ == "__main__":
    unittest.main()
