"""Memory that nobody has, with more addresses than memory.

What somebody reads cannot move, so small blocks that are in use end up all over the arena: two thirds of it may be free, and no
range be long enough for a large block. Whoever reads them then waits for room for its result, for ever. But addresses of a sparse
file cost nothing. So there are several times as many as there is memory. When no free range is long enough, addresses without
memory are used, and as much memory elsewhere is given back to the machine.

A request is met by memory that was written before, if possible, as that is warm. Of what is given back, long ranges go first: the
short ones are what the next small blocks fit into.

INV-1: `backed` and `bare` do not overlap; `bare` has whole pages only.
INV-2: what is taken and `backed` have together as many bytes as there is memory, and `debt`: so many pages are in use at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .arena import PAGE
from .ranges import Ranges


class Space:
    """The free part of an arena.

    Args:
        first, size: the range that has memory at first.
        bare: how many bytes of addresses follow it.
        release: gives the memory of whole pages (offset, size) back to the machine; it is called before `take` returns.
        page: the bytes of a page.
    """

    def __init__(
        self,
        first: int,
        size: int,
        bare: int = 0,
        release: Callable[[int, int], None] | None = None,
        page: int = PAGE,
    ) -> None:
        self._page = page
        self._release = release
        self.backed = Ranges()
        self.backed.add(first, size)
        self.bare = Ranges()
        self.debt = 0
        """Bytes that were borrowed and not given back yet."""
        begin, end = -(-(first + size) // page) * page, (first + size + bare) // page * page
        if end > begin:
            self.bare.add(begin, end - begin)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges (offset, size) that have memory."""
        return iter(self.backed)

    @property
    def total(self) -> int:
        """How many bytes are free."""
        return self.backed.total

    def add(self, start: int, size: int) -> None:
        """A range is free again."""
        self.backed.add(start, size)
        if self.debt:
            given = self._whole_pages(self.debt)
            self._give_back(given)
            self.debt -= sum(length for _, length in given)

    def borrow(self, size: int) -> int | None:
        """As `take`, with memory that there should not be: what comes free next is given back for it. One at a time."""
        need = -(-size // self._page) * self._page
        at = None if self.debt else self.bare.take(need)
        if at is not None:
            self.debt = need
            if need > size:
                self.backed.add(at + size, need - size)
        return at

    def take(self, size: int) -> int | None:
        """Take `size` bytes in one piece; their offset, or None when there are not so many."""
        at = self.backed.take(size)
        if at is None and self.bare and self.backed.total >= size:
            at = self._exchange(size)
        return at

    def _exchange(self, size: int) -> int | None:
        """Take addresses that have no memory, or not all of it, for as much memory from elsewhere."""
        both = Ranges()
        for ranges in (self.backed, self.bare):
            for start, length in ranges:
                both.add(start, length)
        at = both.take(size)
        if at is None:
            return None
        mine = self.backed.within(at, size)
        for start, length in mine:
            self.backed.remove(start, length)
        bare = [(start, -(-length // self._page) * self._page) for start, length in self.bare.within(at, size)]
        need = sum(length for _, length in bare)
        given = self._whole_pages(need)
        if sum(length for _, length in given) < need:
            for start, length in mine:
                self.backed.add(start, length)
            return None
        for start, length in bare:
            self.bare.remove(start, length)
            rest = start + length - (at + size)
            if rest > 0:
                self.backed.add(at + size, rest)
        self._give_back(given)
        return at

    def _give_back(self, given: list[tuple[int, int]]) -> None:
        for start, length in given:
            if self._release is not None:
                self._release(start, length)
            self.backed.remove(start, length)
            self.bare.add(start, length)

    def _whole_pages(self, need: int) -> list[tuple[int, int]]:
        """Ranges of whole pages with memory, `need` bytes in all, or less if there are not so many."""
        found = []
        for start, length in sorted(self.backed, key=lambda each: -each[1]):
            if need <= 0:
                break
            first = -(-start // self._page) * self._page
            pages = min(need, (start + length - first) // self._page * self._page)
            if pages > 0:
                found.append((first, pages))
                need -= pages
        return found

    def largest(self) -> int:
        """The size of the largest range that has memory."""
        return self.backed.largest()

    def validate(self) -> None:
        """Check the invariants; for tests and the simulator."""
        self.backed.validate()
        self.bare.validate()
        for start, size in self.bare:
            assert start % self._page == size % self._page == 0, (start, size)
            assert not self.backed.within(start, size), (start, size)
