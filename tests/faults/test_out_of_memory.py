"""F17: a worker that eats the memory is killed before the kernel does it; others live; the task has a budget of retries."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skate
from skate.client import current
from skate.exceptions import ActorDiedError, OutOfMemoryError
from skate.testing import eventually
from skate.util import state

from .conftest import check_health

MB = 1 << 20
LIMIT = 300 * MB
GET_S = 20


def begin(start: Callable[..., str], retries: int) -> None:
    """A session whose workers may use 300 MB: the machine itself is never in danger."""
    config = {"worker_memory_limit_bytes": LIMIT, "memory_monitor_refresh_ms": 20, "task_oom_retries": retries}
    start(_system_config=config)
    check_health()


def kills() -> int:
    runtime: Any = current.runtime
    kills: int = runtime.ask("store")["memory_kills"]
    return kills


def eat(most: int = 400 * MB) -> int:
    """Use more and more memory, and then wait to be killed."""
    held = []
    for _ in range(most // (10 * MB)):
        held.append(np.ones(10 * MB, np.uint8))
        time.sleep(0.002)
    time.sleep(GET_S)
    return len(held)


@skate.remote
def eats(log: str) -> int:
    with open(log, "a") as file:
        file.write(f"{os.getpid()}\n")
    return eat()


@skate.remote
def innocent(until: str) -> int:
    while not os.path.exists(until):
        time.sleep(0.01)
    return os.getpid()


def test_f17_the_culprit_is_killed_and_the_innocent_is_not(start: Callable[..., str], tmp_path: Path) -> None:
    begin(start, retries=1)
    log, done = tmp_path / "log", tmp_path / "done"
    other = innocent.remote(str(done))
    with pytest.raises(OutOfMemoryError) as caught:
        skate.get(eats.remote(str(log)), timeout=GET_S)
    assert kills() == 2, "task_oom_retries=1: two attempts"
    pids = [int(pid) for pid in log.read_text().split()]
    assert len(pids) == 2 and not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    error = caught.value
    assert error.memory_bytes is not None and 0.5 * LIMIT < error.memory_bytes < 400 * MB
    assert error.exit_signal == signal.SIGKILL
    assert f"{LIMIT / 1e6:.0f} MB" in str(error) and "2 attempts" in str(error) and "memory ran out" in str(error)
    done.touch()
    assert skate.get(other, timeout=GET_S) not in pids
    check_health()


def test_f17_a_task_that_may_not_be_retried_fails_at_once(start: Callable[..., str], tmp_path: Path) -> None:
    begin(start, retries=-1)
    ref = eats.options(max_retries=0).remote(str(tmp_path / "log"))
    with pytest.raises(OutOfMemoryError):
        skate.get(ref, timeout=GET_S)
    assert kills() == 1
    (row,) = state.list_tasks(filters=[("task_id", "=", ref.task_id())], detail=True)
    assert (row.state, row.error_type) == ("FAILED", "OutOfMemoryError")
    command = [sys.executable, "-m", "skate.cli", "why", ref.task_id(), "--address", str(os.getpid())]
    line = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    assert re.fullmatch(
        r"task \S+ failed in attempt 1, in process \d+: it was killed because memory ran out: it used \d+ MB, "
        r"and this node's workers \d+ of \d+ MB, which is over the limit of \d+ MB \(memory_usage_threshold=0.95\); "
        r"take less at a time, or ask for it with memory=, so that fewer run at once\n",
        line,
    )
    check_health()


def test_f17_it_is_retried_on_a_budget_of_its_own(start: Callable[..., str], tmp_path: Path) -> None:
    """Killed three times, with max_retries=1; the fourth attempt finds room."""
    begin(start, retries=-1)

    @skate.remote(max_retries=1)
    def fourth_time(log: str) -> str:
        with open(log, "a") as file:
            file.write("x")
        if os.path.getsize(log) < 4:
            eat()
        return "done"

    assert skate.get(fourth_time.remote(str(tmp_path / "log")), timeout=GET_S) == "done"
    assert kills() == 3
    check_health()


def test_f17_an_actor_that_eats_the_memory_dies_with_the_reason(start: Callable[..., str]) -> None:
    begin(start, retries=-1)

    @skate.remote
    class Eater:
        def eat(self) -> int:
            return eat()

    eater: Any = Eater.remote()  # type: ignore[attr-defined]
    with pytest.raises(ActorDiedError, match="memory ran out"):
        skate.get(eater.eat.remote(), timeout=GET_S)
    del eater
    check_health()


def test_f17_nobody_is_watched_when_it_is_switched_off(start: Callable[..., str]) -> None:
    start(_system_config={"worker_memory_limit_bytes": 20 * MB, "memory_monitor_refresh_ms": 0})

    @skate.remote
    def uses() -> int:
        return int(np.ones(100 * MB, np.uint8)[-1])

    assert skate.get(uses.remote(), timeout=GET_S) == 1
    eventually(lambda: kills() == 0)
