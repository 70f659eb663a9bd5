// Projects: the steps and services of a zsync.yaml.
import { readFile, realpath } from "node:fs/promises";
import { basename, dirname } from "node:path";

import type { CallOptions, Connection } from "./connection.js";
import { type Project, type ProjectProblem, Projects as ProjectsService } from "./gen/zsync/v1/projects_pb.js";

export interface UpOptions extends CallOptions {
  /** Only these steps and services, and what they wait for. */
  units?: string[];
  /** Instead of the file's. */
  name?: string;
  /** Of its commands; absent: the daemon's. */
  env?: Record<string, string>;
}

/** A project is named by its name, or by the absolute path of its directory. */
export class Projects {
  constructor(private readonly connection: Connection) {}

  /** What is wrong with the text of a zsync.yaml. */
  async check(text: string, options: CallOptions = {}): Promise<ProjectProblem[]> {
    return (await this.connection.unary(ProjectsService.method.check, { text }, options, true)).problems;
  }

  /** Brings the project of a file up; follow() tells when it is ready. */
  async up(file = "zsync.yaml", options: UpOptions = {}): Promise<Project> {
    const { units = [], name = "", env = {} } = options;
    const path = await realpath(file);
    const text = await readFile(path, "utf8");
    const request = { root: dirname(path), file: basename(path), text, name, units, env };
    return this.connection.unary(ProjectsService.method.up, request, options, true);
  }

  /** Stops these units and what waits for them, or all; unless `wait` is false until every process is gone. */
  down(project: string, options: CallOptions & { units?: string[]; wait?: boolean } = {}): Promise<Project> {
    const { units = [], wait = true } = options;
    return this.connection.unary(ProjectsService.method.down, { project, units, wait }, options, true);
  }

  /** Starts a step or service anew. */
  restart(project: string, unit: string, options: CallOptions = {}): Promise<Project> {
    return this.connection.unary(ProjectsService.method.restart, { project, unit }, options, false);
  }

  get(project: string, options: CallOptions = {}): Promise<Project> {
    return this.connection.unary(ProjectsService.method.get, { project }, options, true);
  }

  async list(options: CallOptions = {}): Promise<Project[]> {
    return (await this.connection.unary(ProjectsService.method.list, {}, options, true)).projects;
  }

  /** The project as it is, and again after each change; `settled` and `healthy` say whether it is up. */
  async *follow(project: string, options: CallOptions = {}): AsyncGenerator<Project, void, void> {
    const bounds = this.connection.bounds(options);
    yield* this.connection.follow(ProjectsService.method.follow, () => ({ project }), bounds);
  }

  /** Forgets a project that is down; its tasks stay. */
  async remove(project: string, options: CallOptions = {}): Promise<void> {
    await this.connection.unary(ProjectsService.method.remove, { project }, options, false);
  }
}
