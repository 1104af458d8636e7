"""`RandomAccessDataset`: the rows of a dataset by the values of a column.

The rows are put in order once. Actors hold the blocks, each some that are neighbours, and find a key by bisection; who asks knows
the first key of each block, and so whom to ask.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import block as blocks
from .block import Block
from .execution.loaded import loaded

if TYPE_CHECKING:
    from .dataset import Dataset

WORKERS = 4
"""Actors, if nobody says how many."""
Row = dict[str, Any]


class Holder:
    """The actor. Blocks are known by their number among all."""

    def __init__(self, key: str, first: int, *held: Block) -> None:
        self._first = first
        self._held = held
        self._keys = [block.column(key).drop_null() for block in held]
        self._calls = self._found = 0

    def find(self, wanted: Sequence[tuple[int, Any]]) -> list[Row | None]:
        """The rows with these keys in these blocks."""
        self._calls += 1
        return [self._row(number - self._first, key) for number, key in wanted]

    def one(self, number: int, key: Any) -> Row | None:
        """The row with one key."""
        return self.find([(number, key)])[0]

    def _row(self, number: int, key: Any) -> Row | None:
        keys = self._keys[number]
        at = bisect.bisect_left(keys, key, key=lambda each: each.as_py())
        if at == len(keys) or keys[at].as_py() != key:
            return None
        self._found += 1
        return blocks.to_rows(self._held[number].slice(at, 1))[0]

    def counts(self) -> tuple[int, int, int]:
        """Rows, calls, and rows that were found."""
        return sum(block.num_rows for block in self._held), self._calls, self._found


class RandomAccessDataset:
    """Made by `Dataset.to_random_access_dataset`."""

    def __init__(self, dataset: Dataset, key: str, num_workers: int | None = None) -> None:
        from ..api.decorator import remote
        from ..api.objects import get

        dataset._check_columns([key])
        pieces = [(block, meta) for block, meta in dataset.sort(key)._pieces() if meta.rows]
        look = remote(**loaded(num_cpus=0))(_first_key)
        self._firsts = [each for each in get([look.remote(block, key) for block, _ in pieces]) if each is not None]
        pieces = pieces[: len(self._firsts)]
        count = min(num_workers or WORKERS, len(pieces))
        cuts = [len(pieces) * at // count for at in range(count + 1)] if count else []
        actor = remote(**loaded(num_cpus=0))(Holder)
        self._holders = [
            actor.remote(key, first, *(block for block, _ in pieces[first:last]))
            for first, last in itertools.pairwise(cuts)
        ]
        self._cuts = cuts

    def _place(self, key: Any) -> tuple[int, int] | None:
        """The number of the block where a key would be, and of who holds it."""
        number = bisect.bisect_right(self._firsts, key) - 1
        # Equal keys may begin in one block and go on in the next: either has one of them.
        return None if number < 0 else (number, bisect.bisect_right(self._cuts, number) - 1)

    def get_async(self, key: Any) -> Any:
        """A reference to the row with a key, or to None if there is no such row."""
        from ..api.objects import put

        place = self._place(key)
        return put(None) if place is None else self._holders[place[1]].one.remote(place[0], key)

    def multiget(self, keys: Sequence[Any]) -> list[Row | None]:
        """The rows with these keys; None where there is none."""
        from ..api.objects import get

        asked: dict[int, list[tuple[int, int, Any]]] = {}
        for at, key in enumerate(keys):
            place = self._place(key)
            if place is not None:
                asked.setdefault(place[1], []).append((at, place[0], key))
        calls = [
            self._holders[holder].find.remote([(number, key) for _, number, key in wanted])
            for holder, wanted in asked.items()
        ]
        found: list[Row | None] = [None] * len(keys)
        for wanted, rows in zip(asked.values(), get(calls), strict=True):
            for (at, _, _), row in zip(wanted, rows, strict=True):
                found[at] = row
        return found

    def stats(self) -> str:
        """How many rows the actors hold, and how often they were asked."""
        from ..api.objects import get

        counts = get([holder.counts.remote() for holder in self._holders])
        lines = [
            f"actor {at}: {rows} rows, {calls} calls, {hits} found" for at, (rows, calls, hits) in enumerate(counts)
        ]
        return "\n".join([f"{len(self._firsts)} blocks held by {len(counts)} actors", *lines])


def _first_key(block: Block, key: str) -> Any:
    """None: null, or not a number, which come last and are found by nobody."""
    found = block.column(key)[0].as_py()
    return found if found == found else None
