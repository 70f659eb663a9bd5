// Watch, events, traces and the daemon itself: what is only looked at.
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import type { CallOptions, Connection } from "./connection.js";
import { NotFound, Unavailable, makeError } from "./errors.js";
import type { Gap } from "./gen/zsync/v1/common_pb.js";
import { type ConfigValue, Daemon as DaemonService, type DaemonInfo, type DaemonStats, type Finding, type UpgradeReply } from "./gen/zsync/v1/daemon_pb.js";
import {
  type DiagnosticSet, type DiagnosticSetBatch, DiagnosticSeverity, Diagnostics as DiagnosticsService,
} from "./gen/zsync/v1/diagnostics_pb.js";
import { type Event, Events as EventsService } from "./gen/zsync/v1/events_pb.js";
import { type Trace, Traces as TracesService, type TraceSummary } from "./gen/zsync/v1/traces_pb.js";
import { type HeldState, Watch as WatchService, type WatchBatch, WatchBatchSchema, type WatchRoot, type WatchUsageReply } from "./gen/zsync/v1/watch_pb.js";
import { duration } from "./tasks.js";

/** How long Daemon.upgrade waits unless it is told otherwise. */
export const upgradeTimeoutMs = 120_000;
const upgradePollMs = 10;

export interface WatchOptions {
  /** A path must match one of them; none: all. */
  globs?: string[];
  /** Further ignore patterns in .gitignore syntax. */
  ignore?: string[];
  /** Read .gitignore files; the default. */
  gitignore?: boolean;
  /** Quiet time that ends a batch. */
  settleMs?: number;
  /** A batch is never held longer. */
  maxWaitMs?: number;
  /** Leave out files that were touched, or written anew with what was there. */
  changedContent?: boolean;
  /** While one of these states is held (see holdState) nothing is told until it is left. */
  defer?: string[];
  /** What changes while one of these states is held is never told. */
  drop?: string[];
  /** A batch carries the `traceparent` of its settling, for a task that it causes. */
  traced?: boolean;
  /** The clock of an earlier batch: what changed since then comes first. */
  since?: string;
}

/** As the wire has it. */
export function watchFilter(watch: WatchOptions) {
  return {
    globs: watch.globs ?? [],
    ignore: watch.ignore ?? [],
    noGitignore: watch.gitignore === false,
    changedContent: watch.changedContent === true,
    defer: watch.defer ?? [],
    drop: watch.drop ?? [],
    ...(watch.settleMs === undefined ? {} : { settle: duration(watch.settleMs) }),
    ...(watch.maxWaitMs === undefined ? {} : { maxWait: duration(watch.maxWaitMs) }),
  };
}

export interface HeldWatchState {
  /** Subscriptions that are silent because of it. */
  silent: number;
  /** Leaves the state, and resolves when what changes from then on is told as ever; the end of the process leaves it too. */
  release(): Promise<void>;
}

/** Puts the parts of batches together: the clock comes with the last part. */
class Whole {
  private batch = create(WatchBatchSchema);

  /** The batch, when this was its last part. */
  add(part: WatchBatch): WatchBatch | undefined {
    for (const change of part.changes) this.batch.changes.push(change);
    this.batch.fresh ||= part.fresh;
    this.batch.gap ||= part.gap;
    this.batch.fallback ||= part.fallback;
    this.batch.stateEntered ||= part.stateEntered;
    this.batch.stateLeft ||= part.stateLeft;
    if (!part.clock) return undefined;
    this.batch.clock = part.clock;
    this.batch.traceparent = part.traceparent;
    const whole = this.batch;
    this.batch = create(WatchBatchSchema);
    return whole;
  }
}

export class Watch {
  constructor(private readonly connection: Connection) {}

  /** Settled batches of changes under a directory; the first tells the clock at which the subscription begins. */
  async *subscribe(path: string, watch: WatchOptions = {}, options: CallOptions = {}): AsyncGenerator<WatchBatch, void, void> {
    const request = {
      path: resolve(path),
      since: watch.since ?? "",
      filter: watchFilter(watch),
      traced: watch.traced === true,
    };
    // A large batch comes in parts, the clock in the last: only a whole one is given out.
    let whole = new Whole();
    const asked = () => {
      whole = new Whole();
      return request;
    };
    const bounds = this.connection.bounds(options);
    for await (const part of this.connection.follow(WatchService.method.subscribe, asked, bounds)) {
      const batch = whole.add(part);
      if (!batch) continue;
      yield batch;
      request.since = batch.clock;
    }
  }

