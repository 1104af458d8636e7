"""What jobs bring along: packages of files, which the head keeps until their jobs are over.

A package is named by its hash, comes in parts, and is in the store, as the jobs are: a head that was killed still has it. The
node of a job asks for one part after the other (`job_files.py`), so neither the head nor a connection has a whole one to carry.

INV-1: a package is complete when its row says how many parts it has; before, nothing can be submitted with it.
INV-2: one that no job needs any more is removed `UNUSED_S` after it was last of use.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from ..wire.jobs import PackagePart, WantPackage, packages_of

if TYPE_CHECKING:
    from ..head.store import Store
    from .head_process import HeadProcess

PART_BYTES_MAX = 1 << 20
BYTES_MAX = 4 << 30
"""All packages together."""
UNUSED_S = 600.0
LOOK_S = 30.0
_HASH = re.compile(r"[0-9a-f]{64}")


class Row(Struct, array_like=True):
    """A package."""

    size: int = 0
    """Of the parts that have come."""
    parts: int = 0
    """How many it has; 0: they have not all come."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode


class Packages:
    """The packages of a head."""

    def __init__(self, head: HeadProcess, store: Store) -> None:
        self.head = head
        self.store = store
        self.rows: dict[str, Row] = {}
        self._used: dict[str, float] = {}
        self._look_at = 0.0
        head.node.parts.append(self)

    def restore(self, now: float) -> None:
        """Know what the store has."""
        for key, data in self.store.load("package"):
            self.rows[key.decode()] = _decode(data)
            self._used[key.decode()] = now

    # ------------------------------------------------------------ whoever submits a job

    def has(self, name: str) -> bool:
        """Whether a package is here."""
        if name not in self.rows:
            return False
        self._used[name] = time.monotonic()
        return self.rows[name].parts > 0

    def put(self, argument: dict[str, Any]) -> bool:
        """A part comes: `{"hash", "number", "data", "last"}`; it may come again.

        Raises:
            ValueError: there is something wrong with it, or there is no room.
        """
        name, number, data = str(argument["hash"]), int(argument["number"]), bytes(argument["data"])
        if not _HASH.fullmatch(name) or not 0 <= number < BYTES_MAX // PART_BYTES_MAX or len(data) > PART_BYTES_MAX:
            raise ValueError("this is no part of a package")
        if self.has(name):
            return True
        if sum(row.size for row in self.rows.values()) + len(data) > BYTES_MAX:
            raise ValueError(f"the packages of jobs have {BYTES_MAX} bytes, and that is the most: wait for jobs to end")
        row = self.rows.setdefault(name, Row())
        self._used[name] = time.monotonic()
        row.size = max(row.size, number * PART_BYTES_MAX + len(data))
        self.store.put(_kind(name), number.to_bytes(4, "big"), data)
        if argument.get("last"):
            row.parts = number + 1
        self.store.put("package", name.encode(), _encode(row))
        return True

    # ------------------------------------------------------------ nodes

    def part(self, wanted: WantPackage) -> PackagePart:
        """What a node asks for."""
        row = self.rows.get(wanted.hash)
        data = self.store.get(_kind(wanted.hash), wanted.number.to_bytes(4, "big")) if row is not None else None
        if row is None or data is None:
            return PackagePart(
                wanted.job, wanted.hash, wanted.number, error="the head does not have its files any more"
            )
        return PackagePart(wanted.job, wanted.hash, wanted.number, data, wanted.number + 1 == row.parts)

    # ------------------------------------------------------------ time

    def _needed(self) -> Iterable[str]:
        for job in self.head.jobs.table.living.values():
            yield from packages_of(job.spec.runtime_env)

    def on_time(self, now: float) -> None:
        """Remove what is of no use any more."""
        if not self.rows or now < self._look_at:
            return
        self._look_at = now + LOOK_S
        self._used.update((name, now) for name in self._needed() if name in self.rows)
        for name in [name for name in self.rows if now - self._used[name] > UNUSED_S]:
            self.remove(name)

    def remove(self, name: str) -> None:
        """Forget a package."""
        row = self.rows.pop(name)
        del self._used[name]
        for number in range(row.size // PART_BYTES_MAX + 1):  # not as `load` gives them: that reads all bytes
            self.store.delete(_kind(name), number.to_bytes(4, "big"))
        self.store.delete("package", name.encode())

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        return max(0.0, self._look_at - now) if self.rows else None


def _kind(name: str) -> str:
    return f"package:{name}"
