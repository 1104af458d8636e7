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
        _ask(session or "last", sql, temp_dir, as_json)
        return
    with explained():
        known = past.clusters(temp_dir) if session is None else [past.fellows(past.find(session, temp_dir), temp_dir)]
    if as_json:
        click.echo(json.dumps([{**_cluster(files), "files": [_file(each) for each in files]} for files in known]))
        return
    if not known:
        click.echo("no history is kept on this machine")
        return
    rows = []
    for files in known:
        rows.append(_cluster(files))
        if sum(not each.of_head for each in files) > 1:
            rows[-1]["file"] = ""
            rows += [{**_file(each), "session": f"- {each.name}"} for each in files]
    for line in table(rows):
        click.echo(line)


def _ask(session: str, sql: str, temp_dir: str | None, as_json: bool) -> None:
    """All files of the cluster are asked as one."""
    with explained():
        found = past.find(session, temp_dir)
        others = [each for each in past.fellows(found, temp_dir) if each.path != found.path]
        if len(others) > past.OTHERS_MAX:
            note([f"{len(others) + 1} nodes have histories here: only {past.OTHERS_MAX + 1} of them are asked"])
        names, rows = past.query(found, sql, others[: past.OTHERS_MAX])
        answer = [dict(zip(names, row, strict=True)) for row in rows]
    if as_json:
        click.echo(json.dumps(answer))
        return
    for line in table(answer):
        click.echo(line)


def _cluster(files: list[past.Past]) -> dict[str, Any]:
    """The files of one cluster, or the only file of a program, as a row."""
    count = sum(not each.of_head for each in files)
    return {
        "session": files[0].name,
        "state": "running" if any(each.running for each in files) else "ended",
        "nodes": several(count, "node") if files[0].node_no else "a program",
        "last_change": _time(max(each.changed for each in files)),
        "size_mb": round(sum(each.size_bytes for each in files) / 1e6, 1),
        "file": str(files[0].path),
    }


def _file(each: past.Past) -> dict[str, Any]:
    return {
        "session": each.name,
        "state": "running" if each.running else "ended",
        "nodes": "its head" if each.of_head else f"node {each.node_no}",
        "last_change": _time(each.changed),
        "size_mb": round(each.size_bytes / 1e6, 1),
        "file": str(each.path),
    }


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
