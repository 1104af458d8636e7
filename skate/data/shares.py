"""Who gets which block of a stream that several consumers share. Pure: no block is touched here.

With equal shares, each consumer gets exactly the same number of rows, and fewer rows than consumers are left out at the end.
Blocks are given to whoever has the fewest rows; the last ones are held back until it is certain that the others can catch up
with what is held back. At the end, they are cut.

A block may be *near* some consumers: on their node. With equal shares, a few more are held back then, so that one near the
consumer whose turn it is can be chosen; otherwise who asks gets one that is near, then one that is near nobody, then any. So
where blocks lie changes who gets which, and never how many.

INV-1 (equal): the rows held back are at least as many as are missing for all to have what the first has.
INV-2: a consumer that has left gets nothing more; with equal shares its part is taken out, so that the others stay equal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

AHEAD = 2
"""So many pieces should wait for each consumer."""
LIMIT = 16
"""No more than these wait for one, however slow it is."""
CHOICE = 4
"""So many are held back for each consumer to choose from, if blocks are near consumers."""
NOBODY: frozenset[int] = frozenset()


class Share(NamedTuple):
    """Rows `start` to `stop` of a block."""

    block: Any
    start: int
    stop: int
    near: frozenset[int] = NOBODY
    """The consumers on whose node the block is."""

    @property
    def rows(self) -> int:
        """How many."""
        return self.stop - self.start


class Shares:
    """The pieces that wait for each of `n` consumers.

    Args:
        equal: all get the same number of rows; otherwise, whoever asks gets the next block.
        chooses: blocks may be near consumers.
    """

    def __init__(self, n: int, equal: bool, chooses: bool = False) -> None:
        self._equal = equal
        self._choice = CHOICE * n if chooses else 0
        self._queues: list[deque[Share]] = [deque() for _ in range(n if equal else 1)]
        self._given = [0] * n
        self._left: set[int] = set()
        self._held: deque[Share] = deque()
        self._held_rows = 0
        self._n = n
        self.ended = False

    def add(self, block: Any, rows: int, near: frozenset[int] = NOBODY) -> None:
        """One more block of the stream."""
        if not rows:
            return
        share = Share(block, 0, rows, near)
        if not self._equal:
            self._queues[0].append(share)
            return
        self._held.append(share)
        self._held_rows += rows
        while len(self._held) > self._choice:
            consumer = self._fewest()
            at = nearest(self._held, consumer)
            if not self._may_give(self._held[at].rows):
                return
            self._give(consumer, self._pop(at))

    def end(self) -> None:
        """There are no more blocks."""
        if self._equal:
            self._even_out()
        self.ended = True

    def take(self, consumer: int) -> Share | None:
        """The next piece for a consumer; None: there is none now."""
        queue = self._queues[consumer if self._equal else 0]
        if not queue:
            return None
        at = nearest(queue, consumer)
        share = queue[at]
        del queue[at]
        return share

    def leave(self, consumer: int) -> None:
        """A consumer wants no more."""
        self._left.add(consumer)
        if self._equal:
            self._queues[consumer].clear()

    @property
    def wants_more(self) -> bool:
        """Whether more blocks should be added now."""
        if len(self._left) == self._n:
            return False
        if not self._equal:
            return len(self._queues[0]) < AHEAD * self._n
        sizes = [len(queue) for at, queue in enumerate(self._queues) if at not in self._left]
        return min(sizes) < AHEAD and max(sizes) < LIMIT

    def validate(self) -> None:
        """Check INV-1."""
        assert sum(share.rows for share in self._held) == self._held_rows
        if self._equal and not self.ended:
            assert self._missing(self._given) <= self._held_rows

    # ------------------------------------------------------------ equal shares

    def _fewest(self) -> int:
        return min(range(self._n), key=lambda consumer: self._given[consumer])

    def _missing(self, given: list[int]) -> int:
        return sum(max(given) - each for each in given)

    def _may_give(self, rows: int) -> bool:
        given = list(self._given)
        given[self._fewest()] += rows
        return self._missing(given) <= self._held_rows - rows

    def _pop(self, at: int) -> Share:
        share = self._held[at]
        del self._held[at]
        self._held_rows -= share.rows
        return share

    def _give(self, consumer: int, share: Share) -> None:
        self._given[consumer] += share.rows
        if consumer not in self._left:
            self._queues[consumer].append(share)

    def _even_out(self) -> None:
        most = max(self._given)
        each = most + (self._held_rows - self._missing(self._given)) // self._n
        for consumer in range(self._n):
            for share in self._cut(each - self._given[consumer], consumer):
                self._give(consumer, share)
        self._held.clear()
        self._held_rows = 0

    def _cut(self, rows: int, consumer: int) -> Iterator[Share]:
        """So many rows of those that are held back."""
        while rows > 0:
            share = self._pop(nearest(self._held, consumer))
            if share.rows > rows:
                self._held.appendleft(share._replace(start=share.start + rows))
                self._held_rows += share.rows - rows
                share = share._replace(stop=share.start + rows)
            rows -= share.rows
            yield share


def nearest(shares: Sequence[Share], consumer: int) -> int:
    """The place of the first that is near a consumer, or else near nobody, or else of the first."""
    alone = -1
    for at, share in enumerate(shares):
        if consumer in share.near:
            return at
        if alone < 0 and not share.near:
            alone = at
    return max(alone, 0)
