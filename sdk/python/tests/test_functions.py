"""Functions of both clients against a real zsyncd."""
import asyncio
import threading
import unittest

import zsync
from harness import CALL_SECONDS_MAX, DaemonTest
from zsync import v1


class FunctionsTest(DaemonTest, unittest.TestCase):
    def setUp(self):
        self.client = zsync.Client(self.daemon.socket, timeout=CALL_SECONDS_MAX)
        self.addCleanup(self.client.close)
        self.stop = threading.Event()

    def serve(self, name, handler, **options):
        thread = threading.Thread(target=self.client.serve, args=(name, handler), kwargs={"stop": self.stop, **options})
        thread.start()
        self.addCleanup(thread.join, CALL_SECONDS_MAX)
        self.addCleanup(self.stop.set)
        return thread

    def test_a_call_is_a_task_with_a_typed_result_or_direct(self):
        self.serve("upper", lambda call: (call.payload.upper(), "text/plain"), concurrency=2)
        task = self.client.functions.submit("upper", "hello", content_type="text/plain", priority=3, wait_for_worker=True)
        ended = task.wait()
        self.assertEqual((v1.TASK_STATE_SUCCEEDED, b"HELLO", "text/plain"), (ended.state, ended.result.payload, ended.result.content_type))
        self.assertEqual(3, ended.spec.priority)
        self.assertEqual(b"NOW", self.client.call("upper", "now").payload)
        self.assertEqual([("upper", 1, 2)], [(one.name, one.workers, one.places) for one in self.client.functions.list() if one.workers])

    def test_a_handler_says_how_it_failed(self):
        def handler(call):
            if call.payload == b"type":
                return 7
            raise zsync.FunctionFailed("no such image", code="NO_IMAGE", permanent=True)

        self.serve("fails", handler)
        task = self.client.functions.submit("fails", retries=5, wait_for_worker=True)
        ended = task.wait()
        self.assertEqual((v1.TASK_STATE_FAILED, 1, "NO_IMAGE"), (ended.state, ended.attempt, ended.result.error.code))
        with self.assertRaisesRegex(zsync.Aborted, "no such image"):
            self.client.call("fails")
        with self.assertRaisesRegex(zsync.Aborted, "returned int"):
            self.client.call("fails", "type")
        with self.assertRaisesRegex(zsync.NotFound, "did you mean fails"):
            self.client.call("fail")

    def test_a_worker_that_is_stopped_answers_what_it_has(self):
        began, go = threading.Event(), threading.Event()

        def handler(call):
            began.set()
            go.wait(CALL_SECONDS_MAX)
            return "done"

        thread = self.serve("slow", handler)
        task = self.client.functions.submit("slow", wait_for_worker=True)
        self.assertTrue(began.wait(CALL_SECONDS_MAX))
        self.stop.set()
        go.set()
        thread.join(CALL_SECONDS_MAX)
        self.assertFalse(thread.is_alive())
        self.assertEqual(b"done", task.wait().result.payload)
        self.assertEqual(1, task.get().attempt)

    def test_asyncio_serves_calls_and_goes_on_over_a_restart(self):
        async def run():
            async with zsync.aio.Client(self.daemon.socket, timeout=CALL_SECONDS_MAX) as client:
                stop = asyncio.Event()

                async def handler(call):
                    if call.payload == b"bad":
                        raise ValueError("not that")
                    return call.payload[::-1]

                worker = asyncio.create_task(client.serve("reverse", handler, concurrency=8, stop=stop))
                first = await client.functions.submit("reverse", "abc", wait_for_worker=True)
                self.assertEqual(b"cba", (await first.wait()).result.payload)
                results = await asyncio.gather(*(client.call("reverse", str(i) * 2) for i in range(10, 30)))
                self.assertEqual([(str(i) * 2)[::-1].encode() for i in range(10, 30)], [one.payload for one in results])
                with self.assertRaisesRegex(zsync.Aborted, "not that"):
                    await client.call("reverse", "bad")
                self.daemon.kill()
                self.daemon.start()
                while not any(one.workers for one in await client.functions.list()):
                    await asyncio.sleep(0.01)
                self.assertEqual(b"ba", (await client.call("reverse", "ab")).payload)
                stop.set()
                await worker

        asyncio.run(run())


if __name__ == "__main__":
    unittest.main()
