"""The files of spilled objects, written and read by two threads, so that the node's loop never waits for a disk.

A file is the bytes of its objects, one after the other. Bytes go through a small buffer that stays in the processor's cache,
where their checksum costs least, and between arena and buffer by `pread` and `pwrite`: nothing is mapped, and nothing can be a
SIGBUS.

A root is a folder, in which the node makes one of its own (mode 0700, named after host and process, so that the next start can
tell what a killed node has left), or a URL, for which fsspec is imported.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any
from urllib.parse import urlsplit

from ..wire.config import SpillConfig
from .reports import Reports
from .spilling import Read, Write

PREFIX = "skate-spilled"


class Unreadable(Exception):
    """What was written cannot be read again, or is not what was written."""


class Folder:
    """A root on a file system of this machine."""

    def __init__(self, path: str, session: str, capacity_threshold: float) -> None:
        self.path = Path(path, f"{PREFIX}-{socket.gethostname()}-{os.getpid()}-{session}")
        self._capacity_threshold = capacity_threshold
        self._made = False

    def create(self, number: int, size: int) -> IO[bytes]:
        """A new file to write `size` bytes to."""
        if not self._made:
            self._made = True
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(self.path.parent)
            self.path.mkdir(mode=0o700, exist_ok=True)
        disk = os.statvfs(self.path)
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        if free - size < total * (1 - self._capacity_threshold):
            raise OSError(errno.ENOSPC, f"{self.path.parent} has {free} bytes left")
        fd = os.open(self.path / str(number), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        return open(fd, "wb", buffering=0)

    def open(self, number: int) -> IO[bytes]:
        """A file to read."""
        return open(self.path / str(number), "rb", buffering=0)

    def remove(self, number: int) -> None:
        """Remove a file."""
        (self.path / str(number)).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)


class Remote:
    """A root that fsspec knows."""

    def __init__(self, url: str, session: str) -> None:
        self._url = f"{url.rstrip('/')}/{PREFIX}-{socket.gethostname()}-{os.getpid()}-{session}"
        self._fs: Any = None
        self._path = ""

    def _connect(self) -> Any:
        if self._fs is None:
            try:
                from fsspec.core import url_to_fs  # type: ignore[import-not-found,import-untyped,unused-ignore]
            except ImportError as error:
                raise OSError(errno.ENOSYS, f"spilling to {self._url} needs fsspec: pip install fsspec") from error
            self._fs, self._path = url_to_fs(self._url)
            self._fs.makedirs(self._path, exist_ok=True)
        return self._fs

    def create(self, number: int, size: int) -> IO[bytes]:
        """A new file to write to."""
        file: IO[bytes] = self._connect().open(f"{self._path}/{number}", "wb")
        return file

    def open(self, number: int) -> IO[bytes]:
        """A file to read."""
        file: IO[bytes] = self._connect().open(f"{self._path}/{number}", "rb")
        return file

    def remove(self, number: int) -> None:
        """Remove a file."""
        self._connect().rm(f"{self._path}/{number}")

    def close(self) -> None:
        """Remove everything."""
        if self._fs is not None and self._fs.exists(self._path):
            self._fs.rm(self._path, recursive=True)


def _remove_stale(folder: Path) -> None:
    """What nodes of this host have left that were killed."""
    mark = f"{PREFIX}-{socket.gethostname()}-"
    for path in folder.glob(f"{mark}*"):
        pid = path.name.removeprefix(mark).partition("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(path, ignore_errors=True)


def root_of(root: str, session: str, config: SpillConfig) -> Folder | Remote:
    """The root of a path or a URL."""
    parts = urlsplit(root)
    if parts.scheme in ("", "file"):
        return Folder(parts.path if parts.scheme else root, session, config.capacity_threshold)
    return Remote(root, session)


class SpillFiles:
    """The two threads. What they have done they report."""

    def __init__(self, config: SpillConfig, arena_fd: int, session: str) -> None:
        self._config = config
        self._arena_fd = arena_fd
        self._roots = [root_of(root, session, config) for root in config.roots]
        self.reports = Reports()
        self._write: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._read: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def _start(self) -> None:
        if not self._threads:
            for name, queue in (("spill", self._write), ("restore", self._read)):
                self._threads.append(threading.Thread(target=_work, args=(queue,), name=f"skate-{name}", daemon=True))
                self._threads[-1].start()

    def write(self, job: Write, then: Callable[[list[int], str], None]) -> None:
        """Write a file; `then(checksums, error)`."""
        self._start()

        def work() -> None:
            try:
                sums, error = self._write_file(job), ""
            except Exception as failure:  # of whatever library the root belongs to
                sums, error = [], f"{type(failure).__name__}: {failure}"
                self._try_remove(job.root, job.file)
            self.reports.add(lambda: then(sums, error))

        self._write.put(work)

    def _write_file(self, job: Write) -> list[int]:
        size = sum(size for _, _, size in job.pieces)
        sums = []
        buffer = memoryview(bytearray(self._config.buffer_size))
        with self._roots[job.root].create(job.file, size) as file:
            for _, offset, size in job.pieces:
                checksum, end = 0, offset + size
                while offset < end:
                    count = os.preadv(self._arena_fd, [buffer[: min(len(buffer), end - offset)]], offset)
                    checksum = zlib.crc32(buffer[:count], checksum)
                    _write_all(file, buffer[:count])
                    offset += count
                sums.append(checksum)
        return sums

    def _try_remove(self, root: int, number: int) -> None:
        try:
            self._roots[root].remove(number)
        except Exception:
            return  # it was perhaps never made; what is left goes with the session

    def read(self, job: Read, then: Callable[[str, bool], None]) -> None:
        """Read an object; `then(error, lost)`: not `lost` if only memory was lacking."""
        self._start()

        def work() -> None:
            error, lost = "", False
            try:
                os.posix_fallocate(self._arena_fd, job.offset, job.part.size)
                self._read_part(job)
            except Unreadable as failure:
                error, lost = str(failure), True
            except OSError as failure:
                error = f"the machine has no memory for it: {failure}"
            self.reports.add(lambda: then(error, lost))

        self._read.put(work)

    def _read_part(self, job: Read) -> None:
        part = job.part
        where = f"its spill file {part.file} in {self._config.roots[job.root]}"
        buffer = memoryview(bytearray(self._config.buffer_size))
        offset, end, checksum = job.offset, job.offset + part.size, 0
        try:
            file = self._roots[job.root].open(part.file)
        except Exception as failure:
            raise Unreadable(f"{where} cannot be opened: {type(failure).__name__}: {failure}") from failure
        with file:
            try:
                file.seek(part.at)
            except Exception as failure:
                raise Unreadable(f"{where} cannot be read: {type(failure).__name__}: {failure}") from failure
            while offset < end:
                try:
                    count: int = file.readinto(buffer[: min(len(buffer), end - offset)])  # type: ignore[attr-defined]
                except Exception as failure:
                    raise Unreadable(f"{where} cannot be read: {type(failure).__name__}: {failure}") from failure
                if not count:
                    raise Unreadable(f"{where} is too short")
                checksum = zlib.crc32(buffer[:count], checksum)
                at = 0
                while at < count:
                    at += os.pwrite(self._arena_fd, buffer[at:count], offset + at)
                offset += count
        if checksum != part.checksum:
            raise Unreadable(f"{where} is corrupt: its checksum is {checksum:08x}, not {part.checksum:08x}")

    def remove(self, root: int, number: int) -> None:
        """Remove a file that nobody needs any more."""
        self._write.put(lambda: self._try_remove(root, number))

    def close(self) -> None:
        """End the threads, and remove all files."""
        self._write.put(None)
        self._read.put(None)
        for thread in self._threads:
            thread.join()
        for root in self._roots:
            try:
                root.close()
            except Exception as error:
                print(f"spilled files were left behind: {error}", flush=True)
        self.reports.close()


def _work(queue: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := queue.get()) is not None:
        job()


def _write_all(file: IO[bytes], data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]
