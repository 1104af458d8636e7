"""The table of lines about datasets: all systems side by side, and how many times better skate is than others."""

from __future__ import annotations

from ..lines import DASK, DUCKDB, POLARS, RAY, SKATE, Result

SYSTEMS = {SKATE: "skate", RAY: "Ray Data", DASK: "Dask", POLARS: "Polars", DUCKDB: "DuckDB"}
RAY_GOAL, POLARS_GOAL = 5.0, 0.5
Table = dict[tuple[str, str], Result]


def times(table: Table, name: str, other: str) -> float | None:
    """How many times less skate needs than another system; None if it cannot be told."""
    ours, theirs = table.get((SKATE, name)), table.get((other, name))
    if ours is None or theirs is None or not ours.value or not theirs.value:
        return None
    return theirs.value / ours.value


def verdict(table: Table, name: str) -> str:
    """Whether a line meets the goals that can be told."""
    if (ours := table.get((SKATE, name))) is None or ours.error:
        return "FAIL" if ours else ""
    found = {"Ray": (times(table, name, RAY), RAY_GOAL), "Polars": (times(table, name, POLARS), POLARS_GOAL)}
    missed = [who for who, (value, goal) in found.items() if value is not None and value < goal]
    if missed:
        return f"FAIL: {' and '.join(missed)}"
    return "pass" if any(value is not None for value, _ in found.values()) else ""


def rows(results: list[Result]) -> list[str]:
    """The table in Markdown, and what is to be known about it."""
    from ..report import number, spread

    table = {(result.system, result.name): result for result in results}
    shown = [system for system in SYSTEMS if any(result.system == system for result in results)]
    head = ["line", "unit", *(SYSTEMS[system] for system in shown), "× Ray", "× Polars", "× DuckDB", "goals"]
    out = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    names = dict.fromkeys(result.name for result in results)
    for name in names:
        any_result = next(result for result in results if result.name == name)
        cells = [name.removeprefix("data: "), any_result.unit]
        cells += [spread(table.get((system, name))) for system in shown]
        cells += [number(times(table, name, system)) for system in (RAY, POLARS, DUCKDB)]
        out.append("| " + " | ".join([*cells, verdict(table, name)]) + " |")
    verdicts = [verdict(table, name) for name in names]
    passed, failed = verdicts.count("pass"), sum(each.startswith("FAIL") for each in verdicts)
    goals = f"Goals: at least {RAY_GOAL:g} × Ray Data, no less than {POLARS_GOAL:g} × Polars: {passed} passed, {failed} failed."
    return [goals, "", *out, "", "An empty cell: that system has no way to do it, or was not measured."]
