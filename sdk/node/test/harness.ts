// A private zsyncd for the tests, in a folder of its own.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, linkSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Client, type ClientOptions, v1 } from "../src/index.js";
import { probe } from "../src/endpoint.js";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../../..");
export const callTimeoutMs = 60_000;
const startTimeoutMs = 20_000;

/** The environment names the programs, as ZSYNCD and ZSYNC_SHIM; else build/bin has them. */
export function program(name: string): string {
  return process.env[name.toUpperCase().replaceAll("-", "_")] ?? join(root, "build/bin", name);
}

export const missing = ["zsyncd", "zsync-shim"].map(program).filter((path) => !existsSync(path));

export class TestDaemon {
  // A short path: a socket's is limited to 107 bytes.
  readonly folder = mkdtempSync("/tmp/zn");
  readonly socket = join(this.folder, "s");
  process!: ChildProcess;

  constructor() {
    for (const name of ["zsyncd", "zsync-shim"]) {
      const copy = join(this.folder, name); // the daemon looks for the shim beside itself
      try {
        linkSync(program(name), copy);
      } catch {
        copyFileSync(program(name), copy);
      }
    }
  }

  async start(): Promise<void> {
    const log = openSync(join(this.folder, "log"), "a");
    const state = ["--socket", this.socket, "--state-dir", join(this.folder, "state")];
    this.process = spawn(join(this.folder, "zsyncd"), state, { stdio: ["ignore", log, log], detached: true });
    const giveUp = Date.now() + startTimeoutMs;
    const said = (): string => readFileSync(join(this.folder, "log"), "utf8");
    // The socket of a killed daemon may still be held by what it was starting, so it is asked for this one.
    while (!said().includes(`pid=${this.process.pid}\n`)) {
      if (this.process.exitCode !== null || Date.now() > giveUp) {
        throw new Error("zsyncd did not start:\n" + said());
      }
      await sleep(5);
    }
    await probe(this.socket);
  }

  async kill(): Promise<void> {
    const ended = once(this.process, "exit");
    this.process.kill("SIGKILL");
    await ended;
  }

  async restartSoon(): Promise<void> {
    await sleep(400);
    await this.kill();
    await sleep(200);
    await this.start();
  }

  async stop(): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      const client = await this.client({ timeoutMs: 10_000, resume: false });
      for await (const task of client.tasks.list({ states: [v1.TaskState.QUEUED, v1.TaskState.RUNNING] })) {
        await client.tasks.task(task.id).cancel({ wait: true, killGraceMs: 200 });
      }
      client.close();
      const ended = once(this.process, "exit");
      this.process.kill("SIGTERM");
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  client(options: ClientOptions = {}): Promise<Client> {
    return Client.connect({ socket: this.socket, timeoutMs: callTimeoutMs, ...options });
  }
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** The error of this kind that the call ends with. */
export async function failure<T extends Error>(kind: new (...words: never[]) => T, call: Promise<unknown>): Promise<T> {
  try {
    await call;
  } catch (error) {
    assert.ok(error instanceof kind, String(error));
    return error;
  }
  assert.fail("no error");
}
