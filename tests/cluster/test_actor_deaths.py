"""A call says how its actor on another node has died, though the connection ends before anybody knows that."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client import sessions
from skate.exceptions import ActorDiedError, ActorUnavailableError
from skate.testing import cut_connections, eventually
from skate.util import state

from .conftest import on


@skate.remote
class Crasher:
    """Dies in many ways."""

    def leave(self) -> None:
        """With an exit code."""
        os._exit(3)

    def crash(self) -> None:
        """By a signal."""
        ctypes.string_at(0)

    def pid(self) -> int:
        """Lives."""
        return os.getpid()

    def waits(self, begun: str, end: str) -> None:
        """Until a file is there."""
        Path(begun).touch()
        eventually(lambda: os.path.exists(end), 20)


def test_a_call_says_how_its_actor_on_another_node_died(there: sessions.Session) -> None:
    crasher: Any = Crasher.options(**on("there")).remote()
    skate.get(crasher.pid.remote(), timeout=20)
    leave = crasher.leave.remote()
    with pytest.raises(ActorDiedError, match="exit with code 3") as failed:
        skate.get(leave, timeout=20)
    assert failed.value.exit_code == 3
    crasher = Crasher.options(**on("there")).remote()
    with pytest.raises(ActorDiedError, match="SIGSEGV"):
        skate.get(crasher.crash.remote(), timeout=20)
    ended = {row.name: row.error_type for row in state.list_tasks(filters=[("state", "=", "FAILED")], detail=True)}
    assert ended == {"Crasher.leave": "ActorDiedError", "Crasher.crash": "ActorDiedError"}
    assert "exit with code 3" in skate.why(leave)


def test_a_call_says_how_its_actor_died_that_is_being_restarted(there: sessions.Session) -> None:
    crasher: Any = Crasher.options(max_restarts=1, **on("there")).remote()
    first = skate.get(crasher.pid.remote(), timeout=20)
    leave, behind = crasher.leave.remote(), crasher.pid.remote()
    with pytest.raises(ActorUnavailableError, match=r"being restarted: it called os._exit .* code 3.* may or may not"):
        skate.get(leave, timeout=20)
    with pytest.raises(ActorUnavailableError, match="being restarted"):
        skate.get(behind, timeout=20)
    assert skate.get(crasher.pid.remote(), timeout=20) != first


def test_a_call_fails_soon_if_only_its_connection_has_ended(there: sessions.Session, tmp_path: Path) -> None:
    crasher: Any = Crasher.options(max_concurrency=2, **on("there")).remote()
    first = skate.get(crasher.pid.remote(), timeout=20)
    call = crasher.waits.remote(str(tmp_path / "begun"), str(tmp_path / "end"))
    eventually((tmp_path / "begun").exists, 10)
    assert cut_connections(os.getpid(), there.port)[0]
    with pytest.raises(ActorUnavailableError, match=r"has ended.* may or may not have run"):
        skate.get(call, timeout=3)
    (tmp_path / "end").touch()
    assert skate.get(crasher.pid.remote(), timeout=20) == first
