"""Sources of files: which are found, what their paths add, what is pushed down, and what errors say."""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import skate.data as data
from skate.data.errors import ColumnNotFoundError
from skate.data.expressions import col
from skate.data.optimize import optimize
from skate.data.plan import Read, walk
from skate.exceptions import UnsupportedError

TABLE = pa.table({"x": [1, 2, 3], "s": ["a", "b", None]})


def source_of(dataset: Any) -> Any:
    """The source at the bottom of the optimised plan."""
    return next(node.source for node in walk(optimize(dataset._node)) if isinstance(node, Read))


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
    with pytest.raises(UnsupportedError, match="include_row_hash"):
        data.read_parquet(path, include_row_hash=True)
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


# ---------------------------------------------------------------- csv


def test_csv_with_quotes_and_line_breaks_in_them(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": ['x\ny"z', "p,q", ""], "b": [1, 2, 3]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    found = data.read_csv(tmp_path).take_all()
    assert [row["a"] for row in found] == ['x\ny"z', "p,q", ""] and [row["b"] for row in found] == [1, 2, 3]


def test_types_widen_where_a_later_piece_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skate.data.sources import csv

    monkeypatch.setattr(csv, "PIECE_BYTES", 1 << 10)
    path = tmp_path / "a.csv"
    rows = [(str(n), "", "") for n in range(500)] + [("0.5", "7", "word")] + [("1", "8", "2")] * 500
    path.write_text("a,b,c\n" + "".join(",".join(row) + "\n" for row in rows))
    found = data.read_csv(path).to_arrow()
    assert found.column("a").to_pylist() == [float(row[0]) for row in rows]
    assert found.column("b").to_pylist() == [int(row[1]) if row[1] else None for row in rows]
    assert found.column("c").to_pylist()[500:502] == ["word", "2"]


def test_types_widen_where_lines_are_empty_or_values_have_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skate.data.sources import csv

    monkeypatch.setattr(csv, "PIECE_BYTES", 1 << 10)
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + '\n\n7,"x\ny"\n' * 500 + "0.5,z\n")
    assert data.read_csv(path).to_arrow().column("a").to_pylist() == [7.0] * 500 + [0.5]
    path.write_text("a\n" + "1\n" * 2000 + "word\n")
    with pytest.raises(ValueError, match=r"a\.csv: column 'a' is (int64|double) at first, but line 2002: .*'word'"):
        data.read_csv(path).take_all()
    as_text = pyarrow.csv.ConvertOptions(column_types={"a": pa.string()})
    assert data.read_csv(path, convert_options=as_text).count() == 2001


def read_both_ways(path: Path, columns: list[str] | None = None) -> Any:
    """What comes of a CSV file with its first rows read apart, and in one stream: rows and types, or the error."""
    from skate.data.sources import csv

    def found(plain: bool) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv, "PIECE_BYTES", 1 << 10)
            patch.setattr(csv, "LONG_BYTES", 1 << 12)
            if not plain:
                patch.setattr(csv.CSV, "_is_plain", lambda self, path: False)
            source = source_of(data.read_csv(path))
            try:
                source = source if columns is None else source.with_columns(columns)
                tables = [block for task in source.tasks(1) for block in task.read()]
            except ValueError as error:
                return str(error)
            whole = pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
            return whole.to_pydict(), whole.schema

    apart, in_a_stream = found(True), found(False)
    assert apart == in_a_stream
    return apart


ROWS_OF_1_KB = "".join(f"{n},{n / 2},w{n},2020-01-{n % 28 + 1:02}\n" for n in range(300))


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c,d\n" + ROWS_OF_1_KB,
        '"a","b, b",c,d\r\n' + ROWS_OF_1_KB.replace("\n", "\r\n"),
        "\ufeffa,b,c,d\n" + ROWS_OF_1_KB,
        "\na,b,c,d\n" + ROWS_OF_1_KB,
        "a,b,c,d\n" + ROWS_OF_1_KB + '7,"8","x\ny",2020-01-01\n' + ROWS_OF_1_KB,
        "a,b,c,d\n" + ROWS_OF_1_KB + "1.5,,," + "\n\n" + ROWS_OF_1_KB.rstrip(),
        "a,b,c,d\n" + ",,,\n" * 500 + ROWS_OF_1_KB,
        "a,b,c,d\n" + ROWS_OF_1_KB + "1,2,3\n",
        "a,b,c,d\n" + ROWS_OF_1_KB + "1,2,3,never\n",
        "a,b,a,d\n" + ROWS_OF_1_KB,
        "a,b,c,d\n" + "x" * 2000 + ",1,2,2020-01-01\n",
        "a,b,c,d\n" + "\n" * 3000 + ROWS_OF_1_KB,
        "a,b,c,d\n",
        "a,b,c,d",
        "",
    ],
)
def test_csv_with_its_first_rows_apart_is_the_same_as_in_a_stream(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, newline="")
    found = read_both_ways(path)
    if isinstance(found, str):
        assert str(path) in found
    elif "c" in found[0]:
        assert list(read_both_ways(path, ["c"])[0].values()) == [found[0]["c"]]


