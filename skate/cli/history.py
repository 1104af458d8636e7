"""`skate events`, `skate timeline` and `skate history`: what has happened."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from ..client import past, state
from ..client.words import several
from .listing import table
from .looking import explained, look, note

FOLLOW_S = 0.5
"""How often the nodes are asked for news."""
SEVERITIES = ("INFO", "WARNING", "ERROR")


def events(
    follow: bool,
    severity: str,
    limit: int,
    as_json: bool,
    address: str | None,
    temp_dir: str | None,
    session: str | None,
) -> None:
    """Show what has happened."""
    shown = SEVERITIES[SEVERITIES.index(severity) :]
    after: dict[int, int] = {}
    told: set[str] = set()
    looked = look(address, temp_dir, session)
    while True:
        with explained():
            found, missing = state.events(looked, after, limit)
        note([each for each in missing if each not in told])
        told.update(missing)
        for event in found:
            if event["severity"] in shown:
                click.echo(json.dumps(event) if as_json else _line(event))
        if not follow:
            return
        time.sleep(FOLLOW_S)


def _line(event: dict[str, Any]) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
    where = f"node {event['node_no']}  " if event["node_no"] else ""
    return f"{at}  {event['severity']:<7}  {event['source']:<15}  {where}{event['text']}"


def timeline(file: str | None, address: str | None, temp_dir: str | None, session: str | None) -> None:
    """Write a trace."""
    with explained():
        trace, missing = state.timeline(look(address, temp_dir, session))
    note(missing)
    if file is None:
        click.echo(json.dumps(trace))
        return
    try:
        with open(file, "w") as out:
            json.dump(trace, out)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from None
    count = sum(each["ph"] == "X" for each in trace)
    click.echo(f"{several(count, 'task')} in {file}: open it in https://ui.perfetto.dev")


def history(session: str | None, sql: str | None, temp_dir: str | None, as_json: bool) -> None:
    """List sessions, or ask one."""
    if sql is not None:
        with explained():
            names, rows = past.query(past.find(session or "last", temp_dir), sql)
            found = [dict(zip(names, row, strict=True)) for row in rows]
        if as_json:
            click.echo(json.dumps(found))
        else:
            for line in table(found):
                click.echo(line)
        return
    with explained():
        known = past.sessions(temp_dir) if session is None else [past.find(session, temp_dir)]
    sessions = [
        {
            "session": each.name,
            "state": "running" if each.running else "ended",
            "last_change": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.changed)),
            "size_mb": round(each.size_bytes / 1e6, 1),
            "file": str(each.path),
        }
        for each in known
    ]
    if as_json:
        click.echo(json.dumps(sessions))
        return
    if not sessions:
        click.echo("no history is kept on this machine")
        return
    for line in table(sessions):
        click.echo(line)
