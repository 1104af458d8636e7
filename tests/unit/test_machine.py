"""What a node of this machine is started with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from skate.client import dashboards
from skate.client.machine import began, make_session_dir
from skate.testing import eventually


def test_sessions_of_processes_that_only_wait_to_be_collected_are_removed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    try:
        eventually(lambda: not began(process.pid))
        assert os.path.exists(f"/proc/{process.pid}"), "nobody has collected it"
        base = tmp_path / f"skate-{os.getuid()}"
        base.mkdir(mode=0o700)
        stale, living = base / f"session-{process.pid}-aa", base / f"session-{os.getpid()}-bb"
        stale.mkdir()
        living.mkdir()
        made = Path(make_session_dir(str(tmp_path)))
        assert {path.name for path in base.iterdir()} == {living.name, made.name}
    finally:
        process.wait()


def test_a_dashboard_is_not_taken_for_another_process_with_its_pid(tmp_path: Path) -> None:
    assert dashboards.noted(str(tmp_path)) == ""
    dashboards.note(str(tmp_path), dashboards.Found("http://here", os.getpid(), began(os.getpid())))
    assert dashboards.noted(str(tmp_path)) == "http://here"
    dashboards.note(str(tmp_path), dashboards.Found("http://here", os.getpid(), "1"))
    assert dashboards.noted(str(tmp_path)) == ""
    process = subprocess.Popen([sys.executable, "-c", ""])
    dashboards.note(str(tmp_path), dashboards.Found("http://here", process.pid, began(process.pid)))
    process.wait()
    assert dashboards.noted(str(tmp_path)) == ""
