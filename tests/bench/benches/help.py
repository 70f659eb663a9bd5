"""`zsyncctl --help`, start to exit: it connects to nobody and must not pay for what it does not use."""
from report import Target
from world import Build, Sample, World

RUNS = 10
TARGETS = {"p50": Target(5)}
COUNT = 40


def timed(world: World, system: str, *argv) -> list[Sample]:
    answer = world.client("spawn", COUNT, "--", *argv)
    return [Sample("p50", "ms", answer["wall_p50_us"] / 1000, system),
            Sample("p99", "ms", answer["wall_p99_us"] / 1000, system),
            Sample("own cpu", "us", answer["cpu_us"], system)]


def measure(world: World, build: Build) -> list[Sample]:
    return timed(world, build.name, build.bin / "zsyncctl", "--help")


def peers(world: World) -> list[Sample]:
    return timed(world, "true", "true") + timed(world, "git --help", "git", "--help")
