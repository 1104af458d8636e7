"""Large values of simulated workers: memory that is asked for, given to the caller with the value, and returned when it is free.

No bytes are moved. Whoever would read them looks whether they are where he was told: in the directory of the node that has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...client.errors import pack_error
from ...exceptions import ObjectLostError
from ...wire import messages as m

if TYPE_CHECKING:
    from .cluster import Machine

SIZE = 256
"""Small enough that memory is never short."""
PATIENCE_S = 60.0


class Blocks:
    """The memory of one worker."""

    def __init__(self, machine: Machine, tell: Callable[[object], None]) -> None:
        self.machine = machine
        self._tell = tell
        self.welcome: m.Welcome | None = None
        self._waiting: dict[int, Callable[[int], None]] = {}
        self._mine: dict[bytes, int] = {}
        self._count = 0

    def make(self, caller: bytes, then: Callable[[m.Value], None]) -> None:
        """Make a large value for a caller, who holds it from then on."""
        self._count += 1
        number = self._count
        assert self.welcome is not None
        ident, node = self.welcome.client + number.to_bytes(8, "big"), self.welcome.node_no

        def granted(offset: int) -> None:
            value = m.Value(m.SHARED, b"", ident, offset, SIZE, None, node)
            self._mine[ident] = offset
            self._tell(m.Register(ident, value, caller))
            then(value)

        self._waiting[number] = granted
        self._tell(m.WantMemory(number, SIZE, PATIENCE_S))

    def on_memory(self, message: m.Memory) -> None:
        """The node grants memory."""
        assert message.size, f"there is no memory for a block: {message.reason}"
        self._waiting.pop(message.request)(message.offset)

    def on_freed(self, message: m.Freed) -> None:
        """Nobody holds these any more: their memory goes back."""
        self._tell(m.ReturnMemory([(self._mine.pop(ident), SIZE) for ident in message.ids]))

    def missing(self, task: m.Task) -> m.Reply | None:
        """What a worker says that cannot get arguments of a task; None if all are where they should be."""
        wanted = [each.value for each in task.dependencies or () if each.value.kind == m.SHARED]
        lost = [value for value in wanted if not self._is_there(value)]
        if not lost:
            return None
        error = ObjectLostError(lost[0].id.hex())
        data = pack_error(error, function_name="", pid=0, task_id="")
        return m.Reply(task.seq, m.MISSING, data, [m.Value(m.LOST, b"", value.id) for value in lost])

    def _is_there(self, value: m.Value) -> bool:
        cluster = self.machine.cluster
        assert self.welcome is not None
        number = value.node or self.welcome.node_no
        source = next((run for run in cluster.nodes() if run.number == number), None)
        if source is None:
            return False
        if source.machine is not self.machine:
            route = cluster.routes[frozenset((source.machine.number, self.machine.number))]
            if route.blocked_until > cluster.world.now:
                return False
        entry = source.node.directory.entries.get(value.id)
        return entry is not None and entry.value is not None and entry.value.kind == m.SHARED
