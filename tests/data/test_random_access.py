"""Rows by their keys."""

from __future__ import annotations

import pytest

import skate
import skate.data as data
from skate.data.errors import ColumnNotFoundError

pytestmark = pytest.mark.usefixtures("cluster")


def test_rows_by_number() -> None:
    rows = data.range(1000, override_num_blocks=5).map_batches(lambda batch: {"id": batch["id"] * 2, "x": batch["id"]})
    found = rows.random_shuffle().to_random_access_dataset("id", num_workers=2)
    assert skate.get([found.get_async(key) for key in (0, 1, 998, 1998, 2000, -1)]) == [
        {"id": 0, "x": 0},
        None,
        {"id": 998, "x": 499},
        {"id": 1998, "x": 999},
        None,
        None,
    ]
    keys = [1500, 3, 20, 1500, -7]
    assert [row and row["x"] for row in found.multiget(keys)] == [750, None, 10, 750, None]
    assert found.multiget([]) == [] and "held by" in found.stats()


def test_rows_by_text_and_nulls() -> None:
    rows = [{"name": name} for name in ("b", None, "a", "c", None)]
    found = data.from_items(rows).to_random_access_dataset("name")
    assert found.multiget(["a", "bb", "c"]) == [{"name": "a"}, None, {"name": "c"}]
    none = data.from_items([{"name": None}]).to_random_access_dataset("name")
    assert none.multiget(["a"]) == [None]
    with pytest.raises(ColumnNotFoundError):
        data.from_items(rows).to_random_access_dataset("nope")
