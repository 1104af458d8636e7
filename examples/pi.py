"""Estimate pi by throwing random darts, on all cores, with a live progress bar.

Every task throws the darts of one share and tells a progress actor how far it is; the driver draws what the actor knows.

    python examples/pi.py
    python examples/pi.py --samples 10000000
"""

from __future__ import annotations

import argparse
import math
import random
import time
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import skate

REPORTS_PER_TASK = 20
REFRESH_S = 0.1


@skate.remote(num_cpus=0)
class Tally:
    """Counts the darts thrown so far, by all tasks."""

    def __init__(self) -> None:
        self.thrown = 0

    def add(self, count: int) -> None:
        self.thrown += count

    def total(self) -> int:
        return self.thrown


@skate.remote
def throw(count: int, seed: int, tally: Any) -> int:
    """How many of `count` darts at the unit square hit the quarter circle in it."""
    chance = random.Random(seed).random
    hits = 0
    for start in range(0, count, step := max(1, count // REPORTS_PER_TASK)):
        part = min(step, count - start)
        for _ in range(part):
            x, y = chance(), chance()
            hits += x * x + y * y <= 1.0
        tally.add.remote(part)
    return hits


def shares(samples: int, tasks: int) -> list[int]:
    """Split the samples into that many shares that differ by one at most."""
    each, rest = divmod(samples, tasks)
    return [each + (i < rest) for i in range(tasks)]


def watch(refs: list[Any], samples: int, tally: Any) -> None:
    """Draw the progress until every task is done."""
    columns = (
        TextColumn("[bold]darts"),
        BarColumn(None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        bar = progress.add_task("darts", total=samples)
        pending = refs
        while pending:
            _, pending = skate.wait(pending, num_returns=len(pending), timeout=REFRESH_S)
            progress.update(bar, completed=skate.get(tally.total.remote()))
        progress.update(bar, completed=samples)


def main() -> None:
    parser = argparse.ArgumentParser(description="Estimate pi with random samples on all cores.")
    parser.add_argument("--samples", type=int, default=80_000_000, help="darts in all (default: %(default)s)")
    parser.add_argument("--tasks", type=int, default=0, help="tasks that share them (default: four per core)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.samples < 1:
        parser.error("--samples must be at least 1")

    skate.init()
    cores = int(skate.cluster_resources().get("CPU", 1))
    tasks = options.tasks or 4 * cores
    tally = Tally.remote()
    begin = time.perf_counter()
    parts = shares(options.samples, tasks)
    refs = [throw.remote(count, options.seed + i, tally) for i, count in enumerate(parts)]
    watch(refs, options.samples, tally)
    hits = sum(skate.get(refs))
    seconds = time.perf_counter() - begin

    estimate = 4 * hits / options.samples
    error = abs(estimate - math.pi)
    expected = 4 * math.sqrt(math.pi / 4 * (1 - math.pi / 4) / options.samples)
    print(f"pi is about {estimate:.6f}: off by {error:.6f} (one standard deviation is {expected:.6f})")
    print(
        f"{options.samples:,} samples on {cores} cores in {seconds:.2f} s: {options.samples / seconds:,.0f} samples/s"
    )
    skate.shutdown()
    if error > 6 * expected:
        raise SystemExit("the estimate is further off than chance allows")


if __name__ == "__main__":
    main()
