"""What was printed: `get_log` and `list_logs`."""

from __future__ import annotations

import fnmatch
import re
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ...client import observing, parameters, state
from ...client.crashes import Crashes
from ...client.jobs import job_lines
from ...exceptions import UnsupportedError
from .api import complain, observe

FOLLOW_S = 0.2
"""How often it is looked for more that was printed."""
LOOK_S = 2.0
"""How often it is looked for crashes."""
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def list_logs(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    glob_filter: str | None = None,
    timeout: float | None = None,
) -> dict[str, list[str]]:
    """The files of what workers have printed, and of the nodes themselves, by group: "worker_out", "worker_err", "node".

    Args:
        address: of which cluster; this one, or the one that runs on this machine.
        node_id, node_ip: only of this node.
        glob_filter: only files that are called so: `"worker-*.err"`.
        timeout: how many seconds each node may take to answer; 5 unless said.

    Raises:
        RayStateApiException: a node does not answer.
        ValueError: there is no such node.
    """
    observer = observe(address, timeout)
    found: dict[str, list[str]] = {}
    for name, group in _names(observer, _members(observer, node_id, node_ip), glob_filter or "*").items():
        found.setdefault(group, []).append(name)
    return found


def _names(observer: observing.Observer, nodes: list[observing.Member], pattern: str) -> dict[str, str]:
    """The names of files that are called so, and their groups."""
    missing: list[str] = []
    found = {
        str(file["name"]): str(file["group"])
        for _, files in observing.ask_each(observer, "list_logs", {}, missing, nodes)
        for file in files
        if fnmatch.fnmatchcase(file["name"], pattern)
    }
    complain(missing, True)
    return found


def get_log(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    timeout: float | None = None,
    suffix: str = "out",
    encoding: str | None = "utf-8",
    errors: str = "replace",
    submission_id: str | None = None,
    attempt_number: int | None = None,
    _interval: float | None = None,
    filter_ansi_code: bool = False,
) -> Iterator[Any]:
    """The lines that workers have printed: what `skate logs` shows.

    Args:
        address: of which cluster; this one, or the one that runs on this machine.
        node_id, node_ip: only of this node.
        filename: one of `list_logs`.
        actor_id, task_id, pid: only of these.
        follow: go on with what comes, without end; of a job until it is over.
        tail: so many lines of each file at first; -1: all that is kept, up to 1 MiB of each node.
        timeout: how many seconds each node may take to answer; 5 unless said.
        suffix: "out" for stdout, "err" for stderr. With `filename` it does not matter.
        encoding: in which lines are read, one in which ASCII is as usual; None for bytes, which are UTF-8.
        errors: what is done about bytes that mean nothing in it: "replace", "ignore", "backslashreplace"; "strict" is an error.
        submission_id: what this submitted job has printed itself; its tasks and actors have printed elsewhere.
        attempt_number: only what this attempt of `task_id` has printed; all, unless said.
        filter_ansi_code: without colours and the like.

    Raises:
        ValueError: there is no such node, file, submitted job, attempt or encoding. Of a task, an actor or a process that is not
            there, nothing was printed.
        RayStateApiException: a node does not answer, or has lines that are not in the encoding.
    """
    if suffix not in ("out", "err"):
        raise ValueError(f'suffix must be "out" or "err", not {suffix!r}')
    parameters.check_encoding(encoding or parameters.UTF_8, errors)
    if submission_id is not None and (encoding, errors) not in ((None, "replace"), (parameters.UTF_8, "replace")):
        raise UnsupportedError("get_log(submission_id=...): what a job has printed itself is read as UTF-8.")
    if attempt_number is not None and not task_id:
        raise ValueError("attempt_number is that of a task: say task_id")
    observer, interval = observe(address, timeout), FOLLOW_S if _interval is None else _interval
    last = None if tail < 0 else tail
    if submission_id is not None:
        lines = job_lines(observer, submission_id, follow, last)
    else:
        wish = {
            "task": str(task_id or ""),
            "actor": str(actor_id or ""),
            "job": "",
            "pid": pid or 0,
            "errors": suffix == "err",
            "tail": last,
            "encoding": encoding or parameters.UTF_8,
            "decode_errors": errors,
        }
        nodes = _members(observer, node_id, node_ip)
        if filename:
            wish |= {"file": filename, "errors": False}
            if filename not in _names(observer, nodes, filename):
                raise ValueError(f"no file is called {filename!r}: list_logs() has their names")
        of_attempt = None if attempt_number is None else _attempt(observer, str(task_id), attempt_number)
        lines = _lines(observer, nodes, wish, follow, interval, of_attempt)
    return map(_shaped(encoding, filter_ansi_code), lines)


def _shaped(encoding: str | None, plain: bool) -> Callable[[str], str | bytes]:
    def shape(line: str) -> str | bytes:
        text = _ANSI.sub("", line) if plain else line
        return text.encode() if encoding is None else text

    return shape


def _members(observer: observing.Observer, node_id: str | None, node_ip: str | None) -> list[observing.Member]:
    found = [
        each for each in observing.members(observer) if node_id in (None, each.id) and node_ip in (None, each.host)
    ]
    if not found and (node_id is not None or node_ip is not None):
        raise ValueError(f"no node that lives is {node_id or node_ip!r}")
    return found


def _attempt(observer: observing.Observer, task: str, number: int) -> tuple[int, int]:
    """The node and the process of an attempt."""
    rows = state.get(observer, "tasks", task).rows
    for row in rows:
        if row["attempt_number"] == number and row["worker_pid"]:
            return row["node_no"], row["worker_pid"]
    known = ", ".join(sorted(str(row["attempt_number"]) for row in rows if row["worker_pid"]))
    raise ValueError(f"no attempt {number} of task {task} has run; there are {known or 'none'}")


def _lines(
    observer: observing.Observer,
    nodes: list[observing.Member],
    wish: dict[str, Any],
    follow: bool,
    interval: float,
    attempt: tuple[int, int] | None,
) -> Iterator[str]:
    """What workers have printed; `attempt`: only this process of this node."""
    if attempt is not None:
        nodes, wish = [member for member in nodes if member.no == attempt[0]], {**wish, "pid": attempt[1]}
    places: dict[int, dict[str, Any]] = {member.no: {} for member in nodes}
    crashes = Crashes(observer, wish["task"]) if wish["task"] and wish["errors"] else None
    looks_at = 0.0
    while True:
        for member in nodes:
            since = places[member.no]
            (word,) = observing.ask_all(observer, "printed", {**wish, "since": since}, [member])
            complain([f"{member}: {word.error}"] if word.error else [], True)
            if word.value["cut"] and not follow:
                warnings.warn(f"{member}: there is more than is returned", stacklevel=2)
            for file in word.value["files"]:
                since[file["name"]] = file["place"]
                if file["is_error"] == wish["errors"] or "file" in wish:
                    yield from (f"{text}\n" for _, _, text in file["lines"])
        if crashes is not None and time.monotonic() >= looks_at:
            missing: list[str] = []
            for crash in crashes.new(nodes, missing):
                if wish["pid"] in (0, crash.pid):
                    yield from (f"{text}\n" for text in crash.last(wish["tail"]))
            complain(missing, True)
            looks_at = time.monotonic() + LOOK_S
        if not follow:
            return
        wish = {**wish, "tail": None}
        time.sleep(interval)
