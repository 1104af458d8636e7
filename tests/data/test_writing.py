"""Sinks: what is written is read again, what is there is kept or replaced as the mode says, and no half of a write is seen."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import skate.data as data
from skate.data.block import from_rows, meta_of
from skate.data.errors import ColumnNotFoundError
from skate.data.plan import Blocks
from skate.exceptions import UnsupportedError

quick = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def dataset_of(*blocks: pa.Table) -> Any:
    """A dataset of blocks that exist."""
    return data.range(1)._on_top(Blocks([(block, meta_of(block)) for block in blocks]))


def names(folder: Path) -> list[str]:
    """All files and folders below, by name."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# ---------------------------------------------------------------- round trips

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=8)
INTEGERS = st.integers(-(2**62), 2**62)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
FLAT = {"i": INTEGERS, "f": FLOATS, "s": TEXT}
NULLABLE = {name: st.none() | values for name, values in FLAT.items()}
NESTED = {**NULLABLE, "l": st.lists(INTEGERS, max_size=3), "d": st.fixed_dictionaries({"k": st.none() | TEXT})}


def rows_of(columns: dict[str, Any]) -> Any:
    return st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=20)


@quick
@given(rows=rows_of({**NESTED, "b": st.binary(max_size=5), "t": st.datetimes()}), step=st.integers(1, 7))
def test_parquet_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], step: int) -> None:
    folder = tmp_path_factory.mktemp("out")
    dataset_of(from_rows(rows)).write_parquet(folder, max_rows_per_file=step)
    assert len(list(folder.iterdir())) == -(-len(rows) // step)
    assert data.read_parquet(folder).take_all() == rows


@quick
@given(rows=rows_of(FLAT))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    import pyarrow.csv

    folder = tmp_path_factory.mktemp("out")
    table = from_rows(rows)
    dataset_of(table).write_csv(folder)
    options = pyarrow.csv.ConvertOptions(column_types=table.schema, strings_can_be_null=False)
    found = data.read_csv(folder, convert_options=options).take_all()
    assert [row["s"] for row in found] == [row["s"] for row in rows]
    assert [row["i"] for row in found] == [row["i"] for row in rows]
    assert [row["f"] for row in found] == [row["f"] for row in rows]


@quick
@given(rows=rows_of({**NESTED, "s": st.from_regex(r"[a-zß\"\\\n]{0,5}", fullmatch=True)}))
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("out")
    dataset_of(from_rows(rows)).write_json(folder)
    found = data.read_json(folder).take_all()
    for name in ("i", "f", "s", "l"):
        assert [row[name] for row in found] == [row[name] for row in rows]


@quick
@given(
    rows=rows_of(
        {"i": INTEGERS, "f": FLOATS, "b": st.binary(max_size=9), "l": st.lists(INTEGERS, min_size=2, max_size=4)}
    )
)
def test_tfrecords_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    pytest.importorskip("google_crc32c")
    folder = tmp_path_factory.mktemp("out")
    dataset_of(from_rows(rows)).write_tfrecords(folder)
    assert data.read_tfrecords(folder).take_all() == rows


@quick
@given(
    array=st.integers(0, 2**31)
    .map(lambda seed: np.random.default_rng(seed))
    .map(lambda r: r.random((r.integers(1, 9), 2, 3)))
)
def test_numpy_round_trip(tmp_path_factory: pytest.TempPathFactory, array: Any) -> None:
    folder = tmp_path_factory.mktemp("out")
    dataset_of(from_rows([{"a": each} for each in array])).write_numpy(folder, column="a")
    assert np.array_equal(np.stack([row["data"] for row in data.read_numpy(folder).take_all()]), array)


def test_damaged_tfrecords_are_named(tmp_path: Path) -> None:
    pytest.importorskip("google_crc32c")
    data.range(5).write_tfrecords(tmp_path)
    path = next(tmp_path.iterdir())
    whole = path.read_bytes()
    for damaged, words in [
        (whole[:-3], "ends in the middle"),
        (b"x" * 50, "length is damaged"),
        (_flip(whole), "checksum"),
    ]:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{path.name}: record \d: .*{words}"):
            data.read_tfrecords(tmp_path).take_all()


def test_features_without_a_name_and_damaged_ones() -> None:
    from skate.data.tfrecord import _put, decode

    assert decode(_put(1, _put(1, _put(2, _put(3, _put(1, b"\x05")))))) == {"": [5]}
    with pytest.raises(ValueError, match="no Example"):
        decode(_put(1, _put(1, b"\x08\x05")))


def _flip(whole: bytes) -> bytes:
    return whole[:14] + bytes([whole[14] ^ 1]) + whole[15:]


def test_pictures_and_tar_files(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    rows = [{"__key__": f"k{n}", "png": np.full((4, 5, 3), n, np.uint8), "cls": n, "json": {"n": n}} for n in range(3)]
    dataset = dataset_of(from_rows(rows))
    dataset.write_images(tmp_path / "images", column="png")
    images = data.read_images(tmp_path / "images").take_all()
    assert [int(row["image"][0, 0, 0]) for row in images] == [0, 1, 2]
    dataset.write_webdataset(tmp_path / "tar")
    found = data.read_webdataset(tmp_path / "tar").take_all()
    assert [row["__key__"] for row in found] == ["k0", "k1", "k2"]
    assert [row["json"] for row in found] == [{"n": 0}, {"n": 1}, {"n": 2}] and [row["cls"] for row in found] == [
        0,
        1,
        2,
    ]
    assert all(np.array_equal(row["png"], rows[at]["png"]) for at, row in enumerate(found))


# ---------------------------------------------------------------- options


def test_partitions_of_parquet(tmp_path: Path) -> None:
    table = pa.table({"p": ["a", "b/c", None, "a"], "q": [1, 2, 3, 1], "x": [1, 2, 3, 4]})
    dataset_of(table).write_parquet(tmp_path, partition_cols=["p", "q"], compression="zstd")
    assert sorted(path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet")) == [
        "p=__HIVE_DEFAULT_PARTITION__/q=3",
        "p=a/q=1",
        "p=b%2Fc/q=2",
    ]
    found = sorted(data.read_parquet(tmp_path).take_all(), key=lambda row: row["x"])
    assert [(row["p"], row["q"], row["x"]) for row in found] == [
        ("a", "1", 1),
        ("b/c", "2", 2),
        (None, "3", 3),
        ("a", "1", 4),
    ]
    with pytest.raises(ColumnNotFoundError, match="'no'"):
        dataset_of(table).write_parquet(tmp_path / "else", partition_cols=["no"])
    assert not list((tmp_path / "else").rglob("*.parquet"))


def test_rows_per_file(tmp_path: Path) -> None:
    blocks = [pa.table({"x": list(range(at, at + 10))}) for at in range(0, 100, 10)]
    dataset_of(*blocks).write_csv(tmp_path, min_rows_per_file=30)
    sizes = sorted(len(path.read_text().splitlines()) - 1 for path in tmp_path.iterdir())
    assert sum(sizes) == 100 and sizes[1:] == [30, 30, 30]
    with pytest.raises(ValueError, match="min_rows_per_file=5 is more than max_rows_per_file=3"):
        dataset_of(*blocks).write_csv(tmp_path, min_rows_per_file=5, max_rows_per_file=3)


@pytest.mark.parametrize(
    "least", [{"min_rows_per_file": 45}, {"min_bytes_per_file": 8 * 45}, {"num_rows_per_file": 45}]
)
def test_least_rows_and_bytes_per_file(tmp_path: Path, least: dict[str, Any]) -> None:
    read = data.range(100, override_num_blocks=10)
    for at, rows in enumerate((read, read.materialize(), read.filter(expr="id >= 0"))):
        rows.write_parquet(tmp_path / f"{at}", **least)
        assert sorted(pq.read_metadata(file).num_rows for file in (tmp_path / f"{at}").iterdir()) == [50, 50]
    read.write_json(tmp_path / "json", **least)
    assert len(names(tmp_path / "json")) == 2
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=f"{next(iter(least))}={wrong}: it must be a whole number from 1"):
            read.write_csv(tmp_path / "csv", **dict.fromkeys(least, wrong))


def test_what_has_no_rows_can_be_read_again(tmp_path: Path) -> None:
    nothing = data.range(5).with_column("x", data.col("id") * 0.5).filter(expr="id > 9")
    nothing.write_parquet(tmp_path / "parquet")
    found = data.read_parquet(tmp_path / "parquet")
    assert found.count() == 0 and found.to_arrow().schema == pa.schema([("id", pa.int64()), ("x", pa.float64())])
    nothing.write_csv(tmp_path / "csv")
    assert list(data.read_csv(tmp_path / "csv").to_pandas().columns) == ["id", "x"]
    nothing.write_json(tmp_path / "json")
    assert data.read_json(tmp_path / "json").take_all() == []
    data.range(5).write_parquet(tmp_path / "parquet", mode="overwrite")
    nothing.write_parquet(tmp_path / "parquet", mode="overwrite")
    assert data.read_parquet(tmp_path / "parquet").count() == 0 and len(names(tmp_path / "parquet")) == 1


def test_compressed_files_and_names(tmp_path: Path) -> None:
    provider = data.FilenameProvider("mine", "csv.gz")
    data.range(5).write_csv(tmp_path, arrow_open_stream_args={"compression": "gzip"}, filename_provider=provider)
    (name,) = names(tmp_path)
    assert name.startswith("mine_") and name.endswith("_000000_000000.csv.gz")
    assert data.read_csv(tmp_path).take_all() == data.range(5).take_all()


def test_wrong_arguments_say_so_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="concurrency=0"):
        data.range(3).write_csv(tmp_path, concurrency=0)
    with pytest.raises(ColumnNotFoundError, match="'nope'"):
        data.range(3).write_parquet(tmp_path / "a", partition_cols=["nope"], mode="overwrite")
    with pytest.raises(TypeError, match="no argument 'colum'"):
        data.range(3).write_numpy(tmp_path / "a", column="id", colum=1)
    with pytest.raises(TypeError, match="inclde_header"):
        data.range(3).write_csv(tmp_path / "a", inclde_header=False)
    with pytest.raises(UnsupportedError, match="UPSERT"):
        data.range(3).write_json(tmp_path / "a", mode=data.SaveMode.UPSERT)
    with pytest.raises(FileNotFoundError, match="try_create_dir"):
        data.range(3).write_json(tmp_path / "a", try_create_dir=False)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file"):
        data.range(3).write_json(tmp_path / "file")
    assert names(tmp_path) == ["file"]


