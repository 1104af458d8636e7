"""Joins, against DuckDB: every kind, over any cut into blocks and parts."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from skate.data import block as blocks, plan
from skate.data.errors import ColumnNotFoundError
from skate.data.hashing import hash_rows
from skate.data.join import HOW, join

from .helpers import parts_of, run

KEYS = st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 4)), st.sampled_from(["x", "y"])), max_size=12)
SQL = {
    "inner": "select lhs.k, lhs.s, i, j from lhs join rhs on lhs.k = rhs.k2 and lhs.s = rhs.s2",
    "left_outer": "select lhs.k, lhs.s, i, j from lhs left join rhs on lhs.k = rhs.k2 and lhs.s = rhs.s2",
    "right_outer": "select rhs.k2, rhs.s2, i, j from lhs right join rhs on lhs.k = rhs.k2 and lhs.s = rhs.s2",
    "full_outer": "select coalesce(lhs.k, rhs.k2), coalesce(lhs.s, rhs.s2), i, j from lhs full join rhs "
    "on lhs.k = rhs.k2 and lhs.s = rhs.s2",
    "left_semi": "select * from lhs where exists (select 1 from rhs where lhs.k = rhs.k2 and lhs.s = rhs.s2)",
    "left_anti": "select * from lhs where not exists (select 1 from rhs where lhs.k = rhs.k2 and lhs.s = rhs.s2)",
    "right_semi": "select * from rhs where exists (select 1 from lhs where lhs.k = rhs.k2 and lhs.s = rhs.s2)",
    "right_anti": "select * from rhs where not exists (select 1 from lhs where lhs.k = rhs.k2 and lhs.s = rhs.s2)",
}
ONE_SIDE = {"left_": ["k", "s", "i"], "right": ["k2", "s2", "j"]}
CUTS = st.tuples(st.integers(1, 3), st.integers(1, 3))
TEXTS = st.one_of(st.none(), st.text(max_size=20), st.text("a", min_size=250, max_size=300))
WIDTHS = st.sampled_from([pa.int8(), pa.int32(), pa.int64(), pa.float64()])


def side(rows: list[tuple[Any, str]], names: list[str], kind: pa.DataType) -> pa.Table:
    k, s = ([row[at] for row in rows] for at in (0, 1))
    return pa.table([pa.array(k, kind), pa.array(s, pa.string()), pa.array(range(len(rows)), pa.int64())], names)


def rows_of(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


@pytest.mark.parametrize("how", sorted(HOW))
@pytest.mark.parametrize("broadcast", [False, True])
@settings(max_examples=12, deadline=None)
@given(
    left=KEYS,
    right=KEYS,
    kinds=st.tuples(WIDTHS, WIDTHS),
    cuts=CUTS,
    parts=st.integers(1, 3),
)
def test_joins_are_those_of_sql(
    how: str, broadcast: bool, left: Any, right: Any, kinds: Any, cuts: tuple[int, int], parts: int
) -> None:
    lhs, rhs = side(left, ["k", "s", "i"], kinds[0]), side(right, ["k2", "s2", "j"], kinds[1])
    node = plan.Join(parts_of(lhs, cuts[0]), parts_of(rhs, cuts[1]), how, ("k", "s"), ("k2", "s2"), partitions=parts)
    found = run(node, broadcast_bytes=(1 << 20) * broadcast)
    assert found.column_names == (ONE_SIDE[how[:5]] if how.endswith(("semi", "anti")) else ["k", "s", "i", "j"])
    wanted = duckdb.sql(SQL[how]).fetchall()
    kind = float if pa.types.is_floating(found.schema.types[0]) else int
    assert sorted(rows_of(found), key=str) == sorted(
        ((None if row[0] is None else kind(row[0]), *row[1:]) for row in wanted), key=str
    )


def test_the_order_is_that_of_the_left_rows_and_then_of_the_right() -> None:
    left = pa.table({"k": [2, 1, 3, 1], "a": [10, 11, 12, 13]})
    right = pa.table({"k": [1, 2, 1, 9], "b": [20, 21, 22, 23]})
    found = join("full_outer", ["k"], ["k"], ("", ""), left, right)
    assert rows_of(found) == [
        (2, 10, 21),
        (1, 11, 20),
        (1, 11, 22),
        (3, 12, None),
        (1, 13, 20),
        (1, 13, 22),
        (9, None, 23),
    ]


def test_columns_of_any_type_are_joined() -> None:
    left = blocks.from_columns({"k": [1, 2], "t": np.arange(8).reshape(2, 2, 2), "l": [[1], [2, 3]], "o": [1j, 2j]})
    right = blocks.from_columns({"k": [2, 3], "m": [{"a": 1}, {"a": 2}]})
    found = join("full_outer", ["k"], ["k"], ("", ""), left, right)
    assert [row["k"] for row in blocks.to_rows(found)] == [1, 2, 3]
    assert blocks.to_rows(found)[1]["o"] == 2j and blocks.to_rows(found)[1]["m"] == {"a": 1}
    assert blocks.to_rows(found)[1]["t"].tolist() == [[4, 5], [6, 7]] and blocks.to_rows(found)[2]["t"] is None


def test_whole_numbers_without_a_sign_are_not_negative() -> None:
    left = pa.table({"k": pa.array([2**64 - 1, 5, None], pa.uint64()), "a": [1, 2, 3]})
    right = pa.table({"k": pa.array([-1, 5, None], pa.int64()), "b": [10, 20, 30]})
    for sides in ((left, right), (right, left)):
        assert join("inner", ["k"], ["k"], ("", ""), *sides).column("k").to_pylist() == [5]
        assert join("left_anti", ["k"], ["k"], ("", ""), *sides).num_rows == 2


def test_names_that_meet_need_a_suffix() -> None:
    left, right = pa.table({"k": [1], "v": [1]}), pa.table({"k": [1], "v": [2]})
    with pytest.raises(ValueError, match="both sides have columns 'v'"):
        join("inner", ["k"], ["k"], ("", ""), left, right)
    assert join("inner", ["k"], ["k"], ("", "_r"), left, right).to_pylist() == [{"k": 1, "v": 1, "v_r": 2}]
    assert join("inner", ["k"], ["k"], ("_l", "_r"), left, right).to_pylist() == [{"k": 1, "v_l": 1, "v_r": 2}]
    assert join("left_semi", ["k"], ["k"], ("", ""), left, right).to_pylist() == [{"k": 1, "v": 1}]
    with pytest.raises(ValueError, match="two columns would be called 'v_r'"):
        join("inner", ["k"], ["k"], ("", "_r"), left, right.append_column("v_r", right.column("v")))
    with pytest.raises(ColumnNotFoundError, match="no column 'kk'"):
        join("inner", ["kk"], ["k"], ("", ""), left, right)
    with pytest.raises(TypeError, match="'k' is int64, 'k' is string"):
        join("inner", ["k"], ["k"], ("", "_r"), left, pa.table({"k": ["1"]}))


def test_times_and_decimals_meet_whatever_their_units() -> None:
    moment = dt.datetime(2024, 1, 2)
    left = pa.table({"k": pa.array([moment], pa.timestamp("s")), "d": pa.array([Decimal("1.50")], pa.decimal128(9, 2))})
    right = pa.table({"k": pa.array([moment], pa.timestamp("ns")), "d": pa.array([1.5])})
    assert (hash_rows(left, ["k", "d"]) == hash_rows(right, ["k", "d"])).all()
    node = plan.Join(parts_of(left, 1), parts_of(right, 1), "inner", ("k",), ("k",), "", "_r", partitions=4)
    assert run(node, broadcast_bytes=0).num_rows == 1


VALUES = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**53), 2**53), st.integers(-3, 3))


@given(st.lists(VALUES, min_size=1, max_size=20))
@settings(deadline=None)
def test_equal_numbers_hash_alike(values: list[int]) -> None:
    hashes = hash_rows(pa.table({"a": pa.array(values, pa.int64())}), ["a"])
    floats = pa.array(np.array(values, np.int64).astype(np.float64))
    assert (hashes == hash_rows(pa.table({"a": floats}), ["a"])).all()
    decimals = pa.array(values, pa.int64()).cast(pa.decimal128(19, 0))
    assert (hashes == hash_rows(pa.table({"a": decimals}), ["a"])).all()
    small = [value for value in values if abs(value) < 100]
    for kind in (pa.int8(), pa.int32(), pa.float32(), pa.decimal128(25, 3)):
        found = hash_rows(pa.table({"a": pa.array(small, pa.int64()).cast(kind)}), ["a"])
        assert (found == hash_rows(pa.table({"a": pa.array(small, pa.int64())}), ["a"])).all()


@given(
    st.lists(
        st.one_of(st.none(), st.text(max_size=20), st.text("a", min_size=250, max_size=300)), min_size=1, max_size=20
    ),
    st.integers(0, 3),
)
@settings(deadline=None)
def test_equal_strings_hash_alike(values: list[str | None], cut: int) -> None:
    plain = pa.array(values, pa.string())
    hashes = hash_rows(pa.table({"a": plain}), ["a"])
    for other in (plain.cast(pa.large_string()), plain.dictionary_encode(), plain.cast(pa.binary())):
        assert (hash_rows(pa.table({"a": other}), ["a"]) == hashes).all()
    assert (hash_rows(pa.table({"a": plain.slice(cut)}), ["a"]) == hashes[cut:]).all()
    short = [None if value is None else value.encode()[:1].ljust(2) for value in values]
    found = [hash_rows(pa.table({"a": pa.array(short, kind)}), ["a"]) for kind in (pa.binary(), pa.binary(2))]
    assert (found[0] == found[1]).all()
    assert len(set(hashes.tolist())) == len(set(values))


def test_hashes_are_spread() -> None:
    numbers = np.arange(40_000)
    for values in (numbers, numbers * 1024, [f"user-{number}" for number in numbers], numbers / 8):
        counts = np.bincount((hash_rows(pa.table({"a": values}), ["a"]) % np.uint64(16)).astype(np.int64), minlength=16)
        assert abs(counts / 2500 - 1).max() < 0.1
    pairs = pa.table({"a": numbers // 200, "b": numbers % 200})
    assert len(np.unique(hash_rows(pairs, ["a", "b"]))) == len(numbers)
    assert hash_rows(pa.table({"a": [1, 2]}), ["a"]).tolist() == hash_rows(pa.table({"a": [1, 2]}), ["a"]).tolist()
