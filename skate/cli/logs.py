"""`skate logs`: what workers have printed, from any machine of the cluster, also of workers that have died."""

from __future__ import annotations

import fnmatch
import json
import time
from typing import Any

import click

from ..client import observing, state
from ..client.crashes import Crash, Crashes
from ..client.filters import LIKE
from ..client.jobs import job_lines
from ..client.observing import Member, Observer, Word, ask_all, ask_each
from ..client.parameters import DECODE_ERRORS, UTF_8, check_encoding
from ..exceptions import RayError
from .listing import table
from .looking import checked, explained, look, meant, members, node_of, note

LOOK_S = 0.2
"""How often it is looked for more, unless that is said."""
LOOK_NODES_S = 2.0
"""How often it is looked for other nodes, and for crashes."""


def logs(
    what: tuple[str, ...],
    ident: str,
    pid: str,
    task: str,
    actor: str,
    job: str,
    worker: str,
    node: str | None,
    node_ip: str | None,
    follow: bool,
    tail: int,
    err: bool,
    interval: float | None,
    encoding: str | None,
    encoding_errors: str | None,
    address: str | None,
    temp_dir: str | None,
    as_json: bool,
) -> None:
    """Print the lines of these workers, and with `follow` what comes."""
    if interval is not None and not follow:
        raise click.UsageError("--interval is how often it is looked for more: say --follow, too")
    how = {"encoding": encoding or UTF_8, "decode_errors": encoding_errors or DECODE_ERRORS[0]}
    with checked():
        check_encoding(how["encoding"], how["decode_errors"])
    named = _named(what, ident, pid)
    task, actor, worker = named.get("task", task), named.get("actor", actor), named.get("worker", worker)
    observer = look(address, temp_dir)
    nodes = [each for each in members(observer) if node_ip in (None, each.host)]
    number, _, digits = worker.rpartition(":")
    if digits and not digits.isdigit():
        raise click.UsageError(f"{worker!r} is not PID or NODE:PID")
    if node or number:
        nodes = [node_of(nodes, node or number)]
    if not nodes:
        raise click.ClickException(f"no node that lives is at {node_ip}")
    last = None if tail < 0 else tail
    if "job" in named and _is_submitted(observer, named["job"]):
        if (interval, encoding, encoding_errors) != (None, None, None):
            raise click.UsageError("what a job has printed itself is UTF-8, and comes as it is printed")
        with explained():
            for line in job_lines(observer, named["job"], follow, last):
                click.echo(line, nl=False)
        return
    file = one_file(observer, nodes, named["file"], as_json) if "file" in named else ""
    if file is None:
        return  # there are several, and they are listed
    task, actor = _ident(observer, task, "tasks"), _ident(observer, actor, "actors")
    job = _job(observer, named.get("job", job))
    wish = how | {
        "task": task,
        "actor": actor,
        "job": job,
        "pid": int(digits or 0),
        "errors": err,
        "tail": last,
        "file": file,
    }
    reader = Reader(observer, nodes, wish, as_json)
    reader.read()
    reader.crashed()
    if follow:
        _follow(reader, bool(node or number or node_ip), LOOK_S if interval is None else interval)
    if not reader.lines and tail:
        _nothing(reader, observer)


def _nothing(reader: Reader, observer: Observer) -> None:
    """There is not a line: if there is what should have printed it, that is an answer, too.

    Raises:
        click.ClickException: nobody knows it, or who might have printed it does not answer.
    """
    if reader.silent:
        raise click.ClickException("the nodes that answer have nothing of it, and others do not answer")
    for what, kind, column in (
        ("task", "tasks", "task_id"),
        ("actor", "actors", "actor_id"),
        ("job", "jobs", "job_id"),
        ("pid", "workers", "pid"),
    ):
        ident = reader.wish[what]
        if not ident or (reader.files and what != "task"):
            continue
        with explained():
            found = state.listed(observer, kind, [(column, "=" if what == "pid" else LIKE, ident)], 1, False)
        if not found.rows:
            note(found.missing)
            raise click.ClickException(f"no {'worker' if what == 'pid' else what} {ident} is known")
    note([f"nothing was printed{' to stderr' if reader.wish['errors'] else ''}, or nothing of it is kept"])


def _follow(reader: Reader, same_nodes: bool, interval: float) -> None:
    looked = time.monotonic()
    reader.wish = {**reader.wish, "tail": None}
    while True:
        time.sleep(interval)
        due = time.monotonic() - looked > LOOK_NODES_S
        if due and not same_nodes:
            reader.look()
        reader.read()
        if due:
            reader.crashed()
            looked = time.monotonic()


_KINDS = ("actor", "task", "job", "worker")


def _named(what: tuple[str, ...], ident: str, pid: str) -> dict[str, str]:
    """What the words of Ray's command mean, as one of our options, or a file by its name."""
    if what[:1] == ("cluster",):
        what = what[1:] or ("*",)
    if not what and (ident or pid):
        raise click.UsageError("--id and --pid are of an actor, a task, a job or a worker: say of which of these")
    if not what or what[0] not in _KINDS:
        if len(what) > 1:
            raise click.UsageError(f"say one file, or one pattern in quotes, not {' '.join(what)}")
        return {"file": what[0]} if what else {}
    kind, ident = what[0], ident or " ".join(what[1:])
    if kind == "worker" or (kind == "actor" and pid):
        kind, ident = "worker", pid or ident
    if not ident:
        raise click.UsageError(f"which {kind}? say which by {'--pid' if kind == 'worker' else '--id'}")
    return {kind: ident}


