"""Faults, and whom they hit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import psutil
import pytest

from skate.client.sessions import Session
from skate.testing import Faults, eventually, faults

NODE = Session(0, "", "", 0, "", "", 0, "", 0, False, "")


@pytest.fixture
def ended() -> Iterator[psutil.Process]:
    """A process that has ended, and that nobody has collected."""
    with subprocess.Popen(["true"]) as process:
        zombie = psutil.Process(process.pid)
        eventually(lambda: zombie.status() == psutil.STATUS_ZOMBIE)
        yield zombie


def test_what_has_ended_cannot_be_frozen(ended: psutil.Process) -> None:
    with pytest.raises(ValueError, match="has ended"):
        Faults().freeze(ended.pid)


def test_a_node_is_frozen_though_a_worker_of_it_has_ended(
    ended: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        monkeypatch.setattr(faults, "processes_of", lambda node: [ended, psutil.Process(other.pid)])
        with Faults().frozen(NODE):
            assert psutil.Process(other.pid).status() == psutil.STATUS_STOPPED
        eventually(lambda: psutil.Process(other.pid).status() != psutil.STATUS_STOPPED)
        other.communicate(timeout=10)


def test_what_is_not_of_the_cluster_is_not_hit() -> None:
    for pid in (-1, 0, 1, os.getpid()):
        with pytest.raises(ValueError, match=f"process {pid} does not belong to this cluster"):
            Faults().pid_of(pid)
    with pytest.raises(TypeError, match="needs a process id"):
        Faults().pid_of(True)
