"""Lance datasets. The library is large (85 MB), so it is not among those that are installed for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from skate import data
from skate.data.errors import ColumnNotFoundError

lance: Any = pytest.importorskip("lance")


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    rows = data.range(100, override_num_blocks=10).with_column("x", data.col("id") * 0.5)
    rows.write_lance(path, min_rows_per_file=20)
    assert len(lance.dataset(str(path)).get_fragments()) == 5
    read = data.read_lance(path)
    assert read.schema() == rows.schema() and read.count() == 100
    assert sorted(read.take_all(), key=lambda row: row["id"]) == rows.take_all()
    some = data.read_lance(path, filter="id >= 90", columns=["x"])
    assert sorted(row["x"] for row in some.take_all()) == [value * 0.5 for value in range(90, 100)]
    assert data.read_lance([path, path]).count() == 200
    assert data.read_lance(path).select_columns(["x"]).sum("x") == sum(range(100)) / 2
    assert data.read_lance(path).map_batches(lambda batch: batch, concurrency=2).count() == 100


def test_versions_and_modes(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    data.range(3).write_lance(path)
    with pytest.raises(FileExistsError, match="mode=CREATE"):
        data.range(3).write_lance(path)
    data.range(3).write_lance(path, mode="ignore")
    data.range(2).write_lance(path, mode="append")
    assert sorted(row["id"] for row in data.read_lance(path).take_all()) == [0, 0, 1, 1, 2]
    with pytest.raises(TypeError, match="has no columns 'y'; it has id"):
        data.from_items([{"id": 1, "y": 2}]).write_lance(path, mode="append")
    data.from_items([{"name": "a"}]).write_lance(path, mode="overwrite")
    assert data.read_lance(path).take_all() == [{"name": "a"}]
    assert data.read_lance(path, version=1).count() == 3
    data.range(5).filter(expr="id > 9").write_lance(tmp_path / "nothing")
    assert data.read_lance(tmp_path / "nothing").to_arrow().schema == pa.schema([("id", pa.int64())])


def test_what_goes_wrong_leaves_nothing(tmp_path: Path) -> None:
    def fails(row: dict[str, Any]) -> dict[str, Any]:
        if row["id"] == 9:
            raise ArithmeticError
        return row

    rows = data.range(10, override_num_blocks=2).map(fails)
    with pytest.raises(ArithmeticError):
        rows.write_lance(tmp_path / "new", min_rows_per_file=1)
    assert not (tmp_path / "new").exists()
    data.range(3).write_lance(tmp_path / "old")
    with pytest.raises(ArithmeticError):
        rows.write_lance(tmp_path / "old", mode="overwrite", min_rows_per_file=1)
    assert data.read_lance(tmp_path / "old").count() == 3
    with pytest.raises(ColumnNotFoundError, match="no column 'y'"):
        data.read_lance(tmp_path / "old", columns=["y"])
    with pytest.raises(ValueError, match="scanner_options=\\['columns'\\]"):
        data.read_lance(tmp_path / "old", scanner_options={"columns": ["id"]})
