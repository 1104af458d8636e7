"""The benchmarks run with one command, and the table says what was measured."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.lines import MACHINE, RAY, SKATE, Bench, Goal, Result, at_least, at_most

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 120


def run_benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(
        command, capture_output=True, check=False, text=True, timeout=LIMIT_S, cwd=ROOT, env=dict(os.environ)
    )


def result(name: str, system: str, *samples: float, goal: Goal | None = None, unit: str = "/s") -> Result:
    return Result(name, "tasks", unit, system, list(samples), goal=goal, micro=True, more_is_better=unit == "/s")


@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="the benchmarks need numpy")
def test_one_line_of_the_table(tmp_path: Path) -> None:
    table, samples = tmp_path / "table.md", tmp_path / "samples.json"
    done = run_benchmarks("--quick", "--only", "tasks sync", "--out", str(table), "--json", str(samples))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    text = table.read_text()
    assert "| single client tasks sync | /s |" in text
    assert "placement group create/removal: not yet" in text
    (line,) = json.loads(samples.read_text())
    assert line["system"] == "skate"
    assert min(line["samples"]) > 0


def test_no_line_matches() -> None:
    done = run_benchmarks("--quick", "--only", "no such line")
    assert done.returncode == 2
    assert "no line matches" in done.stderr


def test_ratio_is_above_one_when_skate_is_better() -> None:
    rates = report.index([result("a", SKATE, 200, 210, 190), result("a", RAY, 10)])
    assert report.ratio(rates, "a") == 20
    times = report.index([result("a", SKATE, 0.1, unit="s"), result("a", RAY, 5, unit="s")])
    assert report.ratio(times, "a") == pytest.approx(50)
    assert report.ratio(report.index([result("a", SKATE, 200)]), "a") is None


def test_goals_are_held_against_what_was_measured() -> None:
    half = at_least(0.5, (MACHINE, "ping"))
    slow, fast, alone = (result("a", SKATE, rate, goal=half) for rate in (40, 60, 60))
    ping = result("ping", MACHINE, 100)
    assert report.verdict(slow, report.index([slow, ping])) == ("≥ 0.5 × ping = 50.0", "FAIL")
    assert report.verdict(fast, report.index([fast, ping]))[1] == "pass"
    assert report.verdict(alone, report.index([alone]))[1] == ""
    assert report.verdict(result("b", SKATE, 0.3, goal=at_most(0.2), unit="s"), {}) == ("≤ 0.200 s", "FAIL")


def test_a_line_that_failed_is_shown_and_counts_as_failed() -> None:
    broken = Result("a", "tasks", "s", SKATE, error="ValueError: no", goal=at_most(1))
    page = report.markdown([broken], "", quick=True)
    assert "failed: ValueError: no" in page
    assert "0 passed, 1 failed" in page


def test_geometric_mean_leaves_out_what_bandwidth_bounds() -> None:
    results = [result("a", SKATE, 10), result("a", RAY, 1), result("b", SKATE, 1000), result("b", RAY, 1)]
    wide = result("c", SKATE, 1), result("c", RAY, 1)
    wide[0].bound = True
    mean = report.geometric_mean(report.index([*results, *wide]))
    assert mean is not None
    assert mean[0] == pytest.approx(100)
    assert mean[1] == 2


def test_a_result_survives_its_way_from_the_child() -> None:
    sent = result("a", SKATE, 1, 2, goal=at_least(3, (MACHINE, "ping")))
    assert Result.from_dict(json.loads(json.dumps(sent.to_dict()))) == sent


def test_rate_counts_calls() -> None:
    calls: list[int] = []
    samples = Bench(seconds=0.01, repeats=3).rate(lambda: calls.append(1), per_call=2)
    assert len(samples) == 3
    assert len(calls) > 30
