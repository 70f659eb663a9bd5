// Tasks that come again, and tasks that are many.
import { create } from "@bufbuild/protobuf";
import type { CallOptions, Connection } from "./connection.js";
import {
  MissedRuns, OverlapPolicy, type Schedule, ScheduleSpecSchema, type Task as TaskRecord, Tasks as Service,
} from "./gen/zsync/v1/tasks_pb.js";
import { type Command, type SpecOptions, duration, spec } from "./tasks.js";

const missedRuns = { skip: MissedRuns.SKIP, once: MissedRuns.ONCE, all: MissedRuns.ALL };
const overlaps = { skip: OverlapPolicy.SKIP, queue: OverlapPolicy.QUEUE };

/** Tasks that were submitted as one. */
export class TaskArray {
  /** `id` is what wait() and list({ array }) take; `ids` are those of its tasks, in the order of their indexes. */
  constructor(private readonly connection: Connection, readonly id: string, readonly ids: readonly string[]) {}

  /** Resolves with the records once every task is in a final state. */
  async wait(options: CallOptions = {}): Promise<TaskRecord[]> {
    return (await this.connection.unary(Service.method.wait, { ids: [this.id] }, options, true)).tasks;
  }

  /** Ends every task of it; with `wait`, resolves once all their processes are gone. */
  async cancel(options: CallOptions & { wait?: boolean; killGraceMs?: number } = {}): Promise<TaskRecord[]> {
    const { wait = false, killGraceMs } = options;
    const killGrace = killGraceMs === undefined ? undefined : duration(killGraceMs);
    return (await this.connection.unary(Service.method.cancelArray, { id: this.id, wait, killGrace }, options, true)).tasks;
  }
}

/** When a task is submitted again; ScheduleSpec in proto/zsync/v1/tasks.proto says what each means. */
export interface ScheduleOptions {
  /** Either this, or `cron`. */
  everyMs?: number;
  cron?: string;
  timeZone?: string;
  missed?: "skip" | "once" | "all";
  missedMax?: number;
  overlap?: "skip" | "queue";
  guaranteed?: boolean;
  /** Take the place of one of that name. */
  replace?: boolean;
  /** What each task is given beyond its command. */
  task?: SpecOptions;
}

export class Schedules {
  constructor(private readonly connection: Connection) {}

  /** Resolves once it is on disk; a name that is there rejects with AlreadyExists, unless `replace`. */
  create(name: string, command: Command, when: ScheduleOptions, options: CallOptions = {}): Promise<Schedule> {
    const made = create(ScheduleSpecSchema, {
      name,
      ...(when.everyMs === undefined ? {} : { every: duration(when.everyMs) }),
      cron: when.cron ?? "",
      timeZone: when.timeZone ?? "",
      missed: missedRuns[when.missed ?? "skip"],
      missedMax: when.missedMax ?? 0,
      overlap: overlaps[when.overlap ?? "skip"],
      guaranteed: when.guaranteed ?? false,
      task: spec(command, when.task ?? {}),
    });
    return this.connection.unary(Service.method.createSchedule, { spec: made, replace: when.replace ?? false }, options, false);
  }

  get(name: string, options: CallOptions = {}): Promise<Schedule> {
    return this.connection.unary(Service.method.getSchedule, { name }, options, true);
  }

  async list(options: CallOptions = {}): Promise<Schedule[]> {
    return (await this.connection.unary(Service.method.listSchedules, {}, options, true)).schedules;
  }

  /** Lets it fire no more; what comes up meanwhile is not missed. */
  pause(name: string, options: CallOptions = {}): Promise<Schedule> {
    return this.connection.unary(Service.method.pauseSchedule, { name, paused: true }, options, true);
  }

  /** Lets it fire again, from now on. */
  resume(name: string, options: CallOptions = {}): Promise<Schedule> {
    return this.connection.unary(Service.method.pauseSchedule, { name, paused: false }, options, true);
  }

  /** Forgets it; its tasks stay. */
  async remove(name: string, options: CallOptions = {}): Promise<void> {
    await this.connection.unary(Service.method.removeSchedule, { name }, options, false);
  }

  /** The next times, in nanoseconds since the Unix epoch. */
  async upcoming(name: string, count = 5, options: CallOptions = {}): Promise<bigint[]> {
    return (await this.connection.unary(Service.method.upcomingRuns, { name, count }, options, true)).timesUnixNano;
  }
}
