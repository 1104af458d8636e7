"""The output of workers: written by them to files, followed here with inotify, read as whole lines.

A worker writes straight to its own file, so that printing never waits for the node, nothing is lost when a process dies,
and the last lines before a death can be read. A line that begins with NAME_MARK names whose output follows, and after a
TASK_MARK the task that printed it.

A file does not grow on disk for as long as its worker lives: what was read longer ago than `KEPT_BYTES` is cut out, which
leaves a hole, so that all offsets stay. Of what was not read yet there is at most `UNREAD_BYTES_MAX`; what is older is
lost, and a line says so.

What a dead worker has printed is kept for those who ask later (`printed.py`): the last `DEAD_BYTES` of each of the last
`DEAD_MAX` files.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path

from ..store.arena import PAGE

NAME_MARK = "\x00skate:"
TASK_MARK = "\x00"
TAIL_LINES = 10
TAIL_BYTES = 32768
"""Of each stream that is looked at for its last lines; what Python writes of a crash may be most of it."""
DUMP = "Fatal Python error: "
"""How what `faulthandler` writes begins, when a signal ends a process."""
LINE_BYTES_MAX = 64 * 1024
KEPT_BYTES = 32 << 20
"""Of what was read so much stays in the file; a hole is made when there is twice as much."""
UNREAD_BYTES_MAX = 1 << 30
DEAD_BYTES = 256 << 10
DEAD_MAX = 200

_IN_MODIFY = 0x2
_IN_Q_OVERFLOW = 0x4000
_EVENT = struct.Struct("iIII")
_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02
_MARK = NAME_MARK.encode()
_TASK = TASK_MARK.encode()
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]

Lines = list[tuple[str, list[str]]]
"""Whose, and what they have printed."""


class LogFile:
    """One stream of one worker."""

    __slots__ = (
        "actor", "actor_from", "crashed", "done", "ended", "is_error", "job", "name", "offset", "path", "pid", "punched",
        "rest", "whose",
    )  # fmt: skip

    def __init__(self, path: Path, job: str, is_error: bool) -> None:
        self.path = path
        self.name = path.name
        self.job = job
        self.is_error = is_error
        self.pid = 0
        self.actor = ""
        """The actor that its worker is or was, in hexadecimal."""
        self.actor_from = 0
        """Where its lines begin; those before are of tasks that the worker had run."""
        self.offset = 0
        self.punched = 0
        self.rest = b""
        self.whose = ""
        self.ended = False
        """Its worker is dead: nothing more is written to it."""
        self.crashed = False
        """A signal has ended its worker: what Python writes then may be in it."""
        self.done = False
        """It was read to its end."""


class Logs:
    """The log files of the workers of one node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "inotify is not available")
        if _libc.inotify_add_watch(self.fd, os.fsencode(folder), _IN_MODIFY) < 0:
            raise OSError(ctypes.get_errno(), f"cannot watch {folder}")
        self.unread: dict[str, LogFile] = {}
        """Files that may have something to read, the one that has waited longest first."""
        self._files: dict[str, LogFile] = {}
        self._dead: dict[str, LogFile] = {}
        """Files of dead workers, the oldest first."""
        self._can_punch = True
        for name in ("worker-*.out", "worker-*.err"):  # of a node that was here before this one
            for path in folder.glob(name):
                path.unlink()

    # ------------------------------------------------------------ the lives of files

    def paths(self, worker: int, job: str) -> tuple[str, str]:
        """The files for a new worker's stdout and stderr."""
        out, err = (LogFile(self.folder / name, job, name.endswith("err")) for name in _names(worker))
        self._files[out.name] = out
        self._files[err.name] = err
        return str(out.path), str(err.path)

    def of_worker(self, worker: int) -> list[LogFile]:
        """The files of a worker."""
        return [self._files[name] for name in _names(worker) if name in self._files]

    def became(self, worker: int, actor: str) -> None:
        """The worker is an actor from now on."""
        for file in self.of_worker(worker):
            file.actor, file.actor_from = actor, self.size(file)

    def all(self) -> list[LogFile]:
        """All files that there are, those of dead workers first."""
        return [*self._dead.values(), *self._files.values()]

    def of_job(self, job: str) -> list[LogFile]:
        """The files of all workers of a job."""
        return [file for file in self._files.values() if file.job == job]

    def started(self, worker: int, pid: int) -> None:
        """The worker has a process."""
        for file in self.of_worker(worker):
            file.pid = pid

    def ended(self, worker: int, crashed: bool = False) -> list[LogFile]:
        """The worker is dead, perhaps by a signal: of its files the ends are kept when they have been read."""
        files = self.of_worker(worker)
        for file in files:
            file.ended, file.crashed = True, crashed
            self.unread[file.name] = file
        return files

    def _retire(self, file: LogFile) -> None:
        """Of the file of a dead worker that was read, the end is kept."""
        if self._files.pop(file.name, None) is None:
            return
        if self.size(file) == 0:
            file.path.unlink(missing_ok=True)
            file.done = True
            return
        self._cut(file, (self.size(file) - DEAD_BYTES) // PAGE * PAGE)
        file.done = True
        if not self._can_punch:
            file.path.unlink(missing_ok=True)
            return
        self._dead[file.name] = file
        if len(self._dead) > DEAD_MAX:
            self._dead.pop(next(iter(self._dead))).path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop watching."""
        os.close(self.fd)

    # ------------------------------------------------------------ reading

    def note_changes(self) -> None:
        """Find out which files have something to read."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            _, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            if mask & _IN_Q_OVERFLOW:  # there were more changes than the kernel remembers
                self.unread.update(self._files)
                return
            file = self._files.get(data[at : at + length].rstrip(b"\0").decode())
            if file is not None:
                self.unread.setdefault(file.name, file)
            at += length

    def size(self, file: LogFile) -> int:
        """How much was written to a file so far."""
        try:
            return file.path.stat().st_size
        except FileNotFoundError:  # the worker has not begun, or could not be started
            return 0

    def read(self, file: LogFile, most: int) -> tuple[Lines, int]:
        """The next whole lines of at most so many bytes, and how many bytes were read.

        A file that has nothing more to read is not in `unread` afterwards.
        """
        self.unread.pop(file.name, None)
        lines = self._skip_to_newer(file)
        data = self._next(file, most)
        file.offset += len(data)
        last = len(data) < most
        lines += self._lines(file, data, last and file.ended)
        if not last:
            self.unread[file.name] = file
        elif file.ended:
            self._retire(file)
        self._punch(file)
        return lines, len(data)

    def skip(self, file: LogFile) -> None:
        """Nobody wants to see what is in this file."""
        self.unread.pop(file.name, None)
        file.offset = self.size(file)
        file.rest = b""
        if file.ended:
            self._retire(file)
        self._punch(file)

    def _next(self, file: LogFile, most: int) -> bytes:
        try:
            fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(fd, most, file.offset)
        finally:
            os.close(fd)

    def _skip_to_newer(self, file: LogFile) -> Lines:
        """Of a file that is far behind half is skipped, so that this is rare."""
        size = self.size(file)
        if size < file.offset:  # the worker's code has truncated it
            file.offset = file.punched = 0
        if size - file.offset <= UNREAD_BYTES_MAX:
            return []
        before = file.offset
        file.offset = size - UNREAD_BYTES_MAX // 2 - 1  # perhaps the end of a line: then none is torn
        file.offset += self._next(file, LINE_BYTES_MAX).find(b"\n") + 1
        file.rest = b""
        lost = file.offset - before
        return [(file.whose, [f"[{lost} bytes were printed faster than they could be shown, and are lost]"])]

    def _lines(self, file: LogFile, data: bytes, final: bool) -> Lines:
        whole = file.rest + data
        cut = len(whole) if final else whole.rfind(b"\n") + 1
        if not cut and len(whole) > LINE_BYTES_MAX:
            cut = len(whole)
        file.rest = whole[cut:]
        found: Lines = []
        lines: list[str] = []
        for line in whole[:cut].splitlines():  # of bytes: at \n and \r, and nowhere else
            if line.startswith(_MARK):
                whose = line[len(_MARK) :].partition(_TASK)[0].decode(errors="replace")
                if lines and whose != file.whose:
                    found.append((file.whose, lines))
                    lines = []
                file.whose = whose
            else:
                lines.append(line.decode(errors="replace"))
        if lines:
            found.append((file.whose, lines))
        return found

    def _punch(self, file: LogFile) -> None:
        """Cut out what was read long ago."""
        if file.done or not self._can_punch or file.offset - file.punched < 2 * KEPT_BYTES:
            return
        self._cut(file, (file.offset - max(KEPT_BYTES, TAIL_BYTES)) // PAGE * PAGE)

    def _cut(self, file: LogFile, end: int) -> None:
        """Give back the disk space of what comes before `end`."""
        if end <= file.punched or not self._can_punch:
            return
        try:
            fd = os.open(file.path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if _libc.fallocate(fd, _KEEP_SIZE_PUNCH_HOLE, file.punched, end - file.punched):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            finally:
                os.close(fd)
        except OSError as error:
            self._can_punch = False
            print(f"log files grow while their workers live: {file.path}: {error}", file=sys.stderr, flush=True)
        file.punched = end

    def tail(self, worker: int) -> list[str]:
        """The last lines that a worker printed, stderr after stdout; what Python has written of a crash counts for none."""
        lines: list[str] = []
        for name in _names(worker):
            try:
                with open(self.folder / name, "rb") as handle:
                    size = handle.seek(0, 2)
                    handle.seek(max(0, size - TAIL_BYTES))
                    found = [line for line in handle.read().splitlines() if not line.startswith(_MARK)]
            except FileNotFoundError:
                continue
            crash = next((at for at, line in enumerate(found) if line.startswith(DUMP.encode())), len(found))
            lines.extend(line.decode(errors="replace") for line in found[max(0, crash - TAIL_LINES) :])
        return lines


def _names(worker: int) -> tuple[str, str]:
    return f"worker-{worker}.out", f"worker-{worker}.err"
