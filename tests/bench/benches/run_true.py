"""`zsyncctl run true`, start to exit, beside a bare fork/exec of `true` and the disk's price of its fsyncs.

All are started by the same program with posix_spawn and waited for, a few at a time and alternately. The target is for
what remains of the time when the bare `true` and as many fdatasyncs as the daemon makes for one such run are taken off.
"""
from counters import TreeCost, syncs_of
from report import Target
from world import Build, Sample, World

RUNS = 5
TARGETS = {"p50 beyond fsyncs and true": Target(15)}
PAGES = 1  # of 4 KiB in each probe; a commit appends one to three
BLOCKS = 4
COUNT = 15  # in each block


def measure(world: World, build: Build) -> list[Sample]:
    samples = []
    with world.daemon(build) as daemon:
        one = daemon.control_argv("--socket", str(daemon.socket), "run", "true")
        syncs, how = syncs_of(daemon.pid, lambda: world.client("spawn", 1, "--", *one), daemon.folder, otherwise=3)
        world.note(f"fsyncs a run: {syncs:g}, {how}; probe: {PAGES} frame of 24 + 4096 bytes, then fdatasync")
        for _ in range(BLOCKS):
            run = world.client("spawn", COUNT, "--", *one)
            bare = world.client("spawn", COUNT, "--", "true")
            disk = world.client("probe", daemon.folder, COUNT * 2, PAGES)
            beyond = run["wall_p50_us"] - bare["wall_p50_us"] - syncs * disk["fsync_p50_us"]
            samples += [Sample("p50 beyond fsyncs and true", "ms", beyond / 1000, build.name),
                        Sample("p50", "ms", run["wall_p50_us"] / 1000, build.name),
                        Sample("p50", "ms", bare["wall_p50_us"] / 1000, "true"),
                        Sample("p50", "ms", disk["fsync_p50_us"] / 1000, "fdatasync"),
                        Sample("max", "ms", run["wall_max_us"] / 1000, build.name),
                        Sample("max", "ms", bare["wall_max_us"] / 1000, "true"),
                        Sample("own cpu", "us", run["cpu_us"], build.name),
                        Sample("own cpu", "us", bare["cpu_us"], "true"),
                        Sample("own switches", "1/run", run["switches"], build.name)]
        cost = TreeCost(daemon.pid, daemon.folder)
        world.client("spawn", COUNT, "--", *one)
        samples += cost.samples(build.name, COUNT, "run")
    world.note("cpu and switches: zsyncd, its shims and their commands, by perf stat over a block that is not timed; own cpu: the program that was started")
    world.note(f"a run below is {BLOCKS} blocks of {COUNT} starts; median, min and max are over the blocks")
    return samples


def peers(world: World) -> list[Sample]:
    return []