def test_the_first_rows_are_those_that_line_breaks_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skate.data.sources import csv, cuts

    path = tmp_path / "a.csv"
    path.write_text('"a",b,c,"d,e"\n' + ROWS_OF_1_KB)
    size = path.stat().st_size
    found = cuts.first_rows(str(path), 0, size, 1 << 10, None)
    assert found is not None and found.names == ["a", "b", "c", "d,e"]
    assert found.data == path.read_bytes()[found.first : found.last] and found.data.endswith(b"\n")
    assert (1 << 10) - 40 < found.last <= 1 << 10
    rest = cuts.first_rows(str(path), found.last, size, size, found.names)
    assert rest is not None and rest.last == size and found.data + rest.data == ROWS_OF_1_KB.encode()
    assert cuts.first_rows(str(path), 0, size, 1 << 4, None) is None  # there is no row
    monkeypatch.setattr(csv.CSV, "_read_stream", lambda *_: pytest.fail("it is not long enough to need a stream"))
    assert data.read_csv(path).count() == 300


def test_a_long_stream_is_told_its_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skate.data.sources import csv

    monkeypatch.setattr(csv, "LONG_BYTES", 1 << 10)
    given: list[Any] = []
    options_of = pyarrow.csv.ConvertOptions
    monkeypatch.setattr(
        csv.arrow_csv, "ConvertOptions", lambda **options: given.append(options) or options_of(**options)
    )
    path = tmp_path / "a.csv"
    path.write_text("a,b,c,d\n" + '7,"8",x,2020-01-01\n' + ROWS_OF_1_KB)
    found = data.read_csv(path).to_arrow()
    assert found.num_rows == 301 and given[-1]["column_types"] == {f.name: f.type for f in found.schema}


def test_counting_a_csv_tells_what_is_wrong_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3\n")
    with pytest.raises(ValueError, match=r"a\.csv: CSV parse error: line 3: Expected 2 columns, got 1"):
        data.read_csv(tmp_path).count()
    (tmp_path / "a.csv").write_text("x,x\n1,2\n")
    with pytest.raises(ValueError, match="several columns are called 'x'"):
        data.read_csv(tmp_path).count()
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,4\n")
    assert data.read_csv(tmp_path, include_paths=True).select_columns(["path", "y"]).count() == 2


VALUES = st.text('ab,"\n', max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.integers(0, 9), VALUES), min_size=1, max_size=30), parts=st.integers(2, 9))
@pytest.mark.parametrize("near", [32, 1 << 10])
def test_a_large_file_is_cut_between_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str]], parts: int, near: int
) -> None:
    from skate.data.sources import csv, cuts

    path = tmp_path_factory.mktemp("cut") / "a.csv"
    pd.DataFrame(rows, columns=["n", "s"]).to_csv(path, index=False, quoting=1)
    convert = pyarrow.csv.ConvertOptions(column_types={"n": pa.int64(), "s": pa.string()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "CUT_BYTES", 1)
        patch.setattr(cuts, "NEAR_BYTES", near)
        tasks = source_of(data.read_csv(path, convert_options=convert)).tasks(parts)
        found = [row for task in tasks for block in task.read() for row in block.to_pylist()]
    assert [(row["n"], row["s"]) for row in found] == rows


def test_parts_know_their_lines_and_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skate.data.sources import csv

    monkeypatch.setattr(csv, "CUT_BYTES", 100)
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "".join(f"{n},{n / 2}\n" for n in range(1000)))
    source = source_of(data.read_csv(path, include_paths=True)).with_columns(["y", "path"])
    tasks = source.tasks(4)
    assert len(tasks) == 4
    table = pa.concat_tables([block for task in tasks for block in task.read()])
    assert table.column("y").to_pylist() == [n / 2 for n in range(1000)] and set(table.column("path").to_pylist()) == {
        str(path)
    }
    path.write_text("x,y\n" + "1,2\n" * 1000 + "3\n")
    with pytest.raises(ValueError, match=r"a\.csv: CSV parse error: line 1002: Expected 2 columns, got 1"):
        [*source_of(data.read_csv(path)).tasks(4)[-1].read()]


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3\n")
    with pytest.raises(ValueError, match=r"a\.csv: CSV parse error: line 3: Expected 2 columns, got 1"):
        data.read_csv(tmp_path).take_all()


