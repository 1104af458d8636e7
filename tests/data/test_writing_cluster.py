"""Writes from tasks of a cluster: workers that are killed, and tasks that fail."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import skate.data as data

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
