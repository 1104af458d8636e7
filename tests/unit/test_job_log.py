"""The log of a job: read in parts, and cut when it is long."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skate.client.jobs import _text
from skate.node import job_log
from skate.node.job_log import JobLog


def test_what_is_old_is_cut_and_offsets_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "KEPT_BYTES", 1 << 20)
    monkeypatch.setattr(job_log, "PART_BYTES", 1 << 20)
    log = JobLog(tmp_path / "log")
    assert log.read(0) == (b"", 0) and log.last_lines() == []
    log.bound()
    fd = log.open()
    os.write(fd, b"a" * (2 << 20))
    log.bound()
    assert log.cut == 0 and log.read(0) == (b"a" * (1 << 20), 1 << 20)
    os.write(fd, b"b" * (1 << 20))
    os.close(fd)
    log.bound()
    assert log.cut == 2 << 20 and log.path.stat().st_blocks * 512 <= 1 << 20
    data, offset = log.read(5)
    assert data == b"[the first 2097152 bytes are not kept]\n" + b"b" * (1 << 20) and offset == 3 << 20
    assert log.read(offset) == (b"", offset)


def test_a_character_that_is_cut_comes_with_the_next_part() -> None:
    whole = "aä€".encode()
    text, at = "", 0
    for end in range(1, len(whole) + 1):
        part = _text({"data": whole[at:end], "offset": end, "over": end == len(whole)})
        text, at = text + part["logs"], part["offset"]
    assert text == "aä€"
    assert _text({"data": b"\xc3", "offset": 1, "over": True}) == {"logs": "�", "offset": 1, "over": True}


def test_a_log_that_cannot_be_read_is_an_error_and_no_end(tmp_path: Path) -> None:
    """As when no descriptor can be had: whoever follows it is told, and the node goes on."""
    log = JobLog(tmp_path / "log")
    log.path.symlink_to(log.path)
    with pytest.raises(OSError, match="symbolic links"):
        log.read(0)
    log.bound()
    assert log.last_lines() == []
