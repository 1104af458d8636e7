"""A set of byte ranges, for memory that is free and for memory that somebody holds.

Best fit with immediate merging of neighbours. The node uses it for the whole arena and for what each client holds;
a client uses it for the memory that it was given. Both keep few ranges (hundreds), so sorted lists beat trees.

INV-1: ranges are sorted, not empty, do not overlap and do not touch.
INV-2: `total` is the sum of their sizes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Ranges:
    """Disjoint ranges (offset, size) in bytes."""

    __slots__ = ("_sizes", "_starts", "total")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._sizes: list[int] = []
        self.total = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._sizes, strict=True))

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, size: int) -> None:
        """Add a range that must not overlap what is there.

        Raises:
            ValueError: it overlaps, or is empty.
        """
        if size <= 0:
            raise ValueError(f"a range of {size} bytes")
        starts, sizes = self._starts, self._sizes
        at = bisect_left(starts, start)
        if (at < len(starts) and starts[at] < start + size) or (at and starts[at - 1] + sizes[at - 1] > start):
            raise ValueError(f"range {start}+{size} overlaps one that is there")
        self.total += size
        joins_next = at < len(starts) and starts[at] == start + size
        if at and starts[at - 1] + sizes[at - 1] == start:
            sizes[at - 1] += size
            if joins_next:
                sizes[at - 1] += sizes[at]
                del starts[at], sizes[at]
        elif joins_next:
            starts[at] = start
            sizes[at] += size
        else:
            starts.insert(at, start)
            sizes.insert(at, size)

    def take(self, size: int) -> int | None:
        """Remove `size` bytes from the smallest range that has them; their offset, or None."""
        best = -1
        best_size = 0
        for at, have in enumerate(self._sizes):
            if have >= size and (best < 0 or have < best_size):
                best, best_size = at, have
                if have == size:
                    break
        if best < 0:
            return None
        start = self._starts[best]
        self._cut(best, start, size)
        return start

    def remove(self, start: int, size: int) -> None:
        """Remove a range that must be there, whole.

        Raises:
            ValueError: a part of it is not there.
        """
        at = bisect_right(self._starts, start) - 1
        if at < 0 or self._starts[at] + self._sizes[at] < start + size:
            raise ValueError(f"range {start}+{size} is not there")
        self._cut(at, start, size)

    def within(self, start: int, size: int) -> list[tuple[int, int]]:
        """The parts of a range that are here."""
        found = []
        for at in range(max(0, bisect_right(self._starts, start) - 1), len(self._starts)):
            first, end = max(start, self._starts[at]), min(start + size, self._starts[at] + self._sizes[at])
            if self._starts[at] >= start + size:
                break
            if end > first:
                found.append((first, end - first))
        return found

    def _cut(self, at: int, start: int, size: int) -> None:
        first, have = self._starts[at], self._sizes[at]
        before, after = start - first, first + have - start - size
        self.total -= size
        if before:
            self._sizes[at] = before
            if after:
                self._starts.insert(at + 1, start + size)
                self._sizes.insert(at + 1, after)
        elif after:
            self._starts[at] = start + size
            self._sizes[at] = after
        else:
            del self._starts[at], self._sizes[at]

    def largest(self) -> int:
        """The size of the largest range, 0 if there is none."""
        return max(self._sizes, default=0)

    def validate(self) -> None:
        """Check the invariants; for tests and the simulator."""
        end = -1
        for start, size in self:
            assert size > 0 and start > end, (start, size, end)
            end = start + size
        assert self.total == sum(self._sizes)
