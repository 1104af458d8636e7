"""The objects that a node answers for, and the memory they lie in.

Pure: messages of clients in, effects out. The node never opens a value.

An object is held by clients, each counted with a sign, and by objects that contain it. Messages of different clients arrive
in any order, so counts may pass through zero, or below: an object that nobody holds is only condemned, and ends in
`sweep`, which the shell calls after every channel was read empty once more. Whoever was given a reference by a holder has
sent its own `hold` before that holder could let go, so the sweep sees it.

INV-1: `entry.held` is the sum of the counts in `entry.holders` plus the number of live entries that contain it.
INV-2: a block's range is in exactly one of: its owner's grant, or (owner gone) the estate; never in `free`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct, field

from ..store.arena import ALIGN
from ..store.ranges import Ranges
from ..store.space import Space
from ..wire.handover import HEIR
from ..wire.messages import SHARED, Value

if TYPE_CHECKING:
    from .spilling import Spilling

STORE = b"\xff\xff\xff\xffstor"
"""Who has the memory of objects that have been on the disk, or are to go there: the node itself."""
SENDER = b"\xff\xff\xff\xffsend"
"""Who holds an object while it is sent to another node."""
GONE_MAX = 1 << 16
"""A message that speaks for a client which ended more than so many clients ago does not exist."""


class Entry(Struct, eq=False):
    """One object."""

    value: Value | None = None
    owner: bytes = b""
    holders: dict[bytes, int] = field(default_factory=dict)
    held: int = 0
    waiting: list[bytes] = field(default_factory=list)
    children: list[bytes] = field(default_factory=list)
    known: bool = False
    is_actor: bool = False
    abroad: bool = False
    """Clients of other nodes have known of it."""
    site: str = ""
    """Where it was made, in the user's program, if that is known."""


class Effects(Struct, eq=False):
    """What the shell has to do."""

    fetched: list[tuple[bytes, bytes, Value]] = field(default_factory=list)
    freed: dict[bytes, list[bytes]] = field(default_factory=dict)
    actors: list[bytes] = field(default_factory=list)
    rebuild: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    """(who has submitted its task, object, the node that had the bytes)"""


