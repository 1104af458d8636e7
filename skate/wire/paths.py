"""Paths of Unix sockets: the kernel takes no more than 107 bytes, and folders of sessions may be deeper than that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

PATH_BYTES_MAX = 107


@contextmanager
def short(path: str) -> Iterator[str]:
    """The same place by a path that is short enough, to bind or connect to."""
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield path
        return
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)
