"""zsync.Client against a real zsyncd."""
import contextlib
import signal
import tempfile
import threading
import unittest
from datetime import datetime, timedelta
from pathlib import Path

import zsync
from harness import CALL_SECONDS_MAX, DaemonTest
from zsync import v1


class SyncTest(DaemonTest, unittest.TestCase):
    def setUp(self):
        self.client = zsync.Client(self.daemon.socket, timeout=CALL_SECONDS_MAX)
        self.addCleanup(self.client.close)


class TasksTest(SyncTest):
    def test_a_task_is_submitted_followed_and_waited_for(self):
        task = self.client.tasks.submit("sh", "-c", "echo out; echo err >&2; exit 3", name="three", labels={"a": "b"})
        records = [record for batch in task.output() for record in batch.records]
        self.assertEqual([1, 2], [record.seq for record in records])
        final = task.wait()
        self.assertEqual((v1.TASK_STATE_FAILED, 3), (final.state, final.exit_code))
        self.assertEqual("three", self.client.tasks.get(task.id[:-2]).spec.name)
        self.assertEqual([task.id], [found.id for found in self.client.tasks.list(labels={"a": "b"})])

    def test_run_gives_exit_code_and_both_streams(self):
        done = self.client.run(["sh", "-c", "cat; echo $WORD >&2; exit 7"], stdin=b"in", env={"WORD": "set"}, cwd="/")
        self.assertEqual((7, b"in", b"set\n"), (done.returncode, done.stdout, done.stderr))
        with self.assertRaises(zsync.CommandFailed) as failed:
            self.client.run("false", check=True)
        self.assertEqual(1, failed.exception.completed.task.exit_code)

    def test_run_keeps_the_output_of_the_last_attempt_only(self):
        done = self.client.run("sh", "-c", "echo again; exit 1", retries=2)
        self.assertEqual((3, b"again\n"), (done.task.attempt, done.stdout))

    def test_a_policy_says_when_and_after_what_a_command_is_tried_again(self):
        done = self.client.run("sh", "-c", "exit 75", retry={"backoff": 0.001, "on": [75, "timeout"]}, retries=1, on_lost="retry")
        task = self.client.tasks.task(done.task.id).get()
        self.assertEqual([75, 75], [attempt.exit_code for attempt in task.attempts])
        self.assertEqual(([75], True), (list(task.spec.retry.on.exit_codes), task.spec.retry.on.timeout))
        with self.assertRaises(TypeError):
            zsync.spec("true", retry={"bakoff": 1})

    def test_a_task_starts_after_others_and_is_skipped_when_it_cannot(self):
        first = self.client.tasks.submit("false", locks=["l"])
        cleans = self.client.tasks.submit("true", after=[(first.id, "failed")], delay=0.001)
        skipped = self.client.tasks.submit("true", after=[first.id])
        self.assertEqual(v1.TASK_STATE_SUCCEEDED, cleans.wait().state)
        self.assertEqual(v1.TASK_STATE_SKIPPED, skipped.wait().state)
        a, b = zsync.spec("true", name="a", after=["b"]), zsync.spec("true", name="b", after=["a"])
        with self.assertRaisesRegex(zsync.InvalidArgument, "wait for each other"):
            self.client.tasks.submit_many([a, b])

    def test_a_task_is_paused_resumed_and_sent_signals(self):
        task = self.client.tasks.submit("sh", "-c", "trap 'exit 5' USR1; echo up; while :; do sleep 0.01; done")
        next(iter(task.output()))
        self.assertGreater(task.pause().paused_unix_nano, 0)
        self.assertEqual(0, task.resume().paused_unix_nano)
        task.signal(signal.SIGUSR1)
        ended = task.wait()
        self.assertEqual(5, ended.exit_code)
        self.assertGreater(ended.usage.memory_peak_bytes, 0)
        with self.assertRaises(zsync.Conflict):
            task.pause()

    def test_priorities_and_limits_reach_the_command(self):
        done = self.client.run("sh", "-c", "nice; ionice", nice=7, io="best-effort:6", limits={"memory_bytes": 1 << 30, "cpus": 1.5})
        self.assertEqual(b"7\nbest-effort: prio 6\n", done.stdout)
        self.assertEqual((1 << 30, 1500), (done.task.spec.limits.memory_bytes, done.task.spec.limits.cpu_millis))
        with self.assertRaisesRegex(ValueError, "best-effort"):
            zsync.spec("true", io="fast")
        with self.assertRaisesRegex(TypeError, "memory_bytes"):
            zsync.spec("true", limits={"memory": 1})

    def test_input_types_on_a_tasks_terminal(self):
        task = self.client.tasks.submit("sh", "-c", "stty size; read x; stty size; echo got $x", terminal=(24, 80))
        next(iter(task.output()))
        with task.input() as keyboard:
            keyboard.resize(30, 100)
            keyboard.write(b"word\n")
            keyboard.finish(eof=False)
        self.assertEqual(b"24 80\r\nword\r\n30 100\r\ngot word\r\n", task.read_output())

    def test_one_stream_of_input_goes_on_where_another_ended(self):
        task = self.client.tasks.submit("cat", stdin_stream=True)
        first = task.input()
        first.write(b"one ")
        first.finish(eof=False)
        with task.input() as second:
            second.write(b"two")
        self.assertEqual(b"one two", task.read_output())

    def test_a_task_has_resources_while_it_runs_and_ends_by_its_deadline(self):
        tasks = self.client.tasks
        self.assertEqual(2, tasks.set_resource("gpu", 2).capacity)
        holder = tasks.submit("sleep", "60", resources={"gpu": 2}, deadline=timedelta(hours=1))
        missed = tasks.submit("true", resources={"gpu": 1}, start_deadline=0.2).wait()
        self.assertEqual((v1.TASK_STATE_TIMED_OUT, "deadline: it had not started in time"), (missed.state, missed.reason))
        self.assertEqual([[holder.id]], [list(one.holders) for one in tasks.resources() if one.name == "gpu"])
        self.assertTrue(holder.get().HasField("slack"))
        holder.cancel(wait=True)
        ended = tasks.submit("sleep", "60", deadline=datetime.now() + timedelta(seconds=0.3)).wait()
        self.assertEqual((v1.TASK_STATE_TIMED_OUT, "deadline"), (ended.state, ended.reason))

    def test_a_group_has_an_order_a_bound_and_may_be_paused_and_drained(self):
        tasks = self.client.tasks
        group = tasks.set_group("py", 3, order="deadline", overload="reject", queued_max=1, paused=True)
        self.assertEqual((3, v1.GROUP_ORDER_DEADLINE, 1), (group.parallel, group.order, group.queued_max))
        waits = tasks.submit("true", group="py")
        with self.assertRaises(zsync.LimitExceeded):
            tasks.submit("true", group="py")
        tasks.set_group("py", paused=False, drained=True)
        self.assertEqual(v1.TASK_STATE_SUCCEEDED, waits.wait().state)
        with self.assertRaisesRegex(zsync.Conflict, "drained by uid"):
            tasks.submit("true", group="py")
        with self.assertRaises(TypeError):
            tasks.set_group("py", ordre="deadline")

    def test_a_guaranteed_schedule_is_refused_where_a_run_could_be_late(self):
        self.client.tasks.set_group("rate", 1, order="rate")
        schedules = self.client.tasks.schedules
        made = schedules.create("first", "true", group="rate", every=10, run_timeout=2, guaranteed=True)
        self.assertEqual((6, 0.3), (made.guarantee.response_max.seconds, made.guarantee.utilization))
        with self.assertRaisesRegex(zsync.Conflict, 'a run of "first"'):
            schedules.create("second", "true", group="rate", every=20, run_timeout=8, guaranteed=True)
        schedules.remove("first")

    def test_a_group_has_a_budget_of_memory_and_cpus(self):
        group = self.client.tasks.set_group("budget", memory_bytes_max=1 << 30, cpus_max=1.5)
        self.assertEqual((1 << 30, 1500, 0), (group.memory_bytes_max, group.cpu_millis_max, group.memory_bytes_used))
        with self.assertRaisesRegex(zsync.Conflict, "it may take 2 CPUs"):
            self.client.tasks.submit("true", group="budget", limits={"cpus": 2})

    def test_a_schedule_submits_its_task_again_until_it_is_removed(self):
        schedules = self.client.tasks.schedules
        made = schedules.create("often", "true", every=1, overlap="queue", labels={"c": "d"})
        self.assertEqual(v1.MISSED_RUNS_SKIP, made.spec.missed)
        self.assertEqual(3, len(schedules.upcoming("often", 3)))
        with self.assertRaises(zsync.AlreadyExists):
            schedules.create("often", "true", cron="@daily")
        with self.assertRaisesRegex(zsync.InvalidArgument, "it never fires"):
            schedules.create("never", "true", cron="0 0 30 2 *")
        for event in self.client.events.follow("schedule.fired", from_seq=1):
            if isinstance(event, v1.Event) and event.subject == "often":
                break
        task = self.client.tasks.get(schedules.get("often").last_task)
        self.assertEqual({"c": "d", "schedule": "often"}, dict(task.spec.labels))
        self.assertTrue(schedules.pause("often").HasField("paused"))
        self.assertFalse(schedules.resume("often").HasField("paused"))
        schedules.remove("often")
        self.assertEqual([], list(schedules.list()))

    def test_an_array_is_submitted_waited_for_and_cancelled_as_one(self):
        array = self.client.tasks.submit_array("echo", "{os}-{v}", matrix={"os": ["a", "b"], "v": ["1"]})
        self.assertEqual(["a-1", "b-1"], [task.spec.argv[1] for task in array.wait()])
        self.assertEqual(set(array.ids), {task.id for task in self.client.tasks.list(array=array.id)})
        sleeps = self.client.tasks.submit_array("sleep", "60", array="0-1")
        self.assertEqual([v1.TASK_STATE_CANCELED] * 2, [task.state for task in sleeps.cancel(wait=True)])

    def test_a_run_whose_timeout_passes_is_cancelled(self):
        with self.assertRaises(zsync.DeadlineExceeded):
            self.client.run("sleep", "60", name="too-long", timeout=0.3)
        self.assertEqual(v1.TASK_STATE_CANCELED, self.client.tasks.task("too-long").wait().state)

    def test_cancel_with_wait_returns_when_the_tree_is_gone(self):
        task = self.client.tasks.submit("sleep", "60")
        self.assertEqual(v1.TASK_STATE_CANCELED, task.cancel(wait=True).state)

    def test_input_reaches_the_task(self):
        task = self.client.tasks.submit("cat", stdin_stream=True)
        with task.input() as stdin:
            stdin.write(b"a" * 1000)
            stdin.write(b"b")
        self.assertEqual(b"a" * 1000 + b"b", task.read_output())

    def test_a_large_input_reaches_the_task_whole(self):
        data = b"".join(b"%07d\n" % number for number in range(400_000))
        for _ in range(5):  # also what is written before the command has started
            task = self.client.tasks.submit("cat", stdin_stream=True)
            stdin = task.input()
            stdin.write(data)
            self.assertEqual(len(data), stdin.finish())
            self.assertTrue(data == task.read_output())

    def test_the_same_idempotency_key_gives_the_same_task(self):
        first = self.client.tasks.submit("true", idempotency_key="once")
        again = self.client.tasks.submit("true", idempotency_key="once")
        self.assertEqual((first.id, False, True), (again.id, first.existing, again.existing))

    def test_a_finished_task_is_retried_and_removed(self):
        task = self.client.tasks.submit("true")
        task.wait()
        task.retry()
        self.assertEqual(2, task.wait().attempt)
        task.remove()
        with self.assertRaises(zsync.NotFound):
            task.get()

    def test_a_thousand_concurrent_submits_are_all_run_once(self):
        ids, lock = [], threading.Lock()

        def submit(count):
            for _ in range(count):
                task = self.client.tasks.submit("true", group="many")
                with lock:
                    ids.append(task.id)

        threads = [threading.Thread(target=submit, args=(40,)) for _ in range(25)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(1000, len(set(ids)))
        records = self.client.tasks.wait(ids)
        self.assertEqual({(v1.TASK_STATE_SUCCEEDED, 1)}, {(record.state, record.attempt) for record in records})
        listed = [record.id for record in self.client.tasks.list(group="many")]
        self.assertEqual(sorted(ids), sorted(listed))

    def test_a_large_output_arrives_whole_and_in_order(self):
        done = self.client.run("sh", "-c", "seq 3000000")
        self.assertEqual([], done.gaps)
        self.assertEqual(b"".join(b"%d\n" % number for number in range(1, 3000001)), done.stdout)

    def test_a_follow_that_is_left_early_ends_its_call(self):
        task = self.client.tasks.submit("sh", "-c", "echo first; sleep 60")
        for batch in task.output():
            self.assertEqual(b"first\n", batch.records[0].data)
            break
        task.cancel(wait=True)


class ErrorsTest(SyncTest):
    def test_a_wrong_id_names_the_closest_and_what_to_do(self):
        self.client.tasks.submit("true", name="compile").wait()
        with self.assertRaises(zsync.NotFound) as found:
            self.client.tasks.get("compil3")
        error = found.exception
        self.assertEqual(("NOT_FOUND", "id", "NOT_FOUND"), (error.code, error.field, error.reason))
        self.assertIn("compile", error.closest)
        self.assertTrue(error.hint)
        self.assertTrue(str(error).startswith('no task "compil3"'), str(error))

    def test_an_empty_command_names_the_field(self):
        with self.assertRaises(zsync.InvalidArgument) as found:
            self.client.tasks.submit()
        self.assertEqual("spec.argv", found.exception.field)

    def test_a_limit_is_named(self):
        with self.assertRaises(zsync.Error) as found:
            self.client.tasks.submit("true", env={"A": "x" * 200_000})
        self.assertIn("=", found.exception.limit)

    def test_a_message_that_is_too_large_is_an_error_and_the_client_lives_on(self):
        with self.assertRaises(zsync.LimitExceeded):
            self.client.tasks.submit("true", stdin=b"x" * (5 << 20))
        self.assertTrue(self.client.daemon.info().version)

    def test_an_unknown_option_is_refused_by_name(self):
        with self.assertRaisesRegex(TypeError, "no option 'cdw'"):
            self.client.tasks.submit("true", cdw="/")

    def test_a_passed_deadline_is_a_timeout(self):
        task = self.client.tasks.submit("sleep", "60")
        with self.assertRaises(TimeoutError):
            task.wait(timeout=0.1)
        self.assertEqual(v1.TASK_STATE_CANCELED, task.cancel(wait=True).state)

    def test_a_closed_client_says_so(self):
        client = zsync.Client(self.daemon.socket)
        client.close()
        with self.assertRaisesRegex(zsync.Conflict, "closed"):
            client.daemon.info()


class DaemonNounTest(SyncTest):
    def test_info_stats_config_and_doctor_answer(self):
        info = self.client.daemon.info()
        self.assertEqual(self.daemon.process.pid, info.pid)
        self.assertTrue({"tasks", "channels", "watch"} <= {capability.noun for capability in info.capabilities})
        self.assertGreater(self.client.daemon.stats().rss_bytes, 0)
        self.assertTrue(any(value.key == "socket" for value in self.client.daemon.config()))
        self.assertTrue(self.client.daemon.doctor())

    def test_events_tell_the_life_of_a_task(self):
        task = self.client.tasks.submit("true")
        task.wait()
        events = list(self.client.events.follow("task.", from_seq=1, follow=False))
        types = [event.type for event in events if event.subject == task.id]
        self.assertEqual(["task.queued", "task.started", "task.finished"], types)

    def test_the_trace_of_a_task_has_its_wait_and_its_attempt(self):
        task = self.client.tasks.submit("true", name="traced")
        task.wait()
        trace = self.client.traces.get(task.id)
        self.assertEqual(["traced", "wait in the queue", "attempt 1"], [span.name for span in trace.spans])
        self.assertIn(trace.summary.id, [summary.id for summary in self.client.traces.list()])
        with self.assertRaises(zsync.NotFound):
            self.client.traces.get("beef")


class DiagnosticsTest(SyncTest):
    def test_what_a_task_printed_is_listed_followed_and_cleared(self):
        def build(code: int) -> None:
            line = f"[ {code} = 0 ] || printf '/w/a.c:1:2: error: no [-Wx]\\n'; exit {code}"
            task = self.client.tasks.submit("sh", "-c", line, name="build", cwd="/", matchers=["gcc"])
            task.wait()

        build(1)
        (found,) = self.client.diagnostics.list("/w", source="build in /", severity="error")
        self.assertEqual(("/w/a.c", 1, "no", "-Wx"), (found.path, *self.first_of(found)))
        with contextlib.closing(self.client.diagnostics.subscribe()) as batches:
            first = next(batches)
            self.assertTrue(first.reset)
            self.assertEqual(["/w/a.c"], [one.path for one in first.sets])
            build(0)
            self.assertEqual(0, len(next(batches).sets[0].diagnostics))
        self.assertEqual([], list(self.client.diagnostics.list()))
        with self.assertRaises(ValueError):
            self.client.diagnostics.list(severity="bad")

    @staticmethod
    def first_of(found):
        one = found.diagnostics[0]
        return one.line, one.message, one.code


class ProjectsTest(SyncTest):
    def test_a_project_is_brought_up_followed_and_taken_down(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        file = Path(folder.name, "zsync.yaml")
        file.write_text("version: 1\nproject: py\nservices: {a: {shell: 'echo up; exec sleep 60', ready: {log: up}}}\n")
        self.assertEqual([], list(self.client.projects.check(file.read_text())))
        self.assertEqual([2], [problem.line for problem in self.client.projects.check("version: 1\nx: 1\n")])
        for project in self.client.projects.follow(self.client.projects.up(file).root):
            if project.settled:
                break
        self.assertTrue(project.healthy)
        task = project.units[0].task
        self.assertEqual(v1.UNIT_STATE_READY, self.client.projects.get("py").units[0].state)
        self.client.projects.restart("py", "a")
        self.assertEqual(v1.TASK_STATE_CANCELED, self.client.tasks.task(task).wait().state)
        self.assertEqual(v1.UNIT_STATE_STOPPED, self.client.projects.down("py").units[0].state)
        self.assertEqual(["py"], [project.name for project in self.client.projects.list()])
        self.client.projects.remove("py")
        with self.assertRaises(zsync.NotFound):
            self.client.projects.get("py")


class ChannelsTest(SyncTest):
    def setUp(self):
        super().setUp()
        try:
            next(self.client.channels.list(), None)
        except zsync.Unimplemented as error:
            self.skipTest(str(error))

    def test_messages_arrive_in_order_and_the_close_ends_the_receiver(self):
        self.client.channels.create("order", capacity=64)
        got = []
        receiver = threading.Thread(target=lambda: got.extend(r.data for r in self.client.channels.recv("order")))
        receiver.start()
        sent = [b"%d" % number for number in range(20_000)]
        reply = self.client.channels.send("order", sent)
        self.assertEqual((20_000, 20_000), (reply.accepted, reply.last_seq))
        self.client.channels.close("order")
        receiver.join()
        self.assertEqual(sent, got)

    def test_a_receiver_that_leaves_early_loses_nothing(self):
        self.client.channels.create("early")
        self.client.channels.send("early", [b"%d" % number for number in range(100)])
        first = []
        for record in self.client.channels.recv("early"):
            first.append(record.data)
            if len(first) == 10:
                break
        rest = [record.data for record in self.client.channels.recv("early", limit=90)]
        self.assertEqual([b"%d" % number for number in range(100)], first + rest)

    def test_a_group_delivers_again_until_acknowledged_and_then_to_the_dead_letters(self):
        channels = self.client.channels
        channels.create("work", durable=True)
        channels.create_group("work", "g", ack_wait=60, max_deliveries=2)
        channels.send("work", [b"a", b"b", b"c"])
        consumer = channels.consume("work", "g", by_hand=True)
        a, b, c = next(consumer), next(consumer), next(consumer)
        self.assertEqual([(b"a", 1), (b"b", 1)], [(one.data, one.delivery) for one in (a, b)])
        self.assertEqual(1, channels.ack("work", "g", a).done)
        with self.assertRaises(zsync.Conflict):
            channels.ack("work", "g", a)
        with self.assertRaises(zsync.InvalidArgument):
            channels.ack("work", "g", 900)
        self.assertEqual(1, channels.extend("work", "g", b).done)
        self.assertEqual(1, channels.nack("work", "g", b, delay=0.01, reason="busy").done)
        self.assertEqual((b"b", 2), (lambda one: (one.data, one.delivery))(next(consumer)))
        channels.nack("work", "g", 2, reason="never")
        reply = channels.ack("work", "g", a, c)
        self.assertEqual((1, ["SETTLED"]), (reply.done, [one.reason for one in reply.refused]))
        consumer.close()
        while not channels.get("work").groups[0].dead:
            pass
        dead = next(channels.follow("work.dead", from_seq=1))
        self.assertEqual((b"b", "work", 2, "never"), (dead.data, dead.dead.channel, dead.dead.seq, dead.dead.reason))
        channels.send("work", [b"d"])
        self.assertEqual([b"d"], [one.data for one in channels.consume("work", "g", limit=1)])
        self.assertEqual(0, channels.get("work").groups[0].lag)
        channels.remove_group("work", "g")

    def test_a_channel_keeps_what_it_is_told_and_is_read_from_a_place_of_choice(self):
        channels = self.client.channels
        channels.create("kept", durable=True, retention_bytes=1 << 20, dedup_window=60)
        policy = channels.update("kept", retention_age=timedelta(days=1)).spec.policy
        self.assertEqual((86400, 1 << 20, 60), (policy.retention_age.seconds, policy.retention_bytes, policy.dedup_window.seconds))
        with self.assertRaises(zsync.InvalidArgument):
            channels.update("kept", retention_bytes=1)
        channels.send("kept", [b"1", b"2"])
        first = next(channels.follow("kept", from_start=True))
        self.assertEqual(b"1", first.data)
        sent = datetime.fromtimestamp(first.time_unix_nano / 1e9) - timedelta(seconds=1)
        self.assertEqual(b"1", next(channels.follow("kept", from_time=sent)).data)
        self.assertEqual(1, channels.create_group("kept", "g", from_time=sent).next_seq)
        with self.assertRaises(zsync.InvalidArgument):
            next(channels.follow("kept", from_seq=9))

    def test_a_request_is_answered_and_says_why_when_it_is_not(self):
        channels = self.client.channels
        channels.create("upper", form="request")
        with self.assertRaises(zsync.Conflict):
            channels.request("upper", b"x")

        def answer(inquiry):
            if inquiry.body == b"fail":
                raise ValueError("no such row")
            return inquiry.body.upper()

        responder = threading.Thread(target=channels.reply, args=("upper", answer))
        responder.start()
        while not channels.get("upper").requests.responders:
            pass
        self.assertEqual([b"A", b"B"], [channels.request("upper", body, timeout=30) for body in (b"a", b"b")])
        with self.assertRaisesRegex(zsync.Error, "no such row"):
            channels.request("upper", b"fail")
        channels.close("upper")
        responder.join()

    def test_latest_and_broadcast_are_followed(self):
        channels = self.client.channels
        channels.create("state", form="latest")
        channels.try_send("state", b"a1", b"a2", b"b1", keys=["a", "a", "b"])
        followed = channels.follow("state")
        self.assertEqual([b"a2", b"b1"], [next(followed).data, next(followed).data])
        channels.create("news", form="broadcast", capacity=2)
        channels.send("news", [b"1", b"2", b"3"])
        followed = channels.follow("news", from_seq=1)
        self.assertEqual((1, 1, "lagged"), (lambda gap: (gap.__getattribute__("from"), gap.to, gap.reason))(next(followed)))
        self.assertEqual(b"2", next(followed).data)
        with self.assertRaises(zsync.Conflict):
            next(channels.recv("news"))

    def test_a_message_with_a_known_id_is_kept_once_and_keys_come_along(self):
        channels = self.client.channels
        channels.create("once")
        self.assertEqual(1, channels.try_send("once", b"a", b"b", ids=["x", "x"]).duplicates)
        with channels.sender("once") as sender:
            sender.send(b"c", b"d", keys=["k", ""], ids=["x", "y"])
            reply = sender.flush()
            self.assertEqual((2, 1), (reply.accepted, reply.duplicates))
        got = [(one.data, one.id) for one in channels.recv("once", limit=2)]
        self.assertEqual([(b"a", "x"), (b"d", "y")], got)

    def test_a_follower_takes_nothing_away(self):
        self.client.channels.create("seen")
        with self.client.channels.sender("seen") as sender:
            sender.send(b"a", b"b")
            self.assertEqual(2, sender.flush().accepted)
            sender.send(b"c")
        self.client.channels.close("seen")
        followed = [(record.seq, record.data) for record in self.client.channels.follow("seen", from_seq=1)]
        self.assertEqual([(1, b"a"), (2, b"b"), (3, b"c")], followed)
        self.assertEqual(3, self.client.channels.get("seen").depth)
        self.assertEqual([b"a", b"b", b"c"], [record.data for record in self.client.channels.recv("seen")])

    def test_a_full_channel_with_overflow_error_says_how_much_it_took(self):
        self.client.channels.create("small", capacity=2, overflow="error")
        with self.assertRaises(zsync.LimitExceeded):
            self.client.channels.send("small", [b"1", b"2", b"3"])
        self.assertEqual(2, self.client.channels.get("small").depth)

    def test_what_was_dropped_is_announced_by_a_gap(self):
        self.client.channels.create("ring", capacity=2, overflow="drop_oldest")
        self.client.channels.send("ring", [b"1", b"2", b"3", b"4"])
        self.client.channels.close("ring")
        followed = list(self.client.channels.follow("ring", from_seq=1))
        received = list(self.client.channels.recv("ring"))
        for gap, *records in (followed, received):
            self.assertEqual((1, 2), (getattr(gap, "from"), gap.to))
            self.assertEqual([b"3", b"4"], [record.data for record in records])
        self.assertEqual("dropped_oldest", received[0].reason)

    def test_unknown_channels_and_double_creates_are_errors_of_their_own(self):
        with self.assertRaises(zsync.NotFound):
            self.client.channels.send("nowhere", b"x")
        with self.assertRaises(zsync.NotFound):
            list(self.client.channels.recv("nowhere"))
        self.client.channels.create("twice")
        with self.assertRaises(zsync.AlreadyExists):
            self.client.channels.create("twice")
        self.client.channels.create("twice", if_absent=True)
        self.client.channels.remove("twice")


if __name__ == "__main__":
    unittest.main()
