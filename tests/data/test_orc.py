"""ORC: what is written is read again, only what is needed is read, and what does not fit is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.orc as orc
import pytest

import skate.data as data
from skate.data.sources.files import Files, find
from skate.data.sources.orc import ORC

ROWS = [{"a": n, "s": str(n), "l": [n, n], "d": {"k": n}, "n": None if n % 2 else 0.5} for n in range(100)]


def test_round_trip(tmp_path: Path) -> None:
    data.from_items(ROWS).write_orc(tmp_path, max_rows_per_file=30, compression="zstd")
    found = data.read_orc(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    assert found.count() == 100 and found.columns() == ["a", "s", "l", "d", "n"]
    assert found.take_all() == ROWS
    assert found.filter(expr="a > 97").select_columns(["n", "s"]).take_all() == [
        {"n": 0.5, "s": "98"},
        {"n": None, "s": "99"},
    ]
    assert orc.read_table(min(tmp_path.iterdir())).num_rows == 30


def test_only_the_columns_that_are_needed(tmp_path: Path) -> None:
    orc.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.orc")
    orc.write_table(pa.table({"a": [2]}), tmp_path / "2.orc")
    source = ORC(Files(find(tmp_path, ["orc"]), include_paths=True)).with_columns(["b"])
    assert source is not None and source.schema() == pa.schema([("b", pa.string())])
    assert [block for task in source.tasks(2) for block in task.read()] == [
        pa.table({"b": pa.array(["x"])}),
        pa.table({"b": pa.array([None], pa.string())}),
    ]
    found = data.read_orc(tmp_path, include_paths=True)
    assert [row["path"][-5:] for row in found.select_columns("path").take_all()] == ["1.orc", "2.orc"]
    assert source.with_columns(["nope"]) is None


def test_modes_and_an_empty_dataset(tmp_path: Path) -> None:
    target = tmp_path / "out"
    data.range(3).write_orc(target)
    with pytest.raises(FileExistsError):
        data.range(3).write_orc(target, mode=data.SaveMode.ERROR)
    data.range(5).write_orc(target, mode="overwrite")
    assert data.read_orc(target).sum("id") == 10
    orc.write_table(pa.table({"id": pa.array([], pa.int64())}), target / "empty.orc")
    assert data.read_orc(target / "empty.orc").take_all() == []


def test_what_does_not_fit(tmp_path: Path) -> None:
    table = pa.table({"fine": [1], "small": pa.array([1], pa.uint8()), "t": pa.array([np.float16(1)])})
    with pytest.raises(TypeError, match=r"the columns small \(uint8\), t \(halffloat\)"):
        data.from_arrow(table).write_orc(tmp_path / "out")
    assert list((tmp_path / "out").glob("*")) == []
    (tmp_path / "bad.orc").write_text("nonsense")
    with pytest.raises(ValueError, match=r"bad\.orc: it cannot be read as ORC"):
        data.read_orc(tmp_path / "bad.orc").take(1)
