"""How far an execution is: a line for each operator on a terminal, and a table in a notebook.

The counters of the operators are read while another thread may change them: each is one number, so what is shown is at most a
moment old.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..client.display import Bar, Shown, grid, notebook
from .context import DataContext
from .execution.executor import Execution
from .execution.inline import InlineRunner
from .execution.operators import Bundle, InputOperator, Operator
from .execution.stats import size

if TYPE_CHECKING:
    from rich.table import Table

REFRESH_PER_SECOND = 4
BAR = 24
"""Characters."""
WIDTHS = {"": BAR, "tasks": 5, "rows": 9, "bytes": 9, "left": 5}
"""What columns have at least; long names of operators are cut instead."""


def watched(execution: Execution, context: DataContext, name: str | None = None) -> Iterator[Bundle]:
    """The bundles of an execution; meanwhile a terminal shows how far it is. What runs here is over too soon for that."""
    if not context.enable_progress_bars or isinstance(execution.runner, InlineRunner):
        return iter(execution)
    if notebook() is not None:
        return _shown_in_notebook(execution, name)
    has_rich = importlib.util.find_spec("rich") is not None  # who has installed pyarrow alone has no bars
    return _shown(execution, name) if has_rich and sys.stderr.isatty() else iter(execution)


def _shown(execution: Execution, name: str | None) -> Iterator[Bundle]:
    from rich.console import Console
    from rich.live import Live

    live = Live(
        get_renderable=lambda: _table(execution, name),
        console=Console(stderr=True),
        refresh_per_second=REFRESH_PER_SECOND,
        transient=True,
    )
    with live:
        yield from execution


def _shown_in_notebook(execution: Execution, name: str | None) -> Iterator[Bundle]:
    """A table below the cell, which a thread renews; it is taken away at the end, as on a terminal."""
    over = threading.Event()
    shown = Shown(_html(execution, name))

    def renew() -> None:
        while not over.wait(1 / REFRESH_PER_SECOND):
            shown.change(_html(execution, name))

    thread = threading.Thread(target=renew, name="skate-progress", daemon=True)
    thread.start()
    try:
        yield from execution
    finally:
        over.set()
        thread.join()
        shown.change("")


def _html(execution: Execution, name: str | None) -> str:
    rows = []
    for operator in execution.operators:
        if not isinstance(operator, InputOperator):
            title, _, *rest = _row(operator, execution.stats().seconds)
            rows.append((title, Bar(fraction(operator)), *rest))
    return grid(name or "Dataset", ("Operator", "Done", "Tasks", "Rows", "Bytes", "Left"), rows)


def _table(execution: Execution, name: str | None) -> Table:
    from rich.table import Table

    table = Table(box=None, title=name, title_justify="left", pad_edge=False)
    table.add_column("operator", no_wrap=True, overflow="ellipsis")
    for heading, width in WIDTHS.items():
        table.add_column(heading, justify="right", no_wrap=True, min_width=width)
    for operator in execution.operators:
        if not isinstance(operator, InputOperator):
            table.add_row(*_row(operator, execution.stats().seconds))
    return table


def _row(operator: Operator, seconds: float) -> list[str]:
    part = fraction(operator)
    full = int(BAR * part)
    left = "" if not 0 < part < 1 else duration(seconds * (1 - part) / part)
    tasks = f"{operator.stats.tasks}" + (f"+{operator.running}" if operator.running else "")
    return [
        operator.name,
        "━" * full + "╌" * (BAR - full),
        tasks,
        f"{operator.stats.rows_out:,}",
        size(operator.stats.bytes_out),
        left,
    ]


def fraction(operator: Operator) -> float:
    """About how much of an operator's work is done, from 0 to 1: of what has come so far, times how much of all that is."""
    if isinstance(operator, InputOperator) or operator.finished:
        return 1.0 if operator.finished else _given(operator)
    above = min((_given(source) for source in operator.inputs), default=1.0)
    waiting = len(getattr(operator, "queue", ())) + operator.running
    total = operator.stats.tasks + waiting
    return above * operator.stats.tasks / total if total else 0.0


def _given(operator: Operator) -> float:
    """How much of what an operator has to give was taken."""
    if not isinstance(operator, InputOperator):
        return fraction(operator)
    return operator.stats.blocks_out / operator.total if operator.total else 1.0


def duration(seconds: float) -> str:
    """Seconds, for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