def test_what_a_format_cannot_hold_is_named(tmp_path: Path) -> None:
    table = pa.table({"x": [1], "deep": [[1, 2]]})
    with pytest.raises(TypeError, match=r"CSV cannot hold the columns \['deep'\]"):
        dataset_of(table).write_csv(tmp_path)
    with pytest.raises(TypeError, match="column 'deep'"):
        dataset_of(pa.table({"deep": [[{"a": 1}]]})).write_tfrecords(tmp_path)
    assert names(tmp_path) == []


# ---------------------------------------------------------------- modes and failures


def test_modes(tmp_path: Path) -> None:
    data.range(3).write_parquet(tmp_path, mode=data.SaveMode.ERROR)
    before = names(tmp_path)
    data.range(9).write_parquet(tmp_path, mode="ignore")
    with pytest.raises(FileExistsError, match="mode=ERROR"):
        data.range(9).write_parquet(tmp_path, mode=data.SaveMode.ERROR)
    assert names(tmp_path) == before
    data.range(4).write_parquet(tmp_path)
    assert data.read_parquet(tmp_path).count() == 7
    data.range(5).write_parquet(tmp_path, mode=data.SaveMode.OVERWRITE)
    assert data.read_parquet(tmp_path).take_all() == data.range(5).take_all() and len(names(tmp_path)) == 1


