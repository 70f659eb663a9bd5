// One connection to the daemon of this user.
import { type CallOptions, Connection } from "./connection.js";
import { Channels } from "./channels.js";
import { reach, socketPath } from "./endpoint.js";
import { Canceled, DeadlineExceeded } from "./errors.js";
import { type CallingOptions, Functions, type Handler, type ServeOptions } from "./functions.js";
import type { FunctionResult } from "./gen/zsync/v1/tasks_pb.js";
import { Daemon, Diagnostics, Events, Traces, Watch } from "./observe.js";
import { Projects } from "./projects.js";
import { type Command, type Completed, type SpecOptions, Tasks } from "./tasks.js";
import { Triggers } from "./triggers.js";

const cancelOnInterruptTimeoutMs = 5000;

export interface ClientOptions {
  /** Else ZSYNC_SOCKET, else $XDG_RUNTIME_DIR/zsync/zsyncd.sock, else zsyncd.sock in the state directory. */
  socket?: string;
  /** Start a daemon (`daemonPath`, else the zsyncd in PATH) when none answers. */
  autostart?: boolean;
  daemonPath?: string;
  /** Of every call that has none of its own; absent: calls wait as long as the daemon does. */
  timeoutMs?: number;
  /**
   * Reads, waits and follow streams survive a restart of the daemon: they come back at their cursor, without hole or
   * duplicate. The default. What changes something is never sent twice.
   */
  resume?: boolean;
  /** Bounds each reconnection; 30,000. */
  resumeTimeoutMs?: number;
}

/**
 * Calls run side by side. Leaving a `for await` loop ends its call, so does CallOptions.signal. An open client keeps the
 * process alive until close().
 */
export class Client {
  readonly tasks: Tasks;
  readonly channels: Channels;
  readonly watch: Watch;
  readonly triggers: Triggers;
  readonly events: Events;
  readonly traces: Traces;
  readonly diagnostics: Diagnostics;
  readonly projects: Projects;
  readonly daemon: Daemon;
  readonly functions: Functions;

  private constructor(private readonly connection: Connection) {
    this.tasks = new Tasks(connection);
    this.channels = new Channels(connection);
    this.watch = new Watch(connection);
    this.triggers = new Triggers(connection);
    this.events = new Events(connection);
    this.traces = new Traces(connection);
    this.diagnostics = new Diagnostics(connection);
    this.projects = new Projects(connection);
    this.daemon = new Daemon(connection);
    this.functions = new Functions(connection, this.tasks);
  }

  /** Makes sure that a daemon accepts, so that a missing one is one clear error at once. */
  static async connect(options: ClientOptions = {}): Promise<Client> {
    const socket = socketPath(options.socket);
    const { autostart = false, daemonPath, timeoutMs, resume = true, resumeTimeoutMs = 30_000 } = options;
    await reach(socket, { autostart, daemonPath });
    return new Client(new Connection(socket, { autostart, daemonPath, timeoutMs, resume, resumeTimeoutMs }));
  }

  /** The path that was connected to. */
  get socket(): string {
    return this.connection.socket;
  }

  /** Runs a command to its end. When `timeoutMs` passes or the signal aborts, the task is cancelled. */
  async run(command: Command, specOptions: SpecOptions = {}, options: CallOptions = {}): Promise<Completed> {
    const bounds = this.connection.bounds(options);
    const task = await this.tasks.submit(command, specOptions, bounds.options());
    try {
      return await task.completed(bounds.options());
    } catch (error) {
      if (error instanceof DeadlineExceeded || error instanceof Canceled) {
        await task.cancel({ timeoutMs: cancelOnInterruptTimeoutMs }).catch(() => undefined);
      }
      throw error;
    }
  }

  /** Functions.serve() */
  serve(name: string, handler: Handler, options: ServeOptions = {}): Promise<void> {
    return this.functions.serve(name, handler, options);
  }

  /** Functions.call() */
  call(name: string, payload: Uint8Array | string = "", calling: CallingOptions = {}, options: CallOptions = {}): Promise<FunctionResult> {
    return this.functions.call(name, payload, calling, options);
  }

  /** Ends the connection; call it once no call is under way. */
  close(): void {
    this.connection.close();
  }
}
