"""The optimizer: random plans give the same rows with it and without, and each rule does what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, reject, settings, strategies as st

from skate.data import plan, read_parquet
from skate.data.aggregate import AggregateFn, Count, CountDistinct, Max, Std, Sum
from skate.data.dataset import Dataset
from skate.data.errors import ColumnNotFoundError
from skate.data.expressions import Expr, col, lit, monotonically_increasing_id, udf, when
from skate.data.functions import UserFunction
from skate.data.optimize import optimize
from skate.data.pruning import for_count
from skate.data.schemas import schema
from skate.data.sources.generated import Range

from .helpers import parts_of, run

ROWS = 23
BASE = pa.table(
    {
        "a": pa.array([None if at % 7 == 0 else at % 5 for at in range(ROWS)], pa.int32()),
        "b": pa.array([None if at % 6 == 1 else (at * 7 % 11) / 2 for at in range(ROWS)], pa.float64()),
        "s": pa.array([None if at % 5 == 2 else "xyz"[at % 3] for at in range(ROWS)], pa.string()),
        "i": pa.array(range(ROWS), pa.int64()),
    }
)
OTHER = pa.table({"k": pa.array([0, 1, 1, 3, None], pa.int64()), "b": [1, 2, 3, 4, 5], "w": ["p", "q", "r", "s", "t"]})
NUMBERS, TEXTS = ("a", "b", "i"), ("s", "w")


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> plan.Node:
    folder = tmp_path_factory.mktemp("parquet")
    for part, first in enumerate(range(0, ROWS, 8)):
        pq.write_table(BASE.slice(first, 8), folder / f"{part}.parquet", row_group_size=3)
    return read_parquet(str(folder))._node


@st.composite
def expressions(draw: st.DrawFn, numbers: list[str], depth: int = 2) -> Expr:
    """A number over columns of numbers."""
    kind = draw(st.integers(0, 3 if depth else 1))
    if kind == 0 or not numbers:
        return lit(draw(st.integers(-2, 3)))
    left = col(draw(st.sampled_from(numbers)))
    if kind == 1:
        return left
    right = draw(expressions(numbers, depth - 1))
    return left * right if kind == 2 else when(left > right).then(left).otherwise(right + 1)


@st.composite
def predicates(draw: st.DrawFn, names: list[str], numbers: list[str], depth: int = 2) -> Expr:
    kind = draw(st.sampled_from([0, 1, 2, 3, 4, 5] if depth else [0, 3, 4]))
    if kind == 0 and names:
        return col(draw(st.sampled_from(names))).is_not_null()
    if kind == 1:
        return draw(predicates(names, numbers, depth - 1)) & draw(predicates(names, numbers, depth - 1))
    if kind == 2:
        return draw(predicates(names, numbers, depth - 1)) | draw(predicates(names, numbers, depth - 1))
    if kind == 3 and numbers:
        return col(draw(st.sampled_from(numbers))).is_in([0, 1, 2.5])
    return draw(expressions(numbers)) <= draw(expressions(numbers))


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


@st.composite
def on_top(draw: st.DrawFn, node: plan.Node) -> plan.Node:
    """One more operation."""
    known = schema(node)
    assert known is not None
    names = known.names
    numbers = [field.name for field in known if is_number(field.type)]
    some = st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)
    kind = draw(st.integers(0, 11))
    if kind == 0:
        return plan.Project(node, tuple((name, col(name)) for name in draw(some)))
    if kind == 1:
        columns = (draw(st.sampled_from(["a", "n"])), draw(expressions(numbers))), ("m", lit(1))
        return plan.Project(node, columns, keep=draw(st.booleans()))
    if kind == 2:
        return plan.Project(node, (), keep=True, rename=((names[0], f"z{len(plan.walk(node))}"),))
    if kind == 3 and len(names) > 1:
        return plan.Project(node, (), keep=True, drop=(draw(st.sampled_from(names)),))
    if kind in (4, 5):
        return plan.FilterExpr(node, draw(predicates(names, numbers)))
    if kind == 6:
        keys = draw(some)
        return plan.Sort(node, tuple(keys), tuple(draw(st.booleans()) for _ in keys))
    if kind == 7:
        return plan.Limit(node, draw(st.integers(0, 15)))
    if kind == 8:
        return plan.Union((node, plan.FilterExpr(node, draw(predicates(names, numbers)))))
    if kind == 9:
        on = [Sum(name, alias_name=f"sum{len(plan.walk(node))}") for name in numbers[:1]]
        return plan.Aggregate(node, tuple(draw(some)), (Count(alias_name=f"n{len(plan.walk(node))}"), *on))
    if kind == 10:
        return plan.Repartition(node, draw(st.integers(1, 3)))
    how = draw(
        st.sampled_from(
            ["inner", "left_outer", "right_outer", "full_outer", "left_semi", "left_anti", "right_semi", "right_anti"]
        )
    )
    if not numbers or {"w", "b_r"} & set(names):
        return node
    keys = draw(st.sampled_from(numbers)), "k"
    return plan.Join(node, parts_of(OTHER, 2), how, keys[:1], keys[1:], "", "_r", partitions=2)


@st.composite
def plans(draw: st.DrawFn, leaf: plan.Node) -> plan.Node:
    node = leaf
    for _ in range(draw(st.integers(1, 7))):
        node = draw(on_top(node))
    return node


@settings(max_examples=150, deadline=None)
@given(data=st.data(), files=st.booleans())
def test_the_same_rows_come_out(parquet: plan.Node, data: st.DataObject, files: bool) -> None:
    node = data.draw(plans(parquet if files else parts_of(BASE, 3)))
    settled: dict[str, Any] = {"shuffle_partitions": 2, "broadcast_bytes": 0}
    try:
        wanted = run(node, optimized=False, **settled)
    except OverflowError:  # which no row may reach that is wanted
        reject()
    found = run(node, **settled)
    shown = f"{plan.render(node)}\n\n{plan.render(optimize(node))}"
    assert found.column_names == wanted.column_names, shown
    assert str(found.to_pylist()) == str(wanted.to_pylist()), shown  # as text: NaN is NaN
    known = schema(node)
    assert known is not None and (known.equals(wanted.schema) or not wanted.num_rows), (known, wanted.schema)
    assert run(for_count(node), **settled).num_rows == wanted.num_rows


def lines(node: plan.Node) -> list[str]:
    return [line.strip(" +-") for line in plan.render(optimize(node)).splitlines()]


def labels(node: plan.Node) -> list[str]:
    return [line.split("(")[0] for line in lines(node)]


def source_of(node: plan.Node) -> Any:
    return next(each for each in plan.walk(optimize(node)) if isinstance(each, plan.Read)).source


def select(node: plan.Node, *names: str) -> plan.Node:
    return plan.Project(node, tuple((name, col(name)) for name in names))


def test_only_needed_columns_and_rows_are_read(parquet: plan.Node) -> None:
    node = select(plan.FilterExpr(plan.Project(parquet, (("c", col("a") + 1),), keep=True), col("i") > 3), "c")
    assert labels(node) == ["Project", "ReadParquet"]
    assert source_of(node).columns == ["a"] and str(source_of(node).predicate) == "(col('i') > 3)"
    assert source_of(plan.Aggregate(parquet, ("s",), (Sum("b"),))).columns == ["b", "s"]
    assert source_of(plan.Aggregate(parquet, (), (Count(),))).columns == ["a"]
    own = AggregateFn(lambda key: 0, lambda a, b: a + b, "own", accumulate_row=lambda a, row: a + 1)
    assert source_of(plan.Aggregate(parquet, (), (own,))).columns is None
    joined = select(plan.Join(parquet, parts_of(OTHER, 1), "inner", ("a",), ("k",), "", "_r"), "w", "s")
    assert source_of(joined).columns == ["a", "b", "s"]  # b: of both sides, so it has to be there to be renamed


def test_what_cannot_be_read_less_stays_above(parquet: plan.Node) -> None:
    node = plan.FilterExpr(parquet, (col("i") > 3) & col("s").str.contains("x"))
    assert lines(node) == [
        "Filter(match_substring(col('s'), pattern='x', ignore_case=False))",
        "ReadParquet(filter=(col('i') > 3))",
    ]


def fails_never(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "new": 1}


def test_nothing_moves_below_users_functions(parquet: plan.Node) -> None:
    for kind in ("map", "map_batches", "flat_map", "filter"):
        mapped = getattr(Dataset(parquet), kind)(fails_never)._node
        assert labels(plan.FilterExpr(select(mapped, "a"), col("a") > 1))[-2:] == [
            mapped.label.split("(")[0],
            "ReadParquet",
        ]
        assert source_of(select(mapped, "a")).columns is None and source_of(select(mapped, "a")).predicate is None
        assert labels(plan.Limit(mapped, 3))[0] == ("Map" if kind == "map" else "Limit")
    computed = plan.Project(parquet, (("u", udf()(lambda a: a)(col("a"))),), keep=True)
    assert labels(plan.FilterExpr(computed, col("i") > 3)) == ["Filter", "Project", "ReadParquet"]
    numbered = plan.Project(parquet, (("n", monotonically_increasing_id()),), keep=True)
    assert labels(plan.FilterExpr(numbered, col("i") > 3)) == ["Filter", "Project", "ReadParquet"]


def test_a_predicate_does_not_meet_rows_on_which_it_fails(parquet: plan.Node) -> None:
    guarded = plan.FilterExpr(plan.FilterExpr(parts_of(BASE, 2), col("a") != 0), 12 // col("a") > 3)
    assert labels(guarded) == ["Filter", "Filter", "Input"]
    assert run(guarded).column("a").to_pylist() == [a for a in BASE.column("a").to_pylist() if a and 12 // a > 3]
    joined = plan.Join(parts_of(BASE, 1), parts_of(OTHER.slice(1, 3), 1), "inner", ("a",), ("k",), "", "_r")
    assert run(plan.FilterExpr(joined, 12 // col("a") > 3)).num_rows > 0


def test_sorts_of_which_few_rows_are_wanted() -> None:
    node = plan.Limit(plan.Sort(parts_of(BASE, 3), ("b",), (True,)), 4)
    assert labels(node) == ["Limit", "Sort", "TopRows", "Input"]
    assert run(node).equals(run(node, optimized=False)) and run(node).column("b").to_pylist() == [5.0, 5.0, 4.5, 4.5]
    assert labels(plan.Limit(plan.Sort(parts_of(BASE, 3), ("b",), (True,)), 1 << 20)) == ["Limit", "Sort", "Input"]


def test_predicates_pass_what_they_can_pass() -> None:
    data, other = parts_of(BASE, 2), parts_of(OTHER, 1)
    assert labels(plan.FilterExpr(plan.Sort(data, ("a",), (False,)), col("a") > 1)) == ["Sort", "Filter", "Input"]
    grouped = plan.Aggregate(data, ("a",), (Count(), Max("b"), Std("b"), CountDistinct("s")))
    assert labels(plan.FilterExpr(grouped, (col("a") > 1) & (col("count()") > 2))) == [
        "Filter",
        "Aggregate",
        "Filter",
        "Input",
    ]
    for how, wanted in {
        "inner": ["Join", "Filter", "Input", "Filter", "Input"],
        "left_outer": ["Filter", "Join", "Filter", "Input", "Input"],
        "full_outer": ["Filter", "Join", "Input", "Input"],
    }.items():
        joined = plan.Join(data, other, how, ("a",), ("k",), "", "_r")
        assert labels(plan.FilterExpr(joined, (col("i") > 3) & (col("w") != "p"))) == wanted
    keys = plan.FilterExpr(plan.Join(data, other, "inner", ("a",), ("k",), "", "_r"), col("a") > 1)
    assert "Filter((col('k') > 1))" in lines(keys) and "Filter((col('a') > 1))" in lines(keys)


def test_a_predicate_does_not_grow_without_end() -> None:
    node = parts_of(BASE, 1)
    for _ in range(40):
        node = plan.Project(node, (("a", when(col("a") > 2).then(col("a") - 1).otherwise(col("a"))),), keep=True)
    filtered = plan.FilterExpr(node, col("a") >= 2)
    assert run(filtered).column("a").to_pylist() == [2] * sum((a or 0) >= 2 for a in BASE.column("a").to_pylist())


def test_limits_reach_the_source() -> None:
    node = plan.Limit(plan.Project(plan.Read(Range(1000)), (("x", col("id") + 1),)), 5)
    assert labels(node) == ["Project", "Limit", "ReadRange"] and source_of(node).rows == 5
    assert run(plan.Limit(plan.Limit(node, 9), 3)).column("x").to_pylist() == [1, 2, 3]


def test_errors_are_those_of_the_plan_as_it_was_written(parquet: plan.Node) -> None:
    node = plan.FilterExpr(select(parquet, "a"), col("b") > 1)
    with pytest.raises(ColumnNotFoundError, match=r"no column 'b'.*The columns are 'a'"):
        run(node)
    with pytest.raises(ColumnNotFoundError, match="no column 'b'"):
        schema(node)


def test_the_schema_is_known_without_rows(parquet: plan.Node, tmp_path: Path) -> None:
    node = plan.Aggregate(plan.Project(parquet, (("n", col("s").str.len()),), keep=True), ("n",), (Sum("b"), Count()))
    assert schema(node) == pa.schema([("n", pa.int32()), ("sum(b)", pa.float64()), ("count()", pa.int64())])
    assert schema(plan.MapFunction(parquet, "map", UserFunction(fails_never))) is None
    assert schema(plan.Project(parquet, (("u", udf()(lambda a: 1 / 0)(col("a"))),))) is None


def test_counting_needs_no_columns(parquet: plan.Node) -> None:
    counted = for_count(plan.Sort(plan.Project(parquet, (("x", col("a") * 2),)), ("x",), (False,)))
    assert isinstance(counted, plan.Read) and source_of(counted).columns == ["a"]
