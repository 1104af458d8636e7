"""How objects look in a notebook: tables that are readable in light and in dark, and by a screen reader.

Colours and fonts are those of the notebook, nothing is said by colour alone, and every heading says of what it is one. All text
is escaped here, and only here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

_TABLE = '<table style="text-align: left; color: inherit; background: transparent">'
_CELL = ' style="text-align: left; vertical-align: top; white-space: pre-wrap"'


def facts(title: str, values: Mapping[str, Any]) -> str:
    """A table of what there is to know of one thing.

    Example:
        >>> "<th scope=\\"row\\"" in facts("A thing", {"size": "<1"}) and "&lt;1" in facts("A thing", {"size": "<1"})
        True
    """
    rows = "".join(
        f'<tr><th scope="row"{_CELL}>{_text(name)}</th>{_cell(value)}</tr>' for name, value in values.items()
    )
    return f"{_TABLE}{_caption(title)}<tbody>{rows}</tbody></table>"


def grid(title: str, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of many things of one kind; the first column has their names."""
    head = "".join(f'<th scope="col"{_CELL}>{_text(heading)}</th>' for heading in headings)
    body = "".join(
        f'<tr><th scope="row"{_CELL}>{_text(name)}</th>{"".join(map(_cell, rest))}</tr>' for name, *rest in rows
    )
    return f"{_TABLE}{_caption(title)}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def options_text(options: Mapping[str, Any]) -> str:
    """The options that somebody has given.

    Example:
        >>> options_text({"num_cpus": 2, "name": "a"})
        "num_cpus=2, name='a'"
    """
    return ", ".join(f"{name}={value!r}" for name, value in options.items()) or "none"


class Bar:
    """A cell that says how much of something is done, from 0 to 1."""

    def __init__(self, part: float) -> None:
        self.part = part


def _cell(value: Any) -> str:
    if isinstance(value, Bar):
        percent = f"{value.part:.0%}"
        return f'<td{_CELL}><progress max="1" value="{value.part:.3f}" aria-label="{percent} done"></progress> {percent}</td>'
    return f"<td{_CELL}>{_text(value)}</td>"


def _caption(title: str) -> str:
    return f'<caption style="text-align: left; color: inherit"><b>{_text(title)}</b></caption>'


def _text(value: Any) -> str:
    from html import escape  # every driver imports this file, and few show anything

    return escape(str(value))


class Shown:
    """HTML below the cell of a notebook that may be changed later."""

    def __init__(self, content: str) -> None:
        ipython: Any = import_module("IPython.display")
        self._html = ipython.HTML
        self._handle = ipython.display(ipython.HTML(content), display_id=True)

    def change(self, content: str) -> None:
        """Show this in its place."""
        self._handle.update(self._html(content))


def notebook() -> Any:
    """IPython's shell, if this process is the kernel of a notebook; else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None
