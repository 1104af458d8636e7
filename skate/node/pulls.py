"""What a node that brings objects here decides: which piece next, from whom, and which object first.

Pure: the shell (`transfer.py`) dials and moves bytes, and says what came of it.

An object comes in chunks, over one or several connections (*lanes*). A lane takes the next chunk that nobody has taken; when it
fails, what it had taken and not finished is open again, so that whoever goes on begins there and not at the start.

The node that is said to have an object, its *source*, is asked first, and says who is to give it. When that one fails, the source
is asked for another. When the source itself fails, other nodes are asked whether they have it, or (as long as the source lives,
and only the way to it is cut) would get it and pass it on. All of this has limits; at their end the object is lost to this node.

A pull has memory for the whole object before it begins, so that it never waits for memory with some in its hands.

INV-1: of a `Chunks`, each chunk is open, taken or there; `left` counts those that are not there.
INV-2: of a `Queue`, an object waits or is active, never both; `active_bytes` is the sum of the active ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import chain, islice

from msgspec import Struct

CHUNK_BYTES = 4 << 20
SOURCE_TRIES = 2
"""How often the source may fail with nothing gained in between."""
OTHERS_MAX = 8
"""How many other nodes are asked, when the source does not give it."""
AVOID_MAX = 256
"""So many nodes are named to the source as those that it cannot be had from."""
PULLS_MAX = 32
"""How many objects come at a time."""
SEARCH_S = 15.0
"""How long somebody is looked for, or waited for, who gives something more of an object, before it is lost."""
SHARE_MAX = 0.5
"""The share of the store that may be used by objects that are on their way."""
TRIED_MAX = 16
"""A large one may have to wait for memory; so many are looked at for one that need not."""
PATIENCE_S = 60.0
"""How long an object waits for memory, when none comes free for any."""


class Chunks:
    """The pieces of one object, and how far they have come."""

    def __init__(self, size: int, chunk: int = CHUNK_BYTES) -> None:
        self.size = size
        self.chunk = chunk
        self.count = max(1, -(-size // chunk))
        self.left = self.count
        self._there = bytearray(self.count)
        self._next = 0
        self._open: list[int] = []
        """Chunks that were taken and given back, the first one first."""

    @property
    def complete(self) -> bool:
        """Whether all of it is there."""
        return not self.left

    def take(self) -> tuple[int, int] | None:
        """The next piece (at, size) that nobody has taken."""
        if self._open:
            number = heappop(self._open)
        elif self._next < self.count:
            number = self._next
            self._next += 1
        else:
            return None
        at = number * self.chunk
        return at, min(self.chunk, self.size - at)

    def done(self, at: int) -> None:
        """A piece that was taken is there."""
        number = at // self.chunk
        assert number < self._next and not self._there[number]
        self._there[number] = 1
        self.left -= 1

    def give_back(self, at: int) -> None:
        """A piece that was taken does not come."""
        assert not self._there[at // self.chunk]
        heappush(self._open, at // self.chunk)

    def has(self, at: int, size: int) -> bool:
        """Whether these bytes are there."""
        return all(self._there[at // self.chunk : -(-(at + size) // self.chunk)])


class Dial(Struct, frozen=True):
    """Ask this node."""

    node: int
    direct: bool = False
    whole: bool = False
    """Only if it has all of it. What is on its way there may come through this node: both would wait for ever."""
    relay: bool = False
    """If it does not: get it from the source itself, and pass it on."""
    avoid: tuple[int, ...] = ()


class Route:
    """From whom one object comes."""

    def __init__(self, me: int, source: int, hints: Iterable[int] = (), is_relay: bool = False) -> None:
        self.me = me
        self.source = source
        self.reason = ""
        """Why the last attempt has failed."""
        self._sent = 0
        """The node that the source has named; 0: none."""
        self._avoid: dict[int, None] = {}
        self._failures = 0
        self._denied = False
        """The source does not have it."""
        self._hints = [node for node in hints if node != source]
        self.is_relay = is_relay
        """It is for a node that has no way to the source: it comes from there, or not at all."""
        self._asked: set[int] = set()

    def sent_to(self, node: int) -> None:
        """The source says who is to give it."""
        self._sent = node

    def failed(self, node: int, reason: str, denied: bool, gained: bool) -> None:
        """A node did not give it: it does not have it (`denied`), or cannot be reached, or has stopped in the middle.

        `gained`: something has come since the last failure.
        """
        self.reason = reason
        if gained:
            self._failures = 0
            self._asked.clear()
        if node == self.source:
            self._failures += 1
            self._denied = self._denied or denied
        else:
            self._avoid[node] = None
            if self._sent == node and not denied:
                self._hints.append(node)
        self._sent = 0

    def next(self, alive: Iterable[int]) -> Dial | None:
        """Whom to ask next, of the nodes that live; None: nobody is left."""
        living = [node for node in alive if node != self.me]
        if self._sent:
            return Dial(self._sent, direct=True)
        there = self.source in living and not self._denied
        if there and self._failures < SOURCE_TRIES:
            return Dial(self.source, direct=self.is_relay, avoid=tuple(self._avoid)[-AVOID_MAX:])
        if self.source not in living:
            self.reason = f"node {self.source}, which had it, is gone"
        for node in self._others(living):
            self._asked.add(node)
            return Dial(node, direct=True, whole=True, relay=there)
        return None

    def _others(self, living: list[int]) -> Iterator[int]:
        if self.is_relay or len(self._asked) >= OTHERS_MAX:
            return
        for node in (*self._hints, *(() if self._denied else living)):
            if node in living and node != self.source and node not in self._asked and node != self.me:
                yield node


class Wanted(Struct, eq=False):
    """An object that waits for its turn."""

    size: int
    since: float


class Queue:
    """Which objects come first, and how many at a time."""

    def __init__(self, capacity: int) -> None:
        self._room = int(capacity * SHARE_MAX)
        self._urgent: dict[bytes, Wanted] = {}
        """What somebody waits for now, in the order in which it was asked for."""
        self._ahead: dict[bytes, Wanted] = {}
        """What somebody will want soon."""
        self.active: dict[bytes, int] = {}
        self.active_bytes = 0
        self._moved_at = 0.0
        """When an object last got its memory, or gave it up."""

    @property
    def waiting(self) -> int:
        """How many objects wait."""
        return len(self._urgent) + len(self._ahead)

    def add(self, ident: bytes, size: int, ahead: bool, now: float) -> None:
        """An object is wanted, or (`ahead`) will be soon."""
        assert ident not in self.active and ident not in self._urgent and ident not in self._ahead
        (self._ahead if ahead else self._urgent)[ident] = Wanted(size, now)

    def hurry(self, ident: bytes) -> None:
        """Somebody waits now for an object that was asked for in advance."""
        wanted = self._ahead.pop(ident, None)
        if wanted is not None:
            self._urgent[ident] = wanted

    def candidates(self) -> list[tuple[bytes, int]]:
        """What may begin if there is memory for it (object, size), in this order. Ask again after each that has begun."""
        if len(self.active) >= PULLS_MAX:
            return []
        first = islice(chain(self._urgent.items(), self._ahead.items()), TRIED_MAX)
        return [
            (ident, wanted.size)
            for ident, wanted in first
            if not self.active or self.active_bytes + wanted.size <= self._room
        ]

    def begin(self, ident: bytes, now: float) -> None:
        """An object has its memory, all of it: to be complete it needs nothing more that others could have."""
        wanted = self._urgent.pop(ident, None) or self._ahead.pop(ident)
        self.active[ident] = wanted.size
        self.active_bytes += wanted.size
        self._moved_at = now

    def end(self, ident: bytes, now: float) -> None:
        """An object is here, or does not come."""
        self._urgent.pop(ident, None)
        self._ahead.pop(ident, None)
        if ident in self.active:
            self.active_bytes -= self.active.pop(ident)
            self._moved_at = now

    def late(self, now: float) -> list[bytes]:
        """What has waited for too long, while none of the others got on."""
        if now - self._moved_at < PATIENCE_S or self.active:
            return []
        both = chain(self._urgent.items(), self._ahead.items())
        return [ident for ident, wanted in both if now - wanted.since >= PATIENCE_S]

    def validate(self) -> None:
        """Check the invariants; for tests and the simulator."""
        assert not self._urgent.keys() & self._ahead.keys()
        assert not self.active.keys() & (self._urgent.keys() | self._ahead.keys())
        assert self.active_bytes == sum(self.active.values())
        assert len(self.active) <= PULLS_MAX
