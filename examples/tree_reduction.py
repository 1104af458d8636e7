"""Multiply many numbers by a tree of tasks: each task takes the references of two results and makes one.

The whole tree is handed over at once. A task starts as soon as its two inputs exist, wherever the others are, and the
driver fetches nothing but the root. A product of large integers is worth a tree: its factors stay of equal length.

    python examples/tree_reduction.py
    python examples/tree_reduction.py --leaves 256 --span 500
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import skate


@skate.remote
def product_of(start: int, stop: int) -> int:
    return math.prod(range(start, stop))


@skate.remote
def multiply(left: int, right: int) -> int:
    return left * right


def reduce_tree(refs: list[Any]) -> tuple[Any, int]:
    """The reference of the root, and how many levels lie above the leaves."""
    levels = 0
    while len(refs) > 1:
        pairs = zip(refs[::2], refs[1::2], strict=False)
        odd = refs[-1:] if len(refs) % 2 else []
        refs = [multiply.remote(left, right) for left, right in pairs] + odd
        levels += 1
    return refs[0], levels


def main() -> None:
    parser = argparse.ArgumentParser(description="A factorial by a tree of tasks.")
    parser.add_argument("--leaves", type=int, default=64)
    parser.add_argument(
        "--span", type=int, default=250, help="numbers that each leaf multiplies (default: %(default)s)"
    )
    options = parser.parse_args()
    if min(options.leaves, options.span) < 1:
        parser.error("--leaves and --span must be at least 1")

    skate.init()
    begin = time.perf_counter()
    leaves = [product_of.remote(1 + i * options.span, 1 + (i + 1) * options.span) for i in range(options.leaves)]
    root, levels = reduce_tree(leaves)
    result = skate.get(root)
    seconds = time.perf_counter() - begin
    number = options.leaves * options.span
    print(f"{number}! has {result.bit_length():,} bits; {options.leaves} leaves, {levels} levels, {seconds:.3f} s")
    skate.shutdown()
    if result != math.factorial(number):
        raise SystemExit(f"the tree gave a wrong value for {number}!")


if __name__ == "__main__":
    main()
