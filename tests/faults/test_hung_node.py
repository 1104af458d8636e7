"""A node process that stands still keeps nobody beyond a time limit."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

import skate
from skate.client import current
from skate.exceptions import GetTimeoutError


@skate.remote
def wait(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.mark.usefixtures("cluster")
def test_a_get_with_a_time_limit_ends_while_the_node_is_frozen() -> None:
    assert skate.get(wait.remote(0)) == 0
    runtime: Any = current.runtime
    os.kill(runtime.node_process.pid, signal.SIGSTOP)
    try:
        refs = [wait.remote(0.1) for _ in range(200)]
        began = time.monotonic()
        with pytest.raises(GetTimeoutError):
            skate.get(refs, timeout=0.5)
        assert time.monotonic() - began < 10
    finally:
        os.kill(runtime.node_process.pid, signal.SIGCONT)
    for ref in refs:
        skate.cancel(ref)
