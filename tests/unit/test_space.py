"""`Space` against a model of pages: memory is never in use twice, and never more than there is."""

from __future__ import annotations

import random

from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skate.store.space import Space

PAGE, FIRST, SIZE, BARE = 8, 4, 160, 480
END = FIRST + SIZE + BARE


class SpaceMachine(RuleBasedStateMachine):
    """Takes and gives back, and knows which pages have memory."""

    def __init__(self) -> None:
        super().__init__()
        self.space = Space(FIRST, SIZE, BARE, self.release, PAGE)
        self.pages = {at // PAGE for at in range(FIRST, FIRST + SIZE)}
        self.most = len(self.pages)
        self.taken: dict[int, int] = {}

    def release(self, start: int, size: int) -> None:
        assert start % PAGE == size % PAGE == 0
        for at, length in self.taken.items():
            assert at + length <= start or start + size <= at, "memory of somebody is given back"
        self.pages -= {at // PAGE for at in range(start, start + size)}

    @rule(size=st.integers(1, SIZE + 8))
    def take(self, size: int) -> None:
        before = self.space.total
        at = self.space.take(size)
        if at is None:
            assert self.space.total == before
            return
        assert size <= before and self.space.total == before - size
        assert at >= FIRST and at + size <= END
        for other, length in self.taken.items():
            assert other + length <= at or at + size <= other
        self.taken[at] = size
        self.pages |= {each // PAGE for each in range(at, at + size)}

    @rule(size=st.integers(1, 40))
    def borrow(self, size: int) -> None:
        debt = self.space.debt
        at = self.space.borrow(size)
        assert not debt or at is None, "one at a time"
        if at is not None:
            assert all(other + length <= at or at + size <= other for other, length in self.taken.items())
            self.taken[at] = size
            self.pages |= {each // PAGE for each in range(at, at + size)}

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def add(self, data: st.DataObject) -> None:
        at = data.draw(st.sampled_from(sorted(self.taken)))
        self.space.add(at, self.taken.pop(at))

    @invariant()
    def no_more_pages_than_memory(self) -> None:
        self.space.validate()
        assert len(self.pages) <= self.most + self.space.debt // PAGE
        assert self.space.total + sum(self.taken.values()) == SIZE + self.space.debt


SpaceMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSpace = SpaceMachine.TestCase


def test_pieces_that_stay_do_not_keep_a_large_block_out() -> None:
    """Every eighth page is in use for good; without more addresses than memory, 8 pages in a row would not be there."""
    page = 4096
    for bare, fits in ((0, False), (3 * 512 * page, True)):
        space = Space(0, 512 * page, bare)
        taken = [space.take(page) for _ in range(512)]
        for at, start in enumerate(taken):
            assert start is not None
            if at % 8:
                space.add(start, page)
        blocks = [space.take(8 * page) for _ in range(50)]
        assert all((block is not None) is fits for block in blocks), bare
        space.validate()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 30))
def test_whatever_is_free_is_of_use(seed: int) -> None:
    """Objects of all sizes come and go, and fill never more than three quarters."""
    rng = random.Random(seed)
    total = 4096 << 10
    space = Space(0, total, 3 * total)
    taken: list[tuple[int, int]] = []
    for _ in range(400):
        size = rng.choice((64 << 10, 350 << 10, 1 << 20)) // 64 * 64
        while space.total - size < total // 4:
            space.add(*taken.pop(rng.randrange(len(taken))))
        at = space.take(size)
        assert at is not None, (seed, size, space.total)
        taken.append((at, size))
