"""Sorts, groups and shuffles, against pandas: over any cut into blocks and parts."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings, strategies as st

from skate.data import exchange, plan
from skate.data.errors import ColumnNotFoundError

from .helpers import parts_of, run

FLOATS = st.sampled_from([None, math.nan, -1.5, -0.0, 0.0, 2.0, math.inf])
ROWS = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 3)), st.sampled_from(["", "a", "b", None]), FLOATS), max_size=30
)
DOWN = st.lists(st.booleans(), min_size=3, max_size=3)


def table_of(rows: list[tuple[Any, Any, Any]]) -> pa.Table:
    k, s, f = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    columns = [
        pa.array(k, pa.int64()),
        pa.array(s, pa.string()),
        pa.array(f, pa.float64()),
        pa.array(range(len(k)), pa.int64()),
    ]
    return pa.table(columns, ["k", "s", "f", "i"])


def rank(value: Any, down: bool) -> tuple[int, Any]:
    """Where a value comes: numbers and strings in order, then NaN, and nulls last, whichever the direction is."""
    if value is None:
        return (2, 0)
    if value != value:
        return (1, 0)
    if isinstance(value, str):
        return (0, [-ord(each) for each in value] + [1] if down else [ord(each) for each in value])
    return (0, -value if down else value)


@settings(max_examples=60, deadline=None)
@given(ROWS, DOWN, st.permutations(["k", "s", "f"]), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_sorts_are_stable_and_nulls_come_last(
    rows: list[Any], down: list[bool], order: list[str], keys: int, cuts: int, parts: int
) -> None:
    data = table_of(rows)
    chosen = list(zip(order, down, strict=True))[:keys]
    node = plan.Sort(parts_of(data, cuts), tuple(key for key, _ in chosen), tuple(each for _, each in chosen))
    found = run(node, shuffle_partitions=parts)
    wanted = sorted(data.to_pylist(), key=lambda row: [rank(row[key], each) for key, each in chosen])
    assert found.column("i").to_pylist() == [row["i"] for row in wanted]


def test_the_parts_of_a_sort_are_of_about_the_same_size() -> None:
    values = np.random.default_rng(1).permutation(40_000)
    samples = exchange.sample(["v"])(None, pa.table({"v": values}))[0]
    limits = exchange.boundaries(samples, ["v"], [False], 8)
    pieces = exchange.split_sorted(["v"], [False])((limits, 0, 1), pa.table({"v": values}))
    assert len(pieces) == 8 and max(piece.num_rows for piece in pieces) < 2 * 40_000 / 8


def test_parts_of_many_equal_keys() -> None:
    """Half of the rows have one key: the others are still spread, and what is equal stays in order."""
    values = np.concatenate([np.full(4000, 500), np.random.default_rng(2).integers(0, 1000, 4000)])
    values = np.random.default_rng(3).permutation(values)
    data = pa.table({"v": values, "i": np.arange(len(values))})
    limits = exchange.boundaries(exchange.sample(["v"])(None, data)[0], ["v"], [False], 8)
    sizes = [piece.num_rows for piece in exchange.split_sorted(["v"], [False])((limits, 0, 1), data)]
    assert sum(sizes) == 8000 and sorted(sizes)[-2] < 2000
    found = run(plan.Sort(parts_of(data, 5), ("v",), (False,)), shuffle_partitions=8).to_pandas()
    pd.testing.assert_frame_equal(found, data.to_pandas().sort_values("v", kind="stable").reset_index(drop=True))


@settings(max_examples=30, deadline=None)
@given(ROWS)
def test_groups_are_all_rows_of_a_key_in_the_order_of_the_keys(rows: list[Any]) -> None:
    data = table_of([(k, s, 0.0 if f == 0 else f) for k, s, f in rows])
    found = list(exchange.groups(data, ["f", "k"]))
    keys = [str((group.column("f")[0].as_py(), group.column("k")[0].as_py())) for group in found]
    assert Counter(keys) == Counter(set(keys))
    assert sum(group.num_rows for group in found) == len(rows)
    for group in found:
        assert len({str((row["f"], row["k"])) for row in group.to_pylist()}) == 1
        assert group.column("i").to_pylist() == sorted(group.column("i").to_pylist())


def test_shuffles_move_all_rows_and_are_the_same_for_the_same_seed() -> None:
    data = parts_of(pa.table({"v": range(1000)}), 5)
    one, again, other = (
        run(plan.Shuffle(data, seed), shuffle_partitions=4).column("v").to_pylist() for seed in (1, 1, 2)
    )
    assert one == again != other and sorted(one) == list(range(1000)) != one
    assert abs(np.corrcoef(one, range(1000))[0, 1]) < 0.2


def test_a_key_that_is_not_there_is_named() -> None:
    for node in (
        plan.Sort(parts_of(pa.table({"v": [1]}), 1), ("w",), (False,)),
        plan.TopRows(parts_of(pa.table({"v": [1]}), 1), ("w",), (False,), 1),
    ):
        with pytest.raises(ColumnNotFoundError, match="no column 'w'"):
            run(node)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 20),
    rows=st.sampled_from([1, 2, 60, 500]),
    kind=st.sampled_from([np.int64, np.uint64, np.int32, np.uint16]),
    distinct=st.sampled_from([2, 40, 1 << 15]),
    descends=st.booleans(),
)
def test_the_order_of_numbers_is_that_of_arrow(seed: int, rows: int, kind: Any, distinct: int, descends: bool) -> None:
    random, ends = np.random.default_rng(seed), np.iinfo(kind)
    some = random.integers(ends.min, ends.max, min(distinct, rows), kind, endpoint=True)
    values = np.concatenate([random.choice(some, rows), np.asarray([ends.min, ends.max, ends.min], kind)])
    block = pa.concat_tables([pa.table({"a": values[:7]}), pa.table({"a": values[7:]})])
    order = [("a", "descending" if descends else "ascending")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "LEAST_ROWS", 0)
        patch.setattr(exchange, "COUNTED", 1)
        found = exchange.stable_order(block, order)
    assert isinstance(found, pa.Int64Array), "it was not left to Arrow"
    assert found.to_pylist() == pc.sort_indices(block, sort_keys=order).to_pylist()