def test_a_dataset_overwrites_what_it_is_read_from(tmp_path: Path) -> None:
    data.range(5).write_parquet(tmp_path)
    data.read_parquet(tmp_path).filter(lambda row: row["id"] > 2).write_parquet(tmp_path, mode="overwrite")
    assert data.read_parquet(tmp_path).take_all() == [{"id": 3}, {"id": 4}]


def _refuse(batch: Any) -> Any:
    if batch["id"][0] == 0:
        return batch
    raise ValueError("no more")


@pytest.mark.parametrize("where", ["file", "memory"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, where: str) -> None:
    target = str(tmp_path) if where == "file" else "memory://failing"
    data.range(3).write_parquet(target)
    failing = dataset_of(pa.table({"id": list(range(100))})).map_batches(_refuse, batch_size=10)
    for mode in ("append", "overwrite"):
        with pytest.raises(ValueError, match="no more"):
            failing.write_parquet(target, mode=mode, max_rows_per_file=5)
        assert data.read_parquet(target).take_all() == data.range(3).take_all()
    data.range(7).write_parquet(target, mode="overwrite")
    assert data.read_parquet(target).count() == 7
    if where == "file":
        assert len(names(tmp_path)) == 1


@pytest.mark.parametrize("target", ["file", "memory"])
def test_what_a_file_cannot_hold_is_said_by_any_file_system(tmp_path: Path, target: str) -> None:
    import fsspec

    path = f"{tmp_path}/a" if target == "file" else "/unholdable"
    for compression in (None, "gzip"):
        with pytest.raises(TypeError, match="'deep'"):
            dataset_of(pa.table({"deep": [[1]]})).write_csv(
                path, filesystem=fsspec.filesystem(target), arrow_open_stream_args={"compression": compression}
            )
        assert fsspec.filesystem(target).find(path) == []
    with pytest.raises(ValueError, match="nope"):
        data.range(3).write_csv(path, arrow_open_stream_args={"compression": "nope"})


def test_an_end_of_a_write_that_fails_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skate.data.storage import Local

    data.range(3).write_parquet(tmp_path)
    before, moved = names(tmp_path), []

    def move(storage: Any, old: str, new: str) -> None:
        moved.append(new)
        if len(moved) == 2:
            raise OSError("the disk is gone")
        Path(old).rename(new)

    monkeypatch.setattr(Local, "move", move)
    with pytest.raises(OSError, match="the disk is gone"):
        data.range(9).write_parquet(tmp_path, mode="overwrite", max_rows_per_file=3)
    assert names(tmp_path) == before and len(moved) == 2


def test_a_write_leaves_another_that_has_not_ended_alone(tmp_path: Path) -> None:
    (tmp_path / "_skate_other").mkdir()
    (tmp_path / "_skate_other" / "a.parquet").touch()
    data.range(3).write_parquet(tmp_path, mode="error")
    data.range(4).write_parquet(tmp_path, mode="overwrite")
    assert len(names(tmp_path)) == 3 and data.read_parquet(tmp_path).count() == 4


def test_an_object_store_keeps_only_what_tasks_say_they_have_written() -> None:
    from skate.data.sinks.formats import CSVSink

    sink = CSVSink("memory://remains")
    assert sink.start(None)
    with sink.create(f"{sink.job}_left") as file:
        file.write(b"id\n1\n")
    sink.commit(pa.concat_tables(sink.write(iter([pa.table({"id": [7]})]), 0)))
    assert data.read_csv("memory://remains").take_all() == [{"id": 7}]


# ---------------------------------------------------------------- databases


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Any]:
    """Makes connections to an SQLite file with a table."""
    connect = partial(sqlite3.connect, str(tmp_path / "db"), timeout=20)
    with closing(connect()) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT)")
        connection.commit()
    yield connect


