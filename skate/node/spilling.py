"""Which objects leave memory, for the disk or because another node has them, and how they come back.

Pure: the shell (`spills.py`) tells what has happened, and carries out the effects.

A place in the arena may be known to several processes, and to messages between them. So an object leaves in steps: all who may
know its place are asked to forget it, in a *round*; when all have, and everything that was sent before has been read, and
nobody has asked for the object meanwhile, it is written, and its memory is free. Whoever wants to read it then has it brought
back, to another place. A client that lent the memory lends it for good when it agrees: it is the node's own then (`STORE`).

What has been written stays on the disk as long as the object lives: the second time it leaves, nothing is written. Copies of
objects of other nodes are never written, but dropped. Several small objects share a file, which goes when none of them lives.

INV-1: an object with a row in SPILLED, READING or DROPPED has a value without a place (offset 0) in the directory.
INV-2: `files[n].live` are exactly the objects whose part is in file `n`, and those that are being written to it.
INV-3: `disk_bytes` is the sum of the sizes of all files.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from msgspec import Struct, field

from ..wire.config import SpillConfig
from ..wire.messages import SHARED, Value
from .directory import SENDER, STORE, Directory, Entry

ASKED_S = 1.0
"""A round that takes longer is not counted on: somebody does not answer."""
BUSY_S = 0.2
"""An object that was in use is not asked for again so soon."""
NEVER = 0.0, b""
READ_S = 10.0
"""Who has said so long ago that an object is in use is not named any more."""
FULL_S = 0.5
"""A folder that was full is tried again after this time."""
SHARE_AT_ONCE = 0.25
"""At least so much of the store leaves at once, up to `min_spilling_size`, so that files are large and rounds few."""


class State(Enum):
    """Of an object that is not simply in memory."""

    ASKED = "asked"
    WRITING = "writing"
    SPILLED = "spilled"
    READING = "reading"
    DROPPED = "dropped"


class Row(Struct, eq=False):
    """An object that leaves, has left, or comes back."""

    state: State
    size: int
    owner: bytes
    offset: int
    round: int = 0
    asked: set[bytes] = field(default_factory=set)
    since: float = 0.0
    cancelled: bool = False
    ended: bool = False
    """Nobody holds it any more."""
    wanted: bool = False
    """Somebody needs it in memory, as it is being written."""


class Part(Struct, frozen=True):
    """Where an object is on the disk."""

    file: int
    at: int
    size: int
    checksum: int


class File(Struct, eq=False):
    """A file of one or several objects."""

    root: int
    size: int
    live: set[bytes]
    done: bool = False


class Write(Struct, frozen=True):
    """Write these pieces (id, offset, size) of the arena to a new file."""

    file: int
    root: int
    pieces: list[tuple[bytes, int, int]]


class Read(Struct, frozen=True):
    """Read an object into the arena."""

    ident: bytes
    root: int
    part: Part
    offset: int


class Moves(Struct, eq=False):
    """What the shell has to do."""

    ask: dict[bytes, list[bytes]] = field(default_factory=dict)
    round: int = 0
    short: int = 0
    """So many bytes are needed still, and nothing is known that could leave."""
    write: list[Write] = field(default_factory=list)
    delete: list[tuple[int, int]] = field(default_factory=list)
    """(file, root)"""
    freed: list[tuple[bytes, bytes]] = field(default_factory=list)
    """(client, object): the memory of an object that has ended is its maker's again."""
    dropped: list[bytes] = field(default_factory=list)
    """Copies that are not here any more."""


