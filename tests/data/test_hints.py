"""What is said to those who write something in the way of pandas, Arrow or Ray, or make a common mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skate import data
from skate.data.aggregate import Sum

WITHOUT = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "pyarrow" else found(name, package)
import skate
print("data" in dir(skate))
try:
    skate.data
except ImportError as error:
    print(error)
"""


def test_what_is_not_installed_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines() == ["False", "skate.data needs pyarrow: pip install 'skate[data]'"]


def test_arguments_of_others(tmp_path: Path) -> None:
    for wrong, hint in (("sep", "ParseOptions"), ("dtype", "column_types"), ("encodin", "'encoding'")):
        with pytest.raises(TypeError, match=f"read_csv.. has no argument '{wrong}'.*{hint}"):
            data.read_csv(str(tmp_path), **{wrong: ";"})
    with pytest.raises(TypeError, match="Did you mean 'columns'"):
        data.read_parquet(str(tmp_path), colums=["a"])
    with pytest.raises(TypeError, match=r"write_csv: .*'index'.*WriteOptions"):
        data.range(3).write_csv(tmp_path / "a", index=False)
    with pytest.raises(ValueError, match=r"mode='replace': it must be one of .*'append'"):
        data.range(3).write_csv(tmp_path / "a", mode="replace")


def test_a_write_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"write_parquet: .*compresion"):
        data.range(3).write_parquet(tmp_path / "new", compresion="zstd")
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with pytest.raises(TypeError, match="compresion"):
        data.range(3).write_parquet(tmp_path / "old", compresion="zstd")
    assert (tmp_path / "old").exists()


def test_a_sum_of_texts_names_the_column() -> None:
    dataset = data.from_items([{"a": "x"}])
    for ask in (lambda: dataset.sum("a"), lambda: dataset.aggregate(Sum("a"))):
        with pytest.raises((TypeError, ValueError, NotImplementedError), match=r"'a'|a is|sum.a"):
            ask()


def test_a_batch_that_cannot_be_written_to_says_what_to_do() -> None:
    def bump(batch: dict[str, Any]) -> dict[str, Any]:
        batch["id"] += 1
        return batch

    with pytest.raises(ValueError, match="read-only") as caught:
        data.range(3).map_batches(bump).take_all()
    assert any("zero_copy_batch=False" in note for note in caught.value.__notes__)
    assert data.range(3).map_batches(bump, zero_copy_batch=False).take_all()[0] == {"id": 1}


def test_a_bad_line_of_json_has_one_number(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n{"a" 2}\n')
    with pytest.raises(ValueError, match=r"bad.jsonl: line 2, column 6: Expecting ':' delimiter"):
        data.read_json(str(tmp_path / "bad.jsonl"), lines=True).take_all()


def test_what_is_known_of_files_that_were_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n2\n")
    found = data.read_csv(str(tmp_path / "a.csv"))
    assert "num_rows=?" in repr(found) and "num_rows=2" in repr(found.materialize())