def words(count: int) -> list[dict[str, Any]]:
    return [{"id": n, "word": None if n % 5 == 0 else f"w{n}"} for n in range(count)]


def check_database(connect: Any, placeholder: str) -> None:
    """What reading and writing must do on every database."""
    insert = f"INSERT INTO t VALUES ({placeholder}, {placeholder})"
    dataset_of(from_rows(words(60)), from_rows([{**row, "id": row["id"] + 60} for row in words(40)])).write_sql(
        insert, connect
    )
    everything = data.read_sql("SELECT id, word FROM t ORDER BY id;", connect)
    assert everything.take_all()[:60] == words(60)
    assert everything.count() == 100
    some = data.read_sql(f"SELECT * FROM t WHERE id < {placeholder} ORDER BY id", connect, sql_params=[3])
    assert some.take_all() == words(3)
    sharded = data.read_sql("SELECT * FROM t", connect, shard_keys=["id", "word"], override_num_blocks=4)
    tasks = sharded._node.source.tasks(4)  # type: ignore[attr-defined]
    parts = [[row["id"] for block in task.read() for row in block.to_pylist()] for task in tasks]
    assert sorted(n for part in parts for n in part) == list(range(100)) and all(len(part) > 5 for part in parts)
    assert data.read_sql("SELECT * FROM t WHERE id < 0", connect).take_all() == []
    with pytest.raises(Exception, match="nowhere") as caught:
        data.read_sql("SELECT * FROM nowhere", connect).take_all()
    assert "raised for the query: SELECT * FROM nowhere" in str(caught.value.__notes__)
    with pytest.raises(Exception) as caught:  # keys that are there
        dataset_of(from_rows([{"id": 1000, "word": "new"}, {"id": 1, "word": "old"}])).write_sql(insert, connect)
    assert "raised for the statement" in str(caught.value.__notes__)
    assert everything.count() == 100, "the task's transaction was rolled back"