def test_csv_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("name,city\nAnn,Bonn\nRené,Köln\n".encode("latin-1"))
    said = r"latin\.csv: line 3, byte 22: b'\\xe9' is not UTF-8: pass .* encoding='latin-1'"
    for use in (lambda ds: ds.schema(), lambda ds: ds.take_all(), lambda ds: ds.count(), lambda ds: ds.to_pandas()):
        with pytest.raises(ValueError, match=said):
            use(data.read_csv(path))
    right = [{"name": "Ann", "city": "Bonn"}, {"name": "René", "city": "Köln"}]
    assert data.read_csv(path, encoding="latin-1").take_all() == right
    read = pyarrow.csv.ReadOptions(encoding="cp1252")
    assert data.read_csv(path, read_options=read).take_all() == right
    bytes_ = data.read_csv(path, convert_options=pyarrow.csv.ConvertOptions()).take_all()
    assert bytes_[1]["name"] == "René".encode("latin-1"), "who says how values are converted may want them"
    with pytest.raises(ValueError, match=r"line 3, byte 22: .* is not ascii"):
        data.read_csv(path, encoding="ascii").take_all()
    with pytest.raises(LookupError, match="no-such"):
        data.read_csv(path, encoding="no-such")
    with pytest.raises(ValueError, match="not both"):
        data.read_csv(path, read_options=read, encoding="latin-1")
    path.write_bytes("é,b\n1,2\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"line 1, byte 0: b'\\xe9'"):
        data.read_csv(path).take_all()
    path.write_text("é,b\n1,ö\n", "utf-16")
    assert data.read_csv(path, encoding="utf-16").take_all() == [{"é": 1, "b": "ö"}]
    path.write_text("é,b\n1,ö\n", "utf-8-sig")
    assert data.read_csv(path).take_all() == [{"é": 1, "b": "ö"}]


def test_what_is_not_utf_8_is_found_in_later_pieces_and_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skate.data.sources.csv.PIECE_BYTES", 4096)
    monkeypatch.setattr("skate.data.sources.csv.CUT_BYTES", 10_000)
    monkeypatch.setattr("skate.data.sources.encodings.PIECE_BYTES", 1001)
    path = tmp_path / "long.csv"
    lines = [f"{at},naïve" for at in range(5000)]
    content = "\n".join(["x,word", *lines, ""]).encode()
    wrong = content.replace(b"4321,na\xc3\xaf", b"4321,na\xef")
    path.write_bytes(wrong)
    for blocks in (1, 8):
        with pytest.raises(ValueError, match=rf"line 4323, byte {wrong.index(bytes([10]) + b'4321,') + 8}: b'\\xef'"):
            data.read_csv(path, override_num_blocks=blocks).take_all()
    path.write_bytes("\n".join(["x,word", *lines, ""]).encode("latin-1"))
    found = data.read_csv(path, encoding="latin-1", override_num_blocks=8).take_all()
    assert len(found) == 5000 and {row["word"] for row in found} == {"naïve"}


def test_csv_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("id,km,id\n1,2,3\n")
    with pytest.raises(ValueError, match=r"twice\.csv: several columns are called 'id'"):
        data.read_csv(str(path)).take_all()
    named = pyarrow.csv.ReadOptions(skip_rows=1, column_names=["a", "b", "c"])
    assert data.read_csv(str(path), read_options=named).take_all() == [{"a": 1, "b": 2, "c": 3}]


def test_csv_reads_only_the_columns_that_are_needed(tmp_path: Path) -> None:
    from skate.data.plan import Project

    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    dataset = data.read_csv(tmp_path, include_paths=True)
    chosen = dataset._on_top(Project(dataset._node, (("y", col("y")), ("path", col("path")))))
    assert source_of(chosen).columns == ["y", "path"]
    assert chosen.take_all() == [{"y": 2, "path": str(tmp_path / "a.csv")}]


def test_empty_files_have_no_rows(tmp_path: Path) -> None:
    for name in ("a.csv", "b.json", "c.txt"):
        (tmp_path / name).touch()
    assert data.read_csv(tmp_path / "a.csv").take_all() == []
    assert data.read_json(tmp_path / "b.json").take_all() == []
    assert data.read_text(tmp_path / "c.txt").take_all() == []
    assert data.read_binary_files(tmp_path / "c.txt").take_all() == [{"bytes": b""}]


# ---------------------------------------------------------------- json, text and others


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
    import sys

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


def test_the_count_of_a_small_file_imports_little(tmp_path: Path) -> None:
    """Pandas and Arrow's dataset reader take longer to import than the count takes."""
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4\n")
    program = f"""
import sys
import skate.data
assert skate.data.read_csv({str(tmp_path)!r}).count() == 2
print(sorted({{"pandas", "pyarrow.dataset", "pyarrow.acero", "fsspec"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
