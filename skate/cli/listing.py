"""`skate list`, `get` and `summary`: rows of things, as a table, JSON or YAML."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import click

from ..client import filters as conditions, finding, state
from .looking import Explained, checked, explained, look, note

_MS: dict[str, int] = dict.fromkeys(("creation_time_ms", "start_time_ms", "end_time_ms"), 1000)
TIMES: dict[str, dict[str, int]] = {"cluster-events": {"time": 1}, "tasks": _MS, "jobs": _MS}
"""Which columns of which kinds are times, and how many of their units make a second."""
WIDTH_MAX = 60
"""A longer text is cut in a table; `--format yaml` and `--json` have all of it."""


def list_things(
    kind: str,
    filters: tuple[str, ...],
    limit: int,
    detail: bool,
    how: str,
    as_json: bool,
    timeout: float | None,
    explain: bool,
    address: str | None,
    temp_dir: str | None,
    session: str | None,
) -> None:
    """Show the things of a kind."""
    with checked():
        wanted = conditions.check(map(conditions.parse, filters), [*state.COLUMNS[kind], *state.DETAILS[kind]], kind)
    observer = look(address, temp_dir, session, timeout)
    with explained():
        found = state.listing(Explained(observer) if explain else observer, kind, wanted, limit, detail)
    show(found, kind, how, as_json)


def get_thing(
    kind: str,
    ident: str,
    how: str,
    as_json: bool,
    timeout: float | None,
    address: str | None,
    temp_dir: str | None,
    session: str | None,
) -> None:
    """Show one thing."""
    missing: list[str] = []
    other = None
    with explained():
        observer = look(address, temp_dir, session, timeout)
        thing = finding.find(observer, ident, (kind,), missing)
        if thing is None:
            other = finding.find(observer, ident, [each for each in finding.KINDS if each != kind], [])
    if thing is None:
        note(missing)
        hint = f"; there is {other}" if other is not None else ""
        raise click.ClickException(f"{ident!r} is not among the {kind} that are known{hint}")
    found = state.Listing(list(thing.rows), len(thing.rows), missing)
    show(found, kind, "yaml" if how == "default" else how, as_json)


def show(found: state.Listing, kind: str, how: str, as_json: bool) -> None:
    """Print rows."""
    if as_json:
        click.echo(
            json.dumps({"rows": found.rows, "total": found.total, "missing": found.missing, "notes": found.notes})
        )
        return
    note([*found.missing, *found.notes])
    if how == "json":
        click.echo(json.dumps(found.rows))
    elif how == "yaml":
        click.echo(yaml(found.rows))
    else:
        readable = [_readable(row, kind) for row in found.rows]
        rows, same = narrowed(readable, shutil.get_terminal_size().columns if sys.stdout.isatty() else 0)
        for line in table(rows):
            click.echo(line)
        if same:
            click.echo(f"the same in all rows: {', '.join(same)}", err=True)
        if found.total != len(found.rows):
            count = len(found.rows)
            said = f"the first {count} of more {kind}" if found.total < 0 else f"{count} of {found.total} {kind}"
            click.echo(f"{said}: say --limit for others, or --filter", err=True)


def _readable(row: dict[str, Any], kind: str) -> dict[str, Any]:
    """A row with local times in place of seconds and milliseconds since 1970."""
    columns = TIMES.get(kind, {})
    return {name: local(value / columns[name]) if name in columns and value else value for name, value in row.items()}


def local(at: float) -> str:
    """A time as people read it, with milliseconds."""
    return datetime.fromtimestamp(at).isoformat(" ", "milliseconds")


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Lines with columns below their names."""
    if not rows:
        yield "none"
        return
    names = list(rows[0])
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(names))]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def narrowed(rows: Sequence[dict[str, Any]], width: int) -> tuple[Sequence[dict[str, Any]], list[str]]:
    """Rows for a terminal of so many columns (0: it is none): without what is the same in all of them, if they are too long.

    Returns:
        The rows; and what was left out, but for what is empty, as `name=value`.
    """
    if not width or len(rows) < 2 or max(map(len, table(rows))) <= width:
        return rows, []
    first = {name: _cell(value) for name, value in rows[0].items()}
    same = [name for name, cell in first.items() if all(_cell(row[name]) == cell for row in rows)]
    kept = [{name: value for name, value in row.items() if name not in same} for row in rows]
    return (kept if kept[0] else rows), [f"{name}={first[name]}" for name in same if first[name] and kept[0]]


def _cell(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    text = " ".join(text.split())
    return text if len(text) <= WIDTH_MAX else text[: WIDTH_MAX - 1] + "…"


def yaml(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as YAML, whose values are those of JSON."""
    lines = []
    for row in rows:
        for at, (name, value) in enumerate(row.items()):
            lines.append(f"{'  ' if at else '- '}{name}: {json.dumps(value)}")
    return "\n".join(lines) or "[]"


def summarize(
    kind: str,
    as_json: bool,
    timeout: float | None,
    address: str | None,
    temp_dir: str | None,
    session: str | None,
) -> None:
    """Count things."""
    with explained():
        found, missing = state.summarize(look(address, temp_dir, session, timeout), kind)
    counts = {name: group["state_counts"] for name, group in found["summary"].items()}
    if as_json:
        click.echo(json.dumps({"summary": counts, "missing": missing}))
        return
    note(missing)
    first = state.SUMMARIES[kind][0]
    states = sorted({name for each in counts.values() for name in each})
    rows = [
        {first: name, **{each: group.get(each, 0) for each in states}}
        for name, group in sorted(counts.items(), key=lambda entry: -sum(entry[1].values()))
    ]
    for line in table(rows):
        click.echo(line)
