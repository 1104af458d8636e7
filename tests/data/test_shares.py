"""Who gets which rows of a stream that several consumers share, without processes."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from skate.data.shares import Share, Shares


def drained(shares: Shares, consumer: int) -> list[Share]:
    found = []
    while (share := shares.take(consumer)) is not None:
        found.append(share)
    return found


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.lists(st.integers(0, 40), max_size=30))
def test_equal_shares_have_the_same_number_of_rows_and_leave_out_few(n: int, sizes: list[int]) -> None:
    shares = Shares(n, equal=True)
    for block, rows in enumerate(sizes):
        shares.add(block, rows)
        shares.validate()
    shares.end()
    got = [
        [(share.block, row) for share in drained(shares, each) for row in range(share.start, share.stop)]
        for each in range(n)
    ]
    assert [len(each) for each in got] == [sum(sizes) // n] * n
    every = [row for each in got for row in each]
    assert len(set(every)) == len(every)
    assert set(every) <= {(block, row) for block, rows in enumerate(sizes) for row in range(rows)}


@given(st.integers(1, 5), st.lists(st.integers(1, 40), max_size=30))
def test_unequal_shares_go_to_whoever_asks(n: int, sizes: list[int]) -> None:
    shares = Shares(n, equal=False)
    for block, rows in enumerate(sizes):
        shares.add(block, rows)
    got = [shares.take(at % n) for at in range(len(sizes))]
    assert got == [Share(block, 0, rows) for block, rows in enumerate(sizes)]
    assert shares.take(0) is None


def test_more_is_wanted_only_while_little_waits() -> None:
    shares = Shares(2, equal=False)
    for block in range(4):
        assert shares.wants_more
        shares.add(block, 10)
    assert not shares.wants_more
    shares.take(1)
    assert shares.wants_more


def test_a_consumer_that_has_left_does_not_stop_the_others() -> None:
    shares = Shares(2, equal=True)
    shares.leave(1)
    for block in range(40):
        assert shares.wants_more
        shares.add(block, 10)
        drained(shares, 0)
    shares.end()
    assert shares.take(1) is None
    shares.leave(0)
    assert not shares.wants_more
