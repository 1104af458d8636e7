"""What is said when values, or what users' functions return, do not fit: it names the column, what came, and what is allowed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skate import data

MIXED = [{"a": 1}, {"a": None}, {"a": "x"}]


def message(ask: Callable[[], Any]) -> str:
    """The error of a call, with its notes."""
    with pytest.raises((TypeError, ValueError)) as error:
        ask()
    return "\n".join([f"{type(error.value).__name__}: {error.value}", *getattr(error.value, "__notes__", [])])


def test_plans_show_what_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pd.DataFrame({"a": range(10), "b": 1.5, "c": "x"}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    read = data.read_parquet(str(tmp_path / "a.parquet"), columns=["a", "b"], filter=pa.compute.field("b") > 1)
    read.filter(expr="a > 3").select_columns(["a"]).explain()
    before, after = capsys.readouterr().out.split("Optimized plan:")
    assert "ReadParquet(columns=['a', 'b'], filter=(b > 1))" in before and "Filter((col('a') > 3))" in before
    assert "ReadParquet(columns=['a'], filter=(b > 1) & (col('a') > 3))" in after and "Filter(" not in after
    data.read_csv(str(tmp_path / "a.csv")).select_columns(["y"]).explain()
    assert "ReadCSV(columns=['y'])" in capsys.readouterr().out
    wide = data.read_parquet(str(tmp_path / "a.parquet"))
    assert repr(wide).endswith("\nReadParquet")  # nothing is left out


def test_many_columns_are_not_all_shown(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(2000)]
    pq.write_table(pa.table([[0]] * 2000, names), tmp_path / "wide.parquet")
    assert "'c9', and 1989 more]" in repr(data.read_parquet(str(tmp_path / "wide.parquet"), columns=names[:-1]))


@pytest.mark.parametrize("polars", [True, False])
def test_a_sort_of_values_of_different_types(polars: bool) -> None:
    data.DataContext.get_current().use_polars = polars
    try:
        for ask in (
            lambda: data.from_items(MIXED).sort("a").take_all(),
            lambda: data.from_items(MIXED).sort("a").take(1),
        ):
            said = message(ask)
            assert "cannot sort by column 'a'" in said and "int (row 0: 1) and str (row 2: 'x')" in said
        assert "(list<item: int64>)" in message(data.from_items([{"a": [1]}]).sort("a").take_all)
        said = message(data.from_items([{"a": 2**70}, {"a": 1}]).sort("a").take_all)
        assert "Python objects, int (row 0: 1180591620717411303424)" in said
    finally:
        data.DataContext.get_current().use_polars = True


def test_a_sort_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1\nx\n")
    rows = data.read_text(str(tmp_path)).map(lambda row: {"a": int(row["text"]) if row["text"] == "1" else row["text"]})
    assert str(tmp_path / "a.txt") in message(rows.sort("a").take_all)


def test_blocks_that_do_not_go_together_are_named_by_their_rows() -> None:
    several = [pa.table({"a": [1, 2]}), pa.table({"a": pa.nulls(1)}), pa.table({"a": ["x"]})]
    said = message(lambda: data.from_arrow(several).sort("a").take_all())
    assert "rows 0 to 1 and rows 3 to 3 do not go together: column 'a' is int64" in said and "string" in said


def test_values_have_one_type_in_all_blocks() -> None:
    rows = data.from_items([{"a": 1}, {"a": 2.5}, {"b": "x"}], override_num_blocks=3)
    schema = rows.schema()
    assert schema is not None and schema.base_schema == pa.schema([("a", pa.float64()), ("b", pa.string())])
    assert rows.take_all() == [{"a": 1.0, "b": None}, {"a": 2.5, "b": None}, {"a": None, "b": "x"}]
    assert "no column" in message(lambda: data.from_items([{}, {}]))


def test_columns_are_checked_at_the_call() -> None:
    left, right = data.from_items([{"a": 1, "b": 2}]), data.from_items([{"a": "x", "c": 3}])
    asks: list[Callable[[], Any]] = [
        lambda: left.join(right, "inner", on="q"),
        lambda: left.join(right, "inner", on="a", right_on="q"),
        lambda: left.zip(right).select_columns(["q"]),
        lambda: left.sort("q"),
    ]
    for ask in asks:
        with pytest.raises(data.ColumnNotFoundError, match=r"no column 'q'\. The columns are 'a'"):
            ask()
    assert "'a' is int64, 'a' is string" in message(lambda: left.join(right, "inner", on="a"))
    assert "both sides have columns 'a'" in message(lambda: left.join(right, "inner", on="b", right_on="c"))
    assert left.zip(right).columns() == ["a", "b", "a_1", "c"]


def test_what_else_cannot_be_computed_of_mixed_values() -> None:
    mixed = data.from_items(MIXED)
    for ask in (mixed.groupby("a").count().take_all, lambda: mixed.unique("a"), lambda: mixed.min("a")):
        said = message(ask)
        assert "int (row 0: 1) and str (row 2: 'x')" in said and "skate.object" not in said
    assert "(col('a') > 1): cannot be computed on values of different" in message(mixed.filter(expr="a > 1").take_all)


def yields(*values: Any) -> Callable[[Any], Iterator[Any]]:
    def several(batch: Any) -> Iterator[Any]:
        yield from values

    return several


BATCHES = {
    "no batch": (3, "a batch must be a dict of arrays or lists.*not int"),
    "nothing": (None, "not NoneType: does the function return"),
    "rows": ([{"a": 1}], "not list: for rows that are dicts, use flat_map"),
    "an array": (np.arange(3), 'not ndarray: give it a name, as in {"name": array}'),
    "several": (({"a": [1]},), "not tuple: to return several batches, yield them"),
    "an iterator": (iter([]), "not list_iterator: to return several"),
    "a scalar": ({"a": [1], "b": 2}, "column 'b': .*a value for each row, not int"),
    "an array of one": ({"a": np.array(1)}, "column 'a': .* not an array of one int64"),
    "a text": ({"a": "xyz"}, "column 'a': .*not str"),
    "a dict": ({"a": {"x": 1}}, "column 'a': .*not dict"),
    "a set": ({"a": {1, 2}}, "column 'a': .*not set"),
    "other lengths": ({"a": [1, 2], "b": [1]}, "different lengths: 'a' has 2, 'b' has 1"),
    "a number as a name": ({1: [2]}, "the name of a column must be a string, not 1"),
    "two names, pandas": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns are called 'a'"),
    "two names, Arrow": (pa.table([[1], [2]], ["a", "a"]), "several columns are called 'a'"),
}


@pytest.mark.parametrize("what", BATCHES)
def test_batches_that_are_none(what: str) -> None:
    value, wanted = BATCHES[what]
    rows = data.range(3, override_num_blocks=1)
    with pytest.raises((TypeError, ValueError), match=wanted):
        rows.map_batches(lambda batch: value).take_all()
    for found in (
        message(rows.map_batches(lambda batch: value).take_all),
        message(rows.map_batches(yields({"z": [1]}, value)).take_all),
    ):
        assert "raised in MapBatches(" in found and "rows 0 to 2 of the block" in found
    assert "raised in MapGroups(" in message(rows.groupby("id").map_groups(lambda group: value).take_all)


ROWS = {
    "map": [
        (3, "a row, a dict from column to value, not int"),
        ([{}], "not list"),
        ({}, "rows without any column"),
        ({1: 2}, "name of a column must be a string"),
    ],
    "flat_map": [
        (None, "a list of rows, .*; not NoneType"),
        ({"a": 1}, "; not dict"),
        ([1, 2], "; not list of int"),
        ("ab", "; not str"),
        (pd.DataFrame({"a": [1]}), "; not DataFrame"),
    ],
    "filter": [(np.array([True, False]), "whether a row stays, True or False, not ndarray")],
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_that_are_none(kind: str) -> None:
    label = {"map": "Map", "flat_map": "FlatMap", "filter": "Filter"}[kind]
    for value, wanted in ROWS[kind]:
        rows = getattr(data.range(3, override_num_blocks=1), kind)(lambda row, value=value: value)
        with pytest.raises((TypeError, ValueError), match=wanted):
            rows.take_all()
        assert f"raised in {label}(<lambda>), row" in message(rows.take_all)


@pytest.mark.parametrize("batch_format", ["numpy", "pandas", "polars", "pyarrow"])
def test_added_columns_are_values_for_all_rows_or_one(batch_format: str) -> None:
    rows = data.range(3, override_num_blocks=1)
    for values in ([7, 8, 9], (7, 8, 9), np.array([7, 8, 9]), pa.array([7, 8, 9]), pd.Series([7, 8, 9])):
        added = rows.add_column("z", lambda batch, values=values: values, batch_format=batch_format)
        assert [row["z"] for row in added.take_all()] == [7, 8, 9], type(values)
    for one in (5, "x", None):
        added = rows.add_column("z", lambda batch, one=one: one, batch_format=batch_format)
        assert [row["z"] for row in added.take_all()] == [one] * 3
    short = rows.add_column("z", lambda batch: [1], batch_format=batch_format)
    said = message(short.take_all)
    assert "column 'z': the function must return a value for each of 3 rows" in said and "add_column(z)" in said
    if batch_format == "polars":
        assert rows.add_column("z", lambda frame: pl.col("id") + 1, batch_format="polars").sum("z") == 6


def test_columns_of_the_same_name(tmp_path: Path) -> None:
    twice = pa.table([[1], [2]], ["a", "a"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    read = data.read_sql("SELECT 1 AS a, 2 AS a", lambda: sqlite3.connect(":memory:"))
    for ask, where in (
        (lambda: data.from_arrow(twice), ""),
        (lambda: data.from_pandas(twice.to_pandas()), ""),
        (lambda: data.read_parquet(str(tmp_path)).take_all(), "twice.parquet: "),
        (read.take_all, "SELECT 1 AS a, 2 AS a: "),
    ):
        assert f"{where}several columns are called 'a'" in message(ask)
