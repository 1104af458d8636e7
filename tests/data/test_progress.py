"""What is shown of an execution."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest
from rich.console import Console

import skate.data as data
from skate.data import DataContext, progress
from skate.data.execution.executor import Execution
from skate.data.run import execute


def begun() -> Execution:
    """An execution of three blocks."""
    ds = data.from_arrow([pa.table({"id": [1, 2, 3]}), pa.table({"id": [4]}), pa.table({"id": [5]})]).filter(
        expr="id > 0"
    )
    return execute(ds._node, DataContext())


def shown(execution: Execution) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(progress._table(execution, "numbers"))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_line_for_each_operator() -> None:
    execution = begun()
    bundles = iter(execution)
    assert [next(bundles).meta.rows for _ in range(2)] == [3, 1]
    text = shown(execution)
    assert "numbers" in text and "Filter" in text and "3" in text and "32 B" in text
    part = progress.fraction(execution.sink)
    assert 0 < part < 1
    list(bundles)
    assert progress.fraction(execution.sink) == 1.0
    assert "━" * progress.BAR in shown(execution)


def test_what_runs_here_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(progress, "_shown", lambda *_: pytest.fail("it was shown"))
    assert data.range(10).filter(expr="id > 3").count() == 6


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")])
def test_sizes(count: int, text: str) -> None:
    assert progress.size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:00"), (61, "1:01"), (3661, "1:01:01")])
def test_durations(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_the_environment_turns_bars_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DataContext().enable_progress_bars
    monkeypatch.setenv("SKATE_DATA_DISABLE_PROGRESS_BARS", "1")
    assert not DataContext().enable_progress_bars
