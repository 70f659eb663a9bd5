// Where the daemon is, whether it answers, and how it is started on demand.
import { spawn } from "node:child_process";
import { accessSync, closeSync, constants, mkdirSync, openSync } from "node:fs";
import { connect } from "node:net";
import { delimiter, dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Unavailable, makeError } from "./errors.js";

export const socketPathBytesMax = 107;
const startTimeoutMs = 5000;
const pollMs = 5;

/** ZSYNC_STATE_DIR, else $XDG_STATE_HOME/zsync, else $HOME/.local/state/zsync. */
export function stateDirectory(env = process.env): string {
  if (env.ZSYNC_STATE_DIR) return env.ZSYNC_STATE_DIR;
  if (env.XDG_STATE_HOME) return `${env.XDG_STATE_HOME}/zsync`;
  if (env.HOME) return `${env.HOME}/.local/state/zsync`;
  throw makeError("FAILED_PRECONDITION", "no state directory: set ZSYNC_STATE_DIR, XDG_STATE_HOME or HOME");
}

/** `wanted`, else ZSYNC_SOCKET, else $XDG_RUNTIME_DIR/zsync/zsyncd.sock, else zsyncd.sock in the state directory. */
export function socketPath(wanted?: string, env = process.env): string {
  const found = wanted || env.ZSYNC_SOCKET;
  const runtime = env.XDG_RUNTIME_DIR;
  const path = resolve(found || (runtime ? `${runtime}/zsync/zsyncd.sock` : `${stateDirectory(env)}/zsyncd.sock`));
  const size = Buffer.byteLength(path);
  if (size > socketPathBytesMax) {
    const cure = "set ZSYNC_SOCKET to a shorter one";
    throw makeError("INVALID_ARGUMENT", `socket path ${path} has ${size} bytes, at most ${socketPathBytesMax} fit: ${cure}`);
  }
  return path;
}

/** Connects and hangs up: rejects with Unavailable when nobody listens at `path`. */
export function probe(path: string): Promise<void> {
  return new Promise((done, fail) => {
    const socket = connect(path, () => {
      socket.destroy();
      done();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EAGAIN") return done();
      if (error.code === "EACCES" || error.code === "EPERM") {
        const who = "the daemon serves its own user and root";
        return fail(makeError("PERMISSION_DENIED", `connect to ${path}: permission denied: ${who}`));
      }
      const why = error.code === "ECONNREFUSED" ? " (the socket is there, nobody listens)" : "";
      fail(makeError("UNAVAILABLE", `no zsyncd at ${path}${why}: start one with \`zsyncctl daemon start\``));
    });
  });
}

export interface Reaching {
  autostart: boolean;
  daemonPath: string | undefined;
}

/** Resolves once a daemon accepts at `path`; starts one where `autostart` allows. */
export async function reach(path: string, { autostart, daemonPath }: Reaching): Promise<void> {
  try {
    await probe(path);
  } catch (error) {
    if (!autostart || !(error instanceof Unavailable)) throw error;
    await start(path, daemonPath);
  }
}

function findDaemon(wanted: string | undefined): string {
  const candidates = wanted ? [wanted] : (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "zsyncd"));
  for (const candidate of candidates) {
    try {
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch {
      continue;
    }
  }
  throw makeError("NOT_FOUND", wanted ? `no executable zsyncd at ${wanted}` : "no zsyncd to start: it is not in PATH");
}

// Two clients that do this at once start two daemons, and the second ends at the first one's lock: both clients reach the first.
async function start(path: string, daemonPath: string | undefined): Promise<void> {
  const program = findDaemon(daemonPath);
  const state = stateDirectory();
  for (const folder of [state, dirname(path)]) mkdirSync(folder, { recursive: true, mode: 0o700 });
  const log = join(state, "zsyncd.log");
  const output = openSync(log, "a", 0o600);
  const daemon = spawn(program, ["--socket", path], { cwd: "/", detached: true, stdio: ["ignore", output, output] });
  closeSync(output);
  daemon.unref();
  const giveUp = Date.now() + startTimeoutMs;
  for (;;) {
    const ended = daemon.exitCode !== null;
    try {
      return await probe(path);
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      if (ended) throw makeError("UNAVAILABLE", `zsyncd ended as soon as it was started: ${log} says why`);
      if (Date.now() >= giveUp) throw makeError("DEADLINE_EXCEEDED", `zsyncd does not accept at ${path}: ${log} may say why`);
    }
    await sleep(pollMs);
  }
}