def _is_submitted(observer: Observer, ident: str) -> bool:
    with explained():
        return bool(state.listing(observer, "jobs", [("submission_id", "=", ident)], 1).rows)


def one_file(observer: Observer, nodes: list[Member], pattern: str, as_json: bool) -> str | None:
    """The name of the only file that is called so; None: there are several, and they were listed."""
    missing: list[str] = []
    found = [
        {"node": member.no, **file}
        for member, files in ask_each(observer, "list_logs", {}, missing, nodes)
        for file in files
        if fnmatch.fnmatchcase(file["name"], pattern)
    ]
    note(missing)
    if not found:
        raise click.ClickException(f"no file is called {pattern!r}: `skate logs '*'` lists all of them")
    if len(found) == 1:
        return str(found[0]["name"])
    if as_json:
        click.echo(json.dumps(found))
    else:
        shown = ("node", "group", "name", "pid", "size_bytes")
        for line in table([{name: file[name] for name in shown} for file in found]):
            click.echo(line)
    return None


def _ident(observer: Observer, text: str, kind: str) -> str:
    """An id, or its beginning, as it was said; else the id of what has this name."""
    if set(text.lower()) <= set("0123456789abcdef"):
        with explained():
            if not text or not state.listing(observer, kind, [("name", "=", text)], 1).rows:
                return text
    return meant(observer, text, (kind,), last=True).ident


def _job(observer: Observer, text: str) -> str:
    """The id that the workers of a job have it by; a submitted job has another, too."""
    if not text or (set(text.lower()) <= set("0123456789abcdef") and not _is_submitted(observer, text)):
        return text
    row = meant(observer, text, ("jobs",)).rows[0]
    if not row["job_id"]:
        raise click.ClickException(
            f"job {text} has not called init(), so it has no workers: `skate job logs {text}` shows what it has printed itself"
        )
    return str(row["job_id"])


class Reader:
    """Asks nodes for what is new."""

    def __init__(self, observer: Observer, nodes: list[Member], wish: dict[str, Any], as_json: bool) -> None:
        self.observer = observer
        self.nodes = nodes
        self.wish = wish
        self.as_json = as_json
        self.files = 0
        """So many were read, with and without lines. Of a task they say nothing: any may have lines of it."""
        self.lines = 0
        self._since: dict[int, dict[str, Any]] = {}
        """By node: up to where each file was read, of those that the node has still."""
        self.silent: set[int] = set()
        """Nodes that have not answered."""
        self._crashes = Crashes(observer, wish["task"]) if wish["task"] and not wish.get("file") else None

    def look(self) -> None:
        """Ask which nodes there are now. Those that were known stay as long as nobody says."""
        try:
            self.nodes = observing.members(self.observer)
        except (ConnectionError, ValueError, RayError):
            return  # if no node answers, reading says so
        known = {member.no for member in self.nodes}
        self._since = {number: since for number, since in self._since.items() if number in known}
        self.silent &= known

    def read(self) -> None:
        """Print what has come since the last time."""
        for member in list(self.nodes):
            since = self._since.setdefault(member.no, {})
            (word,) = ask_all(self.observer, "printed", {**self.wish, "since": since}, [member])
            if word.error:
                if member.no not in self.silent:
                    click.echo(f"note: {member}: {word.error}", err=True)
                self.silent.add(member.no)
                self.nodes.remove(member)
                continue
            self.silent.discard(member.no)
            self._since[member.no] = self._show(word, since)
        if not self.nodes:
            raise click.ClickException("no node answers")

    def crashed(self) -> None:
        """Print what Python has written when a process of the task crashed, if that was not printed yet."""
        if self._crashes is None:
            return
        missing: list[str] = []
        try:
            for crash in self._crashes.new(self.nodes, missing):
                self._show_crash(crash)
        except (ConnectionError, ValueError, RayError) as error:
            missing.append(str(error))
        for each in missing:
            click.echo(f"note: {each}", err=True)

    def _show_crash(self, crash: Crash) -> None:
        for text in crash.last(self.wish["tail"]):
            self._print(crash.member.no, {"pid": crash.pid, "is_error": True}, crash.name, crash.task, text)

    def _print(self, node: int, file: dict[str, Any], whose: str, task: str, text: str) -> None:
        self.lines += 1
        if self.as_json:
            keys = {key: file.get(key, "") for key in ("pid", "job", "actor", "is_error")}
            click.echo(json.dumps({"node": node, **keys, "whose": whose, "task": task, "line": text}))
        else:
            where = f", node {node}" if node else ""
            who = whose or ("actor" if file.get("actor") else "worker")
            click.echo(f"({who} pid={file['pid']}{where}) {text}")

    def _show(self, word: Word, since: dict[str, Any]) -> dict[str, Any]:
        """Print it; up to where it goes."""
        reached: dict[str, Any] = {}
        if word.value["cut"]:
            click.echo(f"note: node {word.member.no}: there is more than is shown", err=True)
            reached.update(since)  # not all files are in the answer
        for file in word.value["files"]:
            self.files += 1
            reached[file["name"]] = file["place"]
            for whose, task, text in file["lines"]:
                self._print(word.member.no, file, whose, task, text)
        return reached
