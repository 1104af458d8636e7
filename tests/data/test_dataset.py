"""Datasets as users see them. Small ones run in this process; `cluster` runs the same on tasks, with the same results."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import skate
import skate.data as data
from skate.data import (
    ActorPoolStrategy,
    ColumnNotFoundError,
    DataContext,
    ExecutionResources,
    TaskPoolStrategy,
    col,
    plan,
)
from skate.data.aggregate import Count, CountDistinct, Max, Mean, Min, Sum
from skate.data.datatype import DataType
from skate.data.functions import HERE
from skate.exceptions import UnsupportedError

FRAME = pd.DataFrame({"k": [at % 3 for at in range(100)], "x": [at * 0.5 for at in range(100)], "id": range(100)})


@pytest.fixture(params=["inline", "cluster"])
def frame(request: pytest.FixtureRequest) -> data.Dataset:
    """The frame as a dataset: one block here, or several that tasks work on."""
    if request.param == "inline":
        return data.from_pandas(FRAME)
    request.getfixturevalue("cluster")
    # What refers to blocks in the store must be gone when the test is over, so these are tables of this process.
    return data.from_pandas(FRAME, override_num_blocks=4).map_batches(lambda batch: batch, batch_format="pyarrow")


def same(found: data.Dataset, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found.to_pandas(), expected.reset_index(drop=True))


# ---------------------------------------------------------------- transformations


def test_functions_over_batches(frame: data.Dataset) -> None:
    expected = FRAME.assign(y=FRAME["x"] * 2)
    same(frame.map_batches(lambda b: {**b, "y": b["x"] * 2}), expected)
    same(frame.map_batches(lambda b: b.assign(y=b["x"] * 2), batch_format="pandas", batch_size=7), expected)
    same(frame.map_batches(lambda b: b.with_columns(y=pl.col("x") * 2), batch_format="polars"), expected)
    same(frame.add_column("y", lambda b: b["x"] * 2), expected)
    same(frame.with_column("y", col("x") * 2), expected)


def test_functions_over_rows(frame: data.Dataset) -> None:
    same(frame.map(lambda row, more: {"id": row["id"] + more}, fn_args=(1,)), FRAME[["id"]] + 1)
    assert frame.flat_map(lambda row: [row] * (row["id"] % 2)).count() == 50
    same(frame.filter(lambda row: row["id"] > 50), FRAME[FRAME["id"] > 50])
    same(frame.filter(expr="id > 50 and k < 2 and not x == 30"), FRAME.query("id > 50 and k < 2 and x != 30"))
    same(frame.filter(col("id") > 50), FRAME[FRAME["id"] > 50])


def test_columns(frame: data.Dataset) -> None:
    same(frame.select_columns(["x", "id"]), FRAME[["x", "id"]])
    same(frame.drop_columns("x"), FRAME[["k", "id"]])
    same(frame.rename_columns({"x": "z"}), FRAME.rename(columns={"x": "z"}))
    same(frame.rename_columns(["a", "b", "c"]), FRAME.set_axis(["a", "b", "c"], axis=1))


def test_rows_and_blocks(frame: data.Dataset) -> None:
    same(frame.limit(42), FRAME[:42])
    same(frame.repartition(7), FRAME)
    assert frame.repartition(7).materialize().num_blocks() == 7
    assert [batch["id"].size for batch in frame.repartition(None, 30).iter_batches(batch_size=None)] == [30, 30, 30, 10]
    shuffled = frame.random_shuffle(seed=7)
    assert shuffled.take_all() == shuffled.take_all() != frame.take_all()
    same(shuffled.sort("id"), FRAME)
    same(frame.sort(["k", "id"], [False, True]), FRAME.sort_values(["k", "id"], ascending=[True, False]))
    assert frame.randomize_block_order(seed=1).sum("id") == FRAME["id"].sum()
    assert 20 < frame.random_sample(0.5, seed=3).count() < 80
    even = data.from_arrow([pa.table({"id": range(100)})] * 2).random_sample(0.5, seed=3)
    assert len(even.to_pandas()) != 2 * len(set(even.to_pandas()["id"]))  # not the same rows of each block


def test_rows_with_the_same_keys_go_to_one_block(frame: data.Dataset) -> None:
    made = list(frame.repartition(4, keys=["k"], sort=True).iter_batches(batch_size=None))
    assert sorted(key for batch in made for key in set(batch["k"])) == [0, 1, 2]
    assert all(list(batch["k"]) == sorted(batch["k"]) for batch in made)


def test_several_datasets(frame: data.Dataset) -> None:
    same(frame.union(frame), pd.concat([FRAME, FRAME]))
    same(frame.zip(frame.select_columns("id")), FRAME.assign(id_1=FRAME["id"]))
    other = data.from_pandas(pd.DataFrame({"key": [1, 2, 9], "name": ["one", "two", "nine"]}))
    joined = frame.join(other, "inner", on="k", right_on="key").sort("id").to_pandas()
    assert list(joined["name"][:4]) == ["one", "two", "one", "two"] and len(joined) == 66


def test_groups(frame: data.Dataset) -> None:
    groups = frame.groupby("k")
    expected = FRAME.groupby("k").agg(**{"sum(x)": ("x", "sum"), "mean(id)": ("id", "mean")}).reset_index()
    same(groups.aggregate(Sum("x"), Mean("id")), expected)
    assert groups.count().take_all() == [{"k": 0, "count()": 34}, {"k": 1, "count()": 33}, {"k": 2, "count()": 33}]
    most = groups.map_groups(lambda group: {"k": group["k"][:1], "most": [group["id"].max()]})
    assert most.sort("k").take_all() == [{"k": 0, "most": 99}, {"k": 1, "most": 97}, {"k": 2, "most": 98}]


def test_into_how_many_tasks_groups_go() -> None:
    def parts(partitions: int | None, **options: Any) -> int | None:
        node = data.range(3).groupby("id", partitions).map_groups(Adds, fn_constructor_args=(1,), **options)._node
        assert isinstance(node, plan.MapGroups)
        return node.partitions

    assert parts(None) is None and parts(None, concurrency=2) == 2 and parts(3) == 3
    assert parts(8, concurrency=2) == 2 and parts(2, concurrency=8) == 2
    # there is no limit, which is not a number of tasks
    assert parts(None, compute=ActorPoolStrategy(min_size=2)) is None
    assert parts(None, compute=ActorPoolStrategy(max_size=3)) == 3


def test_what_has_neither_rows_nor_columns(frame: data.Dataset) -> None:
    def nothing(batch: Any) -> Iterator[Any]:
        yield from ()

    for none in (frame.map_batches(nothing), data.from_arrow([])):
        assert none.count() == 0 and none.sum("k") is None
        assert none.groupby("k").count().take_all() == [] == none.random_shuffle().take_all()
        assert none.repartition(2).to_pandas().empty and none.to_arrow().num_rows == 0


# ---------------------------------------------------------------- consumption


def test_rows(frame: data.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.take(2) == [{"k": 0, "x": 0.0, "id": 0}, {"k": 1, "x": 0.5, "id": 1}]
    assert len(frame.take_all(100)) == 100
    with pytest.raises(ValueError, match="more than 99 rows"):
        frame.take_all(99)
    assert list(frame.take_batch(3)["id"]) == [0, 1, 2]
    frame.show(1)
    assert capsys.readouterr().out == "{'k': 0, 'x': 0.0, 'id': 0}\n"
    assert [row["id"] for row in frame.iter_rows()] == list(range(100))


def test_numbers(frame: data.Dataset) -> None:
    assert frame.count() == 100
    assert (frame.sum("id"), frame.min("id"), frame.max("id"), frame.mean("x")) == (4950, 0, 99, 24.75)
    assert frame.std("x") == pytest.approx(FRAME["x"].std())
    assert frame.quantile("x", 0.25) == pytest.approx(FRAME["x"].quantile(0.25))
    assert frame.sum(["k", "id"]) == {"sum(k)": 99, "sum(id)": 4950}
    assert frame.aggregate(Min("x"), Max("x"), Count()) == {"min(x)": 0.0, "max(x)": 49.5, "count()": 100}
    assert sorted(frame.unique("k")) == [0, 1, 2]


def test_nothing(frame: data.Dataset) -> None:
    nothing = frame.filter(expr="id < 0")
    assert nothing.take_all() == [] and nothing.count() == 0
    assert nothing.sum("id") is None and nothing.std("id") is None
    assert nothing.schema() == frame.schema()
    assert list(nothing.iter_batches()) == []
    with pytest.raises(ValueError, match="no rows"):
        nothing.take_batch()


def test_as_a_whole(frame: data.Dataset) -> None:
    same(frame, FRAME)
    assert frame.to_polars().equals(pl.from_pandas(FRAME))
    assert frame.to_arrow().num_rows == 100
    schema = frame.schema()
    assert schema is not None
    assert schema.names == ["k", "x", "id"] == frame.columns() and schema.types[1] == pa.float64()


def test_splits(frame: data.Dataset) -> None:
    assert [part.count() for part in frame.split(3)] == [33, 33, 34]
    assert [part.count() for part in frame.split(3, equal=True)] == [33, 33, 33]
    parts = frame.split_at_indices([0, 30, 130])
    assert [part.count() for part in parts] == [0, 30, 70, 0]
    same(parts[2], FRAME[30:])
    assert [part.count() for part in frame.split_proportionately([0.2, 0.5])] == [20, 50, 30]
    train, test = frame.train_test_split(0.25)
    same(train, FRAME[:75])
    same(test, FRAME[75:])
    train, test = frame.train_test_split(10, shuffle=True, seed=1)
    assert sorted(train.unique("id") + test.unique("id")) == list(range(100)) and test.count() == 10
    train, test = frame.train_test_split(0.3, stratify="k")
    assert [row["count()"] for row in test.groupby("k").count().take_all()] == [10, 10, 10]
    assert train.count() == 70 and train.columns() == ["k", "x", "id"]


def test_a_sort_with_given_boundaries() -> None:
    items = [{"x": x, "y": 0} for x in (12, 5, None, 20, 3, 10, 11)]
    rows = data.from_items(items).sort(["x", "y"], boundaries=[5, 11.5, 30])
    parts = [skate.get(ref).column("x").to_pylist() for ref in rows.materialize().to_arrow_refs()]
    assert parts == [[3], [5, 10, 11], [12, 20], [None]]
    assert [row["x"] for row in rows.take(3)] == [3, 5, 10] and rows.columns() == ["x", "y"]
    words = data.from_items(["b", "c", "a"]).sort("item", boundaries=["b"])
    assert [skate.get(ref).column(0).to_pylist() for ref in words.to_arrow_refs()] == [["a"], ["b", "c"]]
    with pytest.raises(ValueError, match="in order"):
        data.range(3).sort("id", boundaries=[2, 1])
    with pytest.raises(UnsupportedError):
        data.range(3).sort("id", True, boundaries=[1])


def test_summary(frame: data.Dataset) -> None:
    found = frame.summary().get_column_stats("x")
    line = dict(zip(found["statistic"], found["value"], strict=True))
    assert line["count"] == 100 and line["missing_pct"] == 0 and line["max"] == 49.5 and line["zero_pct"] == 1
    assert line["mean"] == pytest.approx(24.75) and line["approx_quantile[0]"] == pytest.approx(24.75, abs=0.5)
    with pytest.raises(ValueError, match="no column 'nope'"):
        frame.summary().get_column_stats("nope")


def test_a_summary_chooses_by_type() -> None:
    kinds = {
        "b": pa.array([True, False, None]),
        "d": pa.array([Decimal("1.5"), None, Decimal("0.0")]),
        "t": pa.array([1, 2, 3], pa.timestamp("s")),
        "e": pa.array([1, 2, 3], pa.duration("s")),
        "l": pa.array([[1], None, [2]]),
        "s": pa.array(["a", "b", "a"]),
        "y": pa.array([b"a", None, b"a"]),
        "n": pa.nulls(3),
    }
    found = data.from_arrow(pa.table(kinds)).summary()
    assert found.columns == list(kinds) and found.dataset_schema.names == list(kinds)
    table = found.to_pandas().set_index(found.STATISTIC_COLUMN)
    assert table.loc["count"].tolist() == [3] * 8
    assert table.loc["zero_pct", "b"] == 50 and table.loc["zero_pct", "d"] == 50 and "std" in repr(found)
    assert table.loc["min", "t"] == datetime(1970, 1, 1, 0, 0, 1) and table.loc["approx_topk[0]", "s"] == {
        "s": "a",
        "count": 2,
    }
    mapped = {DataType.string(): lambda name: [CountDistinct(name)]}
    assert data.from_arrow(pa.table(kinds)).summary(["s"], mapped).to_pandas().to_dict("list") == {
        "statistic": ["count_distinct"],
        "s": [2],
    }
    assert data.from_items([]).summary().columns == []


# ---------------------------------------------------------------- here


def test_a_plan_is_shown_and_not_carried_out(capsys: pytest.CaptureFixture[str]) -> None:
    def never(row: Any) -> Any:
        raise AssertionError

    made = data.range(10).map(never)
    assert repr(made) == "Dataset(num_rows=?, schema=?)\nMap(never)\n+- ReadRange"
    assert "Map(never)" in made._repr_html_()
    assert repr(data.range(3)) == "Dataset(num_rows=3, schema={id: int64})\nReadRange"
    made.limit(3).explain()
    assert "Map(never)\n+- Limit(3)" in capsys.readouterr().out.partition("Optimized")[2]


def test_metadata_is_enough() -> None:
    assert data.range(10**12).count() == 10**12
    assert data.range(10**12).select_columns("id").sort("id").limit(7).count() == 7
    assert data.range(10**12).schema() == data.range(1).schema()


def test_what_is_in_memory() -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    assert data.from_items([1, "x"]).take_all() == [{"item": 1}, {"item": "x"}]
    assert data.from_items([{"a": 1}, {"b": 2}]).take_all() == [{"a": 1, "b": None}, {"a": None, "b": 2}]
    assert data.from_pandas([frame, frame]).num_blocks() == 2
    assert data.from_polars(pl.from_pandas(frame)).sum("a") == 3
    table = pa.Table.from_pandas(frame)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert data.from_arrow([table, sink.getvalue().to_pybytes()]).sum("a") == 6
    assert data.from_blocks([table, frame]).sum("a") == 6
    assert data.from_numpy(np.ones((3, 2))).take(1)[0]["data"].tolist() == [1.0, 1.0]
    assert data.range_tensor(3, shape=(2, 2)).take_batch()["data"].shape == (3, 2, 2)
    assert data.from_torch(["a", "b"]).take_all() == [{"item": "a"}, {"item": "b"}]
    with pytest.raises(TypeError, match="DataFrame"):
        data.from_numpy(frame)


class HuggingFace:
    """What is used of a dataset of Hugging Face."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def with_format(self, name: str) -> HuggingFace:
        assert name == "arrow"
        return self

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, rows: slice) -> pa.Table:
        return self.table[rows]


