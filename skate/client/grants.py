"""Memory between this client and its node: asked for in bulk, given back when it is not used, and lent to others.

`memory.py` knows which bytes are free; here are the messages about them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exceptions import ObjectStoreFullError, OutOfDiskError
from ..wire import messages as m
from .memory import CACHE_BYTES, GRANT_BYTES, Block
from .refs import SHARED
from .sites import of_block

if TYPE_CHECKING:
    from .arguments import Code
    from .runtime import ClientRuntime
    from .submitter import TaskRecord

PUT_PATIENCE_S = 5.0
"""A driver that puts into a full store is probably the one who holds what is in it: it waits for others this long."""
RESULT_PATIENCE_S = 600.0
"""A task whose result finds no room waits for the consumers of earlier ones, and says so on stderr."""
KEEP_CPU_S = 5.0
"""So long a task that waits for memory keeps its CPU; then another may run, which perhaps uses up what is in the store."""


class Grants:
    """The memory that the node has granted to this client."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self.memory = runtime.memory

    def grow(self, size: int) -> Block:
        """Ask the node for memory and cut a block of it; waits while the store is full.

        Raises:
            ObjectStoreFullError: the store cannot hold it.
            OutOfDiskError: it could, if there were room on the disk for what is in it.
        """
        runtime = self.runtime
        link = runtime.link
        with runtime.lock:
            link.check_open()
            slot = link.open_request()
            patience = PUT_PATIENCE_S if runtime.is_driver else RESULT_PATIENCE_S
            link.send(m.WantMemory(slot.number, max(size + 64, GRANT_BYTES), patience))
        try:
            runtime.waits.wait_keeping(slot.waiter, lambda: f"{size} bytes of object store memory", KEEP_CPU_S)
            answer: m.Memory = link.wait_request(slot)
        except BaseException:
            with runtime.lock:
                slot.abandoned = True
                if slot.answer is not None:
                    link.answer(slot.answer)
            raise
        if not answer.size and answer.disk_full:
            raise OutOfDiskError(f"cannot store an object of {size} bytes: {answer.reason}")
        if not answer.size:
            raise ObjectStoreFullError(f"cannot store an object of {size} bytes: {answer.reason}")
        try:
            self.memory.arena.reserve(answer.offset, answer.size)
        except OSError as error:
            with runtime.lock:
                link.send(m.ReturnMemory([(answer.offset, answer.size)]))
            raise ObjectStoreFullError(f"the machine has no memory for an object of {size} bytes: {error}") from error
        with runtime.lock:
            self.memory.granted(answer.offset, answer.size)
            block = runtime.objects.cut_block(size)
        assert block is not None
        return block

    # ------------------------------------------------------------ lending

    def value(self, block: Block, refs: list[bytes] | None = None) -> m.Value:
        """A block of this process, for a message."""
        return m.Value(m.SHARED, b"", block.id, block.offset, block.size, refs, self.runtime.node_no)

    def lend(self, block: Block) -> None:
        """Let the node answer for a block of this process. Needs the lock."""
        if not block.held:
            self.runtime.send(m.Register(block.id, self.value(block), site=of_block(block.made)))
            self.memory.lend(block)

    def lend_for(self, task: TaskRecord, code: Code | None) -> None:
        """Another node will ask for the bytes of what the task needs: this one has to know them. Needs the lock."""
        for block in (task.shared, code.block if code is not None else None):
            if block is not None:
                self.lend(block)
        for ref in (*(task.refs or ()), *(ref for _, ref in task.dependencies or ())):
            if ref._state == SHARED:
                self.runtime.objects.publish(ref)
            if ref._hold is not None:
                self.runtime.objects.announce(ref)

    def keep_for_others(self, ids: list[bytes]) -> None:
        """A worker goes on reading blocks that it was sent: the node knows them now. Needs the lock."""
        for ident in ids:
            block = self.memory.own.get(ident)
            if block is not None:
                self.lend(block)

    # ------------------------------------------------------------ giving back

    def freed(self, message: m.Freed) -> None:
        """Nobody holds these any more: blocks that were lent, and large outputs of tasks."""
        for ident in message.ids:
            self.memory.freed(ident)
        self.runtime.rebuild.lineage.forget(message.ids)
        self.trim()

    def asked_back(self, _: m.GiveBackMemory) -> None:
        """The store is full: whatever is free here goes back."""
        self.runtime.settle()
        self._give_back(0)

    def trim(self) -> None:
        """Give back what is more than is worth keeping. Needs the lock."""
        if self.memory.free.total > CACHE_BYTES:
            self._give_back(CACHE_BYTES // 2)

    def _give_back(self, keep: int) -> None:
        ranges = self.memory.surplus(keep)
        if ranges:
            self.runtime.send(m.ReturnMemory(ranges))
