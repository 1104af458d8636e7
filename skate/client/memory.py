"""Shared memory as one client sees it: blocks that it writes, blocks that it reads, and what becomes of them.

A client asks its node for memory rarely and in bulk, and cuts blocks out of it by itself: a put needs no round trip.
What it frees it keeps, warm, for its next block, up to `CACHE_BYTES`.

A block lives as long as anything in this process needs it: a reference, a task that is under way, or a view that
somebody still holds (an array that was read without a copy). Its end is the end of the `Block` object.

INV-1: `free` and the blocks with `mine` set are disjoint, and together all memory that the node gave.
INV-2: a block that this process has agreed to forget the place of (`offset` 0) is neither `mine` nor in `lent`, and has no view.
INV-3: a block that the node knows (`held`) is freed by the node's word (`Freed`) only; one it does not, at once.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from typing import Any

from ..store.arena import ALIGN, Arena
from ..store.ranges import Ranges

GRANT_BYTES = 4 << 20
"""The least to ask the node for."""
CACHE_BYTES = 1 << 30
"""The most free memory to keep."""


class Block:
    """A packed value in the arena. Ends by itself when nothing needs it."""

    __slots__ = (
        "__weakref__", "_exporter", "held", "id", "keeps", "made", "memory", "mine", "node", "offset", "recipe", "ref", "size",
        "used",
    )  # fmt: skip

    def __init__(self, memory: Memory, ident: bytes, offset: int, size: int, mine: bool, held: bool) -> None:
        self.memory = memory
        self.id = ident
        self.offset = offset
        self.size = size
        self.mine = mine
        self.held = held
        self.node = 0
        """The node that has the bytes, if not this one."""
        self.ref: weakref.ref[Any] | None = None
        """The reference of a value that was put here, once it is written."""
        self.used = next(memory.clock)
        self.keeps: Any = None
        """What has to live as long as this does."""
        self.recipe: Any = None
        """How it is made again if it is lost."""
        self.made: Any = ""
        """Where it was put, or what it is (see `sites.py`)."""
        self._exporter: Any = None
        if mine:
            memory.own[ident] = self

    def view(self) -> memoryview:
        """A read-only view; it and everything cut from it keep the block alive."""
        exporter: Any = self._exporter() if self._exporter is not None else None
        if exporter is None:
            assert self.offset, "its place is not known: it has to be asked for"
            exporter = self.memory.arena.exporter(self.offset, self.size, self.mine)
            exporter.block = self
            self._exporter = weakref.ref(exporter)
        return memoryview(exporter).cast("B").toreadonly()

    def is_read(self) -> bool:
        """Whether somebody has a view of it."""
        return self._exporter is not None and self._exporter() is not None

    def forget_place(self) -> None:
        """It may leave memory: who reads it asks for it again. The memory is the node's."""
        self.offset = 0
        self.mine = False

    def __del__(self) -> None:
        self.memory.ended.append((self.id, self.offset, self.size, self.mine, self.held))


class Memory:
    """The blocks and the free memory of this process. Every method needs the runtime's lock."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.clock = itertools.count()
        """Counts uses of blocks, to tell which was not used for longest."""
        self.free = Ranges()
        self.ended: deque[tuple[bytes, int, int, bool, bool]] = deque()
        self.lent: dict[bytes, tuple[int, int]] = {}
        """My blocks that the node answers for."""
        self.own: weakref.WeakValueDictionary[bytes, Block] = weakref.WeakValueDictionary()
        self.foreign: weakref.WeakValueDictionary[bytes, Block] = weakref.WeakValueDictionary()
        """Blocks of others that live here, so that one arriving again is the same object."""

    def cut(self, size: int) -> int | None:
        """Memory for a block of `size` bytes, or None: ask the node."""
        return self.free.take(-(-size // ALIGN) * ALIGN)

    def granted(self, offset: int, size: int) -> None:
        """The node gave memory."""
        self.free.add(offset, size)

    def lend(self, block: Block) -> None:
        """The node answers for my block from now on, and holds it for me."""
        block.held = True
        self.lent[block.id] = (block.offset, -(-block.size // ALIGN) * ALIGN)

    def give(self, block: Block) -> None:
        """The node answers for my block, and holds it for somebody else."""
        self.lend(block)
        block.held = False
        block.mine = False

    def blocks(self, ident: bytes) -> list[Block]:
        """The blocks of an id in this process: one that it made, one that it was sent."""
        return [block for block in (self.own.get(ident), self.foreign.get(ident)) if block is not None]

    def freed(self, ident: bytes) -> None:
        """Nobody holds a lent block any more."""
        at = self.lent.pop(ident, None)
        if at is not None:
            self.free.add(*at)

    def settle(self) -> list[bytes]:
        """Take note of blocks that have ended; returns the ids that the node is to be told of."""
        told = []
        ended = self.ended
        while ended:
            ident, offset, size, mine, held = ended.popleft()
            if held:
                told.append(ident)
            elif mine:
                self.free.add(offset, -(-size // ALIGN) * ALIGN)
        return told

    def close(self) -> None:
        """Let go of the arena; it stays mapped while somebody still reads a view of it."""
        blocks = [*self.own.values(), *self.foreign.values()]
        viewed = any(block.is_read() for block in blocks)
        self.arena.close(unmap=not viewed)

    def surplus(self, keep: int) -> list[tuple[int, int]]:
        """Free ranges to give back so that at most `keep` bytes stay, largest first."""
        out = []
        for offset, size in sorted(self.free, key=lambda r: -r[1]):
            if self.free.total <= keep:
                break
            self.free.remove(offset, size)
            out.append((offset, size))
        return out
