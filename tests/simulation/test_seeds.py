"""Two hundred histories, drawn from their numbers; and that a number is one history."""

from __future__ import annotations

import subprocess
import sys

import pytest

SEEDS = 200
AT_ONCE = 50


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_seeds(first: int) -> None:
    """One that fails prints itself, its last events, and how to replay it."""
    command = [sys.executable, "-m", "skate.testing.simulation", "--first", str(first), "--seeds", str(AT_ONCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout


def test_a_seed_is_one_history() -> None:
    command = [sys.executable, "-m", "skate.testing.simulation", "--seed", "5", "--trace"]
    texts = [subprocess.run(command, capture_output=True, text=True, timeout=60).stdout for _ in range(2)]
    first, second = (text[: text.index("1 seeds,")] for text in texts)
    assert first.count("\n") > 500
    assert first == second
