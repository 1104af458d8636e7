"""`skate stack`: what the threads of workers and programs do at the moment, or have done for some seconds.

Processes are asked, or get a signal (`node/stacks.py`). py-spy, which needs rights and has to be installed, is taken for the
frames of C code, and for a process that neither answers nor heeds its signal.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from ..client.finding import OVER, Thing
from ..client.observing import Member, Observer, ask_each
from ..client.why import ID_DIGITS
from .looking import explained, look, meant, members, node_of, note

_OURS = "/skate/worker/"
_INSIDE = "/skate/client/"
"""Where the frames are that call the user's code, and those that are called by it."""
_OF_LIBRARIES = re.compile(r"/skate/[a-z_/]+\.py$|/lib/python[0-9.]+/|/(site|dist)-packages/|^<")
HOW = {"asked": "it looked itself", "signal": "by a signal", "py-spy": "by py-spy"}
SPY_S = 60.0
"""How long a node may take to have py-spy look at its processes."""
LOOKS_PER_S = 50

Stack = dict[str, Any]
Found = list[tuple[Member, Stack]]


class Wanted:
    """Whose stacks are wanted, and how to ask for them."""

    def __init__(self, address: str | None, temp_dir: str | None, what: tuple[str, ...], node: str | None) -> None:
        observer = look(address, temp_dir)
        nodes = members(observer)
        if node is not None:
            nodes = [node_of(nodes, node)]
        self._observers = {"stacks": observer}
        self._where = address, temp_dir
        self.places: list[tuple[list[Member], int | None]] = []
        """Nodes, and a process of one of them; None: all processes."""
        for each in what:
            number, pid = _place(observer, each)
            self.places.append(([member for member in nodes if number in (None, member.no)], pid))
        if not what:
            self.places.append((nodes, None))

    def observer(self, question: str) -> Observer:
        """Who asks: py-spy takes its time, but a node that hangs is not to be waited for so long when it is not needed."""
        if question not in self._observers:
            self._observers[question] = look(*self._where, answer_s=SPY_S)
        return self._observers[question]

    def ask(self, question: str, missing: list[str], **argument: Any) -> Found:
        """What the nodes answer."""
        observer = self.observer(question)
        found: Found = []
        for nodes, pid in self.places:
            whole = argument if pid is None else {**argument, "pids": [pid]}
            for member, stacks in ask_each(observer, question, whole, missing, nodes):
                found += [(member, each) for each in stacks]
        return found


def stack(
    what: tuple[str, ...],
    node: str | None,
    verbose: bool,
    native: bool,
    flame: str | None,
    seconds: int,
    address: str | None,
    temp_dir: str | None,
    as_json: bool,
) -> None:
    """Show the stacks of these processes, or of all processes of a node, or of all nodes."""
    wanted = Wanted(address, temp_dir, what, node)
    missing: list[str] = []
    if flame is not None and as_json:
        raise click.UsageError("--flame draws a picture: not with --json")
    if flame is not None:
        _draw(wanted, flame, seconds, native, verbose, missing)
        return
    if native:
        found = wanted.ask("spy", missing, native=True)
    else:
        found = [(member, _spied(wanted, member, each)) for member, each in wanted.ask("stacks", missing)]
    note(missing)
    if what and not found:
        raise _nobody(what)
    if as_json:
        click.echo(json.dumps([{"node": member.no, **each} for member, each in found]))
    else:
        for member, each in found:
            _show(member, each, verbose)
    if native and found and all(each["error"] for _, each in found):
        raise SystemExit(1)


def _nobody(what: tuple[str, ...]) -> click.ClickException:
    return click.ClickException(f"{' '.join(what)}: no node has such a worker or program")


def _spied(wanted: Wanted, member: Member, found: Stack) -> Stack:
    """The same of a process that has said nothing, by py-spy if that can be had."""
    if not found["error"]:
        return found
    trouble: list[str] = []
    for _, stacks in ask_each(wanted.observer("spy"), "spy", {"pids": [found["pid"]]}, trouble, [member]):
        for each in stacks:
            if not each["error"]:
                return dict(each)
            trouble.append(each["error"])
    return {**found, "error": "; ".join([found["error"], *trouble])}


