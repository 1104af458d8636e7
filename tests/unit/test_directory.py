"""The directory: holds in any order, deaths, and memory that is never lost."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skate.node.directory import STORE, Directory, Effects, aligned
from skate.wire.handover import HEIR
from skate.wire.messages import ERROR, INLINE, SHARED, Value

ARENA = 1 << 16
CLIENTS = [b"a", b"b", b"c"]
LOST = Value(ERROR, b"lost")


class DirectoryMachine(RuleBasedStateMachine):
    """A model that counts holders by hand; every message is read before each sweep, as the node does it."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Directory(ARENA)
        self.number = 0
        self.live = list(CLIENTS)
        self.holds: Counter[tuple[bytes, bytes]] = Counter()
        self.children: dict[bytes, list[bytes]] = {}
        self.pending: dict[bytes, bytes] = {}
        self.blocks: dict[bytes, tuple[bytes, int, int]] = {}
        self.asked: Counter[tuple[bytes, bytes]] = Counter()
        self.private: list[tuple[bytes, int, int]] = []

    # ------------------------------------------------------------ the model

    def reachable(self) -> set[bytes]:
        alive = {ident for (_, ident), count in self.holds.items() if count > 0}
        todo = list(alive)
        while todo:
            for child in self.children.get(todo.pop(), ()):
                if child not in alive:
                    alive.add(child)
                    todo.append(child)
        return alive

    def carry_out(self, effects: Effects) -> None:
        for client, ident, _ in effects.fetched:
            assert self.asked[client, ident], "an answer that nobody asked for"
            self.asked[client, ident] -= 1
        for owner, idents in effects.freed.items():
            for ident in idents:
                who, offset, size = self.blocks.pop(ident)
                assert who == owner and owner in self.live
                self.private.append((owner, offset, size))

    def settle(self) -> None:
        """All channels are read empty: what nobody holds ends."""
        effects = Effects()
        alive = self.reachable()
        self.directory.sweep(effects, LOST)
        self.carry_out(effects)
        assert set(self.directory.entries) == alive
        for ident in set(self.children) - alive:
            del self.children[ident]
        self.pending = {ident: owner for ident, owner in self.pending.items() if ident in alive}
        self.blocks = {ident: block for ident, block in self.blocks.items() if ident in alive}

    def known(self, data: st.DataObject) -> bytes:
        return data.draw(st.sampled_from(sorted(self.reachable())))

    # ------------------------------------------------------------ events

    @rule(data=st.data(), kind=st.sampled_from(["inline", "shared", "pending"]), nested=st.integers(0, 3))
    def register(self, data: st.DataObject, kind: str, nested: int) -> None:
        client = data.draw(st.sampled_from(self.live))
        self.number += 1
        ident = b"%016d" % self.number
        value = self.value(data, client, ident, kind, nested)
        effects = Effects()
        self.directory.register(client, ident, value, b"", b"", effects)
        self.carry_out(effects)
        self.holds[client, ident] += 1
        if value is None:
            self.pending[ident] = client
        self.settle()

    def value(self, data: st.DataObject, client: bytes, ident: bytes, kind: str, nested: int) -> Value | None:
        if kind == "pending":
            return None
        there = sorted(self.reachable())
        refs = data.draw(st.lists(st.sampled_from(there), max_size=nested)) if there else []
        self.children[ident] = refs
        if kind == "inline":
            return Value(INLINE, b"x", refs=refs or None)
        size = data.draw(st.integers(1, 5000))
        offset = self.directory.grant(client, size)
        if offset is None:
            return Value(INLINE, b"x", refs=refs or None)
        self.blocks[ident] = (client, offset, aligned(size))
        return Value(SHARED, b"", ident, offset, size, refs or None)

    def contains_itself(self, ident: bytes) -> bool:
        seen: set[bytes] = set()
        within = list(self.children[ident])
        while within:
            each = within.pop()
            if each not in seen:
                seen.add(each)
                within.extend(self.children.get(each, ()))
        return ident in seen

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), nested=st.integers(0, 2))
    def deliver(self, data: st.DataObject, nested: int) -> None:
        ident = data.draw(st.sampled_from(sorted(self.pending)))
        owner = self.pending.pop(ident)
        value = self.value(data, owner, ident, "inline", nested)
        assert value is not None
        if self.contains_itself(ident):  # a cycle: references that are counted never free one
            self.children[ident] = []
            value = Value(INLINE, b"x")
        effects = Effects()
        self.directory.deliver(owner, ident, value, effects)
        self.carry_out(effects)
        self.settle()

    @precondition(lambda self: self.reachable())
    @rule(data=st.data(), drop_first=st.booleans())
    def passes_on(self, data: st.DataObject, drop_first: bool) -> None:
        """One client gives a reference to another and lets go; the messages of the two arrive in either order."""
        ident = self.known(data)
        holders = sorted({client for (client, held), n in self.holds.items() if held == ident and n > 0})
        if not holders:
            return
        giver, taker = data.draw(st.sampled_from(holders)), data.draw(st.sampled_from(self.live))
        messages = [(taker, 1), (giver, -1)]
        for client, change in reversed(messages) if drop_first else messages:
            self.directory.hold(client, ident, change, b"")
            self.holds[client, ident] += change
        self.settle()

    @precondition(lambda self: +self.holds)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        client, ident = data.draw(st.sampled_from(sorted(+self.holds)))
        self.directory.hold(client, ident, -1, b"")
        self.holds[client, ident] -= 1
        self.settle()

    @precondition(lambda self: self.reachable())
    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        client, ident = data.draw(st.sampled_from(self.live)), self.known(data)
        effects = Effects()
        self.asked[client, ident] += 1
        self.directory.fetch(client, ident, effects)
        self.carry_out(effects)
        assert self.asked[client, ident] == 0 or ident in self.pending

    @rule(data=st.data(), size=st.integers(1, 8000))
    def grant(self, data: st.DataObject, size: int) -> None:
        client = data.draw(st.sampled_from(self.live))
        offset = self.directory.grant(client, size)
        if offset is not None:
            self.private.append((client, offset, aligned(size)))

    @precondition(lambda self: self.private)
    @rule(data=st.data())
    def give_memory_back(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.private) - 1))
        client, offset, size = self.private.pop(at)
        self.directory.returned(client, [(offset, size)])

    @precondition(lambda self: len(self.live) > 1)
    @rule(data=st.data(), estate_first=st.booleans())
    def client_gone(self, data: st.DataObject, estate_first: bool) -> None:
        client = data.draw(st.sampled_from(self.live))
        self.live.remove(client)
        effects = Effects()
        for key in [key for key in self.asked if key[0] == client]:
            del self.asked[key]
        self.directory.client_gone(client, LOST, effects)
        self.carry_out(effects)
        for key in [key for key in self.holds if key[0] == client]:
            del self.holds[key]
        self.private = [block for block in self.private if block[0] != client]
        self.pending = {ident: owner for ident, owner in self.pending.items() if owner != client}
        if estate_first:
            self.directory.settle_estate(client)
            self.settle()
        else:
            self.settle()
            self.directory.settle_estate(client)

    # ------------------------------------------------------------ what must hold

    @invariant()
    def consistent(self) -> None:
        self.directory.validate()

    @invariant()
    def memory_is_neither_lost_nor_given_twice(self) -> None:
        parts = list(self.directory.free)
        for grant in self.directory.grants.values():
            parts += list(grant)
        end = 0
        for offset, size in sorted(parts):
            assert offset == end, "a gap, or an overlap"
            end = offset + size
        assert end == ARENA
        held = sum(size for _, _, size in [*self.blocks.values(), *self.private])
        assert self.directory.free.total == ARENA - held

    @invariant()
    def who_asked_waits_only_for_what_is_pending(self) -> None:
        for (_, ident), count in self.asked.items():
            assert not count or ident in self.pending


