"""The table: every line beside its yardstick, its goal and Ray, with what it was measured on."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import subprocess
import time
from pathlib import Path

from .data import table as data_table
from .lines import CLUSTER_GROUPS, DATA_GROUPS, MACHINE, RAY, SKATE, UNAVAILABLE, WITHOUT_RAY, Goal, Result

MEAN_GOAL = 50.0
Table = dict[tuple[str, str], Result]


def number(value: float | None) -> str:
    """Three significant digits, thousands separated."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 5)}f}"


def index(results: list[Result]) -> Table:
    return {(r.system, r.name): r for r in results}


def ratio(table: Table, name: str) -> float | None:
    """How many times better skate is than Ray on a line; None when it cannot be told."""
    ours, theirs = table.get((SKATE, name)), table.get((RAY, name))
    if ours is None or theirs is None or ours.value is None or theirs.value is None:
        return None
    if ours.value <= 0 or theirs.value <= 0:  # a difference of two times may come out so
        return None
    return ours.value / theirs.value if ours.more_is_better else theirs.value / ours.value


def bound(goal: Goal, table: Table) -> float | None:
    """The goal in the line's own unit; None when what it is a multiple of was not measured."""
    if goal.of is None:
        return goal.value
    base = table.get(goal.of)
    return goal.value * base.value if base is not None and base.value is not None else None


def verdict(result: Result, table: Table) -> tuple[str, str]:
    """(the goal in words, "pass", "FAIL" or "" when it cannot be told)."""
    goal = result.goal
    if goal is None:
        return "", "FAIL" if result.error else ""
    if goal.sense == "done":
        return "without an error", "FAIL" if result.error else "pass"
    limit = bound(goal, table)
    sign = "≥" if goal.sense == "min" else "≤"
    words = f"{sign} {number(limit)} {result.unit}".rstrip() if limit is not None else ""
    if goal.of is not None:
        of = "Ray" if goal.of[0] == RAY else goal.of[1]
        words = f"{sign} {goal.value:g} × {of}" + (f" = {number(limit)}" if limit is not None else "")
    if result.value is None:
        return words, "FAIL" if result.error else ""
    if limit is None:
        return words, ""
    met = result.value >= limit if goal.sense == "min" else result.value <= limit
    return words, "pass" if met else "FAIL"


def geometric_mean(table: Table) -> tuple[float, int] | None:
    """The mean ratio to Ray over the lines of `ray microbenchmark` that memory bandwidth does not bound, and their number."""
    names = [name for (system, name), r in table.items() if system == SKATE and r.micro and not r.bound]
    ratios = [value for name in names if (value := ratio(table, name))]
    return (math.exp(sum(map(math.log, ratios)) / len(ratios)), len(ratios)) if ratios else None


def spread(result: Result | None) -> str:
    if result is None:
        return ""
    if result.error:
        return f"failed: {result.error}".replace("|", "\\|").replace("\n", " ")
    if len(result.samples) < 2:
        return number(result.value)
    return f"{number(result.value)} ({number(min(result.samples))} to {number(max(result.samples))})"


def rows(results: list[Result], table: Table) -> list[str]:
    lines = ["| line | unit | skate | Ray | ratio | goal | |", "|---|---|---|---|---|---|---|"]
    names = dict.fromkeys(r.name for r in results if r.system != MACHINE)
    for name in names:
        ours, theirs = table.get((SKATE, name)), table.get((RAY, name))
        shown = ours or theirs
        if shown is None:
            continue
        words, met = verdict(ours, table) if ours else ("", "")
        times = ratio(table, name)
        cells = [name, shown.unit, spread(ours), spread(theirs), f"{number(times)} ×" if times else "", words, met]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def version(package: str, python: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, check=False, text=True, timeout=60)
    return done.stdout.strip() or "not installed as a package"


def machine() -> str:
    """CPU model, cores, memory, kernel and Python in one line."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def skate_version() -> str:
    try:
        return importlib.metadata.version("skate")
    except importlib.metadata.PackageNotFoundError:
        return "from the source tree"


def summary(table: Table) -> list[str]:
    verdicts = [verdict(r, table)[1] for (system, _), r in table.items() if system == SKATE]
    lines = [f"Goals: {verdicts.count('pass')} passed, {verdicts.count('FAIL')} failed."]
    mean = geometric_mean(table)
    if mean is not None:
        met = "pass" if mean[0] >= MEAN_GOAL else "FAIL"
        lines.append(
            f"Geometric mean of {mean[1]} lines of `ray microbenchmark` not bound by memory bandwidth: "
            f"**{number(mean[0])} × Ray** (goal: ≥ {MEAN_GOAL:g} ×, {met})."
        )
    return lines


def markdown(results: list[Result], ray_python: str, quick: bool) -> str:
    """The whole page."""
    table = index(results)
    ray_version = version("ray", ray_python) if ray_python else "not measured in this run"
    page = ["# Results", "", "Written by `python -m benchmarks`. Median of the samples (smallest to largest).", ""]
    if quick:
        page += ["A `--quick` run: short samples and smaller sizes than the names say, so the figures are rough.", ""]
    page += [f"- Date: {time.strftime('%Y-%m-%d')}", f"- Machine: {machine()}"]
    page += [f"- skate: {skate_version()}; Ray: {ray_version}", ""]
    for text in summary(table):
        page += [text, ""]
    cluster = [r for r in results if r.group in CLUSTER_GROUPS]
    micro = [r for r in results if r.micro]
    datasets = [r for r in results if r.group in DATA_GROUPS]
    others = [r for r in results if r.system != MACHINE and r not in cluster and r not in datasets and not r.micro]
    if micro:
        page += ["## The lines of `ray microbenchmark`", "", *rows(micro, table), ""]
        page += ["Not measured:", "", *(f"- {name}: {why}" for name, why in UNAVAILABLE.items()), ""]
    if others:
        page += ["## Beyond them", "", *rows(others, table), ""]
    if any(r.system != MACHINE for r in cluster):
        page += ["## A cluster on one host", "", *rows(cluster, table), ""]
        page += ["Without Ray:", "", *(f"- {name}: {why}" for name, why in WITHOUT_RAY.items()), ""]
    if datasets:
        page += ["## Datasets", "", *data_table.rows(datasets), ""]
    yardsticks = [r for r in results if r.system == MACHINE]
    if yardsticks:
        page += ["## What the machine allows", "", "| yardstick | unit | |", "|---|---|---|"]
        page += [f"| {r.name} | {r.unit} | {spread(r)} |" for r in yardsticks]
    return "\n".join(page).rstrip() + "\n"
