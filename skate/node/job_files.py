"""The files that a job brings along, on their way from the head to the job's node.

The node asks for a part, writes it, and asks for the next, until it has all packages of the job. A question that is not
answered, as when the head was killed, is asked again.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..wire.jobs import JobSpec, PackagePart, WantPackage, packages_of

if TYPE_CHECKING:
    from .service import Node

ASK_AGAIN_S = 1.0


class Fetch:
    """The packages of one job."""

    def __init__(self, node: Node, spec: JobSpec, folder: Path, then: Callable[[str], None]) -> None:
        """`then(error)` is called when all are there (error ""), or cannot be had."""
        self.node = node
        self.spec = spec
        self.folder = folder
        self.then = then
        self._missing = deque(dict.fromkeys(packages_of(spec.runtime_env)))
        self._number = 0
        self.ask_at = 0.0

    def ask(self) -> None:
        """Ask for the next part, or be done."""
        if not self._missing:
            self.then("")
            return
        self.ask_at = time.monotonic() + ASK_AGAIN_S
        assert self.node.cluster is not None
        self.node.cluster.send_to_head(WantPackage(self.spec.id, self._missing[0], self._number))

    def on_part(self, part: PackagePart) -> None:
        """A part comes; one that is here already may come again."""
        if not self._missing or (part.hash, part.number) != (self._missing[0], self._number):
            return
        if part.error:
            self.then(part.error)
            return
        try:
            self._write(part)
        except OSError as error:
            self.then(f"its files cannot be written: {error}")
            return
        self._number += 1
        if part.last:
            self._missing.popleft()
            self._number = 0
        self.ask()

    def _write(self, part: PackagePart) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_TRUNC if not part.number else 0)
        fd = os.open(zip_of(self.folder, part.hash), flags, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(part.data)


def zip_of(folder: Path, name: str) -> Path:
    """Where a package of a job is on its node."""
    return folder / f"{name}.zip"
