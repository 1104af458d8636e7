"""`skate stack`: what the threads of workers and programs do at the moment."""

from __future__ import annotations

import json
from typing import Any

import click

from ..client.finding import OVER
from ..client.observing import Member, Observer, ask_each
from ..client.why import ID_DIGITS
from .looking import explained, look, meant, members, node_of, note

_OURS = "/skate/worker/"
_INSIDE = "/skate/client/"
"""Where the frames are that call the user's code, and those that are called by it."""
HOW = {"asked": "it looked itself", "signal": "by a signal"}

Stack = dict[str, Any]


def stack(
    what: tuple[str, ...], node: str | None, verbose: bool, address: str | None, temp_dir: str | None, as_json: bool
) -> None:
    """Show the stacks of these processes, or of all processes of a node, or of all nodes."""
    observer = look(address, temp_dir)
    nodes = members(observer)
    if node is not None:
        nodes = [node_of(nodes, node)]
    missing: list[str] = []
    found = [(member, each) for member, stacks in _ask(observer, nodes, what, missing) for each in stacks]
    note(missing)
    if what and not found:
        raise click.ClickException(f"{' '.join(what)}: no node has such a worker or program")
    if as_json:
        click.echo(json.dumps([{"node": member.no, **each} for member, each in found]))
        return
    for member, each in found:
        _show(member, each, verbose)


def _ask(
    observer: Observer, nodes: list[Member], what: tuple[str, ...], missing: list[str]
) -> list[tuple[Member, list[Stack]]]:
    if not what:
        return ask_each(observer, "stacks", None, missing, nodes)
    found: list[tuple[Member, list[Stack]]] = []
    for each in what:
        number, pid = _place(observer, each)
        wanted = nodes if number is None else [member for member in nodes if member.no == number]
        found += ask_each(observer, "stacks", {"pids": [pid]}, missing, wanted)
    return found


def _place(observer: Observer, what: str) -> tuple[int | None, int]:
    """The node, if that is known, and the process of PID, NODE:PID, or of an actor, task or program."""
    if len(what) == ID_DIGITS:
        with explained():
            actor = observer.ask_head("actor", {"id": what})
        if actor is None or not actor["pid"]:
            state = "not known" if actor is None else actor["state"]
            raise click.ClickException(f"actor {what} has no process: it is {state}; `skate why {what}` may say more")
        return actor["node"], actor["pid"]
    node, _, pid = what.rpartition(":")
    if pid.isdigit() and (not node or node.isdigit()):
        return int(node) if node else None, int(pid)
    thing = meant(observer, what, ("actors", "tasks", "jobs"))
    row = thing.rows[0]
    found = row.get("pid") or row.get("worker_pid") or row.get("driver_pid")
    if not found or thing.state in OVER:
        raise click.ClickException(f"{thing}: nothing of it runs; `skate why {thing.ident}` may say more")
    return row.get("node_no"), found


def _show(member: Member, found: Stack, verbose: bool) -> None:
    where = f" on node {member.no}" if member.no else ""
    click.echo(f"{_who(found)}, process {found['pid']}{where} ({HOW[found['how']]}):")
    if found["error"]:
        click.echo(f"    {found['error']}")
    if not verbose and not any(_of_user(thread["frames"]) for thread in found["threads"]) and not found["error"]:
        click.echo("    it waits for work")
    for thread in found["threads"]:
        frames = thread["frames"] if verbose else _of_user(thread["frames"])
        if not frames:
            continue
        click.echo(f"    {thread['thread']}")
        for file, line, name, code in frames:
            click.echo(f"        {name}  {file}:{line}" + (f"    {code}" if code else ""))
    click.echo()


def _who(found: Stack) -> str:
    process = found["process"]
    if process is None:
        return "program"
    if process["actor"]:
        return f"actor {process['class_name']}" + (f" {process['name']!r}" if process["name"] else "")
    return f"worker ({process['state']})"


def _of_user(frames: list[list[Any]]) -> list[list[Any]]:
    """The frames inside of what a worker's loop has called; of a thread that is all our own, nothing."""
    end = next((at for at, (file, *_) in enumerate(frames) if _OURS in file), len(frames))
    start = next((at for at, (file, *_) in enumerate(frames) if _INSIDE not in file), len(frames))
    user = any("/skate/" not in file and not file.endswith("/threading.py") for file, *_ in frames[:end])
    return frames[start:end] if user else []
