"""What names an installed environment, so that who wants the same gets the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from skate.wire.environments import decode, encode
from skate.worker.environment import Setup
from skate.worker.installing import install


def name(given: dict[str, Any], command: str, busy: bool = False) -> str:
    names: list[str] = []

    def entry(name: str, build: Callable[[Path], None], wait_s: float) -> tuple[Path, int]:
        names.append(name)
        return Path("/made"), -1

    cache = SimpleNamespace(entry=entry, is_locked=lambda name: busy)
    setup = SimpleNamespace(environment=decode(encode(given)), cache=cache, left_s=lambda: 1.0, locks=[])
    install(cast(Setup, setup), [command])
    return names[0]


def test_the_nodes_interpreter_is_one_whatever_it_is_called() -> None:
    wanted = {"pip": {"packages": ["spam"]}}
    assert (
        name(wanted, "/bin/python")
        == name(wanted, "/bin/python3")
        != name({"pip": {"packages": ["ham"]}}, "/bin/python")
    )
    other = {**wanted, "py_executable": "/other/python"}
    assert name(other, "/other/python") != name(wanted, "/bin/python")


def test_who_waits_for_another_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    name({"pip": {"packages": ["spam"]}}, "/bin/python", busy=True)
    assert capsys.readouterr().out == "waiting for another process here that installs spam\n"
