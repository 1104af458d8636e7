"""The soak in its short form, and its judge."""

from __future__ import annotations

import faulthandler
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .cluster import ROOT
from .judge import DEATHS, ECHO_S, NODE_LOSS, Fault, Judge, Kind

SEED = 1
LOAD_S = 16
LIMIT_S = 170
"""The answer of a hung soak: it takes its time to see that, and to write down what there is to see."""
END_S = 20
"""How long the test takes to say so."""


def test_a_short_soak(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.soak", "--seed", str(SEED), "--minutes", str(LOAD_S / 60), "--every", "0.4"]
    # pytest's own limit, which ends all tests, is shorter: this takes its place, until the test is over
    faulthandler.dump_traceback_later(LIMIT_S + END_S, exit=True)
    log = tmp_path / "log"
    with open(log, "wb") as out:
        soak = subprocess.Popen(
            [*command, "--limit", "45", "--out", str(tmp_path / "out")], cwd=ROOT, stdout=out, stderr=out
        )
        try:
            code = soak.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the soak has not ended in {LIMIT_S} s: {log.read_text()}")
        finally:
            soak.kill()
            soak.wait()
    assert code == 0, log.read_text()
    print(log.read_text())


def error(began: float, ended: float, kinds: Any = DEATHS, times: int = 1, node: int = 0) -> dict[str, Any]:
    return {
        "activity": "a",
        "type": "E",
        "text": "",
        "needs": [str(kind) for kind in kinds],
        "times": times,
        "node": node,
        "began": began,
        "ended": ended,
    }


def test_a_fault_explains_what_was_under_way_and_what_shows_soon_after() -> None:
    judge = Judge([Fault(Kind.KILL_WORKER, 100.0, until=101.0)])
    assert not judge.unexplained(error(90.0, 100.5))
    assert not judge.unexplained(error(101.0 + ECHO_S, 130.0))
    assert "there were 0" in judge.unexplained(error(101.1 + ECHO_S, 130.0))
    assert "there were 0" in judge.unexplained(error(50.0, 99.9))
    assert judge.excused == {"a: E": 2}


def test_an_error_needs_faults_of_its_kinds_as_many_as_it_takes_and_on_its_node() -> None:
    judge = Judge([Fault(Kind.CUT, 10.0), Fault(Kind.KILL_NODE, 11.0, node=3)])
    assert not judge.unexplained(error(9.0, 12.0, times=2))
    assert "needs 3" in judge.unexplained(error(9.0, 12.0, times=3))
    assert not judge.unexplained(error(9.0, 12.0, NODE_LOSS, node=3))
    assert "there were 0" in judge.unexplained(error(9.0, 12.0, NODE_LOSS, node=2))
    assert "there were 0" in judge.unexplained(error(9.0, 12.0, [Kind.KILL_HEAD]))
    assert not judge.unexplained(error(9.0, 12.0, [], times=0)), "a task that was cancelled needs none"
    assert judge.counts()["cut"] == 1 and judge.counts()["blip"] == 0
