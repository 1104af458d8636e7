"""The benchmarks run with one command, and the table says what was measured."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import lines, report, sweep
from benchmarks.data import table
from benchmarks.lines import MACHINE, POLARS, RAY, SKATE, Bench, Goal, Result, at_least, at_most

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
    assert "client: put gigabytes: not applicable" in text
    (line,) = json.loads(samples.read_text())
    assert line["system"] == "skate"
    assert min(line["samples"]) > 0


@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="the benchmarks need numpy")
@pytest.mark.parametrize("group", lines.CLUSTER_GROUPS)
def test_clusters_are_measured_and_gone_afterwards(group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = tmp_path / "samples.json"
    monkeypatch.setenv("BENCH_TEST", tmp_path.name)
    for module in (lines.CLUSTER_GROUPS[group], lines.CLUSTER_YARDSTICKS):
        importlib.import_module(module)
    every = [line for line in lines.REGISTRY if line.group == group]
    only = "|".join(f"^{re.escape(line.name)}$" for line in every)
    done = run_benchmarks("--quick", "--only", only, "--json", str(samples))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "## A cluster on one host" in done.stdout
    results = {result["name"]: result["samples"] for result in json.loads(samples.read_text())}
    assert sorted(results) == sorted(line.name for line in every)
    assert all(min(values) > 0 for values in results.values()), results
    mark = f"BENCH_TEST={tmp_path.name}".encode()
    assert not [pid for pid in psutil.pids() if mark in _environment(pid)], "processes are left"


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if pid != os.getpid() else []
    except OSError:  # it has ended, or is another user's
        return []


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="datasets need pyarrow")
def test_datasets_are_measured_beside_others(tmp_path: Path) -> None:
    samples = tmp_path / "samples.json"
    done = run_benchmarks(
        "--quick", "--only", "^data: (count of a CSV|TPC-H query 6|peak.*sort)", "--json", str(samples)
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "## Datasets" in done.stdout
    results = json.loads(samples.read_text())
    assert {result["system"] for result in results} >= {SKATE}
    assert len({result["name"] for result in results}) == 3
    assert all(min(result["samples"]) > 0 for result in results), results


def test_goals_of_datasets() -> None:
    def data_line(system: str, seconds: float) -> Result:
        return Result("data: a", "data", "s", system, [seconds], more_is_better=False)

    assert (
        table.verdict(report.index([data_line(SKATE, 1), data_line(RAY, 5), data_line(POLARS, 0.5)]), "data: a")
        == "pass"
    )
    slow = report.index([data_line(SKATE, 1), data_line(RAY, 4), data_line(POLARS, 0.4)])
    assert table.verdict(slow, "data: a") == "FAIL: Ray and Polars"
    assert table.verdict(report.index([data_line(SKATE, 1)]), "data: a") == ""


def test_a_sweep_kills_what_has_left_its_session() -> None:
    mark = f"test-{os.getpid()}"
    program = "import subprocess, sys; subprocess.Popen(['sleep', '60'], start_new_session=True)"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, sweep.MARK: mark})
    (pid,) = sweep.marked(mark)
    sweep.sweep(mark)
    assert sweep.marked(mark) == []
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


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