def test_sqlite(database: Any) -> None:
    check_database(database, "?")
    with pytest.raises(TypeError, match="connection_factory"):
        data.read_sql("SELECT 1", None)  # type: ignore[arg-type]


class Lost(sqlite3.Connection):
    """A connection that is lost in the middle."""

    def rollback(self) -> None:
        raise sqlite3.OperationalError("the server has gone")


def test_a_lost_connection_does_not_hide_why_a_statement_has_failed(database: Any) -> None:
    connect = partial(database, factory=Lost)
    with pytest.raises(sqlite3.OperationalError, match="no such table") as caught:
        data.range(3).write_sql("INSERT INTO nowhere VALUES (?)", connect)
    assert "could not be rolled back: the server has gone" in str(caught.value.__notes__)


def test_postgresql(postgresql: Any) -> None:
    with closing(postgresql()) as connection:
        connection.cursor().execute("CREATE TABLE t (id BIGINT PRIMARY KEY, word TEXT)")
        connection.commit()
    check_database(postgresql, "%s")


# ---------------------------------------------------------------- tables


def test_delta(tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    path = tmp_path / "table"
    rows = [{"id": n, "p": "ab"[n % 2], "x": n / 4} for n in range(10)]
    dataset = dataset_of(from_rows(rows))
    dataset.write_delta(path, partition_by=["p"], name="numbers")
    dataset.write_delta(path, partition_by=["p"])
    found = data.read_delta(path)
    assert found.count() == 20 and list(found.take(1)[0]) == ["id", "p", "x"]
    assert data.read_delta(path, version=1, columns=["p", "id"]).sort("id").take(2) == [
        {"p": "a", "id": 0},
        {"p": "b", "id": 1},
    ]
    assert data.read_delta(path, version=0).take_all() == []
    dataset_of(from_rows([{**rows[0], "new": "n"}])).write_delta(path, partition_by=["p"])
    assert [row["new"] for row in data.read_delta(path).take_all() if row["new"]] == ["n"]
    with pytest.raises(TypeError, match="column 'x'"):
        dataset_of(from_rows([{**rows[0], "x": "text"}])).write_delta(path, partition_by=["p"])
    with pytest.raises(FileExistsError):
        dataset.write_delta(path, mode="error")
    dataset.write_delta(path, partition_by=["p"], mode="overwrite")
    assert data.read_delta(path).count() == 10 and math.isclose(
        sum(row["x"] for row in data.read_delta(path).take_all()), 11.25
    )


def test_delta_folders_with_any_name(tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    rows = [{"id": n, "p": value} for n, value in enumerate(["é", "a/b", "x y%"])]
    dataset_of(from_rows(rows)).write_delta(tmp_path / "ours", partition_by=["p"])
    deltalake.write_deltalake(tmp_path / "theirs", from_rows(rows), partition_by=["p"])
    for name in ("ours", "theirs"):
        assert data.read_delta(tmp_path / name).sort("id").take_all() == rows
    assert sorted(deltalake.DeltaTable(tmp_path / "ours").to_pandas()["p"]) == sorted(row["p"] for row in rows)


def test_delta_columns_and_an_overwrite_by_nothing(tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    data.range(3).write_delta(tmp_path)
    found = data.read_delta(tmp_path, columns=["id"], include_paths=True)
    assert found.columns() == ["id", "path"] and found.take(1)[0]["path"].startswith(str(tmp_path))
    with pytest.raises(ColumnNotFoundError, match="'nope'"):
        data.read_delta(tmp_path, columns=["nope"])
    data.range(3).filter(expr="id > 5").write_delta(tmp_path, mode="overwrite")
    assert data.read_delta(tmp_path).count() == 0 and data.read_delta(tmp_path).columns() == ["id"]


# ---------------------------------------------------------------- what users write


class Collect(data.Datasink):
    """Sums, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_write_start(self, schema: Any = None) -> None:
        self.told.append(schema.names)

    def write(self, blocks: Any, ctx: Any) -> Any:
        total = sum(sum(block.column("id").to_pylist()) for block in blocks)
        if total > 100:
            raise ValueError("too much")
        return ctx.task_idx, total

    def on_write_complete(self, write_result: Any) -> None:
        self.told.append(write_result)

    def on_write_failed(self, error: Exception) -> None:
        self.told.append(str(error))


class Broken(Collect):
    """It cannot take away what it has left."""

    def on_write_failed(self, error: Exception) -> None:
        raise ConnectionError("nobody answers")


def test_sinks_of_users() -> None:
    sink = Collect()
    numbers = data.range(5)
    numbers.write_datasink(sink)
    assert "Write" in numbers.stats()
    assert sink.told == [["id"], data.WriteResult(5, 40, [(0, 10)])]
    failing = Collect()
    with pytest.raises(ValueError, match="too much"):
        data.range(50).write_datasink(failing)
    assert failing.told == [["id"], "too much"]
    with pytest.raises(ValueError, match="too much") as caught:
        data.range(50).write_datasink(Broken())
    assert "could not be taken away: nobody answers" in str(caught.value.__notes__)
    with pytest.raises(TypeError, match="no Datasink"):
        data.range(5).write_datasink(3)


class Lines(data.BlockBasedFileDatasink):
    """A file of text for each block."""

    def write_block_to_file(self, block: Any, file: Any) -> None:
        file.write("\n".join(str(row["id"]) for row in block.iter_rows(public_row_format=True)).encode())


class Each(data.RowBasedFileDatasink):
    """A file for each row."""

    def write_row_to_file(self, row: dict[str, Any], file: Any) -> None:
        if row["id"] == 7:
            raise ValueError("not seven")
        file.write(str(row["id"]).encode())


def test_files_of_users(tmp_path: Path) -> None:
    data.range(6).write_datasink(Lines(tmp_path / "lines", file_format="txt", min_rows_per_file=6))
    assert [row["text"] for row in data.read_text(tmp_path / "lines").take_all()] == list("012345")
    data.range(3).write_datasink(Each(tmp_path / "rows", file_format="txt", mode="error"))
    assert sorted(path.read_text() for path in (tmp_path / "rows").iterdir()) == ["0", "1", "2"]
    with pytest.raises(FileExistsError):
        data.range(3).write_datasink(Each(tmp_path / "rows", mode=data.SaveMode.ERROR))
    with pytest.raises(ValueError, match="not seven"):
        data.range(9).write_datasink(Each(tmp_path / "none"))
    assert names(tmp_path / "none") == []
    packed = Lines(str(tmp_path / "packed"), file_format="txt.gz", open_stream_args={"compression": "gzip"})
    data.range(2).write_datasink(packed)
    assert data.read_text(tmp_path / "packed").count() == 2
    with pytest.raises(UnsupportedError):
        Lines(tmp_path, open_stream_args={"buffer_size": 3})


def test_blocks_for_those_who_write_sinks() -> None:
    from skate.data.block import BlockAccessor, BlockMetadata
    from skate.data.datasource import ReadTask

    block = BlockAccessor.for_block({"a": np.arange(4), "b": np.arange(4) * 0.5})
    assert block.num_rows() == 4 and block.column_names() == ["a", "b"] and block.size_bytes() == 64
    assert block.to_pandas()["b"].sum() == 3 and block.to_numpy("a").tolist() == [0, 1, 2, 3]
    assert list(block.to_numpy(["b"])) == ["b"] and block.slice(1, 3, copy=True).num_rows == 2
    assert block.select(["a"]).schema == pa.schema([("a", pa.int64())]) and block.to_block() is block.to_arrow()
    assert block.schema().names == ["a", "b"] and block.to_batch_format("numpy")["a"].tolist() == [0, 1, 2, 3]
    assert BlockMetadata is data.BlockMetadata and ReadTask is data.ReadTask
    assert BlockAccessor.batch_to_block({"x": [1]}).num_rows == 1
