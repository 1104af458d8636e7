"""What workers have printed, for those who ask: read from the log files, of the living and of the dead.

The driver gets all lines as they come (`output.py`); this is for later, and for who looks from elsewhere. An answer is bounded,
and says how far it goes: whoever asks for what comes after that follows a file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..wire import encodings
from .logs import DUMP, NAME_MARK, TASK_MARK, LogFile

if TYPE_CHECKING:
    from .service import Node

ANSWER_BYTES = 1 << 20
"""So much is read for one answer, at the most."""
LOOK_BACK_BYTES = 32 << 20
"""So far back it is looked for the mark that says whose lines are."""
_BLOCK = 1 << 20
_MARK_BYTES_MAX = 1024
"""So long is a mark at the most that is found where two blocks meet."""
CRASH_LINES_MAX = 1000
"""So many lines are told of a crash."""
_MARK = NAME_MARK.encode()
_TASK = TASK_MARK.encode()
_DUMP = DUMP.encode()


class Place(NamedTuple):
    """Up to where a file was read, and whose the lines are that come next."""

    offset: int
    whose: str = ""
    task: str = ""


class Line(NamedTuple):
    """A line, whose it is, and which task has printed it."""

    whose: str
    task: str
    text: str


def printed(node: Node, wish: dict[str, Any]) -> dict[str, Any]:
    """What workers of this node have printed.

    Args:
        node: the node.
        wish: any of "task", "actor", "job" (ids in hexadecimal, or the beginning of them), "pid", "file" (one of `files`, by
            name), "errors" (only what was
            written to stderr), "tail" (so many lines of each file, at the most), "since" (places in files, from an earlier
            answer: only what comes after these, and files that are not among them), "encoding" and "decode_errors" (see
            `wire/encodings.py`).

    Raises:
        ValueError: there is no such encoding, or lines are not in it and that is to be an error.
    """
    how = str(wish.get("encoding") or encodings.PLAIN), str(wish.get("decode_errors") or encodings.HOW[0])
    encodings.check(*how)
    since = {name: Place(*place) for name, place in (wish.get("since") or {}).items()}
    left, cut = ANSWER_BYTES, False
    found = []
    for file in reversed(
        [file for file in _all(node, bool(wish.get("file"))) if _wanted(file, wish)]
    ):  # the newest matter most
        if left <= 0:
            cut = True
            break
        begin = since.get(file.name) or Place(max(file.punched, file.actor_from if wish.get("actor") else 0))
        part = Part(node.output.logs.size(file), file, begin, left, how)
        left -= part.size
        cut |= part.cut
        found.append(_answer(part, wish))
    found.reverse()
    return {"files": found, "cut": cut}


def crash(node: Node, pid: int) -> list[str]:
    """What Python has written when this worker, now dead, crashed: nothing, if it did not.

    With that its stderr ends, but for what C code has written beside it. Other such lines before are of its children.
    """
    files = [file for file in node.output.logs.all() if file.pid == pid and file.is_error and file.crashed]
    if not files:
        return []
    newest = files[-1]  # a process id may be given twice
    part = Part(node.output.logs.size(newest), newest, Place(newest.punched), ANSWER_BYTES)
    texts = [line.text for line in part.lines]
    begins = [at for at, text in enumerate(texts) if text.startswith(DUMP)]
    return texts[begins[-1] :][:CRASH_LINES_MAX] if begins else []


def files(node: Node) -> list[dict[str, Any]]:
    """What files there are of workers, and the node's own; "group" as in Ray."""
    return [
        {
            "name": file.name,
            "group": "node" if not file.pid else "worker_err" if file.is_error else "worker_out",
            "pid": file.pid,
            "job_id": file.job,
            "actor_id": file.actor,
            "size_bytes": node.output.logs.size(file),
        }
        for file in _all(node, own=True)
    ]


def _all(node: Node, own: bool = False) -> list[LogFile]:
    """The files of workers; and those of the node, which are nobody's output."""
    logs = node.output.logs
    return [*logs.all(), *(LogFile(path, "", False) for path in sorted(logs.folder.glob("*.log")) if own)]


def _wanted(file: LogFile, wish: dict[str, Any]) -> bool:
    return (
        (not wish.get("file") or file.name == wish["file"])
        and (not wish.get("errors") or file.is_error)
        and (not wish.get("pid") or file.pid == wish["pid"])
        and (not wish.get("actor") or file.actor.startswith(wish["actor"]))
        and (not wish.get("job") or file.job.startswith(wish["job"]))
    )


def _answer(part: Part, wish: dict[str, Any]) -> dict[str, Any]:
    lines = part.lines
    if wish.get("task"):
        lines = [line for line in lines if line.task.startswith(wish["task"])]
    tail = wish.get("tail")
    if tail is not None:
        lines = lines[max(0, len(lines) - tail) :]
    file = part.file
    return {
        "name": file.name,
        "pid": file.pid,
        "job": file.job,
        "actor": file.actor,
        "is_error": file.is_error,
        "ended": file.ended,
        "place": list(part.end),
        "lines": [list(line) for line in lines],
    }


class Part:
    """The whole lines of a part of a file: from a place on or as far back as there is room for, to its end."""

    def __init__(
        self, size: int, file: LogFile, begin: Place, most: int, how: tuple[str, str] = (encodings.PLAIN, "replace")
    ) -> None:
        """`how`: the encoding, and what is done about bytes that mean nothing in it."""
        self.file = file
        self.how = how
        self.lines: list[Line] = []
        begin = Place(0) if begin.offset > size else begin  # the worker's code has truncated it
        start = max(begin.offset, size - most, min(size, file.punched))
        self.cut = start > begin.offset
        self.size = size - start
        if not self.size:
            self.end = begin
            return
        try:
            fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # its worker has not begun
            self.end = begin
            return
        try:
            data = os.pread(fd, self.size, start)
            if start and (self.cut or start == file.punched):  # in the middle of a line, perhaps
                torn = data.find(b"\n") + 1
                start, data = start + torn, data[torn:]
                begin = _mark_before(fd, start, file.punched)
        finally:
            os.close(fd)
        self._take(Place(start, begin.whose, begin.task), data)

    def _take(self, begin: Place, data: bytes) -> None:
        whole = len(data) if self.file.ended else data.rfind(b"\n") + 1
        _, whose, task = begin
        lines = data[:whole].splitlines()
        dumps = [at for at, line in enumerate(lines) if line.startswith(_DUMP)] if self.file.crashed else []
        for at, line in enumerate(lines):
            if line.startswith(_MARK):
                whose, task = _marked(line)
                continue
            if at in dumps[-1:]:  # whoever has printed last need not be who has crashed
                whose, task = whose if self.file.actor else "", ""
            self.lines.append(Line(whose, task, line.decode(*self.how)))
        self.end = Place(begin.offset + whole, whose, task)


def _mark_before(fd: int, offset: int, stop: int) -> Place:
    """Whose the lines at a place of a file are: the last mark before it says so."""
    stop = max(stop, offset - LOOK_BACK_BYTES)
    end = offset
    while end > stop:
        begin = max(stop, end - _BLOCK)
        data = os.pread(fd, end - begin + _MARK_BYTES_MAX, begin)[: offset - begin]
        at = data.rfind(b"\n" + _MARK)
        if at >= 0:
            return Place(offset, *_marked(data[at + 1 :].partition(b"\n")[0]))
        end = begin
    return Place(offset)


def _marked(line: bytes) -> tuple[str, str]:
    whose, _, task = line[len(_MARK) :].partition(_TASK)
    return whose.decode(errors="replace"), task.decode(errors="replace")
