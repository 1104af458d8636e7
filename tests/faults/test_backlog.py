"""Processes that live and do not read: what is sent to them must not be lost in silence, nor fill the node's memory.

Each test has a node with a small limit, so that little has to be sent.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skate
from skate.client import start as starting
from skate.exceptions import ActorUnavailableError
from skate.testing import eventually

from .conftest import check_health
from .drivers import Driver, gone

LIMIT = 200_000
LIMITED = f"""
import sys
sys.path[:] = sys.argv[3].split("\\n")
import skate.wire.channel as channel
import skate.worker.zygote as zygote

def fork(*arguments, inner=zygote.fork):
    pid = inner(*arguments)
    channel.BACKLOG_BYTES_MAX = {LIMIT}
    return pid

zygote.fork = fork
"""
"""Goes before the start of a node: the limit of the node alone, not of its workers, which are forked before."""
VALUES, VALUE_BYTES = 60, 60_000
"""More than the limit and what the kernel takes."""


@pytest.fixture
def limited_node(monkeypatch: pytest.MonkeyPatch, start: Callable[..., str]) -> str:
    """A cluster whose node gives up clients early; its folder."""
    monkeypatch.setattr(starting, "BOOT", LIMITED + starting.BOOT)
    return start()


def make_at(gate: str) -> Any:
    """References to many values, which are made as soon as a file is there."""

    @skate.remote(num_returns=VALUES)
    def make() -> list[bytes]:
        while not os.path.exists(gate):
            time.sleep(0.01)
        return [bytes(VALUE_BYTES)] * VALUES

    return make.remote()


@skate.remote(max_restarts=1)
class Reader:
    def pid(self) -> int:
        return os.getpid()

    def read(self, refs: list[Any], begun: str) -> int:
        Path(begun).touch()
        return len(skate.get(refs))


def test_a_stopped_worker_is_ended_and_says_why(limited_node: str, tmp_path: Path) -> None:
    check_health()
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    reader = Reader.remote()
    pid = skate.get(reader.pid.remote())
    refs = make_at(str(gate))
    read = reader.read.remote(refs, str(begun))
    eventually(begun.exists)
    time.sleep(0.3)  # it has asked for the values
    os.kill(pid, signal.SIGSTOP)
    gate.touch()
    skate.get(refs)
    gone(pid)
    with pytest.raises(ActorUnavailableError, match=r"did not read its messages: \d+ bytes were waiting"):
        skate.get(read, timeout=10)
    assert skate.get(reader.pid.remote(), timeout=10) != pid  # it has a restart
    assert "did not read its messages" in Path(limited_node, "logs", "node.log").read_text()
    del refs, read, reader
    check_health()


def test_a_worker_that_reads_late_loses_nothing(limited_node: str, tmp_path: Path) -> None:
    """Below the limit nothing happens to it."""
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    reader = Reader.remote()
    pid = skate.get(reader.pid.remote())
    small = make_at(str(gate))[:2]
    read = reader.read.remote(small, str(begun))
    eventually(begun.exists)
    os.kill(pid, signal.SIGSTOP)
    gate.touch()
    skate.get(small)
    time.sleep(0.2)
    os.kill(pid, signal.SIGCONT)
    assert skate.get(read, timeout=10) == 2


SLEEPER = f"""
from skate.client import start as starting
starting.BOOT = {LIMITED!r} + starting.BOOT
cluster()
gate = sys.argv[1]

@skate.remote(num_returns={VALUES})
def make():
    while not os.path.exists(gate):
        time.sleep(0.01)
    return [bytes({VALUE_BYTES})] * {VALUES}

@skate.remote(num_cpus=0)
class Owner:
    def make(self):
        self.refs = make.remote()
        return self.refs

owner = Owner.remote()
refs = skate.get(owner.make.remote())
skate.wait(refs, timeout=0.3)
say("ready")
try:
    skate.get(refs, timeout=15)
except skate.exceptions.RayError as error:
    say("error", type(error).__name__)
"""


def test_a_stopped_driver_is_given_up_and_the_log_says_why(drive: Callable[..., Driver], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    driver = drive(SLEEPER, str(gate))
    session = driver.said("session")
    driver.said("ready")
    processes = driver.processes()
    assert len(processes) > 2
    driver.kill(signal.SIGSTOP)
    gate.touch()
    gone(*processes)
    log = Path(session, "logs", "node.log").read_text()
    assert f"process {driver.process.pid} is given up: it did not read its messages" in log
    driver.kill(signal.SIGCONT)
    assert driver.said("error") == "LocalRayletDiedError"
    assert driver.wait() == 0
    driver.nothing_left()
