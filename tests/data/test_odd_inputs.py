"""Inputs that were once answered wrongly."""

from __future__ import annotations

import datetime as dt
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from skate import data
from skate.data.datasource import BlockBasedFileDatasink
from skate.data.preprocessors import (
    Concatenator,
    CustomKBinsDiscretizer,
    MinMaxScaler,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    UniformKBinsDiscretizer,
)


def in_blocks(*tables: pa.Table) -> data.Dataset:
    return data.from_arrow(list(tables))


def test_keys_that_are_not_a_number_hide_no_others() -> None:
    keys = np.concatenate([np.arange(200.0), np.full(200, np.nan)])
    found = data.from_arrow(pa.table({"k": keys})).repartition(8).to_random_access_dataset("k")
    assert [row and row["k"] for row in found.multiget([5.0, 150.0, 500.0])] == [5.0, 150.0, None]


def test_keys_with_a_time_zone() -> None:
    times = pd.date_range("2020-01-01", periods=4, tz="UTC")
    found = data.from_pandas(pd.DataFrame({"t": times, "n": range(4)})).to_random_access_dataset("t")
    (row,) = found.multiget([dt.datetime(2020, 1, 3, tzinfo=dt.UTC)])
    assert row is not None and row["n"] == 2


def test_hooks_of_a_sink_of_files_are_called(tmp_path: Path) -> None:
    said: list[Any] = []

    class Lines(BlockBasedFileDatasink):
        @property
        def min_rows_per_write(self) -> int:
            return 1000

        def write_block_to_file(self, block: Any, file: Any) -> None:
            file.write(b"x" * block.num_rows())

        def on_write_start(self, schema: Any = None) -> None:
            said.append("start")

        def on_write_complete(self, result: Any) -> None:
            said.append((result.num_rows, result.size_bytes))

    data.range(160, override_num_blocks=4).write_datasink(Lines(str(tmp_path / "out"), file_format="txt"))
    assert said == ["start", (160, 160)]
    data.range(160, override_num_blocks=1).write_datasink(Lines(str(tmp_path / "one"), file_format="txt"))
    assert len(os.listdir(tmp_path / "one")) == 1


def test_categories_of_other_types() -> None:
    encoder = OrdinalEncoder(["x"]).fit(data.from_items([{"x": 1}, {"x": 2}]))
    assert [row["x"] for row in encoder.transform(data.from_items([{"x": 1.5}, {"x": 2.0}])).take_all()] == [None, 1]
    days = OrdinalEncoder(["x"]).fit(data.from_arrow(pa.table({"x": pa.array([dt.date(2020, 1, 1)])})))
    later = data.from_arrow(pa.table({"x": pa.array([dt.datetime(2020, 1, 1, 5)])}))
    assert [row["x"] for row in days.transform(later).take_all()] == [None]


def test_nulls_in_one_block_only() -> None:
    dataset = in_blocks(pa.table({"a": [1, 2]}), pa.table({"a": [7, None]}))
    for dtype in (None, np.int32):
        with pytest.raises(ValueError, match="Concatenator: a column has nulls"):
            Concatenator(["a"], dtype=dtype).transform(dataset).take_all()
    found = Concatenator(["a"], dtype=np.float64).transform(dataset).take_all()
    assert np.isnan(found[3]["concat_out"][0]) and found[2]["concat_out"].tolist() == [7.0]
    nothing = in_blocks(pa.table({"x": [0.5]}), pa.table({"x": pa.nulls(2)}))
    bins = CustomKBinsDiscretizer(["x"], bins=[0, 1])
    assert [row["x"] for row in bins.transform(nothing).take_all()] == [0, None, None]


def test_decimals() -> None:
    dataset = data.from_arrow(pa.table({"x": pa.array([Decimal("0.0"), Decimal("4.0")])}))
    assert [row["x"] for row in UniformKBinsDiscretizer(["x"], bins=2).fit_transform(dataset).take_all()] == [0, 1]
    assert len(data.from_items([{"x": np.array([[Decimal(1)]], dtype=object)} for _ in range(2)]).take_all()) == 2


@pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler, RobustScaler])
def test_nothing_to_learn_from(scaler: Any) -> None:
    with pytest.raises(ValueError, match=f"{scaler.__name__}: there are no values to learn"):
        scaler(["x"]).fit(data.from_arrow(pa.table({"x": pa.nulls(2, pa.float64())})))


def test_folders_above_are_taken_back_too(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="compresion"):
        data.range(3).write_parquet(tmp_path / "p" / "q", compresion="zstd")
    assert os.listdir(tmp_path) == []


def test_boundaries_of_numpy_and_options_by_name(tmp_path: Path) -> None:
    blocks = data.range(10).sort("id", boundaries=np.array([3, 8])).materialize()
    assert blocks.num_blocks() == 3
    with pytest.raises(TypeError, match="has no argument 'options'"):
        data.read_csv(str(tmp_path), options={"override_num_blocks": 3})
