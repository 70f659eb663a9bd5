// Tasks that changes below a directory submit, kept by zsyncd.
import { resolve } from "node:path";

import type { CallOptions, Connection } from "./connection.js";
import { type Trigger, Triggers as Service } from "./gen/zsync/v1/triggers_pb.js";
import { type WatchOptions, watchFilter } from "./observe.js";
import { type Command, type SpecOptions, spec } from "./tasks.js";

/** Which changes make a run; TriggerSpec in proto/zsync/v1/triggers.proto says what each means. */
export interface TriggerOptions extends Omit<WatchOptions, "since"> {
  /** Globs of what the command writes itself: such paths never make a run. */
  writes?: string[];
  /** Take the place of one of that name. */
  replace?: boolean;
  /** What each task is given beyond its command. */
  task?: SpecOptions;
}

export class Triggers {
  constructor(private readonly connection: Connection) {}

  /**
   * Resolves once it is on disk and the directory is watched: what changes from then on makes a run. The command finds the paths in
   * ZSYNC_CHANGED, a line each. A name that is there rejects with AlreadyExists, unless `replace`.
   */
  create(name: string, path: string, command: Command, trigger: TriggerOptions = {}, options: CallOptions = {}): Promise<Trigger> {
    const { writes = [], replace = false, task = {} } = trigger;
    const made = { name, path: resolve(path), filter: watchFilter(trigger), writes, task: spec(command, task) };
    return this.connection.unary(Service.method.create, { spec: made, replace }, options, replace);
  }

  /** Its state, its newest run, and what comes next. */
  get(name: string, options: CallOptions = {}): Promise<Trigger> {
    return this.connection.unary(Service.method.get, { name }, options, true);
  }

  /** Those of one project, or all. */
  async list(options: CallOptions & { project?: string } = {}): Promise<Trigger[]> {
    return (await this.connection.unary(Service.method.list, { project: options.project ?? "" }, options, true)).triggers;
  }

  /** No further runs; what changes meanwhile makes one when it is resumed. */
  pause(name: string, options: CallOptions = {}): Promise<Trigger> {
    return this.connection.unary(Service.method.pause, { name }, options, true);
  }

  /** Lets one go on that is paused, or was stopped as a loop. */
  resume(name: string, options: CallOptions = {}): Promise<Trigger> {
    return this.connection.unary(Service.method.resume, { name }, options, true);
  }

  /** A run now; while one is under way, another one after it. */
  run(name: string, options: CallOptions = {}): Promise<Trigger> {
    return this.connection.unary(Service.method.run, { name }, options, false);
  }

  /** Forgets it; its tasks stay. */
  async remove(name: string, options: CallOptions = {}): Promise<void> {
    await this.connection.unary(Service.method.delete, { name }, options, false);
  }
}
