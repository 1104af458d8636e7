"""Spilling, as the node does it: the shell around `spilling.py`, which decides, and `spill_files.py`, which writes and reads.

It asks clients, hands files to the threads, keeps those waiting who need bytes that are on the disk, and counts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..client.errors import pack_error
from ..exceptions import ObjectLostError, ObjectStoreFullError
from ..store.arena import HEADER_BYTES
from ..wire import messages as m, spill
from ..wire.config import SpillConfig
from .directory import SENDER
from .filling import what_fills
from .history import ERROR, INFO
from .spill_files import SpillFiles
from .spilling import FULL_S, Moves, Read, Spilling, Write

if TYPE_CHECKING:
    from .client import Client
    from .service import Node

PATIENCE_S = 60.0
"""How long a read waits for memory to restore to."""
PRESS_S = 0.05
OFFER_S = 1.0
"""A client that had nothing to offer is asked again after this time."""
TELL_BYTES = 2 << 30
"""The log tells of spilling when so much was written, and then each time that it has doubled."""

Then = Callable[[m.Value | None], None]


class SpillShell:
    """Objects that leave memory, and come back."""

    def __init__(self, node: Node, config: SpillConfig) -> None:
        self.node = node
        if not config.roots:
            config.roots = [str(node.session_dir)]
        self.config = config
        self.capacity = node.arena_bytes - HEADER_BYTES
        self.logic = Spilling(node.directory, config, self.capacity)
        self._files: SpillFiles | None = None
        self._waiting: dict[bytes, list[tuple[float, Then]]] = {}
        """Who waits for an object to be read."""
        self._starved: dict[bytes, None] = {}
        """Objects that are to be read when there is memory."""
        self._offers: dict[bytes, float] = {}
        """When each client was last asked for what it could do without."""
        self._early: list[tuple[Client, bytes]] = []
        """Wishes to read objects whose registration is perhaps still in a client's channel."""
        self.filled: tuple[float, str] = (0.0, "")
        """Until when it is not counted again what fills the store, and what does."""
        self._press_at = 0.0
        self._need = 0
        self.counts = dict.fromkeys(
            (
                "spilled_bytes",
                "spilled_objects",
                "restored_bytes",
                "restored_objects",
                "dropped_copies",
                "lost_objects",
            ),
            0,
        )
        self.last_error = ""
        self._told_bytes = TELL_BYTES
        node.parts.append(self)

    # ------------------------------------------------------------ pressure

    def press(self, need: int) -> None:
        """Somebody needs so many bytes of memory that are not there."""
        self._need = max(self._need, need)
        now = time.monotonic()
        moves = self.logic.choose(need, now)
        self._carry_out(moves)
        if moves.short:
            self._ask_for_offers(moves.short, now)

    def _ask_for_offers(self, size: int, now: float) -> None:
        if not self.config.enabled:
            return
        for client in self.node.clients.values():
            if client.far or client.id not in self.node.directory.grants:
                continue
            if now - self._offers.get(client.id, -OFFER_S) >= OFFER_S:
                self._offers[client.id] = now
                self.node.send(client, spill.Offer(size))

    def on_offered(self, client: Client, message: spill.Offered) -> None:
        """A client has registered what it can do without."""
        if message.size:
            self._offers.pop(client.id, None)
            if self._need:
                self.press(self._need)

    def on_evicted(self, client: Client, message: spill.Evicted) -> None:
        """A client has forgotten places."""
        now = time.monotonic()
        self._carry_out(self.logic.answered(client.id, message.round, message.ids, message.busy, message.unknown, now))

    def _carry_out(self, moves: Moves) -> None:
        for to, ids in moves.ask.items():
            client = self.node.clients.get(to)
            if client is None:
                self._carry_out(self.logic.answered(to, moves.round, ids, [], [], time.monotonic()))
            else:
                self.node.send(client, spill.Evict(moves.round, ids))
        for job in moves.write:
            self._disk().write(job, partial(self._written, job))
        for to, ident in moves.freed:
            client = self.node.clients.get(to)
            if client is not None:
                self.node.send(client, m.Freed([ident]))
        for ident in moves.dropped:
            self.counts["dropped_copies"] += 1
            if self.node.transfers is not None:
                self.node.transfers.dropped(ident)
        self._remove_files()
        if moves.dropped:
            self._serve()

    def _remove_files(self) -> None:
        for number, root in self.logic.take_deleted():
            self._disk().remove(root, number)

    def _disk(self) -> SpillFiles:
        if self._files is None:
            node = self.node
            self._files = SpillFiles(self.config, node.arena_fd, node.node_id[:8])
            node.watch(self._files.reports.wake, self._files.reports.on_event)
        return self._files

    def _written(self, job: Write, checksums: list[int], error: str) -> None:
        if error:
            self.last_error = error
            print(
                f"objects could not be written to {self.config.roots[job.root]}: {error}", file=sys.stderr, flush=True
            )
            self.logic.restoring = bool(self._starved)
            self.logic.write_failed(job.file, job.pieces, time.monotonic())
            return
        self.last_error = ""
        self.logic.written(job.file, checksums, job.pieces)
        self.counts["spilled_bytes"] += sum(size for _, _, size in job.pieces)
        self.counts["spilled_objects"] += len(job.pieces)
        if self.counts["spilled_bytes"] >= self._told_bytes:
            self._told_bytes = 2 * self.counts["spilled_bytes"]
            text = f"{self.counts['spilled_bytes'] >> 20} MiB of objects were spilled to disk"
            self.node.history.event(INFO, "OBJECT_STORE", text)
            print(text, file=sys.stderr, flush=True)
        self._remove_files()
        self._serve()

    def _serve(self) -> None:
        """Memory has come free."""
        self.node.memory.serve()
        self._retry()

    # ------------------------------------------------------------ reading

    def need(self, ident: bytes, then: Then) -> None:
        """Call `then` when the bytes of an object are in memory (None), or with the error why not."""
        waiting = self._waiting.get(ident)
        if self.node.transfers is not None and self.logic.is_dropped(ident):
            self._need_again(ident, then)
            return
        if waiting is None:
            if self._starved and self.logic.is_away(ident):
                found: Read | bool | None = None  # first come, first served, so that one gets all that it needs
            else:
                found = self.logic.restore(ident)
            if found is True:
                then(None)
                return
            self._waiting[ident] = waiting = []
            self._begin(ident, found)
        waiting.append((time.monotonic() + PATIENCE_S, then))

    def _need_again(self, ident: bytes, then: Then) -> None:
        """A copy that was dropped is to be sent on."""

        def done(value: m.Value) -> None:
            here = value.kind == m.SHARED
            then(None if here else value)
            if here:
                self.node.directory.hold(SENDER, ident, -1, b"")

        assert self.node.transfers is not None
        self.node.transfers.pull_again(SENDER, ident, self.logic.rows[ident].size, done)

    def _begin(self, ident: bytes, found: Read | bool | None) -> None:
        if found is None:
            self._starved[ident] = None
            self.node.memory.ask_all()
            self.press(self.logic.rows[ident].size)
        elif isinstance(found, Read):
            self._disk().read(found, partial(self._was_read, found))

    def _was_read(self, job: Read, error: str, lost: bool) -> None:
        if error and not lost:
            self.logic.unread(job.ident)
            if job.ident in self.logic.rows:
                self._starved[job.ident] = None
            else:
                self._answer(job.ident, self.node.lost)
            return
        wanted = self.logic.read(job.ident, not lost)
        if lost:
            if wanted:
                self.lost(job.ident, error)
        else:
            self.counts["restored_bytes"] += job.part.size
            self.counts["restored_objects"] += 1
        self._answer(job.ident, self._error_of(job.ident) if lost or not wanted else None)
        self._remove_files()
        self._serve()

    def lost(self, ident: bytes, reason: str) -> None:
        """The bytes of an object are gone for good: whoever reads it gets an error."""
        self.counts["lost_objects"] += 1
        self.node.history.event(ERROR, "OBJECT_STORE", f"object {ident.hex()} is lost: {reason}", object_id=ident.hex())
        print(f"object {ident.hex()} is lost: {reason}", file=sys.stderr, flush=True)
        entry = self.node.directory.entries[ident]
        refs = entry.value.refs if entry.value is not None else None
        error = ObjectLostError(ident.hex(), f"it was spilled to disk, and {reason}")
        entry.value = m.Value(m.LOST, pack_error(error, function_name="", pid=0, task_id=""), b"", 0, 0, refs)

    def _error_of(self, ident: bytes) -> m.Value:
        entry = self.node.directory.entries.get(ident)
        return entry.value if entry is not None and entry.value is not None else self.node.lost

    def _answer(self, ident: bytes, value: m.Value | None) -> None:
        if value is not None and value.kind == m.SHARED:
            value = None
        for _, then in self._waiting.pop(ident, ()):
            then(value)

    def on_pull(self, client: Client, ident: bytes) -> None:
        """A client of this node wants to read an object of this node, whose place it has forgotten or never knew."""
        directory = self.node.directory
        entry = directory.entries.get(ident)
        if entry is None or entry.value is None:
            self._early.append((client, ident))
            return
        if self.node.transfers is not None and self.logic.is_dropped(ident):
            size = self.logic.rows[ident].size
            self.node.transfers.pull_again(client.id, ident, size, lambda value: self._pulled(client, ident, value))
            return
        directory.hold(client.id, ident, 1, b"")

        def then(error: m.Value | None) -> None:
            value = error or self._error_of(ident)
            if value.kind != m.SHARED:
                directory.hold(client.id, ident, -1, b"")
            self._pulled(client, ident, value)

        self.need(ident, then)

    def _pulled(self, client: Client, ident: bytes, value: m.Value) -> None:
        self.node.send(client, m.Pulled(ident, value))

    @property
    def parked(self) -> bool:
        """Whether `take_parked` would give anything."""
        return bool(self._early or self.logic.agreed)

    def take_parked(self) -> tuple[list[bytes], list[tuple[Client, bytes]]]:
        """What waits until every channel was read empty: objects that are to leave, and those that are not known yet."""
        early, self._early = self._early, []
        return self.logic.take_agreed(), early

    def park(self, agreed: list[bytes], early: list[tuple[Client, bytes]]) -> None:
        """Not everything was read: they go on waiting."""
        self.logic.put_back(agreed)
        self._early[:0] = early

    def after_drain(self, agreed: list[bytes], early: list[tuple[Client, bytes]]) -> None:
        """Everything that was sent before these has been read."""
        for client, ident in early:
            entry = self.node.directory.entries.get(ident)
            if entry is None or entry.value is None:
                self.node.send(client, m.Pulled(ident, self.node.lost))
            else:
                self.on_pull(client, ident)
        if agreed:
            self.logic.restoring = bool(self._starved)
            self._carry_out(self.logic.leave(agreed, time.monotonic()))
            self._serve()

    # ------------------------------------------------------------ state

    def resolve(self, to: bytes, value: m.Value) -> m.Value:
        """A value for a client, with the place where its bytes are now."""
        if value.kind != m.SHARED or value.node not in (0, self.node.node_no):
            return value
        return self.logic.resolve(to, value)

    def state(self) -> dict[str, Any]:
        """For status and tests."""
        return {
            **self.counts,
            "disk_bytes": self.logic.disk_bytes,
            "disk_files": len(self.logic.files),
            "disk_full": self.logic.is_full(time.monotonic()),
            "disk_error": self.last_error,
            "on_disk_only": sum(not row.offset for row in self.logic.rows.values()),
        }

    def why_full(self) -> tuple[str, bool]:
        """Why nothing leaves memory, in words, and whether it is for want of room on the disk."""
        if not self.config.enabled:
            return "spilling is switched off", False
        if self.logic.is_full(time.monotonic() - FULL_S) or self.last_error:  # it is tried again now and then
            quota = (
                f"the quota of {self.config.quota_bytes} bytes is used up" if not self.last_error else self.last_error
            )
            return f"nothing more can be written to {', '.join(self.config.roots)} ({quota})", True
        return "what is in it is in use", False

    def on_time(self, now: float) -> None:
        """Try again to read what has no memory yet, and write ahead when the store is nearly full."""
        if now < self._press_at:
            return
        self._press_at = now + PRESS_S
        self._retry()
        for ident in list(self._starved):
            self._give_up(ident, now)
        used = self.capacity - self.node.directory.free.total
        over = used - int(self.config.threshold * self.capacity)
        waits = self.node.memory.wanted() or max((self.logic.rows[i].size for i in self._starved), default=0)
        self._need = waits
        if waits:
            self.press(waits)
        elif over > 0 and self.config.enabled:
            self.press(over)

    def _retry(self) -> None:
        for ident in list(self._starved):
            del self._starved[ident]
            if ident not in self.logic.rows:
                self._answer(ident, self._error_of(ident))
                continue
            found = self.logic.restore(ident, time.monotonic())
            if found is None:
                self._starved = {ident: None, **self._starved}
                return
            if isinstance(found, Read):
                self._disk().read(found, partial(self._was_read, found))

    def _give_up(self, ident: bytes, now: float) -> None:
        waiting = self._waiting.get(ident, [])
        late = [then for until, then in waiting if now >= until]
        if late:
            size = self.logic.rows[ident].size
            error = ObjectStoreFullError(
                f"no room came free in time for a spilled object of {size} bytes: {self.why_full()[0]}. "
                f"In memory are {what_fills(self.node)}"
            )
            value = m.Value(m.ERROR, pack_error(error, function_name="", pid=0, task_id=""))
            self._waiting[ident] = [(until, then) for until, then in waiting if now < until]
            for then in late:
                then(value)
        if not self._waiting.get(ident):
            self._waiting.pop(ident, None)
            self._starved.pop(ident, None)

    def next_due(self, now: float) -> float | None:
        """Seconds until `on_time` has something to do."""
        if self._starved or self.node.memory:
            return max(0.0, self._press_at - now)
        used = self.capacity - self.node.directory.free.total
        if self.config.enabled and used > self.config.threshold * self.capacity:
            return OFFER_S
        return None

    def close(self) -> None:
        """Remove all files."""
        if self._files is not None:
            self.node.unwatch(self._files.reports.wake)
            self._files.close()
