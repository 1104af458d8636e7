"""`skate why`: why something is not done, or how it died, in one line."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from ..client.observing import Observer, tell_all
from ..client.why import ID_DIGITS, chain_of
from .looking import explained, look, members, note

FIRST = 5
"""So many tasks of each program are explained if none is named."""


def why(what: tuple[str, ...], address: str | None, temp_dir: str | None, as_json: bool) -> None:
    """Say why things are not done: these, or the first unfinished tasks of each program."""
    for each in what:
        _check(each)
    observer = look(address, temp_dir)
    nodes = {member.no: member for member in members(observer)}
    with explained():
        wanted = list(what) or _first_of_each(observer)
        chains = {each: chain_of(observer, each, nodes) for each in wanted}
        if not what:  # what has ended since it was listed is not what was asked for
            chains = {each: chain for each, chain in chains.items() if not chain.reasons[0].done}
    if as_json:
        click.echo(json.dumps([_as_data(each, chain) for each, chain in chains.items()]))
        return
    for line in dict.fromkeys(map(str, chains.values())):  # many tasks wait for the same
        click.echo(line)
    if not chains:
        click.echo("nothing waits: no program has an unfinished task")


def _as_data(what: str, chain: Any) -> dict[str, Any]:
    return {"id": what, "text": str(chain), "deadlock": chain.circle, "steps": [asdict(each) for each in chain.reasons]}


def _check(what: str) -> None:
    is_id = len(what) == ID_DIGITS and set(what) <= set("0123456789abcdef")
    if not is_id and not all(part.isdigit() for part in what.split(":", 1)):
        raise click.UsageError(
            f"{what!r} is not the id of a task, object or actor ({ID_DIGITS} hexadecimal digits), nor PID or NODE:PID of a worker"
        )


def _first_of_each(observer: Observer) -> list[str]:
    """The first unfinished tasks of each program; who cannot say is named on stderr."""
    said, silent = tell_all(observer, "tasks", {"limit": FIRST})
    note(silent)
    return [task["task_id"] for _, told in said if not told["worker"] for task in told["value"]["tasks"]]
