"""Writes from tasks of a cluster: workers that are killed, and tasks that fail."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import skate.data as data
from skate.data.sinks.iceberg import IcebergSink

pytestmark = pytest.mark.usefixtures("cluster")


def names(folder: Path) -> list[str]:
    """All files and folders below, by name."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _refuse(batch: Any) -> Any:
    if batch["id"][0] == 0:
        return batch
    raise ValueError("no more")


def _die_once(marks: str, folder: str) -> dict[str, Any]:
    """Called when a file of a task is open and nothing is in it: the first two times, its process is killed."""
    assert not [name for name in os.listdir(folder) if name.endswith(".parquet")], (
        "a name of the write is there too early"
    )
    for number in range(2):
        try:
            os.close(os.open(f"{marks}/{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)
    return {}


def test_a_worker_that_is_killed_while_it_writes_changes_nothing(tmp_path: Path) -> None:
    target, marks = tmp_path / "out", tmp_path / "marks"
    marks.mkdir()
    target.mkdir()
    numbers = data.range(400, override_num_blocks=4).map_batches(lambda batch: batch)
    numbers.write_parquet(
        target, max_rows_per_file=30, arrow_parquet_args_fn=partial(_die_once, str(marks), str(target))
    )
    assert len(names(marks)) == 2
    assert [row["id"] for row in data.read_parquet(target).take_all()] == list(range(400))
    assert len(names(target)) == 16 and all(name.endswith(".parquet") for name in names(target))


def test_a_task_that_fails_on_the_cluster_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no more"):
        data.range(400, override_num_blocks=4).map_batches(_refuse).write_csv(tmp_path, concurrency=1)
    assert names(tmp_path) == []


class Dying(IcebergSink):
    """Its process is killed the first time that the files of a task are there."""

    marks = ""

    def write(self, source: Iterator[Any], task: int) -> Iterator[Any]:
        for block in super().write(source, task):
            with suppress(FileExistsError):
                os.close(os.open(f"{self.marks}/{task}", os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)
            yield block


def test_a_worker_that_is_killed_while_it_writes_to_iceberg_changes_nothing(tmp_path: Path) -> None:
    catalogs = pytest.importorskip("pyiceberg.catalog.sql")
    how = {"uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}"}
    catalog = catalogs.SqlCatalog("local", **how)
    catalog.create_namespace("space")
    catalog.create_table("space.numbers", pa.schema([("id", pa.int64())]))
    sink = Dying("space.numbers", {"name": "local", "type": "sql", **how})
    sink.marks = str(tmp_path / "marks")
    os.mkdir(sink.marks)
    numbers = data.range(400, override_num_blocks=4).map_batches(lambda batch: batch)
    numbers._write(sink, {})
    found = catalog.load_table("space.numbers").scan().to_arrow()
    catalog.close()
    assert sorted(found.column("id").to_pylist()) == list(range(400))
    assert len(names(tmp_path / "marks")) == len(list(tmp_path.rglob("*.parquet"))) == 4
    threads = importlib.import_module("pyiceberg.utils.concurrent").ExecutorFactory
    threads.get_or_create().shutdown()  # they are pyiceberg's, which never ends them
    threads._instance = None