TestDirectory = DirectoryMachine.TestCase
TestDirectory.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_a_block_outlives_its_maker_and_then_its_memory_is_free() -> None:
    directory = Directory(ARENA)
    offset = directory.grant(b"a", 100)
    assert offset == 0
    effects = Effects()
    directory.register(b"a", b"block", Value(SHARED, b"", b"block", 0, 100), b"", b"", effects)
    directory.hold(b"b", b"block", 1, b"")
    directory.client_gone(b"a", LOST, effects)
    directory.sweep(effects, LOST)
    directory.settle_estate(b"a")
    directory.validate()
    assert directory.free.total == ARENA - aligned(100)
    directory.hold(b"b", b"block", -1, b"")
    directory.sweep(effects, LOST)
    assert directory.free.total == ARENA and not directory.grants and not effects.freed


def test_what_a_dead_client_was_to_deliver_is_lost_with_an_answer() -> None:
    directory = Directory(ARENA)
    effects = Effects()
    directory.register(b"a", b"one", None, b"", b"", effects)
    directory.hold(b"b", b"one", 1, b"")
    directory.fetch(b"b", b"one", effects)
    assert not effects.fetched
    directory.client_gone(b"a", LOST, effects)
    assert effects.fetched == [(b"b", b"one", LOST)]


