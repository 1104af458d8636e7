"""One process uses skate in several ways, one after the other, and one inside the other."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable

import pytest

import skate
from skate.api.lifecycle import set_aside


@skate.remote
def pid() -> int:
    return os.getpid()


@skate.remote
class Actor:
    def pid(self) -> int:
        return os.getpid()


def test_what_was_used_in_inline_mode_runs_in_workers(start: Callable[..., str]) -> None:
    """And the other way round."""
    pids = []
    for inline in (True, False, True):
        skate.shutdown()
        if inline:
            skate.init(mode="inline")
        else:
            start()
        actor = Actor.remote()
        pids.append([skate.get(pid.remote()) == os.getpid(), skate.get(actor.pid.remote()) == os.getpid()])
        del actor
    assert pids == [[True, True], [False, False], [True, True]]


def test_a_runtime_is_set_aside_with_all_that_it_holds(start: Callable[..., str]) -> None:
    start()
    actor = Actor.remote()
    there = skate.get(actor.pid.remote())
    with set_aside():
        assert not skate.is_initialized()
        skate.init(mode="inline")
        assert skate.get(pid.remote()) == os.getpid()
    assert skate.get(actor.pid.remote()) == there
    with pytest.raises(RuntimeError, match="runs already"):
        skate.init()
    with pytest.raises(ZeroDivisionError), set_aside():
        skate.init(mode="inline")
        1 / 0  # noqa: B018
    assert skate.get(actor.pid.remote()) == there


def test_a_dashboard_is_set_aside_with_its_program(start: Callable[..., str]) -> None:
    start(include_dashboard=True, dashboard_port=0)
    context = skate.init(ignore_reinit_error=True)
    with set_aside():
        skate.init(mode="inline")
    with urllib.request.urlopen(f"{context.dashboard_url}/healthz", timeout=10) as answer:
        assert answer.status == 200
