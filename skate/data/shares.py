"""Who gets which block of a stream that several consumers share. Pure: no block is touched here.

With equal shares, each consumer gets exactly the same number of rows, and fewer rows than consumers are left out at the end.
Blocks are given to whoever has the fewest rows; the last ones are held back until it is certain that the others can catch up
with what is held back. At the end, they are cut.

INV-1 (equal): the rows held back are at least as many as are missing for all to have what the first has.
INV-2: a consumer that has left gets nothing more; with equal shares its part is taken out, so that the others stay equal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

AHEAD = 2
"""So many pieces should wait for each consumer."""
LIMIT = 16
"""No more than these wait for one, however slow it is."""


class Share(NamedTuple):
    """Rows `start` to `stop` of a block."""

    block: Any
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many."""
        return self.stop - self.start


class Shares:
    """The pieces that wait for each of `n` consumers.

    Args:
        equal: all get the same number of rows; otherwise, whoever asks gets the next block.
    """

    def __init__(self, n: int, equal: bool) -> None:
        self._equal = equal
        self._queues: list[deque[Share]] = [deque() for _ in range(n if equal else 1)]
        self._given = [0] * n
        self._left: set[int] = set()
        self._held: deque[Share] = deque()
        self._held_rows = 0
        self._n = n
        self.ended = False

    def add(self, block: Any, rows: int) -> None:
        """One more block of the stream."""
        if not rows:
            return
        share = Share(block, 0, rows)
        if not self._equal:
            self._queues[0].append(share)
            return
        self._held.append(share)
        self._held_rows += rows
        while self._held and self._may_give(self._held[0].rows):
            self._give(self._fewest(), self._pop())

    def end(self) -> None:
        """There are no more blocks."""
        if self._equal:
            self._even_out()
        self.ended = True

    def take(self, consumer: int) -> Share | None:
        """The next piece for a consumer; None: there is none now."""
        queue = self._queues[consumer if self._equal else 0]
        return queue.popleft() if queue else None

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

    def _pop(self) -> Share:
        share = self._held.popleft()
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
            for share in self._cut(each - self._given[consumer]):
                self._give(consumer, share)
        self._held.clear()
        self._held_rows = 0

    def _cut(self, rows: int) -> Iterator[Share]:
        """So many rows of those that are held back."""
        while rows > 0:
            share = self._pop()
            if share.rows > rows:
                self._held.appendleft(Share(share.block, share.start + rows, share.stop))
                self._held_rows += share.rows - rows
                share = Share(share.block, share.start, share.start + rows)
            rows -= share.rows
            yield share
