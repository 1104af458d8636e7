"""The text format of Prometheus, version 0.0.4.

Pure: families in, pieces of text out. A piece is a few hundred lines at most, so whoever writes them can do something else
between two of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LINES_PER_PIECE = 200

Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float]
"""What stands after the family's name, labels, and the value."""


class Family(NamedTuple):
    """A metric with all its samples."""

    name: str
    kind: str
    """"counter", "gauge" or "histogram"."""
    help: str
    samples: Iterable[Sample]


def pieces(families: Iterable[Family]) -> Iterator[str]:
    """The text, in pieces. A family without samples is left out."""
    lines: list[str] = []
    for family in families:
        head = f"# HELP {family.name} {_escape(family.help)}\n# TYPE {family.name} {family.kind}\n"
        for suffix, labels, value in family.samples:
            lines.append(f"{head}{family.name}{suffix}{_labels(labels)} {number(value)}\n")
            head = ""
            if len(lines) >= LINES_PER_PIECE:
                yield "".join(lines)
                lines.clear()
    if lines:
        yield "".join(lines)


def number(value: float) -> str:
    """A value, as Go reads it."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_quote(value)}"' for key, value in labels) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quote(text: str) -> str:
    return _escape(text).replace('"', '\\"')