  /** What changed since a clock, as one batch, with all that was complete before the call; no clock: just that of now. */
  async since(
    path: string, clock = "", watch: Pick<WatchOptions, "globs" | "ignore" | "gitignore"> = {}, options: CallOptions = {},
  ): Promise<WatchBatch> {
    const filter = { globs: watch.globs ?? [], ignore: watch.ignore ?? [], noGitignore: watch.gitignore === false };
    let whole = new Whole();
    const asked = () => {
      whole = new Whole();
      return { path: resolve(path), since: clock, filter };
    };
    for await (const part of this.connection.follow(WatchService.method.query, asked, this.connection.bounds(options))) {
      const batch = whole.add(part);
      if (batch) return batch;
    }
    throw new Error("the daemon ended a query without a clock");
  }

  /** The clock of now: all that was complete before the call is before it. */
  async sync(path: string, options: CallOptions = {}): Promise<string> {
    return (await this.since(path, "", {}, options)).clock;
  }

  /** Enters a named state of a directory: subscriptions that name it in `defer` or `drop` are silent until release(). */
  async holdState(path: string, name: string, options: CallOptions = {}): Promise<HeldWatchState> {
    const request = { path: resolve(path), name };
    const held = this.connection.follow(WatchService.method.holdState, () => request, this.connection.bounds(options));
    const first = await held.next();
    if (first.done) throw new Error("the daemon ended a state before it was held");
    const { silent, hold } = first.value;
    const release = async () => {
      try {
        await this.connection.unary(WatchService.method.leaveState, { hold }, options, false);
      } catch (error) {
        // Where the daemon is gone, so is the state.
        if (!(error instanceof NotFound || error instanceof Unavailable)) throw error;
      } finally {
        await held.return();
      }
    };
    return { silent, release };
  }

  async list(options: CallOptions = {}): Promise<WatchRoot[]> {
    return (await this.connection.unary(WatchService.method.list, {}, options, true)).roots;
  }

  /** The named states that are held, and by whom. */
  async states(options: CallOptions = {}): Promise<HeldState[]> {
    return (await this.connection.unary(WatchService.method.list, {}, options, true)).states;
  }

  /** Who uses the inotify watches of the machine, and what sharing them saves. */
  usage(options: CallOptions = {}): Promise<WatchUsageReply> {
    return this.connection.unary(WatchService.method.usage, {}, options, true);
  }
}

export class Events {
  constructor(private readonly connection: Connection) {}

  /** The daemon's log from a cursor (0: from the first next() on; 1: all that is kept); `types` are prefixes. */
  async *follow(
    options: CallOptions & { types?: string[]; fromSeq?: bigint; follow?: boolean } = {},
  ): AsyncGenerator<Event | Gap, void, void> {
    const { types = [], follow = true } = options;
    const bounds = this.connection.bounds(options);
    let fromSeq = options.fromSeq ?? 0n;
    if (fromSeq === 0n && this.connection.settings.resume) {
      const stats = await this.connection.unary(DaemonService.method.stats, {}, bounds.options(), true);
      fromSeq = stats.eventSeq + 1n;
    }
    const asked = () => ({ fromSeq, types, follow });
    for await (const batch of this.connection.follow(EventsService.method.follow, asked, bounds)) {
      if (batch.gap) yield batch.gap;
      yield* batch.events;
      if (batch.gap) fromSeq = batch.gap.to + 1n;
      const last = batch.events.at(-1);
      if (last) fromSeq = last.seq + 1n;
    }
  }
}

export class Traces {
  constructor(private readonly connection: Connection) {}

  /** Those where something happened last come first; `limit` 0 leaves it to the daemon. */
  async list(options: CallOptions & { limit?: number } = {}): Promise<TraceSummary[]> {
    const { limit = 0 } = options;
    return (await this.connection.unary(TracesService.method.list, { limit }, options, true)).traces;
  }

