"""CSV: what is read and in which types, in how many parts, how it is counted, and what errors say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.fs
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import skate.data as data
from skate.data.expressions import col

from .helpers import source_of


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
