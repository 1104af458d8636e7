"""The output of workers: written by them to files, followed here with inotify, handed on as whole lines.

A worker writes straight to its own file, so that printing never waits for the node, nothing is lost when a process dies,
and the last lines before a death can be read. A line that begins with NAME_MARK names whose output follows.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

NAME_MARK = "\x00skate:"
READ_BYTES = 1 << 20
TAIL_LINES = 10
TAIL_BYTES = 8192
LINE_BYTES_MAX = 64 * 1024

_IN_MODIFY = 0x2
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class _File:
    __slots__ = ("is_error", "name", "offset", "rest", "worker")

    def __init__(self, worker: int, is_error: bool) -> None:
        self.worker = worker
        self.is_error = is_error
        self.offset = 0
        self.rest = b""
        self.name = ""


class Logs:
    """The log files of the workers of one node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "inotify is not available")
        if _libc.inotify_add_watch(self.fd, os.fsencode(folder), _IN_MODIFY) < 0:
            raise OSError(ctypes.get_errno(), f"cannot watch {folder}")
        self._files: dict[str, _File] = {}

    def paths(self, worker: int) -> tuple[str, str]:
        """The files for a new worker's stdout and stderr."""
        names = f"worker-{worker}.out", f"worker-{worker}.err"
        self._files[names[0]] = _File(worker, False)
        self._files[names[1]] = _File(worker, True)
        return str(self.folder / names[0]), str(self.folder / names[1])

    def changed(self) -> Iterator[tuple[int, bool, str, list[str]]]:
        """New lines: (worker, is_error, whose, lines)."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return
        names = set()
        at = 0
        while at < len(data):
            _, _, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            names.add(data[at : at + length].rstrip(b"\0").decode())
            at += length
        for name in names:
            yield from self._read(name)

    def drain(self, worker: int | None = None) -> Iterator[tuple[int, bool, str, list[str]]]:
        """All lines that were not handed on yet, of one worker or of all."""
        for name, file in list(self._files.items()):
            if worker is None or file.worker == worker:
                yield from self._read(name, final=worker is not None)

    def _read(self, name: str, final: bool = False) -> Iterator[tuple[int, bool, str, list[str]]]:
        file = self._files.get(name)
        if file is None:
            return
        while True:
            try:
                with open(self.folder / name, "rb") as handle:
                    handle.seek(file.offset)
                    data = handle.read(READ_BYTES)
            except FileNotFoundError:
                return
            file.offset += len(data)
            if data or (final and file.rest):
                yield from self._lines(file, data, final and len(data) < READ_BYTES)
            if len(data) < READ_BYTES:
                return

    def _lines(self, file: _File, data: bytes, final: bool) -> Iterator[tuple[int, bool, str, list[str]]]:
        whole = file.rest + data
        cut = len(whole) if final else whole.rfind(b"\n") + 1
        if not cut and len(whole) > LINE_BYTES_MAX:
            cut = len(whole)
        file.rest = whole[cut:]
        lines: list[str] = []
        for line in whole[:cut].decode(errors="replace").splitlines():
            if line.startswith(NAME_MARK):
                if lines:
                    yield file.worker, file.is_error, file.name, lines
                    lines = []
                file.name = line[len(NAME_MARK) :]
            else:
                lines.append(line)
        if lines:
            yield file.worker, file.is_error, file.name, lines

    def tail(self, worker: int) -> list[str]:
        """The last lines that a worker printed, stderr after stdout."""
        lines: list[str] = []
        for name in (f"worker-{worker}.out", f"worker-{worker}.err"):
            try:
                with open(self.folder / name, "rb") as handle:
                    size = handle.seek(0, 2)
                    handle.seek(max(0, size - TAIL_BYTES))
                    text = handle.read().decode(errors="replace")
            except FileNotFoundError:
                continue
            lines.extend([line for line in text.splitlines() if not line.startswith(NAME_MARK)][-TAIL_LINES:])
        return lines

    def forget(self, worker: int) -> None:
        """The worker is dead and its output was handed on: remove the files."""
        for name in (f"worker-{worker}.out", f"worker-{worker}.err"):
            self._files.pop(name, None)
            (self.folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Stop watching."""
        os.close(self.fd)