def test_who_asks_for_what_has_ended_is_told_so() -> None:
    """A reference came late: its object had ended, and its hold made an entry that nobody will ever fill."""
    directory = Directory(ARENA)
    effects = Effects()
    directory.hold(b"b", b"one", 1, b"")
    directory.sweep(effects, LOST)
    assert not effects.fetched
    directory.fetch(b"b", b"one", effects)
    directory.sweep(effects, LOST)
    assert effects.fetched == [(b"b", b"one", LOST)]
    directory.hold(b"b", b"one", -1, b"")
    directory.sweep(effects, LOST)
    assert not directory.entries


def test_an_actor_ends_with_its_last_handle_and_lets_go_of_its_arguments() -> None:
    directory = Directory(ARENA)
    effects = Effects()
    directory.register(b"a", b"argument", Value(INLINE, b"x"), b"", b"", effects)
    directory.register_actor(b"a", b"actor", [b"argument"])
    directory.hold(b"a", b"argument", -1, b"")
    directory.sweep(effects, LOST)
    assert set(directory.entries) == {b"actor", b"argument"}
    directory.hold(b"a", b"actor", -1, b"")
    directory.sweep(effects, LOST)
    assert effects.actors == [b"actor"] and not directory.entries


def test_a_full_arena_grants_nothing() -> None:
    directory = Directory(ARENA)
    assert directory.grant(b"a", ARENA) == 0
    assert directory.grant(b"b", 1) is None
    directory.returned(b"a", [(0, ARENA)])
    assert directory.grant(b"b", 1) == 0


def test_a_lost_object_is_made_again_once_for_all_who_ask() -> None:
    directory = Directory(ARENA)
    directory.number = b"\0\0\0\1"
    owner, one, two = b"\0\0\0\1own", b"\0\0\0\2one", b"\0\0\0\2two"
    effects = Effects()
    directory.register(owner, b"\0\0\0\1obj", Value(SHARED, b"", b"\0\0\0\3blk", 0, 64, None, 3), b"", b"", effects)
    directory.hold(one, b"\0\0\0\1obj", 1, b"")
    directory.hold(two, b"\0\0\0\1obj", 1, b"")
    directory.lost(one, b"\0\0\0\1obj", b"\0\0\0\3blk", LOST, effects)
    directory.lost(two, b"\0\0\0\1obj", b"\0\0\0\3blk", LOST, effects)
    assert effects.rebuild == [(owner, b"\0\0\0\1obj", 3)] and not effects.fetched
    again = Value(SHARED, b"", b"\0\0\0\2new", 0, 64, None, 2)
    directory.deliver(owner, b"\0\0\0\1obj", again, effects)
    assert effects.fetched == [(one, b"\0\0\0\1obj", again), (two, b"\0\0\0\1obj", again)]
    directory.lost(one, b"\0\0\0\1obj", b"\0\0\0\3blk", LOST, effects)
    assert len(effects.rebuild) == 1 and effects.fetched[2:] == [(one, b"\0\0\0\1obj", again)], "it is there by now"
    directory.validate()
    directory.client_gone(owner, LOST, effects)
    directory.lost(one, b"\0\0\0\1obj", b"\0\0\0\2new", LOST, effects)
    assert effects.fetched[3:] == [(one, b"\0\0\0\1obj", LOST)] and len(effects.rebuild) == 1, "nobody can make it"
    directory.validate()


