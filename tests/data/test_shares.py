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


PLACES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=60)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), PLACES, st.booleans())
def test_where_blocks_lie_changes_no_numbers(n: int, blocks: list[tuple[int, int]], drains: bool) -> None:
    shares = Shares(n, equal=True, chooses=True)
    got: list[list[Share]] = [[] for _ in range(n)]
    for number, (rows, place) in enumerate(blocks):
        shares.add(number, rows, frozenset(at for at in range(n) if at % 3 == place))
        shares.validate()
        for consumer in range(n) if drains else ():
            got[consumer] += drained(shares, consumer)
    shares.end()
    for consumer in range(n):
        got[consumer] += drained(shares, consumer)
    rows_of = [[(share.block, row) for share in each for row in range(share.start, share.stop)] for each in got]
    assert [len(each) for each in rows_of] == [sum(rows for rows, _ in blocks) // n] * n
    every = [row for each in rows_of for row in each]
    assert len(set(every)) == len(every)
    assert set(every) <= {(number, row) for number, (rows, _) in enumerate(blocks) for row in range(rows)}


def test_blocks_go_to_those_that_are_near() -> None:
    for equal in (True, False):
        shares = Shares(2, equal, chooses=True)
        got: list[list[int]] = [[], []]
        for block in range(40):
            shares.add(block, 10, frozenset({block * 7 // 5 % 2}))
            if block % 5 == 4:
                for consumer in (0, 1):
                    for _ in range(2):
                        share = shares.take(consumer)
                        got[consumer] += [share.block] if share is not None else []
        shares.end()
        if equal:
            for consumer in (0, 1):
                got[consumer] += [share.block for share in drained(shares, consumer)]
        far = sum(block * 7 // 5 % 2 != consumer for consumer in (0, 1) for block in got[consumer])
        assert far <= 4, (equal, got)
        first = Shares(2, equal)
        for block in range(4):
            first.add(block, 10, frozenset())
        share = first.take(1)
        assert share is not None and share.block == (1 if equal else 0)  # without places, in order


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
