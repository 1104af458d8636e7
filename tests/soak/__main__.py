"""`python -m tests.soak --minutes 10 --seed 1`: run a soak, and say how it went."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .soak import Soak


def main() -> int:
    """Run as the command line says; the exit code is 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.5, help="how long the load runs")
    parser.add_argument("--seed", type=int, default=1, help="decides the load and the faults")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that any answer may take")
    parser.add_argument("--every", type=float, default=2.0, help="the mean pause between two faults, in seconds")
    parser.add_argument("--hold", type=float, default=0.0, help="after a failure, keep the cluster so many seconds")
    parser.add_argument("--out", type=Path, default=None, help="the folder for what is kept of a failure")
    given = parser.parse_args()
    out = given.out or Path(tempfile.gettempdir(), f"soak-{given.seed}")
    soak = Soak(given.seed, given.minutes * 60, given.limit, given.every, out, given.hold)
    failures = soak.run()
    print(soak.report(), flush=True)
    for failure in failures:
        print(f"FAILED: {failure}", flush=True)
    if failures:
        print(f"what could be seen is in {out}; the same again: {soak.command()}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
