"""Sources of files: which are found, what their paths add, what is pushed down, and what errors say."""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as pads
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

import skate.data as data
from skate.data.errors import ColumnNotFoundError
from skate.data.expressions import col
from skate.data.optimize import optimize
from skate.exceptions import UnsupportedError

from .helpers import source_of

TABLE = pa.table({"x": [1, 2, 3], "s": ["a", "b", None]})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Parquet and CSV files in folders that say year and month."""
    for year in (2021, 2022):
        for month in (1, 2):
            folder = tmp_path / f"year={year}" / f"month={month}"
            folder.mkdir(parents=True)
            table = pa.table({"x": [year + month, year - month]})
            pq.write_table(table, folder / "part.parquet")
            pyarrow.csv.write_csv(table, folder / "part.csv")
            (folder / "_SUCCESS").touch()
            (folder / ".part.crc").write_bytes(b"?")
    return tmp_path


# ---------------------------------------------------------------- which files


def test_paths_are_files_folders_patterns_and_lists(tree: Path) -> None:
    one = tree / "year=2021" / "month=1" / "part.parquet"
    assert data.read_parquet(one).count() == 2
    assert data.read_parquet(str(tree)).count() == 8
    assert data.read_parquet([one, str(tree / "year=2022")]).count() == 6
    assert data.read_parquet(str(tree / "*" / "month=2" / "*.parquet")).count() == 4
    assert data.read_csv(tree, file_extensions=["csv"]).count() == 8
    assert data.read_csv(f"file://{tree}", file_extensions=[".CSV"]).count() == 8


def test_endings_may_be_those_of_a_compression(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"x\n2\n"))
    found = [
        data.read_csv(tmp_path, file_extensions=[end]).to_pandas()["x"].tolist() for end in ("csv", "gz", "csv.gz")
    ]
    assert found == [[1, 2], [2], [2]]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "no.csv", tmp_path / "*.csv", tmp_path):
        with pytest.raises(FileNotFoundError, match=str(path).replace("*", r"\*")):
            data.read_csv(path)
    with pytest.raises(FileNotFoundError, match="none of the paths"):
        data.read_csv(tmp_path / "no.csv", ignore_missing_paths=True)
    there = tmp_path / "a.csv"
    there.write_text("x\n1\n")
    assert data.read_csv([there, tmp_path / "no.csv"], ignore_missing_paths=True).count() == 1


@pytest.mark.parametrize("wrap", [lambda fs: fs, pa.fs.LocalFileSystem])
def test_filesystems_of_fsspec_and_of_arrow(tree: Path, wrap: Any) -> None:
    import fsspec

    filesystem = pa.fs.LocalFileSystem() if wrap is pa.fs.LocalFileSystem else fsspec.filesystem("file")
    found = data.read_parquet(str(tree), filesystem=filesystem)
    assert found.count() == 8 and len(found.take_all()) == 8
    assert data.read_csv(str(tree), filesystem=filesystem, file_extensions=["csv"]).count() == 8


def test_any_url_of_fsspec() -> None:
    import fsspec

    with fsspec.open("memory://reading/a.json", "w") as file:
        file.write('{"x": 1}\n')
    assert data.read_json("memory://reading").take_all() == [{"x": 1}]
    paths = [row["path"] for row in data.read_json("memory://reading/*.json", include_paths=True).take_all()]
    assert data.read_json(paths).take_all() == [{"x": 1}]


@pytest.mark.parametrize(
    ("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("zst", None), ("lz4", None)]
)
def test_compressed_files_are_known_by_their_names(tmp_path: Path, ending: str, pack: Any) -> None:
    text = b"x\n1\n2\n"
    codec = {"zst": "zstd", "lz4": "lz4"}.get(ending, ending)
    path = tmp_path / f"a.csv.{ending}"
    if pack:
        path.write_bytes(pack(text))
    else:
        with pa.CompressedOutputStream(str(path), codec) as file:
            file.write(text)
    assert data.read_csv(path).take_all() == [{"x": 1}, {"x": 2}]
    assert data.read_text(path).count() == 3
    assert data.read_csv(tmp_path, file_extensions=["csv"]).count() == 2
    plain = tmp_path / "odd"
    plain.write_bytes(path.read_bytes())
    name = {"gz": "gzip"}.get(ending, codec)
    assert data.read_csv(plain, arrow_open_stream_args={"compression": name}).count() == 2


def test_arguments_are_checked_at_the_call(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x\n1\n")
    with pytest.raises(TypeError, match=r"no argument 'filesytem'\. Did you mean 'filesystem'"):
        data.read_csv(path, filesytem=None)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="override_num_blocks"):
        data.read_csv(path, override_num_blocks=0)
    with pytest.raises(ValueError, match="concurrency=0"):
        data.read_csv(path, concurrency=0)
    with pytest.raises(TypeError, match=r"read_sql\(\) has no argument 'include_paths'"):
        data.read_sql("SELECT 1", object, include_paths=True)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="shuffle"):
        data.read_csv(path, shuffle="rows")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="tensor_column_schema"):
        data.read_parquet(path, tensor_column_schema={})
    with pytest.raises(TypeError, match="filesystem"):
        data.read_csv(path, filesystem=3)


def test_files_in_random_order(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}.csv").write_text(f"x\n{number}\n")
    shuffled = [row["x"] for row in data.read_csv(tmp_path, shuffle=data.FileShuffleConfig(seed=3)).take_all()]
    again = [row["x"] for row in data.read_csv(tmp_path, shuffle=data.FileShuffleConfig(seed=3)).take_all()]
    assert shuffled == again != sorted(shuffled) == list(range(20))
    assert sorted(row["x"] for row in data.read_csv(tmp_path, shuffle="files").take_all()) == list(range(20))


# ---------------------------------------------------------------- what paths add


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_folders_become_columns(tree: Path, kind: str) -> None:
    read = {"parquet": data.read_parquet, "csv": data.read_csv}[kind]
    rows = read(tree, file_extensions=[kind], include_paths=True).take_all()
    assert list(rows[0]) == ["x", "year", "month", "path"]
    assert all(
        row["x"] in (2021, 2022, 2023, 2024, 2019, 2020) and f"/year={row['year']}/" in row["path"] for row in rows
    )
    assert {(row["year"], row["month"]) for row in rows} == {(y, m) for y in ("2021", "2022") for m in "12"}
    typed = data.Partitioning("hive", field_types={"year": int})
    assert read(tree, file_extensions=[kind], partitioning=typed).take(1)[0]["year"] == 2021
    assert list(read(tree, file_extensions=[kind], partitioning=None).take(1)[0]) == ["x"]
    recent = data.PathPartitionFilter.of(lambda values: values["year"] == "2022")
    assert read(tree, file_extensions=[kind], partition_filter=recent).count() == 4


def test_a_column_of_the_files_comes_before_one_of_their_folders(tmp_path: Path) -> None:
    (tmp_path / "x=7").mkdir()
    pq.write_table(TABLE, tmp_path / "x=7" / "a.parquet")
    assert [row["x"] for row in data.read_parquet(tmp_path, filter=col("x") > 1).take_all()] == [2, 3]


def test_folders_without_names(tmp_path: Path) -> None:
    folder = tmp_path / "2021" / "7"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("x\n1\n")
    scheme = data.Partitioning("dir", str(tmp_path), ["year", "month"], {"month": int})
    assert data.read_csv(tmp_path, partitioning=scheme).take_all() == [{"x": 1, "year": "2021", "month": 7}]
    for base in (tmp_path.name, f"{tmp_path}/", f"file://{tmp_path}"):
        scheme = data.Partitioning("dir", base, ["year", "month"])
        assert scheme.parse(f"x{tmp_path.name}{folder}/a.csv") == {"year": "2021", "month": "7"}
    with pytest.raises(ValueError, match="2 folders below"):
        data.read_csv(tmp_path, partitioning=data.Partitioning("dir", str(tmp_path), ["year"])).take_all()
    with pytest.raises(ValueError, match="field_names"):
        data.Partitioning("dir")


def test_a_filter_means_the_same_for_files_and_tables(tmp_path: Path) -> None:
    rows = pa.table({"s": ["1", "b"], "i": [1, 2]})
    pq.write_table(rows, tmp_path / "a.parquet")
    for dataset in (data.read_parquet(str(tmp_path)), data.from_arrow(rows)):
        assert dataset.filter(expr=col("i").is_in(["1"])).take_all() == [{"s": "1", "i": 1}]
        assert dataset.filter(expr=col("s").is_in([1, 3])).take_all() == [{"s": "1", "i": 1}]
        with pytest.raises(TypeError, match=r"col\('s'\) > 3\): cannot be computed on string, int64"):
            dataset.filter(expr=col("s") > 3).take_all()


def test_predicates_over_folders_leave_out_files(tree: Path) -> None:
    dataset = data.read_parquet(tree, include_paths=True, filter=(col("year") == "2022") & (col("x") > 2022))
    assert sorted(row["x"] for row in dataset.take_all()) == [2023, 2024]
    assert len(source_of(dataset)._pruned().where.found) == 2
    none = data.read_parquet(tree, filter=col("year") == "1999")
    assert none.count() == 0 and none.to_arrow().schema.names == ["x", "year", "month"]


# ---------------------------------------------------------------- parquet


def test_columns_and_filters_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path)
    assert data.read_parquet(path, columns=["s"]).take_all() == [{"s": "a"}, {"s": "b"}, {"s": None}]
    assert data.read_parquet(path, columns=["s"], filter=col("x") > 1).take_all() == [{"s": "b"}, {"s": None}]
    assert data.read_parquet(path, filter=pa.compute.field("x") > 2).take_all() == [{"x": 3, "s": None}]
    with pytest.raises(ColumnNotFoundError, match="'x', 's'"):
        data.read_parquet(path, columns=["y"])
    assert data.read_parquet([path, path], skip_paths=[str(path)] * 0 or None).count() == 6


def test_a_filter_that_arrow_has_no_expression_for_is_kept_to(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1, 2], "s": ["ab", "cd"]}), tmp_path / "a.parquet")
    found = data.read_parquet(tmp_path, columns=["x"], filter=col("s").str.starts_with("c"))
    assert found.take_all() == [{"x": 2}]
    with pytest.raises(data.ColumnNotFoundError, match="'y'"):
        data.read_parquet(tmp_path, filter=col("y") == 1)


def test_a_large_file_is_cut_at_its_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skate.data.sources import parquet

    monkeypatch.setattr(parquet, "CUT_BYTES", 1000)
    table = pa.table({"x": np.arange(10_000), "f": np.arange(10_000) / 7})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=1000)
    source = source_of(data.read_parquet(path))
    tasks = source.tasks(4)
    assert [task.meta.rows for task in tasks] == [2000, 3000, 2000, 3000]
    assert pa.concat_tables([block for task in tasks for block in task.read()]).equals(table)
    filtered = source.with_filter(col("x") >= 9500).tasks(4)
    assert sum(block.num_rows for task in filtered for block in task.read()) == 500
    assert {task.meta.rows for task in filtered} == {-1}


def test_schemas_that_differ(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array([1], pa.int32()), "only": ["a"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"x": [2.5]}), tmp_path / "2.parquet")
    dataset = data.read_parquet(tmp_path)
    assert dataset.to_arrow().to_pydict() == {"x": [1.0, 2.5], "only": ["a", None]}
    assert data.read_parquet(tmp_path, filter=col("only").is_null()).take_all() == [{"x": 2.5, "only": None}]
    pq.write_table(pa.table({"x": ["text"]}), tmp_path / "3.parquet")
    with pytest.raises(
        TypeError, match=r"1\.parquet and .*3\.parquet do not go together: column 'x' is int32 .* string"
    ):
        dataset = data.read_parquet(tmp_path)
        dataset.take_all()


@pytest.mark.parametrize("content", [b"", b"PAR1 this is not parquet PAR1"])
def test_a_file_that_is_no_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.parquet").write_bytes(content)
    for use in (lambda ds: ds.count(), lambda ds: ds.take_all()):
        with pytest.raises(ValueError, match=r"bad\.parquet: it cannot be read as Parquet"):
            use(data.read_parquet(tmp_path))


# ---------------------------------------------------------------- json, text and others


def test_empty_files_have_no_rows(tmp_path: Path) -> None:
    for name in ("a.csv", "b.json", "c.txt"):
        (tmp_path / name).touch()
    assert data.read_csv(tmp_path / "a.csv").take_all() == []
    assert data.read_json(tmp_path / "b.json").take_all() == []
    assert data.read_text(tmp_path / "c.txt").take_all() == []
    assert data.read_binary_files(tmp_path / "c.txt").take_all() == [{"bytes": b""}]


def test_json_is_lines_or_one_value(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": {"c": [1, 2]}}, {"a": None, "b": {"c": []}}]
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    (tmp_path / "array.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "object.json").write_text(json.dumps(rows[0], indent=1))
    assert data.read_json(lines).take_all() == data.read_json(tmp_path / "array.json").take_all() == rows
    assert data.read_json(lines, lines=True).take_all() == rows
    assert data.read_json(tmp_path / "object.json").take_all() == rows[:1]


def test_a_bad_line_of_json_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skate.data.sources import json as source

    monkeypatch.setattr(source, "PIECE_BYTES", 64)
    path = tmp_path / "a.json"
    path.write_text('{"x": 1}\n' * 100 + '{"x": 2,\n' + '{"x": 1}\n' * 100)
    with pytest.raises(ValueError, match=r"a\.json: line 101, column 9: "):
        data.read_json(path).take_all()
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"a\.json: value 0 is no object but int"):
        data.read_json(path).take_all()


def test_text_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skate.data.sources import text

    monkeypatch.setattr(text, "PIECE_BYTES", 7)
    path = tmp_path / "a.txt"
    path.write_text("größe\r\n\n  zwei \nlast", newline="")
    assert [row["text"] for row in data.read_text(path).take_all()] == ["größe", "  zwei ", "last"]
    assert data.read_text(path, drop_empty_lines=False).count() == 4
    path.write_bytes("größe\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.txt: .*encoding="):
        data.read_text(path).take_all()
    assert data.read_text(path, encoding="latin-1").take_all() == [{"text": "größe"}]
    with pytest.raises(LookupError):
        data.read_text(path, encoding="no-such")


def test_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for number, size in enumerate([(4, 3), (6, 5)]):
        image.fromarray(np.full((*size, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    shapes = [row["image"].shape for row in data.read_images(tmp_path).take_all()]
    assert shapes == [(4, 3, 3), (6, 5, 3)]
    row = data.read_images(tmp_path, size=(8, 9), mode="L", include_paths=True).take_all()[1]
    assert row["image"].shape == (8, 9) and row["path"].endswith("1.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"bad\.png: it cannot be read as a picture"):
        data.read_images(tmp_path).take_all()


def test_arrays_of_numpy(tmp_path: Path) -> None:
    array = np.arange(24.0).reshape(4, 3, 2)
    np.save(tmp_path / "a.npy", array)
    assert np.array_equal(np.stack([row["data"] for row in data.read_numpy(tmp_path).take_all()]), array)
    np.save(tmp_path / "b.npy", np.array([{"x": 1}], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"b\.npy.*allow_pickle"):
        data.read_numpy(tmp_path / "b.npy").take_all()
    assert data.read_numpy(tmp_path / "b.npy", allow_pickle=True).take_all() == [{"data": {"x": 1}}]


def test_avro(tmp_path: Path) -> None:
    fastavro = pytest.importorskip("fastavro")
    fields = [{"name": "x", "type": "long"}, {"name": "s", "type": ["null", "string"]}]
    rows = [{"x": 1, "s": "a"}, {"x": 2, "s": None}]
    with open(tmp_path / "a.avro", "wb") as file:
        fastavro.writer(file, {"type": "record", "name": "row", "fields": fields}, rows)
    assert data.read_avro(tmp_path).take_all() == rows
    (tmp_path / "b.avro").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"b\.avro: it cannot be read as Avro"):
        data.read_avro(tmp_path / "b.avro").take_all()


def test_webdataset_with_functions(tmp_path: Path) -> None:
    import io
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in [("d/1.txt", b"one"), ("d/1.json", b'{"k": 2}'), ("d/2.txt", b"two"), ("d/2.cls", b"7")]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    rows = data.read_webdataset(tmp_path).take_all()
    assert [row["__key__"] for row in rows] == ["d/1", "d/2"]
    assert rows[0]["txt"] == "one" and rows[0]["json"] == {"k": 2} and rows[1]["cls"] == 7
    assert data.read_webdataset(tmp_path, decoder=None).take(1)[0]["txt"] == b"one"
    assert data.read_webdataset(tmp_path, expand_json=True).take(1)[0]["k"] == 2
    only = data.read_webdataset(tmp_path, suffixes=["txt"], fileselect=lambda name: "2" in name)
    assert only.take_all() == [{"__key__": "d/2", "txt": "two"}]
    changed = data.read_webdataset(
        tmp_path, suffixes=["txt"], filerename=[("d/", "e/")], decoder=lambda row: {"k": row["__key__"]}
    )
    assert changed.take_all() == [{"k": "e/1"}, {"k": "e/2"}]
    (tmp_path / "b.tar").write_bytes(b"nothing" * 200)
    with pytest.raises(ValueError, match=r"b\.tar: it cannot be read as a tar file"):
        data.read_webdataset(tmp_path / "b.tar").take_all()


class Squares(data.Datasource):
    """Numbers and their squares."""

    def __init__(self, count: int) -> None:
        self.count = count

    def estimate_inmemory_data_size(self) -> int:
        return self.count * 16

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[Any]:
        def read(first: int, last: int) -> list[pd.DataFrame]:
            numbers = np.arange(first, last)
            return [pd.DataFrame({"n": numbers, "square": numbers**2})]

        cuts = np.linspace(0, self.count, parallelism + 1).astype(int).tolist()
        return [
            data.ReadTask(lambda a=a, b=b: read(a, b), data.BlockMetadata(num_rows=b - a, size_bytes=16 * (b - a)))
            for a, b in itertools.pairwise(cuts)
        ]


def test_sources_of_users() -> None:
    dataset = data.read_datasource(Squares(10), override_num_blocks=1)
    assert dataset.take_all() == [{"n": n, "square": n * n} for n in range(10)]
    assert optimize(dataset._node).label == "ReadSquares"
    with pytest.raises(TypeError, match="get_read_tasks"):
        data.read_datasource(3)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:

    (tmp_path / "a.avro").touch()
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(ImportError, match="read_avro needs the package 'fastavro': pip install fastavro"):
        data.read_avro(tmp_path)


def test_a_dataset_that_is_sent_keeps_all_of_its_files(tmp_path: Path) -> None:
    """It is sent to actors by `streaming_split`, and by users."""
    for number in range(5):
        pd.DataFrame({"a": [number]}).to_csv(tmp_path / f"{number}.csv", index=False)
        pd.DataFrame({"a": [number]}).to_parquet(tmp_path / f"{number}.parquet")
    for ds in (data.read_csv(tmp_path, file_extensions=["csv"]), data.read_parquet(tmp_path)):
        ds.schema()
        sent = pickle.loads(pickle.dumps(ds))
        assert sent.input_files() == ds.input_files() and sent.count() == len(ds.input_files()) == 5
        assert [row["a"] for row in sent.take_all()] == list(range(5))
        task = pickle.dumps(ds._node.source.tasks(5)[3])
        assert str(tmp_path / "3.").encode() in task and str(tmp_path / "2.").encode() not in task, (
            "has a list of all files"
        )


def test_files_that_do_not_go_together_are_named(tmp_path: Path) -> None:
    """When their rows meet: in one task, in an exchange, or as a whole."""
    for number, value in enumerate(("1", "2", '"x"')):
        (tmp_path / f"{number}.json").write_text(f'{{"a": {value}}}\n')
    for ds in (data.read_json(tmp_path, override_num_blocks=3), data.read_json(tmp_path, override_num_blocks=1)):
        for use in (ds.to_pandas, ds.sort("a").take_all, ds.groupby("a").map_groups(lambda group: group).count):
            with pytest.raises(
                TypeError, match=r"0\.json and .*2\.json do not go together: column 'a' is int64 .* string"
            ):
                use()


def test_what_cannot_be_unpacked_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_text("no gzip")
    with pytest.raises(OSError) as caught:
        data.read_csv(tmp_path).take_all()
    assert "a.csv.gz" in str(caught.value) or "a.csv.gz" in caught.value.__notes__[0]


def test_a_row_that_cannot_be_made_names_the_file(tmp_path: Path) -> None:
    data.from_items([{"cls": "word"}]).write_webdataset(tmp_path)
    with pytest.raises(ValueError, match="word") as failed:
        data.read_webdataset(tmp_path).take_all()
    assert any(".tar was read" in note for note in failed.value.__notes__)


def test_hashes_of_rows(tmp_path: Path) -> None:
    for number in range(3):
        table = pa.table({"x": range(number * 100, number * 100 + 100), "row_hash": ["old"] * 100})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=10)
    read = data.read_parquet(tmp_path, include_row_hash=True, include_paths=True)
    assert read.columns() == ["x", "row_hash", "path"] and read.count() == 300
    rows = {row["x"]: row["row_hash"] for row in read.take_all()}
    assert len(set(rows.values())) == 300
    some = data.read_parquet(tmp_path, include_row_hash=True, filter=pads.field("x") > 20, columns=["x"])
    kept = some.filter(expr="x > 50").take_all()
    assert {row["x"]: row["row_hash"] for row in kept} == {x: rows[x] for x in range(51, 300)}
    assert [row["row_hash"] for row in read.select_columns("row_hash").take_all()] == list(rows.values())
    source = source_of(read)
    parts = [task.read() for path in source.where.found for task in source._cut(path, 4)]
    assert [value for part in parts for block in part for value in block.column("row_hash").to_pylist()] == [
        *rows.values()
    ]
