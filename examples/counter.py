"""A stateful counter that any task can find by its name.

An actor runs its calls one after the other, so that it needs no lock: no visit is lost, however many tasks count at once.

    python examples/counter.py
    python examples/counter.py --visitors 50 --visits 200
"""

from __future__ import annotations

import argparse

import skate

NAME = "visits"


@skate.remote(num_cpus=0)
class Counter:
    """Counts by key."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, key: str, amount: int = 1) -> int:
        """Add to a key's count; returns the new count."""
        if amount < 1:
            raise ValueError(f"a counter only counts up, not by {amount}")
        self.counts[key] = self.counts.get(key, 0) + amount
        return self.counts[key]

    def report(self) -> dict[str, int]:
        return self.counts


@skate.remote
def visit(visitor: int, visits: int) -> int:
    """Count so many visits at the room of this visitor; returns the count that the last one saw."""
    counter = skate.get_actor(NAME)
    room = f"room {visitor % 3}"
    counts: list[int] = skate.get([counter.add.remote(room) for _ in range(visits)])
    return counts[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Many tasks count with one named actor.")
    parser.add_argument("--visitors", type=int, default=12, help="tasks (default: %(default)s)")
    parser.add_argument("--visits", type=int, default=100, help="calls of each (default: %(default)s)")
    options = parser.parse_args()
    if min(options.visitors, options.visits) < 1:
        parser.error("--visitors and --visits must be at least 1")

    skate.init()
    counter = Counter.options(name=NAME).remote()
    skate.get([visit.remote(i, options.visits) for i in range(options.visitors)])
    counts = skate.get(counter.report.remote())
    for room, count in sorted(counts.items()):
        print(f"{room}: {count} visits")
    try:
        skate.get(counter.add.remote("room 0", -1))
    except ValueError as error:
        print(f"refused, and the counter goes on: {str(error).splitlines()[-1]}")
    else:
        raise SystemExit("the counter accepted a negative amount")
    total = sum(skate.get(counter.report.remote()).values())
    skate.shutdown()
    if total != options.visitors * options.visits:
        raise SystemExit(f"visits were lost: {total}, not {options.visitors * options.visits}")


if __name__ == "__main__":
    main()
