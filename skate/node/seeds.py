"""Who gives an object to whom, when many nodes want it.

Pure. The node that an object's readers ask first keeps, for each large object, the nodes that have it or are getting it, and who
gives it to whom. Whoever comes is sent to the one who gives it to the fewest at the time, and a node may give what it is still
getting. So when many come at once they form a chain, in which every node sends the object once: the last has it hardly later than
the first, however many there are, as far as the network and the processors go. Nothing is believed for long: who is sent to
somebody that cannot give it comes back, and says so.

INV-1: following `source` from any node ends at this node: nobody waits for himself.
INV-2: no source of a node is unknown: it is this node, or has an entry.
"""

from __future__ import annotations

from collections.abc import Container

from msgspec import Struct

OBJECTS_MAX = 1024
"""Objects that are remembered; those that nobody is getting are forgotten first."""
HOLDERS_MAX = 256
"""Nodes that are remembered to have an object."""


class Seed(Struct, eq=False):
    """A node that has an object (`source` is None), or is getting it from `source`."""

    source: int | None


class Seeds:
    """What one node knows of those that have its objects."""

    def __init__(self, me: int) -> None:
        self.me = me
        self.objects: dict[bytes, dict[int, Seed]] = {}

    def assign(self, ident: bytes, puller: int, avoid: Container[int], alive: Container[int]) -> int:
        """Who is to give an object to a node."""
        seeds = self._remembered(ident)
        self._remove(seeds, puller, keep_fed=True)
        for node in [node for node in seeds if node in avoid and seeds[node].source is None]:
            self._remove(seeds, node)  # it had the object, and does not give it
        load = dict.fromkeys(seeds, 0)
        for seed in seeds.values():
            if seed.source is not None and seed.source in load:
                load[seed.source] += 1
        own = sum(seed.source == self.me for seed in seeds.values())
        best, least = self.me, (own, 1)
        for node, seed in seeds.items():
            if node == puller or node in avoid or node not in alive or self._feeds(seeds, puller, node):
                continue
            rank = (load[node], 0 if seed.source is None else 2)
            if rank < least:
                best, least = node, rank
        seeds[puller] = Seed(best)
        return best

    def _remembered(self, ident: bytes) -> dict[int, Seed]:
        seeds = self.objects.pop(ident, None)
        if seeds is None:
            seeds = {}
            if len(self.objects) >= OBJECTS_MAX:
                idle = (old for old, each in self.objects.items() if all(seed.source is None for seed in each.values()))
                del self.objects[next(idle, next(iter(self.objects)))]
        self.objects[ident] = seeds
        while len(seeds) >= HOLDERS_MAX:
            self._remove(seeds, next(iter(seeds)))
        return seeds

    @staticmethod
    def _feeds(seeds: dict[int, Seed], giver: int, node: int) -> bool:
        """Whether what a node gets comes through `giver`."""
        at: int | None = node
        while at is not None and at in seeds:
            at = seeds[at].source
            if at == giver:
                return True
        return False

    def _remove(self, seeds: dict[int, Seed], node: int, keep_fed: bool = False) -> None:
        """A node is not counted on any more. Those that it feeds come back by themselves, or (`keep_fed`) go on."""
        removed = seeds.pop(node, None)
        if removed is None:
            return
        for seed in seeds.values():
            if seed.source == node and not keep_fed:
                seed.source = self.me

    def whole(self, ident: bytes, puller: int) -> None:
        """A node has all of an object now."""
        seed = self.objects.get(ident, {}).get(puller)
        if seed is not None:
            seed.source = None

    def failed(self, ident: bytes, puller: int) -> None:
        """A node does not get an object any more."""
        seeds = self.objects.get(ident, {})
        if puller in seeds and seeds[puller].source is not None:
            self._remove(seeds, puller)

    def node_died(self, node: int) -> None:
        """A node is gone."""
        for seeds in self.objects.values():
            self._remove(seeds, node)

    def forget(self, ident: bytes) -> None:
        """An object is not here any more."""
        self.objects.pop(ident, None)

    def validate(self) -> None:
        """Check the invariants; for tests and the simulator."""
        assert len(self.objects) <= OBJECTS_MAX
        for seeds in self.objects.values():
            assert len(seeds) <= HOLDERS_MAX
            for node, seed in seeds.items():
                at: int | None = node
                steps = 0
                while at is not None and at != self.me:
                    assert at in seeds, (node, seed)
                    at = seeds[at].source
                    steps += 1
                    assert steps <= len(seeds), "somebody waits for himself"