def test_the_submitter_hears_when_an_output_need_not_be_made_again() -> None:
    directory = Directory(ARENA)
    directory.number = b"\0\0\0\1"
    owner = b"\0\0\0\1own"
    effects = Effects()
    for name, value in (("far", Value(SHARED, b"", b"\0\0\0\3blk", 0, 64, None, 3)), ("small", Value(INLINE, b"x"))):
        directory.register(owner, b"\0\0\0\1" + name.encode(), value, b"", b"", effects)
        directory.hold(owner, b"\0\0\0\1" + name.encode(), -1, b"")
    directory.sweep(effects, LOST)
    assert effects.freed == {owner: [b"\0\0\0\1far"]}


OWN, OTHER = b"\x00\x00\x00\x01", b"\x00\x00\x00\x02"


def test_an_inherited_object_is_at_home_and_ends_like_any_other() -> None:
    directory = Directory(ARENA)
    directory.number = OWN
    effects = Effects()
    inside, outer, far = OTHER + b"inside", OTHER + b"outer", b"\x00\x00\x00\x03far"
    directory.homes.add(OTHER)
    directory.inherit(outer, Value(INLINE, b"v", outer, refs=[inside, far]), {b"a": 2, b"b": -1}, HEIR, effects)
    directory.inherit(inside, Value(INLINE, b"w", inside), {}, HEIR, effects)
    assert directory.claims == [(far, 1)], "only what is at home elsewhere is claimed there"
    directory.sweep(effects, LOST)
    assert set(directory.entries) == {inside, outer, far}
    directory.fetch(b"c", inside, effects)
    assert [(client, ident) for client, ident, _ in effects.fetched] == [(b"c", inside)]
    directory.hold(b"b", outer, 1, b"")  # what the old home passed on
    directory.hold(b"a", outer, -2, b"")
    directory.validate()
    directory.sweep(effects, LOST)
    assert not directory.entries and directory.claims == [(far, 1), (far, -1)]


def test_an_inherited_block_lies_in_memory_of_the_nodes_own() -> None:
    directory = Directory(ARENA)
    directory.number = OWN
    effects = Effects()
    block, child = OTHER + b"block", OTHER + b"child"
    free = directory.free.total
    offset = directory.grant(STORE, 100)
    assert offset is not None
    directory.register(b"me", block, Value(SHARED, b"", block, offset, 100), HEIR, STORE, effects)
    directory.homes.add(OTHER)
    directory.inherit(block, Value(SHARED, b"", block, 0, 100, [child]), {b"a": 1}, HEIR, effects)
    directory.hold(HEIR, block, -1, b"")
    value = directory.entries[block].value
    assert value is not None and (value.offset, value.refs) == (offset, [child])
    assert directory.is_kept(block) and directory.entries[child].held == 1
    directory.validate()
    directory.release(STORE, offset, 100)
    assert directory.free.total == free


def test_what_an_inherited_object_refers_to_may_be_lost() -> None:
    directory = Directory(ARENA)
    directory.number = OWN
    effects = Effects()
    ident, block = OTHER + b"result", b"\x00\x00\x00\x03block"
    directory.homes.add(OTHER)
    directory.inherit(ident, Value(SHARED, b"", block, 0, 10, None, 3), {b"a": 1}, HEIR, effects)
    directory.lost(b"a", ident, block, LOST, effects)
    assert effects.fetched == [(b"a", ident, LOST)] and not effects.rebuild, "whoever has submitted its task is gone"