def _place(observer: Observer, what: str) -> tuple[int | None, int]:
    """The node, if that is known, and the process of PID, NODE:PID, or of an actor, task or program."""
    if len(what) == ID_DIGITS:
        with explained():
            actor = observer.ask_head("actor", {"id": what})
        if actor is not None and not actor["pid"]:
            words = f"it is {actor['state']}; `skate why {what}` may say more"
            raise click.ClickException(f"actor {what} has no process: {words}")
        if actor is not None:
            return actor["node"], actor["pid"]
    node, _, pid = what.rpartition(":")
    if len(what) != ID_DIGITS and pid.isdigit() and (not node or node.isdigit()):
        return int(node) if node else None, int(pid)
    thing = meant(observer, what, ("actors", "tasks", "jobs"), rather=_runs)
    row, found = thing.rows[0], _pid(thing)
    if not found or thing.state in OVER:
        raise click.ClickException(f"{thing}: nothing of it runs; `skate why {thing.ident}` may say more")
    return row.get("node_no"), found


def _pid(thing: Thing) -> Any:
    row = thing.rows[0]
    return row.get("pid") or row.get("worker_pid") or row.get("driver_pid")


def _runs(thing: Thing) -> bool:
    return bool(_pid(thing)) and thing.state not in OVER


# ------------------------------------------------------------ as text


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
        own = _own(frames)
        click.echo(
            f"    {thread['thread']}" + (f", at {_line(own)}" if own is not None and own is not frames[0] else "")
        )
        for frame in frames:
            click.echo(f"        {_line(frame)}")
    click.echo()


def _line(frame: list[Any]) -> str:
    file, line, name, code = frame
    place = f"{file}:{line}" if line else file
    return f"{name}  {place}" + (f"    {code}" if code else "")


def _own(frames: list[list[Any]]) -> list[Any] | None:
    """The innermost frame of the user's own code: what libraries do for it, and skate, is seldom the question."""
    return next((frame for frame in frames if not _OF_LIBRARIES.search(frame[0])), None)


def _who(found: Stack) -> str:
    process = found["process"]
    if process is None:
        return "program"
    if process["actor"]:
        return f"actor {process['class_name']}" + (f" {process['name']!r}" if process["name"] else "")
    return f"worker ({process['state']})"


def _of_user(frames: list[list[Any]]) -> list[list[Any]]:
    """The frames inside of what a worker's loop has called; of a thread that is all our own, nothing. C code has no lines."""
    end = next((at for at, (file, *_) in enumerate(frames) if _OURS in file), len(frames))
    start = next((at for at, (file, *_) in enumerate(frames) if _INSIDE not in file), len(frames))
    user = any(line and "/skate/" not in file and not file.endswith("/threading.py") for file, line, *_ in frames[:end])
    return frames[start:end] if user else []


# ------------------------------------------------------------ as a flame graph


def _draw(wanted: Wanted, path: str, seconds: int, native: bool, verbose: bool, missing: list[str]) -> None:
    """Watch for some seconds, and draw what was seen."""
    if not os.access(Path(path).parent, os.W_OK):
        raise click.ClickException(f"{path} cannot be written: there is no such folder, or it is not yours")
    from ..dashboard.flames import flame
    from .flames import picture

    stacks: Counter[tuple[str, ...]] = Counter()
    if native:
        for _, each in wanted.ask("spy", missing, native=True, seconds=seconds):
            missing += [f"process {each['pid']}: {each['error']}"] if each["error"] else []
            for frames, count in each["samples"]:
                own = max((at for at, frame in enumerate(frames) if _OURS in frame), default=-1)
                stacks[tuple(frames if verbose else frames[own + 1 :])] += count
    else:
        end = time.monotonic() + seconds
        while (begun := time.monotonic()) < end:
            for _, each in wanted.ask("stacks", missing):
                missing += [f"process {each['pid']}: {each['error']}"] if each["error"] else []
                for thread in each["threads"]:
                    frames = thread["frames"] if verbose else _of_user(thread["frames"])
                    if frames:
                        stacks[tuple(f"{name} ({file}:{line})" for file, line, name, _ in reversed(frames))] += 1
            time.sleep(max(0.0, begun + 1 / LOOKS_PER_S - time.monotonic()))
    note(list(dict.fromkeys(missing)))
    if not stacks:
        raise click.ClickException(f"nothing was seen in {seconds} s: there is no such process, or it waits for work")
    looks = sum(stacks.values())
    root = flame(list(frames) for frames, count in stacks.items() for _ in range(count))
    try:
        Path(path).write_text(picture(root, f"{looks} stacks in {seconds} s"), encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
    click.echo(f"{looks} stacks are drawn in {path}")
