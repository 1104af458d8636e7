"""The guard of a job: what ends with it, and what it leaves."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from skate.node import job_guard


@pytest.mark.parametrize(("said", "status"), [(b"", -9), (b"s", -15)], ids=["its node is gone", "it is to be stopped"])
def test_a_job_ends_that_was_to_end_before_it_began(tmp_path: Path, said: bytes, status: int) -> None:
    """As when the node is killed, or the job stopped, while the guard starts or unpacks what the job brings along."""
    guard = [sys.executable, "-I", "-S", job_guard.__file__, str(tmp_path), "/", "sleep 20"]
    began = time.monotonic()
    process = subprocess.Popen(guard, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    with process.stdin as wishes, process.stdout as words:
        wishes.write(said)
        wishes.flush()
        if not said:
            wishes.close()
        pid, end = words.read().decode().splitlines()
    assert process.wait() == 0
    assert pid.startswith("pid ") and end == f"exit {status}"
    assert time.monotonic() - began < 2.5  # not only when it is killed, as it did not end


def test_of_a_folder_only_the_log_stays(tmp_path: Path) -> None:
    """The node would stand still while it removed what the job has left."""
    (tmp_path / "log").touch()
    (tmp_path / "elsewhere").symlink_to("/")
    (tmp_path / "files").mkdir()
    command = "echo x > left && mkdir -p ../python/deep"
    guard = [sys.executable, "-I", "-S", job_guard.__file__, str(tmp_path), str(tmp_path / "files"), command]
    with subprocess.Popen(guard, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.read().endswith(b"\nexit 0\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "log"]
