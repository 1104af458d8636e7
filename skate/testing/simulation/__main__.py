"""Run seeds: `python -m skate.testing.simulation --seed 7 --trace`, or `--seeds 1000 --first 200`.

Sets of bytes have an order that depends on a number which Python draws when it starts. So that a seed is the same history
everywhere, this starts again with that number fixed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from .history import SeedFailed, run

HASH_SEED = "0"


def main() -> int:
    """Run what the arguments say; 1 when a seed fails."""
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        command = [sys.executable, "-m", str(__package__), *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": HASH_SEED})
    parser = argparse.ArgumentParser(prog="python -m skate.testing.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--trace", action="store_true", help="print every event of it")
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds (without --seed)")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds) if arguments.seed is None else [arguments.seed]
    failed = []
    began = time.perf_counter()
    events = 0
    for seed in seeds:
        try:
            events += run(seed, print if arguments.trace else None).events
        except SeedFailed as error:
            failed.append(seed)
            print(error, file=sys.stderr)
    print(f"{len(seeds)} seeds, {events} events, {time.perf_counter() - began:.1f} s; failed: {failed or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
