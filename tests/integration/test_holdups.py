"""What was sent ahead to a worker whose task takes long comes back, whatever becomes of the worker."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

import skate
from skate.client import current
from skate.testing import eventually

pytestmark = pytest.mark.usefixtures("cluster")


@skate.remote(num_cpus=2)
def who() -> int:
    return os.getpid()


@skate.remote(num_cpus=1.5)
def other() -> int:
    return os.getpid()


def test_a_worker_that_is_to_go_back_goes_when_all_that_it_had_was_taken_back() -> None:
    for _ in range(100):
        pid = skate.get(who.remote(), timeout=20)
    runtime: Any = current.runtime
    os.kill(pid, signal.SIGSTOP)
    try:
        refs = [who.remote() for _ in range(12)]
        skate.cancel(refs[0])  # with it comes back what is behind it, and is sent again, as one packet
        del refs[0]
        refs.append(other.remote())  # for this the worker is to go
        shape = runtime.tasks.submitter.shapes[((("CPU", 2.0),), "", False, 0, "")]
        eventually(lambda: not shape.workers, what="it has gone back")
    finally:
        os.kill(pid, signal.SIGCONT)
    skate.get(refs, timeout=20)