class HuggingFaceIterable:
    """And of one that streams."""

    def with_format(self, name: str) -> HuggingFaceIterable:
        return self

    def iter(self, batch_size: int) -> Iterator[pa.Table]:
        yield pa.table({"a": [1, 2]})
        yield pa.table({"a": [3]})


def test_hugging_face(cluster: None) -> None:
    assert data.from_huggingface(HuggingFace(pa.table({"a": [1, 2, 3]}))).sum("a") == 6
    assert data.from_huggingface(HuggingFaceIterable()).sum("a") == 6
    with pytest.raises(TypeError, match="choose one of train"):
        data.from_huggingface({"train": None})


def test_batches_that_are_changed_in_place_are_copies() -> None:
    def change(batch: Any) -> Any:
        batch["id"] += 1
        return batch

    ds = data.range(3).materialize()
    assert ds.map_batches(change, zero_copy_batch=False).sum("id") == 6
    assert ds.map_batches(change, zero_copy_batch=False, batch_format="pandas").sum("id") == 6
    with pytest.raises(ValueError, match="read-only"):
        ds.map_batches(change).sum("id")
    assert ds.sum("id") == 3


WRONG: list[tuple[Callable[[data.Dataset], Any], type[Exception], str]] = [
    (lambda ds: ds.select_columns("x"), ColumnNotFoundError, "The columns are 'id'"),
    (lambda ds: ds.sort("x"), ColumnNotFoundError, "'id'"),
    (lambda ds: ds.groupby("x"), ColumnNotFoundError, "'id'"),
    (lambda ds: ds.filter(expr="x > 1"), ColumnNotFoundError, "'id'"),
    (lambda ds: ds.filter(expr="f(id)"), ValueError, "cannot be used"),
    (lambda ds: ds.filter(), ValueError, "fn or expr"),
    (lambda ds: ds.drop_columns(["id", "id"]), ValueError, "twice"),
    (lambda ds: ds.map(3), TypeError, "fn must be"),
    (lambda ds: ds.map_batches(print, batch_size=0), ValueError, "batch_size=0"),
    (lambda ds: ds.map_batches(print, batch_format="cudf"), ValueError, "'cudf'"),
    (lambda ds: ds.map_batches(print, num_cpu=1), ValueError, "num_cpus"),
    (lambda ds: ds.map_batches(print, concurrency=(1, 2)), ValueError, "function"),
    (lambda ds: ds.map_batches(print, concurrency=0), ValueError, "concurrency=0"),
    (lambda ds: ds.map_batches(dict, compute=TaskPoolStrategy()), ValueError, "ActorPoolStrategy"),
    (lambda ds: ds.map_batches(print, ray_remote_args_fn=dict), UnsupportedError, "ray_remote_args_fn"),
    (lambda ds: ds.limit(-1), ValueError, "limit=-1"),
    (lambda ds: ds.repartition(), ValueError, "num_blocks"),
    (lambda ds: ds.repartition(2, sort=True), ValueError, "keys"),
    (lambda ds: ds.random_sample(2), ValueError, "fraction"),
    (lambda ds: ds.sort("id", True, boundaries=[1]), UnsupportedError, "boundaries"),
    (lambda ds: ds.join(ds, "outer"), ValueError, "full_outer"),
    (lambda ds: ds.zip(3), TypeError, "no Dataset"),
    (lambda ds: ds.split(0), ValueError, "n=0"),
    (lambda ds: ds.split_at_indices([3, 2]), ValueError, "in order"),
    (lambda ds: ds.split_proportionately([0.5, 0.5]), ValueError, "below 1"),
    (lambda ds: ds.train_test_split(1.5), ValueError, "test_size"),
    (lambda ds: ds.aggregate(), ValueError, "at least one"),
    (lambda ds: ds.iter_batches(prefetch_batches=-1), ValueError, "prefetch_batches"),
    (lambda ds: len(ds), TypeError, "count()"),
    (lambda ds: list(ds), TypeError, "iter_rows"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_arguments_are_told_at_the_call(number: int) -> None:
    call, kind, text = WRONG[number]
    with pytest.raises(kind, match=text.replace("(", r"\(").replace(")", r"\)")):
        call(data.range(3))


def test_pools() -> None:
    assert ActorPoolStrategy(size=2) == ActorPoolStrategy(min_size=2, max_size=2)
    with pytest.raises(ValueError, match="more than max_size"):
        ActorPoolStrategy(min_size=3, max_size=2)
    with pytest.raises(UnsupportedError, match="one task at a time"):
        ActorPoolStrategy(size=1, max_tasks_in_flight_per_actor=3)


def test_settings() -> None:
    with pytest.raises(AttributeError, match="Did you mean 'target_max_block_size'"):
        DataContext.get_current().target_max_block = 1  # type: ignore[attr-defined]
    made = data.range(3)
    assert data.Dataset.copy(made).context is not made.context
    made.set_name("numbers")
    assert made.limit(1).name == "numbers" and "numbers" in repr(made)


# ---------------------------------------------------------------- on the cluster


class Adds:
    def __init__(self, more: int) -> None:
        self.more = more

    def __call__(self, batch: Any) -> Any:
        return {"id": batch["id"] + self.more}


def test_a_class_is_constructed_with_its_arguments(cluster: None) -> None:
    ds = data.range(100, override_num_blocks=4)
    assert ds.map_batches(Adds, fn_constructor_args=(1,), concurrency=1).sum("id") == 5050
    assert ds.map_batches(Adds, fn_constructor_kwargs={"more": 1}, compute=ActorPoolStrategy(size=1)).sum("id") == 5050
    assert ds.map_batches(Adds, fn_constructor_args=(1,)).sum("id") == 5050


def test_references(cluster: None) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    assert data.from_pandas_refs([skate.put(frame), skate.put(frame)]).sum("a") == 6
    assert data.from_numpy_refs(skate.put(np.arange(3))).sum("data") == 3
    ds = data.range(10, override_num_blocks=2).map_batches(lambda batch: batch)
    assert [table.num_rows for table in skate.get(ds.to_arrow_refs())] == [5, 5]
    assert skate.get(ds.to_numpy_refs(column="id"))[1].tolist() == [5, 6, 7, 8, 9]
    assert skate.get(data.range(2).to_pandas_refs())[0]["id"].tolist() == [0, 1]


def test_a_dataset_can_be_sent_to_a_task(cluster: None) -> None:
    @skate.remote
    def total(ds: data.Dataset) -> Any:
        return ds.sum("id")

    assert skate.get(total.remote(data.range(10)), timeout=20) == 45


def test_stats_say_what_was_done(cluster: None) -> None:
    ds = data.range(10, override_num_blocks=2).map_batches(lambda batch: batch)
    assert ds.stats() == ""
    ds.take_all()
    assert "MapBatches" in ds.stats() and "10 rows" in ds.stats()


def test_where_a_task_is_belongs_to_its_process_and_thread() -> None:
    """A function that is sent to a worker must not bring the sender's along."""
    HERE.files = ("mine",)
    assert pickle.loads(pickle.dumps(HERE)) is HERE
    seen = []
    thread = threading.Thread(target=lambda: seen.append(HERE.files))
    thread.start()
    thread.join()
    assert seen == [()]
    HERE.files = ()


def test_what_only_ray_has_says_what_to_do_instead() -> None:
    context = DataContext()
    with pytest.raises(AttributeError, match=r"use_push_based_shuffle'\. Leave it out: shuffles"):
        context.use_push_based_shuffle = True  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="ExecutionOptions has no setting 'verbose_progress'"):
        context.execution_options.verbose_progress = True  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedError, match="cpu"):
        context.execution_options.resource_limits.cpu = 1
    context.execution_options.resource_limits = context.execution_options.resource_limits.copy(object_store_memory=1e9)
    assert context.copy().execution_options.resource_limits == ExecutionResources.for_limits(object_store_memory=1e9)
    with pytest.raises(AttributeError, match=r"'read_mongo'\. Use read_datasource"):
        data.read_mongo  # noqa: B018
    with pytest.raises(AttributeError, match=r"Dataset has no 'to_dask'\. Go through to_arrow_refs"):
        data.range(1).to_dask()
    assert not hasattr(data.range(1), "anything") and not hasattr(data, "anything")


def test_unique_values() -> None:
    ds = data.from_items([{"a": 2}, {"a": None}, {"a": 1}, {"a": 2}])
    assert ds.unique("a") == [1, 2, None] and ds.unique("a", ignore_nulls=True) == [1, 2]
