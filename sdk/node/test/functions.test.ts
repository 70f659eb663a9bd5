// Functions against a real zsyncd.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type Client, FunctionFailed, NotFound, v1 } from "../src/index.js";
import { TestDaemon, missing, text } from "./harness.js";

const skip = missing.length > 0 ? `not built: ${missing.join(", ")}` : false;

describe("functions", { skip, timeout: 120_000 }, () => {
  let daemon: TestDaemon;
  let client: Client;

  before(async () => {
    daemon = new TestDaemon();
    await daemon.start();
    client = await daemon.client();
  });
  after(async () => {
    client.close();
    await daemon.stop();
  });

  it("serves calls as tasks and directly, and goes on over a restart", async () => {
    const stop = new AbortController();
    const serving = client.serve("upper", async (call) => ({ payload: text(call.payload).toUpperCase(), contentType: "text/plain" }), {
      concurrency: 4, signal: stop.signal,
    });
    const task = await client.functions.submit("upper", "hello", { waitForWorker: true, priority: 3 });
    const ended = await task.wait();
    assert.deepEqual([ended.state, text(ended.result!.payload), ended.result!.contentType], [v1.TaskState.SUCCEEDED, "HELLO", "text/plain"]);
    assert.equal(ended.spec?.priority, 3);
    const results = await Promise.all(Array.from({ length: 20 }, (_, i) => client.call("upper", `a${i}`)));
    assert.deepEqual(results.map((one) => text(one.payload)), Array.from({ length: 20 }, (_, i) => `A${i}`));
    await daemon.kill();
    await daemon.start();
    while (!(await client.functions.list()).some((one) => one.workers === 1));
    assert.equal(text((await client.call("upper", "again")).payload), "AGAIN");
    stop.abort();
    await serving;
  });

  it("tells how a handler failed, and which functions there are", async () => {
    const stop = new AbortController();
    const serving = client.serve("fails", () => {
      throw new FunctionFailed("no such image", { code: "NO_IMAGE", permanent: true });
    }, { signal: stop.signal });
    const task = await client.functions.submit("fails", "", { waitForWorker: true, retries: 5 });
    const ended = await task.wait();
    assert.deepEqual([ended.state, ended.attempt, ended.result?.error?.code], [v1.TaskState.FAILED, 1, "NO_IMAGE"]);
    await assert.rejects(client.call("fails"), /no such image/);
    await assert.rejects(client.call("fail"), (error) => error instanceof NotFound && /did you mean fails/.test(error.message + error.hint));
    stop.abort();
    await serving;
  });
});
