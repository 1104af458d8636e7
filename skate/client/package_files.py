"""What a machine keeps of runtime environments: packages, what was unpacked of them, and what was installed.

All programs of a user share one folder, so what one has brought or built is there for the next. Each entry has a lock, a file
beside it: who builds the entry holds it alone, who uses it holds it with others, and so does every process that comes from there.
A lock ends with the last process that has it, whatever that dies of. When the entries are more than `CACHE_BYTES_MAX`, those that
nobody has used for longest go. They are built where they stay, as what is installed knows its own path.

INV-1: an entry counts only when it is whole: then its lock file has its size.
INV-2: an entry is built, and removed, by who holds its lock alone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .packages import Package

PACKAGE_BYTES_MAX = 500 << 20
"""The files of a package together: it passes through memory."""
CACHE_BYTES_MAX = 10 << 30
LOCK_AGAIN_S = 0.05
"""How often to look whether another process has finished to build what this one waits for."""
FOLDER = "environments"


class Busy(Exception):
    """Another process did not finish in time."""


class Cache:
    """The folder of one user on one machine."""

    def __init__(self, folder: Path, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self.folder = folder
        self.bytes_max = bytes_max

    @classmethod
    def of_session(cls, session_dir: str) -> Cache:
        """That of the machine that a session's folder is on."""
        folder = Path(session_dir).parent / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        return cls(folder)

    # ------------------------------------------------------------ packages

    def zip_of(self, name: str) -> Path:
        """Where the zip of a package is, or is to be."""
        return self.folder / f"{name}.zip"

    def keep(self, package: Package) -> int:
        """Have a package here; the descriptor of a lock that keeps it."""

        def write(path: Path) -> None:
            path.write_bytes(package.data)

        _, fd = self.entry(f"{package.hash}.zip", write)
        return fd

    def unpacked(self, name: str, timeout_s: float, strip_top: bool = False) -> tuple[Path, int]:
        """The folder of a package whose zip is here, and the descriptor of a lock that keeps it.

        Raises:
            ValueError: it is not a zip that can be trusted.
            Busy: another process did not finish in time.
        """
        from .packages import unpack  # zipfile is not for every process that looks in here

        return self.entry(name, lambda path: unpack(self.zip_of(name), path, strip_top), timeout_s)

    # ------------------------------------------------------------ entries

    def entry(self, name: str, build: Callable[[Path], None], timeout_s: float = 60.0) -> tuple[Path, int]:
        """An entry, built if it is not there; and the descriptor of a lock that keeps it, for as long as it is open anywhere.

        Args:
            name: of the entry.
            build: makes it, a file or a folder, at the path that it is given.
            timeout_s: how long to wait for another process that is building it.

        Raises:
            Busy: that has not finished in time.
        """
        path = self.folder / name
        until = time.monotonic() + timeout_s
        while True:
            fd = self._lock(name, until)
            try:
                if not _size_of(fd):
                    self._make_room()
                    self._build(path, fd, build)
                os.utime(fd)
                fcntl.flock(fd, fcntl.LOCK_SH)  # for a moment it is not locked at all
                if _is_at(fd, self._lock_of(name)):
                    return path, fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def is_locked(self, name: str) -> bool:
        """Whether an entry is not there yet because another process builds it now."""
        try:
            fd = os.open(self._lock_of(name), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)

    def find(self, name: str) -> int | None:
        """The descriptor of a lock that keeps an entry, if that is here and whole."""
        try:
            fd = os.open(self._lock_of(name), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        if _try_lock(fd, fcntl.LOCK_SH) and _size_of(fd) and _is_at(fd, self._lock_of(name)):
            return fd
        os.close(fd)
        return None

    def _lock_of(self, name: str) -> Path:
        return self.folder / f"{name}.lock"

    def _build(self, path: Path, fd: int, build: Callable[[Path], None]) -> None:
        _remove(path)  # of a process that was killed
        try:
            build(path)
            os.pwrite(fd, str(max(1, _bytes_at(path))).encode(), 0)
        except BaseException:
            _remove(path)
            self._lock_of(path.name).unlink(missing_ok=True)
            raise

    def _lock(self, name: str, until: float) -> int:
        path = self._lock_of(name)
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if _try_lock(fd, fcntl.LOCK_EX) and _is_at(fd, path):
                    return fd
                if _try_lock(fd, fcntl.LOCK_SH) and _size_of(fd) and _is_at(fd, path):
                    return fd  # others use it, so nobody builds it
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            if time.monotonic() > until:
                raise Busy(f"another process is still building {self.folder / name}")
            time.sleep(LOCK_AGAIN_S)

    def _make_room(self) -> None:
        """Remove what nobody uses and nobody has used for longest, if there is too much."""
        found: list[tuple[float, Path, int]] = []
        for lock in self.folder.glob("*.lock"):
            try:
                found.append((lock.stat().st_mtime, lock, int(lock.read_text() or 0)))
            except FileNotFoundError:
                continue  # another process makes room, too
        total = sum(size for _, _, size in found)
        for _, lock, size in sorted(found):
            if total <= self.bytes_max:
                return
            if self._remove_unused(lock):
                total -= size

    @staticmethod
    def _remove_unused(lock: Path) -> bool:
        try:
            fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return True
        try:
            if not (_try_lock(fd, fcntl.LOCK_EX) and _is_at(fd, lock)):
                return False
            _remove(lock.with_suffix(""))
            lock.unlink()
            return True
        finally:
            os.close(fd)


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(fd: int, path: Path) -> bool:
    """Whether a lock that was taken is that of the file which is there now."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _size_of(fd: int) -> int:
    """The size of a whole entry, from its lock file."""
    return int(os.pread(fd, 32, 0) or 0)


def _bytes_at(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(path) for name in names)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
