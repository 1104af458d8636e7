"""`skate why`: why something is not done, or how it died, in one line.

What is asked about may be written as people write it: an id, its beginning or its end, a name, a process id. An id or a process
is asked about at once; only if nobody knows it, it is looked for in all lists (`client/finding.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from ..client import state
from ..client.chains import Chain, Reason
from ..client.endings import actor_of_past, error_of
from ..client.finding import KINDS, Thing, find
from ..client.observing import Member, Observer, tell_all
from ..client.telling import PENDING_ARGS, PENDING_NODE
from ..client.why import ID_DIGITS, chain_of
from .looking import explained, look, members, note

FIRST = 5
"""So many tasks of each program are explained if none is named: first those that have begun, as others wait for these."""
QUEUED = (PENDING_ARGS, PENDING_NODE)
LOOKED_AT = 1000
"""So many tasks of each program are looked at for that."""
KINDS_OF_PAST = ("tasks", "jobs")
"""What there is of a session that has ended."""
PROGRAM_ENDED = "NotRunningError"
"""How tasks have failed that had not ended when their program did."""
EXIT_UNKNOWN = 1
"""Of something that was asked about nobody knows anything."""


def why(what: tuple[str, ...], address: str | None, temp_dir: str | None, session: str | None, as_json: bool) -> None:
    """Say why things are not done: these, or the first unfinished tasks of each program."""
    observer = look(address, temp_dir, session)
    nodes = {member.no: member for member in members(observer)}
    with explained():
        if what:
            kinds = KINDS if session is None else KINDS_OF_PAST
            chains = {each: _explain(observer, each, nodes, kinds) for each in what}
        else:
            chains = {each: chain_of(observer, each, nodes) for each in _first_of_each(observer)}
            # what has ended since it was listed is not what was asked for
            chains = {each: chain for each, chain in chains.items() if not chain.reasons[0].done}
    _show(chains, as_json)
    if any(chain.reasons[0].unknown for chain in chains.values()):
        raise SystemExit(EXIT_UNKNOWN)


def _show(chains: dict[str, Chain], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([_as_data(each, chain) for each, chain in chains.items()]))
        return
    for line, chain in {str(chain): chain for chain in chains.values()}.items():  # many tasks wait for the same
        click.echo(line, err=chain.reasons[0].unknown)
        for detail in chain.reasons[0].details:
            click.echo(f"    {detail}")
    if not chains:
        click.echo("nothing waits: no program has an unfinished task")


def _as_data(what: str, chain: Chain) -> dict[str, Any]:
    return {"id": what, "text": str(chain), "deadlock": chain.circle, "steps": [asdict(each) for each in chain.reasons]}


def _explain(observer: Observer, what: str, nodes: dict[int, Member], kinds: Sequence[str]) -> Chain:
    is_id = len(what) == ID_DIGITS and set(what) <= set("0123456789abcdef")
    chain = None
    if is_id or all(part.isdigit() for part in what.split(":", 1)):
        chain = chain_of(observer, what, nodes)
        if not chain.reasons[0].unknown or ":" in what:
            return chain
    missing: list[str] = []
    thing = find(observer, what, kinds, missing, last=True)
    note(missing)
    if thing is not None and (thing.ident != what or thing.kind not in ("actors", "tasks", "objects")):
        return _of_thing(observer, thing, nodes)
    if kinds is not KINDS and (actor := actor_of_past(observer, what, nodes.values())):
        return chain_of(observer, actor, nodes)
    here = "here" if kinds is KINDS else "here: of a session that has ended there are tasks, jobs and actors"
    return chain or Chain([Reason(("", what), what, f"{what!r} is no id and no name of anything {here}", unknown=True)])


def _of_thing(observer: Observer, thing: Thing, nodes: dict[int, Member]) -> Chain:
    """Of what is no task, object or actor either its process is asked about, or its row says all."""
    row = thing.rows[0]
    if thing.kind in ("actors", "tasks", "objects"):
        return chain_of(observer, thing.ident, nodes)
    pid = row.get("pid") or (row.get("driver_pid") if thing.state == "RUNNING" else None)
    if pid:
        return chain_of(observer, f"{row['node_no']}:{pid}" if "node_no" in row else str(pid), nodes)
    reason = row.get("message") or row.get("state_message") or (row.get("stats") or {}).get("scheduling_state")
    first, *more = [line for line in str(reason or "").splitlines() if line.strip()] or [""]
    text = f"{thing}; {first}" if first else str(thing)
    if more:  # of a job that has failed: what it has printed last, of which the last line says most
        text += f"; its last output: {more[-1].strip()}"
    if thing.kind == "jobs" and thing.state == "FAILED":
        text += _last_failure(observer, row["job_id"])
    return Chain(
        [Reason((thing.kind, thing.ident), thing.ident, text, done=True, details=more if len(more) > 1 else [])]
    )


def _last_failure(observer: Observer, job: str) -> str:
    """Which task of a job failed last, and how; "" if none did before the job ended."""
    if not job:
        return ""  # its program has not called `init`
    wanted = [("job_id", "=", job), ("state", "=", "FAILED"), ("error_type", "!=", PROGRAM_ENDED)]
    found = state.listed(observer, "tasks", wanted, 1, detail=True)
    note(found.missing)
    return "".join(
        f"; of its tasks, {row['name']} ({row['task_id']}) failed last: {error_of(row)}" for row in found.rows
    )


def _first_of_each(observer: Observer) -> list[str]:
    """The first unfinished tasks of each program; who cannot say is named on stderr."""
    said, silent = tell_all(observer, "tasks", {"limit": LOOKED_AT})
    note(silent)
    found = []
    for _, told in said:
        if not told["worker"]:
            tasks = sorted(told["value"]["tasks"], key=lambda task: task["state"] in QUEUED)
            found += [task["task_id"] for task in tasks[:FIRST]]
            if (more := told["value"]["count"] - FIRST) > 0:
                note([f"{more} more unfinished tasks of process {told['pid']}: see skate list tasks, and skate why ID"])
    return found