class Directory:
    """Objects, holders and memory."""

    def __init__(
        self, arena_bytes: int, first: int = 0, bare: int = 0, release: Callable[[int, int], None] | None = None
    ) -> None:
        """`bare`, `release`: see `Space`."""
        self.entries: dict[bytes, Entry] = {}
        self.number = b""
        """What the ids of this node's objects begin with, in a cluster."""
        self.homes: set[bytes] = set()
        """What the ids begin with of objects that were inherited from other nodes."""
        self.spilling: Spilling | None = None
        self.claims: list[tuple[bytes, int]] = []
        """Objects of other nodes that entries here begin (1) or cease (-1) to contain."""
        self.condemned: set[bytes] = set()
        self.free = Space(first, arena_bytes, bare, release)
        self.grants: dict[bytes, Ranges] = {}
        self.gone: dict[bytes, None] = {}
        """Clients that have ended, the last `GONE_MAX` of them, and those whose memory is still in use."""

    def is_home(self, ident: bytes) -> bool:
        """Whether this node is the one that answers for an object."""
        prefix = ident[:4]
        return prefix == self.number or prefix in self.homes

    def is_kept(self, ident: bytes) -> bool:
        """Whether an object lies in memory of the node's own, or on its disk."""
        entry = self.entries.get(ident)
        return entry is not None and entry.owner == STORE

    def _entry(self, ident: bytes) -> Entry:
        entry = self.entries.get(ident)
        if entry is None:
            entry = self.entries[ident] = Entry()
            self.condemned.add(ident)
            if self.number and not self.is_home(ident):
                self.claims.append((ident, 1))
        return entry

    # ------------------------------------------------------------ events

    def register(
        self, client: bytes, ident: bytes, value: Value | None, holder: bytes, owner: bytes, effects: Effects
    ) -> None:
        """A client makes the node answer for an object, held by itself or by `holder`."""
        entry = self._entry(ident)
        if not entry.known:
            entry.known = True
            entry.owner = owner or client
            if value is not None:
                self._set(entry, ident, value, effects)
        self.hold(client, ident, 1, holder)

    def register_actor(self, client: bytes, ident: bytes, depends: list[bytes]) -> None:
        """An actor is an object too: it lives as long as it is held, and holds what it may be restarted with."""
        entry = self._entry(ident)
        entry.known = entry.is_actor = True
        entry.owner = client
        for child in depends:
            entry.children.append(child)
            self._entry(child).held += 1
        self.hold(client, ident, 1, b"")

    def restore_actor(self, ident: bytes, depends: list[bytes]) -> None:
        """A head was started again: this actor lives, and who holds it will say so."""
        entry = self._entry(ident)
        entry.known = entry.is_actor = entry.abroad = True
        for child in depends:
            entry.children.append(child)
            self._entry(child).held += 1

    def inherit(self, ident: bytes, value: Value, holders: dict[bytes, int], maker: bytes, effects: Effects) -> None:
        """This node answers for an object that another had; if it has bytes, they are here already, as a block of the node's own.

        Args:
            ident: the object.
            value: what it is, without a place.
            holders: who holds it how often.
            maker: in place of whoever made it, who is gone.
            effects: what has to be done.
        """
        entry = self._entry(ident)
        entry.abroad = True
        if not entry.known:
            entry.known, entry.owner = True, maker
            self._set(entry, ident, value, effects)
        elif entry.value is not None and value.refs and not entry.children:
            entry.value.refs = value.refs
            for child in value.refs:
                self._entry(child).held += 1
            entry.children.extend(value.refs)
        for client, count in holders.items():
            self.hold(client, ident, count, b"")
        if entry.held <= 0:
            self.condemned.add(ident)

    def deliver(self, client: bytes, ident: bytes, value: Value, effects: Effects) -> None:
        """An object that was pending has its value; or another, because the bytes of the first are lost."""
        entry = self._entry(ident)
        if not entry.known:  # it has ended already: whose memory the value lies in must be known all the same
            entry.owner = client
        if entry.value is not None and entry.value.kind == SHARED and entry.owner == client:
            self._unset(entry)
        if entry.value is None:
            self._set(entry, ident, value, effects)

    def _unset(self, entry: Entry) -> None:
        entry.value = None
        children, entry.children = entry.children, []
        self._let_go(children)

    def _set(self, entry: Entry, ident: bytes, value: Value, effects: Effects) -> None:
        entry.value = value
        if self.spilling is not None and value.kind == SHARED and value.id == ident:
            self.spilling.touch(ident)
        children = list(value.refs or ())
        if value.id and value.id != ident:
            children.append(value.id)
        for child in children:
            self._entry(child).held += 1
        entry.children.extend(children)
        for client in entry.waiting:
            effects.fetched.append((client, ident, value))
        entry.waiting.clear()

    def hold(self, client: bytes, ident: bytes, change: int, holder: bytes) -> None:
        """A client (or another, for which it speaks) holds an object once more or once less."""
        who = holder or client
        if who in self.gone:
            return
        entry = self._entry(ident)
        count = entry.holders.get(who, 0) + change
        if count:
            entry.holders[who] = count
        else:
            entry.holders.pop(who, None)
        entry.held += change
        if entry.held <= 0:
            self.condemned.add(ident)
        elif change > 0 and self.spilling is not None:
            self.spilling.disturb(ident)

    def holds(self, client: bytes, ident: bytes) -> bool:
        """Whether a client holds an object."""
        entry = self.entries.get(ident)
        return entry is not None and entry.holders.get(client, 0) > 0

    def fetch(self, client: bytes, ident: bytes, effects: Effects) -> None:
        """A client wants the value, now or when it exists."""
        entry = self._entry(ident)
        if entry.value is not None:
            effects.fetched.append((client, ident, entry.value))
        else:
            entry.waiting.append(client)
            if not entry.known:
                self.condemned.add(ident)  # if nobody knows it when all was read, there is none

    def lost(self, client: bytes, ident: bytes, block: bytes, lost: Value, effects: Effects) -> None:
        """A client could not get the bytes of an object. Unless there is another value by now, whoever has submitted its task
        is asked to make it again; the client waits for that value, or makes it itself."""
        entry = self._entry(ident)
        value = entry.value
        if value is not None and value.kind == SHARED and value.id == block and block != ident:
            self._unset(entry)
            if entry.owner in self.gone or entry.owner == HEIR:
                self._set(entry, ident, lost, effects)
            elif entry.owner != client:
                effects.rebuild.append((entry.owner, ident, value.node))
        if entry.owner != client:
            self.fetch(client, ident, effects)

    def client_gone(self, client: bytes, lost: Value, effects: Effects) -> None:
        """A client has ended: what it held is let go, and what it was to deliver is lost."""
        self.gone[client] = None
        if len(self.gone) > GONE_MAX:
            oldest = next((old for old in self.gone if old not in self.grants), None)
            if oldest is not None:
                del self.gone[oldest]
        held: set[bytes] = set()
        for ident, entry in list(self.entries.items()):
            count = entry.holders.pop(client, 0)
            if count or entry.owner == client:
                held.add(ident)
            if count:
                entry.held -= count
                if entry.held <= 0:
                    self.condemned.add(ident)
            if client in entry.waiting:
                entry.waiting = [other for other in entry.waiting if other != client]
            if entry.owner == client and entry.value is None and not entry.is_actor and entry.known:
                self._set(entry, ident, lost, effects)
        if self.spilling is not None:
            self.spilling.client_gone(client, held)

    def take_condemned(self) -> set[bytes]:
        """What is condemned by now. Read all channels empty, then `sweep` it; or put it back with `condemned.update`."""
        condemned, self.condemned = self.condemned, set()
        return condemned

    def sweep(self, effects: Effects, lost: Value) -> None:
        """End everything that nobody holds. Call it only after all channels have been read empty since the last event."""
        while self.condemned:
            self.end(self.take_condemned(), effects, lost)

    def end(self, condemned: set[bytes], effects: Effects, lost: Value) -> None:
        """End those of `condemned` that nobody holds and that were not condemned anew since they were taken."""
        for ident in condemned:
            entry = self.entries.get(ident)
            if entry is None or ident in self.condemned:
                continue
            if entry.held > 0:
                if not entry.known and entry.waiting:
                    entry.known = True
                    self._set(entry, ident, lost, effects)
                continue
            for client in entry.waiting:
                effects.fetched.append((client, ident, lost))
            del self.entries[ident]
            if self.number and not self.is_home(ident):
                self.claims.append((ident, -1))
            self._end(ident, entry, effects)

    def _end(self, ident: bytes, entry: Entry, effects: Effects) -> None:
        self._let_go(entry.children)
        if entry.is_actor:
            effects.actors.append(ident)
        value = entry.value
        if value is not None and value.kind == SHARED and value.id == ident:
            if self.spilling is not None and self.spilling.ended(ident, entry):
                return
            if entry.owner in self.gone:
                self._free_range(entry.owner, value.offset, aligned(value.size))
            else:
                effects.freed.setdefault(entry.owner, []).append(ident)
        elif self.number and entry.owner[:4] == self.number and (value is None or value.kind == SHARED):
            effects.freed.setdefault(entry.owner, []).append(ident)  # it need not be made again

    def _let_go(self, children: list[bytes]) -> None:
        for child in children:
            other = self.entries.get(child)
            if other is not None:
                other.held -= 1
                if other.held <= 0:
                    self.condemned.add(child)

    # ------------------------------------------------------------ memory

    def grant(self, client: bytes, size: int, borrows: bool = False) -> int | None:
        """Memory for a client: its offset, or None when there is none now. `borrows`: more than there is, see `Space`."""
        size = aligned(size)
        offset = self.free.take(size)
        if offset is None and borrows:
            offset = self.free.borrow(size)
        if offset is not None:
            self.grants.setdefault(client, Ranges()).add(offset, size)
        return offset

    def returned(self, client: bytes, ranges: list[tuple[int, int]]) -> None:
        """A client gives memory back."""
        for offset, size in ranges:
            self._free_range(client, offset, size)

    def _free_range(self, client: bytes, offset: int, size: int) -> None:
        grant = self.grants.get(client)
        if grant is None:
            return  # the estate was settled before the last block was heard of: the range is free already
        grant.remove(offset, size)
        self.free.add(offset, size)
        if not grant.total:
            del self.grants[client]

    def release(self, owner: bytes, offset: int, size: int) -> None:
        """A block is not there any more: its memory is free."""
        self._free_range(owner, offset, aligned(size))

    def move_grant(self, owner: bytes, to: bytes, offset: int, size: int) -> None:
        """The memory of a block is another's from now on."""
        grant = self.grants[owner]
        grant.remove(offset, aligned(size))
        if not grant.total:
            del self.grants[owner]
        self.grants.setdefault(to, Ranges()).add(offset, aligned(size))

    def settle_estate(self, client: bytes) -> None:
        """Nobody reads a dead client's unregistered memory any more: it is free, but for blocks that are still held."""
        grant = self.grants.get(client)
        if grant is None:
            return
        keep = Ranges()
        for ident, entry in self.entries.items():
            value = entry.value
            if entry.owner == client and value is not None and value.kind == SHARED and value.id == ident:
                keep.add(value.offset, aligned(value.size))
        for offset, size in keep:
            grant.remove(offset, size)
        for offset, size in list(grant):
            self.free.add(offset, size)
        if keep.total:
            self.grants[client] = keep
        else:
            del self.grants[client]

    def validate(self) -> None:
        """Check the invariants; for tests and the simulator."""
        held: dict[bytes, int] = {}
        for entry in self.entries.values():
            for child in entry.children:
                held[child] = held.get(child, 0) + 1
        for ident, entry in self.entries.items():
            assert entry.held == sum(entry.holders.values()) + held.get(ident, 0), (ident.hex(), entry)
        self.free.validate()
        for grant in self.grants.values():
            grant.validate()


def aligned(size: int) -> int:
    """The memory that a block of `size` bytes takes."""
    return -(-size // ALIGN) * ALIGN
