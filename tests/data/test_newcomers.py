"""Small programs as users of pandas write them, and what pandas says of the same data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from skate import data
from skate.data import Dataset, col, plan
from skate.data.block import meta_of

from .helpers import run

GROUPS = pd.DataFrame({"k": ["a", "b", "a", None, "b", None], "x": [1.0, 2.0, None, 4.0, 5.0, 6.0]})


def test_groups_as_frames_of_pandas() -> None:
    def mean(group: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"k": [group.k.iloc[0]], "x": [group.x.mean()]})

    found = data.from_pandas(GROUPS).groupby("k").map_groups(mean, batch_format="pandas").to_pandas()
    wanted = GROUPS.groupby("k", dropna=False).x.mean().reset_index()
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False)


def test_missing_values_go_with_any_type() -> None:
    frames = [pd.DataFrame({"a": [None, np.nan]}), pd.DataFrame({"a": ["x"]}), pd.DataFrame({"a": [np.nan]})]
    assert data.from_pandas(frames).repartition(1).take_all()[2:] == [
        {"a": "x"},
        {"a": None},
    ]
    with pytest.raises(TypeError, match="column 'a' is double"):
        data.from_pandas([pd.DataFrame({"a": [1.0]}), pd.DataFrame({"a": ["x"]})]).to_pandas()


@pytest.mark.parametrize("name", ["head", "shape", "assign", "merge", "withColumn", "to_csv", "value_counts"])
def test_names_of_other_libraries(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"Dataset has no '{name}'\. Use \w+\("):
        getattr(data.range(3), name)
    assert not hasattr(data.range(3), name)


def test_mistakes_of_users_of_frames() -> None:
    with pytest.raises(TypeError, match="use select_columns"):
        data.range(3)["id"]
    for wrong in ("id > 1 & id < 3", col("id") > 1 & col("id")):
        with pytest.raises(TypeError, match="put parentheses around comparisons"):
            data.range(3).filter(expr=wrong).take_all()


def test_texts_of_pandas_can_be_joined() -> None:
    rows = data.from_pandas(pd.DataFrame({"s": ["a", "b", None], "u": ["x", "y", "z"]}))
    joined = rows.with_columns({"one": col("s") + "!", "two": data.lit("<") + col("s") + col("u").cast("string")})
    assert [(row["one"], row["two"]) for row in joined.take_all()] == [("a!", "<ax"), ("b!", "<by"), (None, None)]


def test_types_of_pandas_come_back() -> None:
    frame = pd.DataFrame({"p": pd.period_range("2024-01", periods=2, freq="M"), "i": pd.interval_range(0, 2)})
    rows = data.from_pandas(frame)
    pd.testing.assert_frame_equal(rows.to_pandas(), frame)
    assert rows.take(1) == [{"p": pd.Period("2024-01", "M"), "i": pd.Interval(0, 1)}]


def test_what_is_no_list_of_rows() -> None:
    asks: list[tuple[Callable[[], Any], str]] = [
        (lambda: data.from_items({"a": [1, 2]}), "a dict is one row"),  # type: ignore[arg-type]
        (lambda: data.from_pandas(pd.Series([1])), r"Series is not what this function takes: use its to_frame\(\)"),
        (lambda: data.from_polars(pl.LazyFrame({"a": [1]})), r"use its collect\(\)"),
        (lambda: data.range(3).groupby(col("id")), r"must be a string, not Column: col\('id'\)"),  # type: ignore[arg-type]
        (lambda: data.range(3).unique(["id"]), "unique: name one column"),  # type: ignore[arg-type]
    ]
    for ask, wanted in asks:
        with pytest.raises(TypeError, match=wanted):
            ask()


def test_a_file_with_a_line_of_names_has_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n")
    read = data.read_csv(str(tmp_path / "a.csv"))
    assert list(read.to_pandas().columns) == ["x", "y"] and read.count() == 0
    (tmp_path / "b.csv").write_text("x,y\n1,2\n")
    assert data.read_csv(str(tmp_path)).take_all() == [{"x": 1, "y": 2}]


def test_whole_numbers_without_a_sign() -> None:
    rows = data.from_items([{"n": 2**63}, {"n": None}, {"n": 1}])
    assert rows.max("n") == 2**63 and [row["n"] for row in rows.sort("n").take_all()] == [1, 2**63, None]
    assert data.from_items([{"n": 2**70}, {"n": -1}]).take_all() == [{"n": 2**70}, {"n": -1}]


def test_durations_in_json(tmp_path: Path) -> None:
    data.from_items([{"t": dt.timedelta(hours=1, milliseconds=250)}]).write_json(tmp_path / "json")
    assert data.read_json(tmp_path / "json").take_all() == [{"t": "PT3600.25S"}]
    with pytest.raises(TypeError, match="write_json: JSON cannot hold complex, as in the row"):
        data.from_items([{"z": 1j}]).write_json(tmp_path / "not")


def test_aggregations_of_very_many_columns() -> None:
    wide = pd.DataFrame(np.arange(2000 * 4).reshape(4, 2000), columns=[f"c{number}" for number in range(2000)])
    means: dict[str, Any] = data.from_pandas(wide).mean(list(wide.columns))
    assert list(means.values()) == wide.mean().tolist()


def test_nested_columns_and_times_come_back(tmp_path: Path) -> None:
    nested = [{"u": {"name": "A", "tags": ["x", "y"], "geo": {"lat": 1.5}}}, {"u": None}]
    data.from_items(nested).write_parquet(tmp_path / "nested")
    assert data.read_parquet(tmp_path / "nested").take_all() == nested
    times = pd.DataFrame({"t": pd.date_range("2024-01-30", periods=4, tz="Europe/Berlin")})
    data.from_pandas(times).write_parquet(tmp_path / "times")
    found = data.read_parquet(tmp_path / "times").with_column("m", col("t").dt.month())
    assert found.to_pandas().t.tolist() == times.t.tolist() and found.to_pandas().m.tolist() == [1, 1, 2, 2]


def test_null_keys_match_nothing() -> None:
    left = data.from_arrow(pa.table({"k": [1, None], "l": ["a", "b"]}))
    right = data.from_arrow(pa.table({"k": [1, None], "r": ["x", "y"]}))
    assert left.join(right, "inner", on="k").take_all() == [{"k": 1, "l": "a", "r": "x"}]
    assert left.join(right, "full_outer", on="k").count() == 3


EMPTY, SOME = pa.table({}), [pa.table({"k": [1, 2], "v": [3, 4]}), pa.table({"k": [2, 1], "v": [1, 5]})]
STEPS: dict[str, Callable[[Dataset], Dataset]] = {
    "groupby": lambda rows: rows.groupby("k").sum("v"),
    "map_groups": lambda rows: rows.groupby("k").map_groups(lambda group: group),
    "sort": lambda rows: rows.sort("v", descending=True),
    "first": lambda rows: rows.sort("v").limit(3),
    "filter": lambda rows: rows.filter(expr="v > 1"),
    "select": lambda rows: rows.select_columns(["v"]),
    "with_column": lambda rows: rows.with_column("w", col("v") + 1),
    "drop": lambda rows: rows.drop_columns(["k"]),
    "rename": lambda rows: rows.rename_columns({"k": "q"}),
    "join": lambda rows: rows.join(data.from_arrow(SOME[0].rename_columns(["k", "w"])), "full_outer", on="k"),
    "joined": lambda rows: data.from_arrow(SOME[0].rename_columns(["k", "w"])).join(rows, "left_outer", on="k"),
    "repartition": lambda rows: rows.repartition(2, keys=["k"], sort=True),
    "shuffle": lambda rows: rows.random_shuffle(seed=1).sort("v"),
    "map_batches": lambda rows: rows.map_batches(lambda batch: {"v": batch["v"]}),
}


@pytest.mark.parametrize("step", STEPS)
def test_blocks_that_nobody_knows_the_columns_of(step: str) -> None:
    """As tasks make them that call a user's function, and were given no rows."""

    def found(*tables: pa.Table) -> pa.Table:
        node = plan.Blocks([(table, meta_of(table)) for table in tables])
        return run(STEPS[step](Dataset(node))._node, shuffle_partitions=3, broadcast_bytes=0)

    assert found(EMPTY, SOME[0], EMPTY, SOME[1], EMPTY).to_pylist() == found(*SOME).to_pylist()
    assert found(EMPTY, EMPTY).num_rows in (0, 2)  # those of the other side of a join
