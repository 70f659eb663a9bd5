// Every message of the wire contract; `npm run generate` makes src/gen from proto/zsync/v1.
export * from "./gen/zsync/v1/channels_pb.js";
export * from "./gen/zsync/v1/common_pb.js";
export * from "./gen/zsync/v1/daemon_pb.js";
export * from "./gen/zsync/v1/diagnostics_pb.js";
export * from "./gen/zsync/v1/events_pb.js";
export * from "./gen/zsync/v1/functions_pb.js";
export * from "./gen/zsync/v1/projects_pb.js";
export * from "./gen/zsync/v1/tasks_pb.js";
export * from "./gen/zsync/v1/traces_pb.js";
export * from "./gen/zsync/v1/triggers_pb.js";
export * from "./gen/zsync/v1/watch_pb.js";
