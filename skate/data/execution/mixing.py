"""Operators that know the numbers of rows: one that takes the rows of several inputs in turns, and one that counts them.

How rows are mixed does not depend on how they lie in blocks. Row number `n` of an input with weight `w` has its turn at the time
`(n + 1) / w`; rows go on in the order of their times, and at the same time in the order of the inputs. As soon as all inputs have
brought their rows up to some time, those can go on. Pure, as `operators.py` is.

INV-1: an input is asked for more only if its rows are what the others wait for.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from .operators import Bundle, MapOperator, Operator, Task, Work

Piece = tuple[int, int, int, int]
"""Of a bundle that is mixed: the input, the number of its first row there, and which rows of the bundle."""


class Turn:
    """What an input of a mix has brought and not given yet."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.bundles: deque[tuple[Bundle, int]] = deque()
        """With the number of the first row."""
        self.seen = 0
        self.given = 0
        self.ended = False

    def time(self, rows: int) -> float:
        """When so many of its rows have had their turn."""
        return rows / self.weight

    def until(self, time: float) -> int:
        """How many of its rows have had their turn."""
        if self.time(self.seen) <= time:
            return self.seen
        rows = min(self.seen, int(time * self.weight) + 1)
        while self.time(rows) > time:
            rows -= 1
        return rows

    def give(self, port: int, rows: int) -> list[tuple[Bundle, Piece]]:
        """Those up to a number that were not given yet."""
        found = []
        while self.given < rows:
            bundle, first = self.bundles[0]
            last = min(rows, first + bundle.meta.rows)
            found.append((bundle, (port, self.given, self.given - first, last - first)))
            self.given = last
            if last == first + bundle.meta.rows:
                self.bundles.popleft()
        return found


class MixOperator(Operator):
    """The rows of several inputs, in turns.

    Args:
        weights: how many rows of each go on, in proportion.
        until_shortest: end with the first input that ends; else go on with the others.
        work: puts pieces of bundles together; its extra argument is (the weights, a `Piece` for each).
    """

    def __init__(self, inputs: Sequence[Operator], weights: Sequence[float], until_shortest: bool, work: Work) -> None:
        super().__init__("Mix", inputs)
        self._turns = [Turn(weight) for weight in weights]
        self._until_shortest = until_shortest
        self._work = work
        self._ready: deque[Task] = deque()
        self._number = 0
        self._columns: Bundle | None = None
        """One without rows, in case that there are none at all."""
        self._held_bytes = 0

    def _reached(self, turn: Turn) -> float:
        """Up to which time the rows of an input are there."""
        return math.inf if turn.ended and not self._until_shortest else turn.time(turn.seen)

    @property
    def enough(self) -> bool:
        if not self._until_shortest:
            return False
        reached = min(map(self._reached, self._turns))
        return any(turn.ended and self._reached(turn) == reached for turn in self._turns)

    def wants(self, port: int) -> bool:
        return self.enough or self._reached(self._turns[port]) == min(map(self._reached, self._turns))

    def add(self, port: int, bundle: Bundle) -> None:
        if self.enough:
            return
        self.stats.rows_in += bundle.meta.rows
        turn = self._turns[port]
        if bundle.meta.rows:
            turn.bundles.append((bundle, turn.seen))
            turn.seen += bundle.meta.rows
            self._held_bytes += bundle.meta.size_bytes if self.counts(port) else 0
        else:
            self._columns = bundle
        self._advance()

    def input_ended(self, port: int) -> None:
        super().input_ended(port)
        self._turns[port].ended = True
        self._advance()
        if self.enough:
            self._forget()
        if not self.open and not self._number and self._columns is not None:
            self._give_on(self._columns)

    def _advance(self) -> None:
        """Let those rows go on whose turn it is."""
        if self.stopped:
            return
        time = min(map(self._reached, self._turns))
        found = [each for port, turn in enumerate(self._turns) for each in turn.give(port, turn.until(time))]
        if not found:
            return
        whole = len(found) == 1 and found[0][1][2:] == (0, found[0][0].meta.rows)
        for bundle, (port, _, _, stop) in found:
            if self.counts(port) and stop == bundle.meta.rows:
                self._held_bytes -= bundle.meta.size_bytes
        if whole:
            self._give_on(found[0][0])
            return
        extra = [turn.weight for turn in self._turns], [piece for _, piece in found]
        self._ready.append(Task(self, self._number, self._work, [bundle for bundle, _ in found], extra))
        self._number += 1

    def _give_on(self, bundle: Bundle) -> None:
        self.out.add(self._number, bundle)
        self.out.end(self._number)
        self._number += 1

    def next_task(self) -> Task | None:
        return self._ready.popleft() if self.can_start else None

    @property
    def can_start(self) -> bool:
        return bool(self._ready) and not self.stopped

    @property
    def held_bytes(self) -> int:
        return self.out.size_bytes + self._held_bytes

    def stop(self) -> None:
        super().stop()
        for task in self._ready:
            self.out.end(task.key)  # or what is behind it would wait for it forever
        self._ready.clear()
        self._forget()

    def _forget(self) -> None:
        """Rows that have not had their turn never will."""
        for turn in self._turns:
            turn.bundles.clear()
        self._held_bytes = 0


class CountOperator(MapOperator):
    """A task for each bundle, which is told the number of its first row among all rows."""

    def __init__(self, name: str, source: Operator, work: Work) -> None:
        super().__init__(name, source, work)
        self._rows = 0

    def next_task(self) -> Task | None:
        task = super().next_task()
        if task is not None:
            task.extra, self._rows = self._rows, self._rows + sum(bundle.meta.rows for bundle in task.inputs)
        return task