class Spilling:
    """The decisions."""

    def __init__(self, directory: Directory, config: SpillConfig, capacity: int) -> None:
        self.directory = directory
        self.config = config
        self.capacity = capacity
        self.copier = b""
        """Who owns copies of objects of other nodes in the directory."""
        self.rows: dict[bytes, Row] = {}
        self.parts: dict[bytes, Part] = {}
        self.files: dict[int, File] = {}
        self.disk_bytes = 0
        self.restoring = False
        """Somebody waits for memory to read to: of those that leave as many are written as there is room for, not all or none."""
        self._most = 0
        self.full_until: dict[int, float] = {}
        """Folders that have no room, and until when they are not tried again."""
        self.departed: dict[bytes, set[bytes]] = {}
        """Of clients that have ended: objects whose places may still be in channels that a worker reads."""
        self.told: dict[bytes, set[bytes]] = {}
        """Clients that the node has told the place of an object."""
        self._order: dict[bytes, None] = {}
        """Objects with bytes here, the least recently used first."""
        self._busy: dict[bytes, tuple[float, bytes]] = {}
        """Objects that were in use: until when they are not asked for again, and who has said so."""
        self._deleted: list[tuple[int, int]] = []
        self.agreed: list[bytes] = []
        self._round = 0
        self._file = 0
        directory.spilling = self

    def writing(self) -> bool:
        """Whether objects are being written: their memory comes free then."""
        return any(not file.done for file in self.files.values())

    # ------------------------------------------------------------ what the directory tells

    def touch(self, ident: bytes) -> None:
        """An object was made or used."""
        self._order.pop(ident, None)
        self._order[ident] = None

    def disturb(self, ident: bytes) -> None:
        """Somebody begins to hold an object, or to read it: it does not leave now."""
        row = self.rows.get(ident)
        if row is not None and row.state is State.ASKED:
            row.cancelled = True
            self._settle(ident, row)

    def client_gone(self, client: bytes, held: set[bytes]) -> None:
        """A client has ended that held these objects: messages with their places may be unread still."""
        if held:
            self.departed[client] = held
        for ident, row in list(self.rows.items()):
            if row.state is State.ASKED and (client in row.asked or ident in held):
                row.asked.discard(client)
                row.cancelled = True
                self._settle(ident, row)

    def keep(self, ident: bytes) -> None:
        """A copy of another node's object is this node's own from now on: it may be written, and is not dropped."""
        row = self.rows.get(ident)
        if row is not None and row.state is State.ASKED:
            row.owner, row.cancelled = STORE, True
            self._settle(ident, row)
        entry = self.directory.entries[ident]
        if entry.owner == self.copier and entry.value is not None:
            self.directory.move_grant(self.copier, STORE, entry.value.offset, entry.value.size)
            entry.owner = STORE
            self.touch(ident)

    def settled(self, client: bytes) -> None:
        """Nobody reads a channel of this client any more, which has ended."""
        self.departed.pop(client, None)

    def ended(self, ident: bytes, entry: Entry) -> bool:
        """Nobody holds an object any more; True when its memory is seen to here."""
        self._order.pop(ident, None)
        self._busy.pop(ident, None)
        self.told.pop(ident, None)
        row = self.rows.get(ident)
        if row is None:
            self._forget_part(ident)
            if entry.owner == STORE and entry.value is not None:
                self.directory.release(STORE, entry.value.offset, entry.value.size)
                return True
            return False
        if row.state is State.ASKED:
            if row.owner in row.asked:  # whose the memory is by now, its answer tells
                row.ended = row.cancelled = True
                return True
            del self.rows[ident]
            return self.ended(ident, entry)
        if row.state in (State.SPILLED, State.DROPPED):
            del self.rows[ident]
            self._forget_part(ident)
        else:
            row.ended = True
        return True

    # ------------------------------------------------------------ leaving

    def choose(self, need: int, now: float) -> Moves:
        """Begin to make so many bytes free: ask for what was not used for longest, copies first."""
        moves = Moves()
        expected = sum(
            row.size
            for row in self.rows.values()
            if (row.state is State.ASKED and now - row.since < ASKED_S) or row.state is State.WRITING
        )
        if expected >= need:
            return moves
        disk = self._root(now) is not None
        least = min(self.config.min_spilling_size, int(self.capacity * SHARE_AT_ONCE))
        left = max(need, least) - expected
        self._round += 1
        moves.round = self._round
        shadowed = set().union(*self.departed.values()) if self.departed else set()
        for copies in (True, False):
            for ident in list(self._order) if left > 0 else ():
                entry = self.directory.entries.get(ident)
                if entry is None or (entry.owner == self.copier and bool(self.copier)) is not copies:
                    continue
                if not copies and not disk and ident not in self.parts:
                    continue
                if ident in shadowed or not self._may_leave(ident, entry, now):
                    continue
                left -= self._ask(ident, entry, now, moves)
                if left <= 0:
                    break
        moves.short = max(0, left)
        return moves

    def reader(self, ident: bytes, now: float) -> bytes:
        """Who uses an object, so that it could not leave; none if that is not known."""
        until, client = self._busy.get(ident, NEVER)
        return client if now - until < READ_S else b""

    def _may_leave(self, ident: bytes, entry: Entry, now: float) -> bool:
        value = entry.value
        if value is None or value.kind != SHARED or value.id != ident or not value.offset or ident in self.rows:
            return False
        return SENDER not in entry.holders and self._busy.get(ident, NEVER)[0] <= now

    def _ask(self, ident: bytes, entry: Entry, now: float, moves: Moves) -> int:
        value = entry.value
        assert value is not None
        row = Row(State.ASKED, value.size, entry.owner, value.offset, self._round, since=now)
        row.asked = {client for client in (*entry.holders, *self.told.get(ident, ())) if self._is_near(client)}
        if entry.owner not in (STORE, self.copier) and entry.owner not in self.directory.gone:
            row.asked.add(entry.owner)
        self.rows[ident] = row
        for client in row.asked:
            moves.ask.setdefault(client, []).append(ident)
        if not row.asked:
            self.agreed.append(ident)
        return value.size

    def _is_near(self, client: bytes) -> bool:
        number = self.directory.number
        return client not in self.directory.gone and (not number or client[:4] == number)

    def answered(
        self, client: bytes, number: int, ids: list[bytes], busy: list[bytes], unknown: list[bytes], now: float
    ) -> Moves:
        """A client has forgotten the places of some objects, and goes on using others."""
        moves = Moves()
        agrees = dict.fromkeys(ids, True) | dict.fromkeys(busy, False)
        for ident in unknown:  # who holds it all the same will be told its place by a message that is on its way
            entry = self.directory.entries.get(ident)
            agrees[ident] = entry is None or entry.holders.get(client, 0) <= 0
        for ident, yes in agrees.items():
            row = self.rows.get(ident)
            if row is not None and row.round == number and client in row.asked:
                row.asked.discard(client)
                self._one_answer(client, ident, row, yes, now, moves)
        return moves

    def _one_answer(self, client: bytes, ident: bytes, row: Row, yes: bool, now: float, moves: Moves) -> None:
        if client == row.owner:
            if yes:
                self._take_over(ident, row)
            elif row.ended:
                moves.freed.append((client, ident))
        if not yes:
            row.cancelled = True
            self._busy[ident] = now + BUSY_S, client
            if ident in self._order:
                self.touch(ident)
        self._settle(ident, row)

    def _take_over(self, ident: bytes, row: Row) -> None:
        """The memory is the node's own from now on."""
        if row.ended:
            self.directory.release(row.owner, row.offset, row.size)
            return
        self.directory.move_grant(row.owner, STORE, row.offset, row.size)
        row.owner = self.directory.entries[ident].owner = STORE

    def _settle(self, ident: bytes, row: Row) -> None:
        """See whether a round is over for an object."""
        owner_is_asked = row.owner in row.asked
        if row.cancelled and not owner_is_asked:
            if self.rows.get(ident) is row:
                del self.rows[ident]
        elif not row.asked:
            self.agreed.append(ident)

    def take_agreed(self) -> list[bytes]:
        """Objects whose place nobody knows any more: read all channels empty, then `leave`, or `put_back`."""
        agreed, self.agreed = self.agreed, []
        return agreed

    def put_back(self, agreed: list[bytes]) -> None:
        """Not all channels were read empty: another time."""
        self.agreed[:0] = agreed

    def leave(self, agreed: Iterable[bytes], now: float) -> Moves:
        """Everything that was sent before these were agreed on has been read."""
        moves = Moves()
        ready: list[bytes] = []
        for ident in agreed:
            row = self.rows.get(ident)
            if row is None or row.state is not State.ASKED or row.asked or row.cancelled:
                continue
            if SENDER in self.directory.entries[ident].holders:
                del self.rows[ident]
            elif row.owner == self.copier and self.copier:
                self._forget_place(ident, row, State.DROPPED)
                moves.dropped.append(ident)
            elif ident in self.parts:
                self._forget_place(ident, row, State.SPILLED)
            else:
                ready.append(ident)
        self._write(ready, now, moves)
        return moves

    def _forget_place(self, ident: bytes, row: Row, state: State) -> None:
        self.directory.release(row.owner, row.offset, row.size)
        entry = self.directory.entries[ident]
        if row.owner != self.copier or not self.copier:
            entry.owner = STORE
        self._place(entry, 0)
        row.state = state
        row.offset = 0
        self.told.pop(ident, None)
        self._order.pop(ident, None)

    @staticmethod
    def _place(entry: Entry, offset: int) -> None:
        value = entry.value
        assert value is not None
        entry.value = Value(SHARED, b"", value.id, offset, value.size, value.refs, value.node)

    def _root(self, now: float, size: int = 0) -> int | None:
        """A folder with room, each in its turn."""
        if not self.config.enabled:
            return None
        if self.config.quota_bytes and self.disk_bytes + size > self.config.quota_bytes:
            return None
        count = len(self.config.roots)
        for step in range(count):
            root = (self._file + step) % count
            if self.full_until.get(root, 0.0) <= now:
                return root
        return None

    def _write(self, ready: list[bytes], now: float, moves: Moves) -> None:
        batch: list[bytes] = []
        size = 0
        most = max(self.config.min_spilling_size, self.config.max_spilling_file_size_bytes or 0)
        if self.restoring and self._most:
            most = self._most
        for ident in ready:
            row = self.rows[ident]
            if batch and size + row.size > most:
                self._write_file(batch, size, now, moves)
                batch, size = [], 0
            batch.append(ident)
            size += row.size
        if batch:
            self._write_file(batch, size, now, moves)

    def _write_file(self, batch: list[bytes], size: int, now: float, moves: Moves) -> None:
        quota = self.config.quota_bytes
        if quota and self.disk_bytes + size > quota and not self.directory.free.debt:  # what borrows has to leave again
            self._drop_spare(size, moves)
        root = self._root(now, size)
        if root is None:
            if len(batch) > 1 and self._root(now) is not None:
                self._write_less(batch, now, moves)
                return
            if quota and self.disk_bytes + size > quota:
                self.full_until.update(dict.fromkeys(range(len(self.config.roots)), now + FULL_S))
            for ident in batch:
                del self.rows[ident]
            return
        self._file += 1
        self.files[self._file] = File(root, size, set(batch))
        self.disk_bytes += size
        pieces = []
        for ident in batch:
            row = self.rows[ident]
            row.state = State.WRITING
            pieces.append((ident, row.offset, row.size))
        moves.write.append(Write(self._file, root, pieces))

    def _write_less(self, batch: list[bytes], now: float, moves: Moves) -> None:
        """Write the first half of objects that have no room together; the others stay."""
        half = len(batch) // 2
        for ident in batch[half:]:
            del self.rows[ident]
        self._write_file(batch[:half], sum(self.rows[ident].size for ident in batch[:half]), now, moves)

    def _drop_spare(self, size: int, moves: Moves) -> None:
        """Make room on the disk: objects that are in memory need not be there, too."""
        for ident in [ident for ident in self.parts if ident not in self.rows]:
            if self.disk_bytes + size <= self.config.quota_bytes:
                return
            self._forget_part(ident)
        moves.delete += self.take_deleted()

    # ------------------------------------------------------------ what the disk tells

    def written(self, number: int, checksums: list[int], pieces: list[tuple[bytes, int, int]]) -> None:
        """A file is complete: what is in it need not be in memory."""
        file = self.files[number]
        file.done = True
        self._most = 0
        at = 0
        for (ident, _, size), checksum in zip(pieces, checksums, strict=True):
            row = self.rows[ident]
            self.parts[ident] = Part(number, at, size, checksum)
            at += size
            if row.ended:
                self.directory.release(row.owner, row.offset, row.size)
                del self.rows[ident]
                self._forget_part(ident)
            elif row.wanted or SENDER in self.directory.entries[ident].holders:
                del self.rows[ident]
            else:
                self._forget_place(ident, row, State.SPILLED)

    def write_failed(self, number: int, pieces: list[tuple[bytes, int, int]], now: float) -> None:
        """A file could not be written: everything stays where it is, and the folder is not tried again at once."""
        file = self.files.pop(number)
        self.disk_bytes -= file.size
        if self.restoring and len(pieces) > 1:
            self._most = file.size // 2
        else:
            self.full_until[file.root] = now + FULL_S
        for ident, _, _ in pieces:
            row = self.rows.pop(ident)
            if row.ended:
                self.directory.release(row.owner, row.offset, row.size)

    def is_full(self, now: float) -> bool:
        """Whether nothing more can be written."""
        return self.config.enabled and self._root(now) is None

    def _forget_part(self, ident: bytes) -> None:
        part = self.parts.pop(ident, None)
        if part is not None:
            file = self.files[part.file]
            file.live.discard(ident)
            if not file.live:
                self._deleted.append((part.file, file.root))
                self.disk_bytes -= file.size
                del self.files[part.file]

    def take_deleted(self) -> list[tuple[int, int]]:
        """Files that nobody needs any more."""
        deleted, self._deleted = self._deleted, []
        return deleted

    # ------------------------------------------------------------ coming back

    def restore(self, ident: bytes, now: float | None = None) -> Read | bool | None:
        """Somebody needs the bytes: True if they are here, False if they come, None if there is no memory for them now.

        `now`: it has waited. If the disk is full, memory is borrowed: what was read is on the disk, too, and can leave again.
        """
        row = self.rows.get(ident)
        if row is None:
            if ident in self._order:
                self.touch(ident)
            return True
        if row.state is State.ASKED:
            self.disturb(ident)
            return True
        if row.state is State.WRITING:
            row.wanted = True
            return True
        if row.state is State.READING:
            return False
        if row.state is State.DROPPED:
            raise LookupError(f"{ident.hex()} is to be fetched from its own node")
        offset = self.directory.grant(STORE, row.size, borrows=now is not None and self.is_full(now))
        if offset is None:
            return None
        row.state = State.READING
        row.offset = offset
        part = self.parts[ident]
        return Read(ident, self.files[part.file].root, part, offset)

    def read(self, ident: bytes, whole: bool) -> bool:
        """The bytes are here again, or (not `whole`) they are not what was written; False when nobody needs them any more."""
        row = self.rows.pop(ident)
        if row.ended or not whole:
            self.directory.release(STORE, row.offset, row.size)
            self._forget_part(ident)
            return not row.ended
        entry = self.directory.entries[ident]
        entry.owner = STORE
        self._place(entry, row.offset)
        self.touch(ident)
        return True

    def unread(self, ident: bytes) -> None:
        """The bytes could not be read for want of memory: they stay where they are."""
        row = self.rows[ident]
        self.directory.release(STORE, row.offset, row.size)
        row.offset = 0
        row.state = State.SPILLED
        if row.ended:
            del self.rows[ident]
            self._forget_part(ident)

    def is_away(self, ident: bytes) -> bool:
        """Whether an object's bytes are on the disk only."""
        row = self.rows.get(ident)
        return row is not None and row.state is State.SPILLED

    def is_dropped(self, ident: bytes) -> bool:
        """Whether a copy of an object of another node was here, and is not now."""
        row = self.rows.get(ident)
        return row is not None and row.state is State.DROPPED

    def arrived(self, ident: bytes, offset: int) -> None:
        """A copy that was dropped is here again."""
        if self.is_dropped(ident):
            del self.rows[ident]
            self._place(self.directory.entries[ident], offset)
            self.touch(ident)

    def resolve(self, to: bytes, value: Value) -> Value:
        """A value that names a block of this node, for a client, with the place where that is now if it stays there."""
        entry = self.directory.entries.get(value.id)
        if entry is None or entry.value is None:
            return value
        if entry.value.kind != SHARED:
            return entry.value
        row = self.rows.get(value.id)
        if row is not None and row.state is State.ASKED:
            self.disturb(value.id)
        leaves = row is not None and row.state is State.WRITING
        offset = 0 if leaves else entry.value.offset
        if offset:
            self.told.setdefault(value.id, set()).add(to)
        return Value(SHARED, b"", value.id, offset, value.size, value.refs, value.node)

    # ------------------------------------------------------------ tests

    def validate(self) -> None:
        """Check the invariants; for tests and the simulator."""
        live: dict[int, set[bytes]] = {number: set() for number in self.files}
        for ident, part in self.parts.items():
            live[part.file].add(ident)
        for number, file in self.files.items():
            writing = file.live - live[number]
            assert live[number] <= file.live
            assert not writing or not file.done, (number, writing)
        assert self.disk_bytes == sum(file.size for file in self.files.values())
        for ident, row in self.rows.items():
            entry = self.directory.entries.get(ident)
            assert entry is not None or row.ended, (ident.hex(), row)
            if entry is not None and row.state in (State.SPILLED, State.READING, State.DROPPED):
                assert entry.value is not None and not entry.value.offset, (ident.hex(), row)
            if row.state in (State.SPILLED, State.READING):
                assert ident in self.parts
