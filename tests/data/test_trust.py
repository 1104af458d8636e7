"""Pickles that come from outside are opened only for who has said that he trusts them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import skate
from skate import data
from skate.data.block import ObjectType


class Trap:
    """Whoever opens its pickle makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def column_of(*values: Any) -> pa.Array:
    return pa.ExtensionArray.from_storage(ObjectType(), pa.array(map(pickle.dumps, values), pa.large_binary()))


def nested(trap: Trap) -> pa.Table:
    inner = pa.StructArray.from_arrays([column_of(trap)], ["b"])
    return pa.table({"a": pa.ListArray.from_arrays([0, 1], inner), "c": [1]})


USES: dict[str, Callable[[data.Dataset], Any]] = {
    "take": lambda ds: ds.take(1),
    "rows": lambda ds: list(ds.iter_rows()),
    "batches": lambda ds: list(ds.iter_batches(batch_format="pandas")),
    "map": lambda ds: ds.map(lambda row: row).take_all(),
    "filter": lambda ds: ds.filter(lambda row: True).count(),
    "sort": lambda ds: ds.sort("a").take_all(),
    "groupby": lambda ds: ds.groupby("a").count().take_all(),
    "unique": lambda ds: ds.unique("a"),
    "to_pandas": lambda ds: ds.to_pandas(),
    "write": lambda ds: ds.write_json("unused"),
}


@pytest.mark.parametrize("use", USES)
def test_a_parquet_file_cannot_run_code(tmp_path: Path, use: str) -> None:
    trap = Trap(tmp_path / "sprung")
    pq.write_table(pa.table({"a": column_of(trap), "c": [1]}), tmp_path / "x.parquet")
    dataset = data.read_parquet(tmp_path / "x.parquet")
    with pytest.raises(Exception, match=r"column 'a' has pickled Python objects.*allow_pickle=True"):
        USES[use](dataset)
    assert not os.path.exists(trap.path)
    assert dataset.count() == 1 and dataset.select_columns("c").take_all() == [{"c": 1}]


def test_nor_can_one_column_inside_another(tmp_path: Path) -> None:
    trap = Trap(tmp_path / "sprung")
    pq.write_table(nested(trap), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="column 'a' has pickled"):
        data.read_parquet(tmp_path / "x.parquet").take_all()
    with pytest.raises(ValueError, match="column 'a' has pickled"):
        data.read_parquet(tmp_path / "x.parquet", include_row_hash=True).take_all()
    assert not os.path.exists(trap.path)


def test_nor_can_the_second_file(tmp_path: Path) -> None:
    trap = Trap(tmp_path / "sprung")
    pq.write_table(pa.table({"a": [b"plain"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": column_of(trap)}), tmp_path / "2.parquet")
    with pytest.raises((ValueError, TypeError)):
        data.read_parquet(tmp_path).take_all()
    assert not os.path.exists(trap.path)


def test_what_a_dataset_has_written_is_read_by_who_trusts_it(tmp_path: Path) -> None:
    rows = [{"a": {1, 2}}, {"a": int}]
    data.from_items(rows).write_parquet(tmp_path / "out")
    with pytest.raises(ValueError, match="allow_pickle=True"):
        data.read_parquet(tmp_path / "out").take_all()
    assert data.read_parquet(tmp_path / "out", allow_pickle=True).take_all() == rows
    assert data.read_parquet(tmp_path / "out", columns=["a"], allow_pickle=True).take_all() == rows


@pytest.mark.usefixtures("cluster")
def test_tables_need_the_word_too(tmp_path: Path) -> None:
    trap = Trap(tmp_path / "sprung")
    table = pa.table({"a": column_of(trap)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    for make, value in (
        (data.from_arrow, table),
        (data.from_arrow, sink.getvalue().to_pybytes()),
        (data.from_blocks, [table]),
        (data.from_pandas, frame),
    ):
        with pytest.raises(ValueError, match="pickled Python objects"):
            make(value)
    with pytest.raises(skate.exceptions.RayTaskError, match="pickled Python objects"):
        data.from_arrow_refs([skate.put(table)])
    assert not os.path.exists(trap.path)
    own = data.from_items([{"a": int}])
    assert data.from_arrow(own.to_arrow(), allow_pickle=True).take_all() == [{"a": int}]
    assert data.from_arrow_refs(own.to_arrow_refs(), allow_pickle=True).take_all() == [{"a": int}]
    assert data.from_pandas(pd.DataFrame({"a": [int, str]})).take_all() == [{"a": int}, {"a": str}]
