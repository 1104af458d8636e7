"""`Ranges` against a set of bytes."""

from __future__ import annotations

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skate.store.ranges import Ranges

SIZE = 60


class RangesMachine(RuleBasedStateMachine):
    """Whatever is done, the ranges are the maximal runs of the bytes that should be there."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges = Ranges()
        self.bytes: set[int] = set()

    def runs(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for byte in sorted(self.bytes):
            if found and sum(found[-1]) == byte:
                found[-1] = (found[-1][0], found[-1][1] + 1)
            else:
                found.append((byte, 1))
        return found

    @rule(start=st.integers(0, SIZE), size=st.integers(1, 12))
    def add(self, start: int, size: int) -> None:
        wanted = set(range(start, start + size))
        if wanted & self.bytes:
            with pytest.raises(ValueError, match="overlaps"):
                self.ranges.add(start, size)
        else:
            self.ranges.add(start, size)
            self.bytes |= wanted

    @rule(start=st.integers(0, SIZE), size=st.integers(1, 12))
    def remove(self, start: int, size: int) -> None:
        wanted = set(range(start, start + size))
        if wanted <= self.bytes:
            self.ranges.remove(start, size)
            self.bytes -= wanted
        else:
            with pytest.raises(ValueError, match="is not there"):
                self.ranges.remove(start, size)

    @precondition(lambda self: self.bytes)
    @rule(data=st.data())
    def remove_what_is_there(self, data: st.DataObject) -> None:
        start, size = data.draw(st.sampled_from(self.runs()))
        first = data.draw(st.integers(start, start + size - 1))
        count = data.draw(st.integers(1, start + size - first))
        self.ranges.remove(first, count)
        self.bytes -= set(range(first, first + count))

    @rule(size=st.integers(1, 12))
    def take(self, size: int) -> None:
        fitting = [have for _, have in self.runs() if have >= size]
        at = self.ranges.take(size)
        if not fitting:
            assert at is None
            return
        assert at is not None
        assert (at, min(fitting)) in self.runs(), "best fit, from its beginning"
        self.bytes -= set(range(at, at + size))

    @invariant()
    def same(self) -> None:
        self.ranges.validate()
        assert list(self.ranges) == self.runs()
        assert self.ranges.total == len(self.bytes)
        assert len(self.ranges) == len(self.runs())
        assert self.ranges.largest() == max((size for _, size in self.runs()), default=0)


TestRanges = RangesMachine.TestCase
TestRanges.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("size", [0, -1])
def test_an_empty_range_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="a range of"):
        Ranges().add(0, size)