  /** `id`: of a trace, or its first 4 digits or more; of a task; or "last". */
  get(id: string, options: CallOptions = {}): Promise<Trace> {
    return this.connection.unary(TracesService.method.get, { id }, options, true);
  }
}

export interface DiagnosticsOptions extends CallOptions {
  /** Of this file, or below this directory. */
  path?: string;
  source?: string;
  /** These and worse. */
  severity?: "error" | "warning" | "note";
}

const severities = { error: DiagnosticSeverity.ERROR, warning: DiagnosticSeverity.WARNING, note: DiagnosticSeverity.NOTE };

function diagnosticFilter({ path, source = "", severity }: DiagnosticsOptions) {
  return { pathPrefix: path ? resolve(path) : "", source, severity: severity ? severities[severity] : DiagnosticSeverity.UNSPECIFIED };
}

export class Diagnostics {
  constructor(private readonly connection: Connection) {}

  /** The newest set of each file and source; what a task printed is in them once it has ended. */
  async list(options: DiagnosticsOptions = {}): Promise<DiagnosticSet[]> {
    const bounds = this.connection.bounds(options);
    const filter = diagnosticFilter(options);
    const sets: DiagnosticSet[] = [];
    let pageToken = "";
    do {
      const page = await this.connection.unary(DiagnosticsService.method.list, { filter, pageToken }, bounds.options(), true);
      sets.push(...page.sets);
      pageToken = page.nextPageToken;
    } while (pageToken);
    return sets;
  }

  /** First the sets that are there, then each that changed; an empty one was cleared, `reset` begins anew. */
  async *subscribe(options: DiagnosticsOptions = {}): AsyncGenerator<DiagnosticSetBatch, void, void> {
    const asked = () => ({ filter: diagnosticFilter(options) });
    yield* this.connection.follow(DiagnosticsService.method.subscribe, asked, this.connection.bounds(options));
  }
}

export class Daemon {
  constructor(private readonly connection: Connection) {}

  info(options: CallOptions = {}): Promise<DaemonInfo> {
    return this.connection.unary(DaemonService.method.info, {}, options, true);
  }

  stats(options: CallOptions = {}): Promise<DaemonStats> {
    return this.connection.unary(DaemonService.method.stats, {}, options, true);
  }

  async config(options: CallOptions = {}): Promise<ConfigValue[]> {
    return (await this.connection.unary(DaemonService.method.config, {}, options, true)).values;
  }

  async doctor(options: CallOptions = {}): Promise<Finding[]> {
    return (await this.connection.unary(DaemonService.method.doctor, {}, options, true)).findings;
  }

  /** Whether another program of zsyncd could take over: it reads the configuration and a copy of the store. */
  checkUpgrade(program = "", options: CallOptions = {}): Promise<UpgradeReply> {
    return this.connection.unary(DaemonService.method.upgrade, { program, checkOnly: true }, options, true);
  }

  /**
   * Has another program of zsyncd take over in the same process; resolves with its info, once it serves.
   *
   * Running commands, channels and the socket stay, and every client goes on where it was. `program`: its absolute
   * path; empty: the file the daemon was started from, as it is now.
   *
   * Rejects with InvalidArgument, and with Conflict and its own words when the program fails its check, or before it
   * serves: then the one before goes on.
   */
  async upgrade(program = "", options: CallOptions = {}): Promise<DaemonInfo> {
    const until = Date.now() + (options.timeoutMs ?? upgradeTimeoutMs);
    const left = (): CallOptions => ({ ...options, timeoutMs: Math.max(1, until - Date.now()) });
    const chosen = await this.connection.unary(DaemonService.method.upgrade, { program }, left(), false);
    for (;;) {
      const now = await this.info(left());
      if (now.instance === chosen.instance) {
        await sleep(upgradePollMs, undefined, { signal: options.signal }); // it has not begun to drain
        continue;
      }
      if (!now.takeover?.failure) return now;
      const why = `"${chosen.program}" did not take over: ${now.takeover.failure}; zsyncd ${now.version} goes on`;
      throw makeError("FAILED_PRECONDITION", why);
    }
  }

  /** Resolves once the drain has begun; running commands go on under their supervisors. */
  async shutdown(options: CallOptions = {}): Promise<void> {
    await this.connection.unary(DaemonService.method.shutdown, {}, options, false);
  }
}
