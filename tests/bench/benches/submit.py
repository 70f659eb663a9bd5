"""Durable submits: the time of one, beside the disk's own fdatasync, and how many a second with 64 on the way.

One client submits, waits for the reply, then appends a page to a file of its own on the same disk and syncs it: submit
and probe take turns, so both see the same disk. Of the 64 calls on the way the daemon gathers what it can into one commit.
The tasks wait behind a task that sleeps, so that only submission is measured. The peer is the probe itself; what a single
thread can sync a second without any daemon stands in its rate.
"""
from counters import syncs_of
from report import Target
from world import Build, Cost, Sample, World

RUNS = 5
TARGETS = {"p50 beyond the fsyncs": Target(500), "rate, 64 in flight": Target(20_000, at_least=True)}
CONFIG = "version: 1\ntasks:\n  groups: {default: {parallel: cpus}, held: {parallel: 1}}\n"
PAGES = 1  # of 4 KiB in each probe; a submit appends two or three
COUNT = 400
COUNT_FLIGHT = 20_000
IN_FLIGHT = 64
BATCH = 100


def block(daemon) -> None:
    daemon.control("tasks", "submit", "-q", "--group", "held", "--name", "blocker", "--", "sleep", "100000")


def latency(world: World, daemon, system: str) -> list[Sample]:
    submit_one = lambda: daemon.control("tasks", "submit", "-q", "--group", "held", "--", "true")
    syncs, how = syncs_of(daemon.pid, submit_one, daemon.folder, otherwise=1)
    cost = Cost(daemon)
    answer = world.client("submit-latency", daemon.socket, "held", COUNT, daemon.folder, PAGES)
    world.note(f"fsyncs a submit: {syncs:g}, {how}; each probe: {PAGES} frame of 24 + 4096 bytes, then fdatasync")
    beyond = answer["submit_p50_us"] - syncs * answer["fsync_p50_us"]
    return [Sample("p50 beyond the fsyncs", "us", beyond, system),
            Sample("p50", "us", answer["submit_p50_us"], system),
            Sample("p50", "us", answer["fsync_p50_us"], "fdatasync"),
            Sample("p99", "us", answer["submit_p99_us"], system),
            Sample("p99", "us", answer["fsync_p99_us"], "fdatasync"),
            *cost.samples(system, COUNT, "submit"),
            Sample("client cpu", "us/submit", answer["client_cpu_us"], system)]


def rate(world: World, daemon, system: str, command: str, metric: str, width: int, threads: int, *argv) -> list[Sample]:
    cost = Cost(daemon)
    answer = world.client(command, daemon.socket, "held", COUNT_FLIGHT, width, *argv)
    return [Sample(metric, "submits/s", answer["rate"], system, threads),
            Sample(f"{metric}: p50", "us", answer["submit_p50_us"], system, threads),
            *cost.samples(system, COUNT_FLIGHT, "submit", f"{metric}: ", threads),
            Sample(f"{metric}: client cpu", "us/submit", answer["client_cpu_us"], system, threads)]


def measure(world: World, build: Build) -> list[Sample]:
    world.note("zsync: synchronous=FULL, group commit, default configuration; load generator on the same CPUs; the "
               "generated stub keeps 64 calls of one thread on the way, `64 threads` is zsync/client.hpp")
    samples = []
    with world.daemon(build, CONFIG) as daemon:
        block(daemon)
        samples += latency(world, daemon, build.name)
    with world.daemon(build, CONFIG) as daemon:
        block(daemon)
        samples += rate(world, daemon, build.name, "submit-async", "rate, 64 in flight", IN_FLIGHT, 1)
    with world.daemon(build, CONFIG) as daemon:
        block(daemon)
        samples += rate(world, daemon, build.name, "submit-threads", "rate, 64 threads", IN_FLIGHT, IN_FLIGHT)
    with world.daemon(build, CONFIG) as daemon:
        block(daemon)
        samples += rate(world, daemon, build.name, "submit-batch", f"rate, batches of {BATCH}", BATCH, 1, "true")
    return samples


def peers(world: World) -> list[Sample]:
    return []
