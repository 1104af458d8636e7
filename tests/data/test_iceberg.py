"""Iceberg tables, in a catalog that is a file of SQLite: what is written is one snapshot, or nothing."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import skate.data as data
from skate.data.block import from_rows, meta_of
from skate.data.errors import ColumnNotFoundError
from skate.data.expressions import col
from skate.data.plan import Blocks
from skate.exceptions import UnsupportedError

NUMBERS = pa.schema([("id", pa.int64()), ("s", pa.string())])


class Place:
    """A catalog, and how to read and write one of its tables."""

    def __init__(self, folder: Path) -> None:
        catalogs = pytest.importorskip("pyiceberg.catalog.sql")
        self.folder = folder
        self.how = {
            "name": "local",
            "type": "sql",
            "uri": f"sqlite:///{folder}/catalog.db",
            "warehouse": f"file://{folder}",
        }
        self.catalog = catalogs.SqlCatalog("local", uri=self.how["uri"], warehouse=self.how["warehouse"])
        self.catalog.create_namespace("space")
        self.create = partial(self.catalog.create_table, "space.numbers")
        self.read = partial(data.read_iceberg, table_identifier="space.numbers", catalog_kwargs=self.how)

    def write(self, rows: Any, **options: Any) -> None:
        dataset = data.from_items(rows) if isinstance(rows, list) else rows
        dataset.write_iceberg("space.numbers", self.how, **options)

    def ids(self) -> list[int]:
        return sorted(row["id"] for row in self.read().take_all())

    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.parquet"))

    def snapshots(self) -> int:
        return len(self.catalog.load_table("space.numbers").metadata.snapshots)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.catalog.close()


def in_blocks(*rows: list[dict[str, Any]]) -> Any:
    """A dataset with a block for each list, whose columns nobody knows before they are there."""
    made = [from_rows(each) for each in rows]
    found = data.range(1)._on_top(Blocks([(block, meta_of(block)) for block in made]))
    return found.map_batches(lambda batch: batch, batch_format="pyarrow")


def test_read(place: Place) -> None:
    table = place.create(NUMBERS)
    table.append(pa.table({"id": [1, 2], "s": ["a", "b"]}))
    table.append(pa.table({"id": [3], "s": ["c"]}))
    assert place.ids() == [1, 2, 3]
    assert place.read(row_filter="id > 2", selected_fields=("s",)).take_all() == [{"s": "c"}]
    assert place.read(row_filter="id > 20").take_all() == []


def test_an_append_is_one_snapshot(place: Place) -> None:
    place.create(NUMBERS)
    place.write([{"id": 1, "s": "a"}], snapshot_properties={"by": "tests"})
    place.write(in_blocks([{"id": 2, "s": "b"}], [{"id": 3, "s": None}]))
    assert place.ids() == [1, 2, 3] and place.snapshots() == 2 and len(place.files()) == 3
    table = place.catalog.load_table("space.numbers")
    assert table.metadata.snapshots[0].summary["by"] == "tests"
    assert sorted(table.scan().to_arrow()["s"].to_pylist(), key=str) == [None, "a", "b"]


def test_partitions(place: Place) -> None:
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.transforms import IdentityTransform
    from pyiceberg.types import LongType, NestedField, StringType

    schema = Schema(NestedField(1, "id", LongType()), NestedField(2, "s", StringType()))
    place.create(schema, partition_spec=PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "s")))
    place.write([{"id": n, "s": "odd" if n % 2 else "even"} for n in range(20)])
    assert place.ids() == list(range(20)) and len(place.files()) == 2
    odd = place.read(row_filter="s == 'odd'")
    assert odd.count() == 10 and len(odd._node.source.found) == 1


def test_new_columns_are_added_with_the_rows(place: Place) -> None:
    place.create(NUMBERS)
    place.write([{"id": 1, "s": "a"}])
    place.write([{"id": 2, "s": "b", "new": {"x": 1.5}}])
    place.write(in_blocks([{"id": 3, "late": True}], [{"id": 4, "late": False}]))
    assert place.read().columns() == ["id", "s", "new", "late"]
    assert place.read().sort("id").take_all() == [
        {"id": 1, "s": "a", "new": None, "late": None},
        {"id": 2, "s": "b", "new": {"x": 1.5}, "late": None},
        {"id": 3, "s": None, "new": None, "late": True},
        {"id": 4, "s": None, "new": None, "late": False},
    ]


def test_blocks_that_disagree_about_new_columns_change_nothing(place: Place) -> None:
    place.create(NUMBERS)
    with pytest.raises(ValueError, match="not all blocks have the same new columns"):
        place.write(in_blocks([{"id": 1, "x": 1}], [{"id": 2, "y": 1}]))
    assert place.snapshots() == 0 and place.files() == [] and place.read().columns() == ["id", "s"]
    place.write(in_blocks([{"id": 1, "x": 1}], [{"id": 2}]))  # one is a part of the other
    assert place.ids() == [1, 2] and place.read().columns() == ["id", "s", "x"]


def test_overwrite(place: Place) -> None:
    place.create(NUMBERS)
    place.write([{"id": n, "s": str(n)} for n in range(6)])
    place.write([{"id": 10, "s": "x"}], mode="overwrite", overwrite_filter=(col("id") < 2) | col("s").is_in(["4"]))
    assert place.ids() == [2, 3, 5, 10]
    place.write(place.read().filter(expr="id > 2"), mode=data.SaveMode.OVERWRITE)  # by what is read from it
    assert place.ids() == [3, 5, 10]
    place.write([{"id": 7}], mode="overwrite")
    assert place.ids() == [7]
    place.write(data.from_items([{"id": 7}]).filter(expr="id > 7"), mode="overwrite")
    assert place.ids() == []


def test_upsert(place: Place) -> None:
    from pyiceberg.schema import Schema
    from pyiceberg.types import LongType, NestedField, StringType

    place.create(
        Schema(
            NestedField(1, "id", LongType(), required=True), NestedField(2, "s", StringType()), identifier_field_ids=[1]
        )
    )
    place.write([{"id": n, "s": "old"} for n in range(4)])
    place.write([{"id": 3, "s": "new"}, {"id": 4, "s": "new"}], mode="upsert")
    assert place.read().sort("id").take_all() == [{"id": n, "s": "old" if n < 3 else "new"} for n in range(5)]
    place.write([{"id": 9, "s": "new"}], mode="upsert", upsert_kwargs={"join_cols": ["s", "id"]})
    place.write([{"id": 0, "s": "last"}], mode="upsert", upsert_kwargs={"join_cols": ["s", "id"]})
    assert place.ids() == [0, 0, 1, 2, 3, 4, 9]
    with pytest.raises(ValueError, match="several rows have the same values of id"):
        place.write(in_blocks([{"id": 1}], [{"id": 1}]), mode="upsert")
    with pytest.raises(ColumnNotFoundError, match="'nope'"):
        place.write([{"id": 1}], mode="upsert", upsert_kwargs={"join_cols": ["nope"]})
    with pytest.raises(ValueError, match="'id' is required"):
        place.write([{"id": 1}, {"id": None}])
    with pytest.raises(ValueError, match="columns id are required"):
        place.write([{"s": "x"}])
    assert place.ids() == [0, 0, 1, 2, 3, 4, 9]


def test_modes_and_wrong_arguments(place: Place) -> None:
    place.create(NUMBERS)
    place.write([{"id": 1}], mode="error")
    with pytest.raises(FileExistsError):
        place.write([{"id": 2}], mode="error")
    place.write([{"id": 2}], mode="ignore")
    assert place.ids() == [1]
    with pytest.raises(TypeError, match="do not fit"):
        place.write([{"id": "text"}])
    with pytest.raises(UnsupportedError, match="no such filter"):
        place.write([{"id": 1}], mode="overwrite", overwrite_filter=col("id") + 1 > 2)
    for wrong in ({"overwrite_filter": col("id") > 1}, {"upsert_kwargs": {"join_cols": ["id"]}}):
        with pytest.raises(ValueError, match="mode="):
            place.write([{"id": 1}], **wrong)
    with pytest.raises(ValueError, match="no columns that identify"):
        place.write([{"id": 1}], mode="upsert")
    with pytest.raises(ValueError, match="no option nope"):
        place.write([{"id": 1}], mode="overwrite", overwrite_kwargs={"nope": 1})


def test_a_write_that_fails_leaves_nothing(place: Place) -> None:
    place.create(NUMBERS)

    def refuse(batch: Any) -> Any:
        if batch["id"][0] == 2:
            raise ValueError("no more")
        return batch

    rows = in_blocks([{"id": 1, "s": "a"}], [{"id": 2, "s": "b"}]).map_batches(refuse)
    with pytest.raises(ValueError, match="no more"):
        place.write(rows)
    assert place.files() == [] and place.snapshots() == 0


def test_files_stay_if_nobody_knows_whether_the_catalog_has_them(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.exceptions import CommitFailedException

    place.create(NUMBERS)
    raised: Exception = CommitFailedException("no")

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise raised

    monkeypatch.setattr(SqlCatalog, "commit_table", refuse)
    with pytest.raises(CommitFailedException):
        place.write([{"id": 1, "s": "a"}])
    assert place.files() == []
    monkeypatch.undo()
    place.write([{"id": 1, "s": "a"}, {"id": 2, "s": "b"}])
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".avro", ".parquet"))
    monkeypatch.setattr(SqlCatalog, "commit_table", refuse)
    with pytest.raises(CommitFailedException):  # which makes pyiceberg write files of its own
        place.write([{"id": 3, "s": "c"}], mode="overwrite", overwrite_filter=col("id") == 2)
    left = sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".avro", ".parquet"))
    assert left == before
    count = len(place.files())
    raised = ConnectionError("lost")
    with pytest.raises(ConnectionError):
        place.write([{"id": 1, "s": "a"}])
    assert len(place.files()) == count + 1


def test_types_that_come_from_elsewhere(place: Place) -> None:
    place.create(pa.schema([("id", pa.int64()), ("t", pa.timestamp("us")), ("s", pa.string())]))
    table = pa.table(
        {
            "id": pa.array([1], pa.int32()),
            "t": pa.array([10**15], pa.timestamp("ns")),
            "s": pa.nulls(1),
            "nothing": pa.nulls(1),
        }
    )
    place.write(data.from_arrow(table))
    assert place.read().take_all() == [{"id": 1, "t": datetime.datetime(1970, 1, 12, 13, 46, 40), "s": None}]
