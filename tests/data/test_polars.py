"""Parts of plans that Polars carries out: the same rows come out as when we do, and what it cannot say is left to us."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import event, given, settings, strategies as st

import skate.data as data
from skate.data import DataContext, block as blocks, plan, read_parquet
from skate.data.aggregate import Count, Max, Mean, Min, Std, Sum
from skate.data.dataset import Dataset
from skate.data.execution.executor import Execution
from skate.data.execution.inline import InlineRunner
from skate.data.execution.threads import ThreadRunner
from skate.data.expressions import Expr, col, lit, when
from skate.data.lower import Lowering
from skate.data.on_polars.delegate import delegated
from skate.data.optimize import optimize
from skate.data.run import execute, planned, table
from skate.data.schemas import schema

from .helpers import BUDGET, parts_of, run

NAN, INF = math.nan, math.inf
FLOATS = [None, NAN, -0.0, 0.0, 1.5, -2.0, INF, -INF, 3.0]
DAYS = [None, dt.date(1999, 12, 31), dt.date(2000, 2, 29), dt.date(1969, 7, 20)]
ROWS = 36
BASE = pa.table(
    {
        "f": pa.array([FLOATS[at * 7 % 9] for at in range(ROWS)], pa.float64()),
        "g": pa.array([FLOATS[at // 3 % 5] for at in range(ROWS)], pa.float64()),
        "h": pa.array([FLOATS[at // 2 % 9] for at in range(ROWS)], pa.float32()),
        "i": pa.array([None if at % 7 == 0 else at % 5 - 2 for at in range(ROWS)], pa.int32()),
        "j": pa.array([None if at % 11 == 0 else at * 13 % 8 for at in range(ROWS)], pa.int64()),
        "s": pa.array([None if at % 5 == 2 else ["x", "", "Zé", "xy"][at % 4] for at in range(ROWS)], pa.string()),
        "d": pa.array([DAYS[at * 5 % 4] for at in range(ROWS)], pa.date32()),
        "b": pa.array([[True, None, False][at % 3] for at in range(ROWS)], pa.bool_()),
    }
)
OTHER = pa.table({"k": pa.array([0, 1, 1, 3, None], pa.int64()), "f": [1.0, 2.0, NAN, None, 5.0], "w": list("pqrst")})
FLOAT_NAMES, INT_NAMES = ("f", "g", "h"), ("i", "j", "k")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    found = tmp_path_factory.mktemp("parquet")
    for part, first in enumerate(range(0, ROWS, 12)):
        pq.write_table(BASE.slice(first, 12), found / f"{part}.parquet", row_group_size=5)
    return str(found)


def on_polars(node: plan.Node, **settings: Any) -> pa.Table:
    """The rows of a plan, with the parts that Polars can carry out done by it."""
    lowering = Lowering(DataContext(**settings), 3)
    execution = Execution(lowering.lower(delegated(optimize(node))), InlineRunner(), BUDGET)
    return blocks.concat([table(bundle) for bundle in execution])


def labels(node: plan.Node) -> list[str]:
    return [line.strip(" +-").split("(")[0] for line in plan.render(delegated(optimize(node))).splitlines()]


@st.composite
def numbers(draw: st.DrawFn, names: list[str], depth: int = 2) -> Expr:
    """A number over columns of numbers."""
    kind = draw(st.integers(0, 5 if depth else 1))
    if kind == 0 or not names:
        return lit(draw(st.sampled_from([1, 0, -2, 2.5, -0.0, INF, NAN, 0.1])))
    if kind == 1:
        return col(draw(st.sampled_from(names)))
    left, right = draw(numbers(names, depth - 1)), draw(numbers(names, depth - 1))
    if kind == 5:
        return when(draw(truths(names, depth - 1))).then(left).otherwise(right)
    return [left + right, left - right, left * right, left / right][draw(st.integers(0, 3))] if kind < 4 else -left


@st.composite
def truths(draw: st.DrawFn, names: list[str], depth: int = 2) -> Expr:
    """Something true or false over columns."""
    kind = draw(st.integers(0, 8 if depth else 5))
    if kind == 0 and names:
        return col(draw(st.sampled_from(names))).is_null()
    if kind == 1 and "s" in names:
        return draw(
            st.sampled_from(
                [
                    col("s") < lit("xy"),
                    col("s").is_in(["x", None]),
                    col("s").str.contains("x"),
                    col("s").str.starts_with("Z"),
                ]
            )
        )
    if kind == 2 and "d" in names:
        return draw(st.sampled_from([col("d") <= lit(DAYS[1]), col("d").dt.year() > lit(1990), col("d").is_not_null()]))
    if kind == 3 and "i" in names:
        return col("i").is_in(draw(st.sampled_from([[1, 2], [0, None], [7]])))
    if kind > 6:
        left, right = draw(truths(names, depth - 1)), draw(truths(names, depth - 1))
        return left & right if kind == 7 else left | right
    if kind == 6:
        return ~draw(truths(names, depth - 1))
    some = [name for name in names if name in (*FLOAT_NAMES, *INT_NAMES)]
    left, right = draw(numbers(some, depth - 1 if depth else 0)), draw(numbers(some, 0))
    sign = draw(st.sampled_from(["__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"]))
    return getattr(left, sign)(right)  # type: ignore[no-any-return]


@st.composite
def on_top(draw: st.DrawFn, node: plan.Node) -> plan.Node:
    """One more operation."""
    known = schema(node)
    assert known is not None
    names = known.names
    joined = any(isinstance(each, plan.Join) for each in plan.walk(node))
    some = st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)
    count = len(plan.walk(node))
    kind = draw(st.integers(0, 6))
    if kind == 0:
        return plan.FilterExpr(node, draw(truths(names)))
    if kind == 1:
        added = (("f", draw(numbers([name for name in names if name in (*FLOAT_NAMES, *INT_NAMES)]))),)
        return plan.Project(node, added, keep=True, rename=((names[-1], f"z{count}"),) if names[-1] != "f" else ())
    if kind == 2:
        keys = draw(some)
        return plan.Sort(node, tuple(keys), tuple(draw(st.booleans()) for _ in keys))
    if kind == 3 and not joined:
        keys = draw(some)
        down = tuple(draw(st.booleans()) for _ in keys)
        return plan.Limit(plan.Sort(node, tuple(keys), down), draw(st.integers(0, 15)))
    if kind == 4:
        on = [name for name in names if name in (*FLOAT_NAMES, *INT_NAMES)][:2]
        makes = draw(st.lists(st.sampled_from([Sum, Min, Max, Mean, Std]), min_size=1, max_size=2, unique=True))
        made = [each(name, alias_name=f"{each.__name__}{name}{count}") for each in makes for name in on]
        keys = draw(st.one_of(some, st.just([])))
        return plan.Aggregate(node, tuple(keys), (Count(alias_name=f"n{count}"), *made))
    if kind == 5 and not {"w", "f_r", "k"} & set(names) and "j" in names:
        how = draw(st.sampled_from(["inner", "left_outer", "left_semi", "left_anti", "right_semi", "right_anti"]))
        return plan.Join(node, parts_of(OTHER, 2), how, ("j",), ("k",), "", "_r")
    return plan.Union((node, plan.FilterExpr(node, draw(truths(names))))) if kind == 6 and not joined else node


@st.composite
def plans(draw: st.DrawFn, leaf: plan.Node) -> plan.Node:
    node = leaf
    for _ in range(draw(st.integers(1, 5))):
        node = draw(on_top(node))
    return node


def rows(found: pa.Table, ordered: bool) -> list[str]:
    """Rows as text, in which there is one zero, and floats are as exact as sums in any order."""

    def shown(value: Any) -> str:
        return f"{round(value, 9) + 0.0:.9g}" if isinstance(value, float) else repr(value)

    made = [" ".join(f"{name}={shown(value)}" for name, value in row.items()) for row in found.to_pylist()]
    return [row.replace("=-0 ", "=0 ") for row in (made if ordered else sorted(made))]


@settings(max_examples=100, deadline=None)
@given(data=st.data(), files=st.booleans())
def test_the_same_rows_come_out(folder: str, data: st.DataObject, files: bool) -> None:
    node = data.draw(plans(read_parquet(folder)._node if files else parts_of(BASE, 3)))
    wanted = run(node)
    event(f"delegated: {'Polars' in labels(node)}")
    found = on_polars(node)
    shown = f"{plan.render(node)}\n\n{plan.render(delegated(optimize(node)))}"
    ordered = not any(isinstance(each, plan.Join) for each in plan.walk(node))
    assert found.schema.remove_metadata() == wanted.schema.remove_metadata(), shown
    assert rows(found, ordered) == rows(wanted, ordered), shown


def read(folder: str, **settings: Any) -> Dataset:
    """The files as a dataset that is not small."""
    return Dataset(data.read_parquet(folder)._node, DataContext(inline_bytes=0, **settings))


def test_what_is_given_to_polars() -> None:
    base, other = parts_of(BASE, 2), parts_of(OTHER, 1)
    halves = plan.Project(base, (("j", col("j") // lit(2)),), keep=True)  # whole numbers are ours
    joined = plan.Join(halves, other, "inner", ("j",), ("k",), "", "_r")
    assert labels(plan.Aggregate(joined, ("w",), (Sum("g"),))) == [
        *("Polars", "Aggregate", "Join", "Given", "Project", "Input", "Given", "Input")
    ]
    assert labels(plan.FilterExpr(base, col("f") > 1)) == ["Filter", "Input"]  # has nothing that needs all rows
    sampled = plan.Sample(plan.Sort(base, ("j",), (False,)), 0.5, 1)
    assert labels(sampled) == ["Sample", "Polars", "Sort", "Given", "Input"]
    assert labels(plan.Sort(plan.Shuffle(base, 1), ("j",), (False,)))[:4] == ["Polars", "Sort", "Given", "Shuffle"]


def test_what_is_polars_work_alone_waits_for_no_thread(folder: str) -> None:
    alone, beside = read(folder).sort("j"), read(folder).random_shuffle(seed=1).sort("j")
    for dataset, runner in ((alone, InlineRunner), (beside, ThreadRunner)):
        execution = execute(dataset._node, dataset._context)
        assert type(execution.runner) is runner
        found = blocks.concat([table(bundle) for bundle in execution])
        assert found.column("j").to_pylist() == BASE.sort_by("j").column("j").to_pylist()


def test_explain_says_who_computes(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    read(folder).sort("j").explain()
    shown = capsys.readouterr().out
    assert "Polars\n+- Sort(j)\n   +- ReadParquet" in shown and "by threads of this process" in shown
    read(folder, use_polars=False).sort("j").explain()
    assert "Polars" not in capsys.readouterr().out
    both = [read(folder, use_polars=use).sort("j").to_arrow() for use in (True, False)]
    assert str(both[0].to_pydict()) == str(both[1].to_pydict())  # as text: NaN is NaN


def test_types_that_polars_does_not_have_are_ours() -> None:
    money = pa.table({"k": [2, 1], "m": [Decimal("1.25"), Decimal("3.50")]})
    node = plan.Sort(parts_of(money, 1), ("k",), (False,))
    assert labels(node)[0] == "Sort"
    assert on_polars(node).column("m").to_pylist() == [Decimal("3.50"), Decimal("1.25")]


def test_what_polars_fails_at_is_ours() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))  # which has no name
    noon = dt.datetime(2024, 1, 1, 12, tzinfo=zone)
    times = pa.table({"k": [2, 1], "t": pa.array([noon, noon + dt.timedelta(1)], pa.timestamp("us", "+02:00"))})
    node = plan.Sort(plan.FilterExpr(parts_of(times, 1), col("t") >= lit(noon)), ("k",), (False,))
    assert on_polars(node).column("k").to_pylist() == [1, 2]
    strange = times.set_column(1, "t", times.column("t").cast(pa.timestamp("us", "Nowhere/At all")))
    assert labels(plan.Sort(parts_of(strange, 1), ("k",), (False,)))[0] == "Sort"


def test_a_sum_that_does_not_fit_is_an_error() -> None:
    large = pa.table({"k": [1, 1, 2], "n": [1 << 62, 1 << 62, 5]})
    node = plan.Aggregate(parts_of(large, 2), ("k",), (Sum("n"),))
    assert labels(node)[0] == "Polars"
    with pytest.raises(OverflowError, match="cast the column to float64"):
        on_polars(node)
    cancels = pa.table({"k": [1, 1, 1], "n": [1 << 62, 1 << 62, -(1 << 62)]})
    assert on_polars(plan.Aggregate(parts_of(cancels, 1), ("k",), (Sum("n"),))).column(1).to_pylist() == [1 << 62]


def test_a_file_that_cannot_be_read_is_named(folder: str, tmp_path: Path) -> None:
    pq.write_table(BASE, tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 but no more than that PAR1")
    with pytest.raises(ValueError, match=r"b\.parquet"):
        read(str(tmp_path)).sort("j").to_arrow()


def test_files_with_other_columns_are_read_by_us(tmp_path: Path) -> None:
    pq.write_table(pa.table({"k": pa.array([3, 1], pa.int32()), "x": ["a", "b"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"k": pa.array([2], pa.int64())}), tmp_path / "b.parquet")
    found = read(str(tmp_path)).sort("k").to_arrow()
    assert found.to_pydict() == {"k": [1, 2, 3], "x": ["b", None, "a"]} and found.schema.field("k").type == pa.int64()


def test_csv_is_read_by_us_and_grouped_by_polars(tmp_path: Path) -> None:
    frame = pa.table({"k": [at % 3 for at in range(300)], "x": [float(at) for at in range(300)]})
    pyarrow.csv.write_csv(frame, str(tmp_path / "a.csv"))
    whole = Dataset(data.read_csv(str(tmp_path))._node, DataContext(inline_bytes=0))
    node, _ = planned(whole.groupby("k").mean("x")._node, whole.context)
    assert plan.render(node).split() == ["Polars", "+-", "Aggregate(k)", "+-", "Given", "+-", "ReadCSV"]
    assert whole.groupby("k").mean("x").take_all() == [{"k": k, "mean(x)": 148.5 + k} for k in range(3)]


def test_an_input_without_blocks() -> None:
    nothing = plan.Limit(parts_of(OTHER, 1), 0)
    node = plan.Join(parts_of(BASE, 2), plan.Sample(nothing, 0.5, 1), "left_outer", ("j",), ("k",), "", "_r")
    assert on_polars(node).num_rows == ROWS and on_polars(node).schema == run(node).schema


def test_groups_of_single_rows_come_in_order_too() -> None:
    keys = [(at * 7919) % 20_011 for at in range(20_011)] * 2
    whole = pa.table({"k": pa.array([None, *keys[1:]], pa.int64()), "x": pa.array(range(len(keys)), pa.int32())})
    node = plan.Aggregate(parts_of(whole, 2), ("k",), (Sum("x"), Count(alias_name="n")))
    assert on_polars(node).equals(run(node))
    assert on_polars(node).column("k").to_pylist() == [*range(20_011), None]
