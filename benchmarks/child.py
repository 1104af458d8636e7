"""Runs the lines of one group in this interpreter and reports each on standard output as it is done.

Protocol, one JSON object after "@bench " per output line: first `{"plan": [names]}`, then for each line `{"begin": {...}}`,
its result without samples, which stands if the line never ends, and `{"result": {...}}`. Anything else on standard output
belongs to the programs measured.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .lines import (
    CLUSTER_GROUPS,
    CLUSTER_YARDSTICKS,
    GROUPS,
    MACHINE,
    PEERS,
    REGISTRY,
    YARDSTICKS,
    Bench,
    Line,
    Result,
)

PREFIX = "@bench "


def tell(message: dict[str, Any]) -> None:
    sys.stdout.write(PREFIX + json.dumps(message) + "\n")
    sys.stdout.flush()


def select(group: str, system: str, only: str, big: bool) -> list[Line]:
    """The lines of a group that run on a system and were asked for."""
    yardsticks = CLUSTER_YARDSTICKS if group in CLUSTER_GROUPS else YARDSTICKS
    importlib.import_module(yardsticks if system == MACHINE else GROUPS[group])
    wanted = re.compile(only)
    lines = [one for one in REGISTRY if one.group == group and system in one.systems]
    return [one for one in lines if wanted.search(one.name) and (big or not one.big)]


def blank(one: Line, system: str) -> Result:
    """The result of a line before it has any sample."""
    result = Result(one.name, one.group, one.unit, system, goal=one.goal, micro=one.micro, bound=one.bound)
    result.more_is_better = one.more_is_better
    return result


def run(one: Line, system: str, bench: Bench) -> Result:
    result = blank(one, system)
    try:
        result.samples = one.measure(bench)
    except Exception as error:
        traceback.print_exc()
        result.error = f"{type(error).__name__}: {str(error).strip()[:200]}"
    gc.collect()
    return result


@contextmanager
def framework_up(system: str, group: str) -> Iterator[None]:
    """A running framework, with the defaults that a user gets; nothing for the machine's own lines and for libraries."""
    if system == MACHINE or system in PEERS:
        yield
        return
    if group in CLUSTER_GROUPS:
        from .cluster.nodes import close_shared

        try:
            yield
        finally:
            close_shared()
        return
    from .framework import ray

    ray.init()
    yield
    ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--big", action="store_true")
    options = parser.parse_args()
    lines = select(options.group, options.system, options.only, options.big)[options.skip :]
    tell({"plan": [one.name for one in lines]})
    if not lines:
        return
    with framework_up(options.system, options.group):
        for one in lines:
            tell({"begin": blank(one, options.system).to_dict()})
            tell({"result": run(one, options.system, Bench.of(options.quick)).to_dict()})


if __name__ == "__main__":
    main()
