"""64-byte messages: durable to a consumer group, one to 100 followers, one call each; beside NATS and a bare gRPC call.

A durable message of zsync is on disk before it is acknowledged; JetStream's are written to its file without a sync, or
kept in memory. NATS goes over TCP on the loopback, zsync over its Unix socket; both clients check every number.
"""
import json
import subprocess

import work_peers
from report import Target
from world import Build, Cost, Sample, World

RUNS = 3
BYTES = 64
BATCH = 256
DURABLE = 200_000
FANOUT = 20_000
FOLLOWERS = 100
CALLS = 3_000
TARGETS = {"durable: rate": Target(200_000, at_least=True), "durable: wrong": Target(0, worst=True),
           "fan-out: rate": Target(2_500_000, at_least=True), "fan-out: wrong": Target(0, worst=True),
           "fan-out: missing": Target(0, worst=True), "one call: p50": Target(1.3, beside="bare gRPC echo")}


def bare_call(world: World) -> list[Sample]:
    path = world.folder("echo") / "s"
    argv = world.client_argv("echo-server", path)
    with work_peers.running(argv, "the echo server", path.exists):
        answer = world.client("echo", path, CALLS)
    return [Sample("one call: p50", "us", answer["call_p50_us"], "bare gRPC echo"),
            Sample("one call: p99", "us", answer["call_p99_us"], "bare gRPC echo")]


def measure(world: World, build: Build) -> list[Sample]:
    with world.daemon(build) as daemon:
        cost = Cost(daemon)
        durable = world.client("durable", daemon.socket, "durable", DURABLE, BYTES, BATCH)
        durable_cost = cost.samples(build.name, DURABLE, "msg", "durable: ", 2)
        cost = Cost(daemon)
        fanout = world.client("fanout", daemon.socket, "fanout", FANOUT, BYTES, FOLLOWERS)
        fanout_cost = cost.samples(build.name, FANOUT * FOLLOWERS, "delivery", "fan-out: ", 2)
        call = world.client("try-send", daemon.socket, "calls", CALLS)
    world.note(f"durable: batches of {BATCH}, 16 of them unacknowledged at most; the consumer acknowledges each batch")
    return [Sample("durable: rate", "msg/s", durable["rate"], build.name, 2),
            Sample("durable: accepted", "msg/s", durable["send_rate"], build.name, 2),
            Sample("durable: wrong", "", durable["wrong"] + DURABLE - durable["received"], build.name, 2),
            *durable_cost,
            Sample("fan-out: rate", "msg/s", fanout["rate"], build.name, 2),
            Sample("fan-out: wrong", "", fanout["wrong"], build.name, 2),
            Sample("fan-out: missing", "", fanout["missing"], build.name, 2),
            *fanout_cost,
            Sample("one call: p50", "us", call["call_p50_us"], build.name),
            Sample("one call: p99", "us", call["call_p99_us"], build.name)]


def peers(world: World) -> list[Sample]:
    samples = bare_call(world)
    client, server = work_peers.nats_client(world), work_peers.nats_server(world)
    if client is None or server is None:
        return samples
    with work_peers.nats(world, server) as url:
        def rate(*words) -> float:
            done = subprocess.run([str(client), *map(str, words)], stdout=subprocess.PIPE, check=True, timeout=300)
            answer = json.loads(done.stdout)
            if answer["wrong"]:
                raise RuntimeError(f"bench-nats {words[0]}: {answer['wrong']} wrong messages")
            return answer["rate"]

        samples += [Sample("durable: rate", "msg/s", rate("stream", url, "file", DURABLE, BYTES, BATCH),
                           "JetStream file, no fsync", 2),
                    Sample("durable: rate", "msg/s", rate("stream", url, "memory", DURABLE, BYTES, BATCH),
                           "JetStream memory", 2),
                    Sample("fan-out: rate", "msg/s", rate("fanout", url, FANOUT, BYTES, FOLLOWERS), "NATS", 2),
                    Sample("one to one: rate", "msg/s", rate("core", url, 1_000_000, BYTES), "NATS", 2)]
    version = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    world.note(f"{version}; its file store has no setting that syncs each write; one to one is `channels` of zsync")
    return samples
