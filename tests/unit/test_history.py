"""The history of a node: how much of it there is, and what becomes of one that cannot be written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skate.node.history import ERROR, History
from skate.wire import history_file
from skate.wire.config import HistoryConfig
from skate.wire.history import Recorded


def history(session: Path, **config: Any) -> History:
    session.mkdir(parents=True, exist_ok=True)
    node: Any = SimpleNamespace(session_dir=session, head=None, node_id="n", node_no=0, parts=[], view={}, jobs={})
    return History(node, HistoryConfig(**config))


def test_bytes_are_counted_as_they_are_written(tmp_path: Path) -> None:
    db = history_file.create(tmp_path / "x.db")
    chunk = Recorded(0.0, 1.0, 1, 0, {"grüßen": [1, 0]}, [("grüßen", "NORMAL_TASK", "")], [(0, 1)], '["äöü€"]'.encode())
    sizes = [history_file.add_chunk(db, "job", "client", 1, chunk) for _ in range(2)]
    assert history_file.bytes_of_chunks(db) == sum(sizes)
    assert history_file.drop_oldest_chunk(db) == sizes[0]
    assert history_file.bytes_of_chunks(db) == sizes[1]
    db.close()


def test_a_folder_that_cannot_be_had_ends_the_history_and_not_the_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "history").write_text("this is no folder")
    found = history(tmp_path / "session")
    found.event(ERROR, "NODE", "something")
    found.on_time(float("inf"))
    assert "could not be written" in found.off and "could not be written" in capsys.readouterr().err
    assert found.next_due(0.0) is None


def test_another_session_may_remove_the_same_old_files(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    for number in range(3):
        (folder / f"ended{number}.db").touch()
    (folder / "vanished.db").symlink_to(folder / "nothing")  # listed, and not there when it is looked at
    found = history(tmp_path / "session", sessions_max=2)
    found.event(ERROR, "NODE", "something")
    found.on_time(float("inf"))
    found.close()
    assert not found.off
    assert sorted(path.name for path in folder.glob("[es]*.db")) == ["ended2.db", "session.db"]
