"""Objects that leave memory and come back, while clients hold, read, send and die, in any order of events."""

from __future__ import annotations

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skate.node.directory import STORE, Directory, Effects, aligned
from skate.node.spilling import Moves, Read, Spilling, State, Write
from skate.wire.config import SpillConfig
from skate.wire.handover import HEIR
from skate.wire.messages import ERROR, INLINE, SHARED, Value

ARENA = 1 << 13
LOST = Value(ERROR, b"lost")
CLIENTS = [b"a", b"b", b"c"]


class SpillingMachine(RuleBasedStateMachine):
    """Clients with places that they know, a disk that is slow, and the bytes themselves: whose they are is written into them."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Directory(ARENA, 64)
        config = SpillConfig(roots=["x", "y"], min_spilling_size=600, quota_bytes=20_000)
        self.logic = Spilling(self.directory, config, ARENA)
        self.now = 0.0
        self.number = 0
        self.live = list(CLIENTS)
        self.bytes: dict[int, bytes] = {}
        """What lies at each offset: the id of the object."""
        self.places: dict[tuple[bytes, bytes], int] = {}
        """(client, object): where the client thinks that it is; 0: it has forgotten."""
        self.reads: set[tuple[bytes, bytes]] = set()
        """Who has a view of what: its place must not be used for anything else."""
        self.asked: list[tuple[bytes, int, list[bytes]]] = []
        self.disk: dict[int, list[bytes]] = {}
        self.writing: list[Write] = []
        self.reading: list[Read] = []
        self.wants: dict[bytes, set[bytes]] = {}
        self.claims: list[tuple[bytes, bytes, bytes]] = []

    # ------------------------------------------------------------ effects

    def carry_out(self, moves: Moves) -> None:
        for client, ids in moves.ask.items():
            if client in self.live:
                self.asked.append((client, moves.round, ids))
            else:
                self.carry_out(self.logic.answered(client, moves.round, ids, [], [], self.now))
        for job in moves.write:
            self.writing.append(job)
        for client, ident in moves.freed:
            if client in self.live:
                self.give_back(client, ident)
        self.remove_files()

    def remove_files(self) -> None:
        for number, _ in self.logic.take_deleted():
            self.disk.pop(number, None)

    def give_back(self, client: bytes, ident: bytes) -> None:
        """The client is told that its block is free; it returns it at once."""
        at = self.lent.pop((client, ident))
        self.directory.returned(client, [at])

    @property
    def lent(self) -> dict[tuple[bytes, bytes], tuple[int, int]]:
        if not hasattr(self, "_lent"):
            self._lent: dict[tuple[bytes, bytes], tuple[int, int]] = {}
        return self._lent

    def settle(self) -> None:
        """Every channel is read empty: objects that nobody holds end, and those that were agreed on leave."""
        agreed = self.logic.take_agreed()
        self.carry_out(self.logic.leave(agreed, self.now))
        effects = Effects()
        self.directory.sweep(effects, LOST)
        for client, ids in effects.freed.items():
            for ident in ids:
                if client in self.live:
                    self.give_back(client, ident)
        self.remove_files()

    # ------------------------------------------------------------ what clients do

    @rule(data=st.data(), size=st.integers(1, 900))
    def put(self, data: st.DataObject, size: int) -> None:
        client = data.draw(st.sampled_from(self.live))
        offset = self.directory.grant(client, size)
        if offset is None:
            return
        self.number += 1
        ident = b"%04d" % self.number
        self.bytes[offset] = ident
        self.lent[client, ident] = (offset, aligned(size))
        value = Value(SHARED, b"", ident, offset, size)
        self.directory.register(client, ident, value, b"", b"", Effects())
        self.places[client, ident] = offset
        self.settle()

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        """Somebody who knows the place tells another, who holds it from then on."""
        able = sorted(key for key in self.places if key[0] in self.live)
        if not able:
            return
        giver, ident = data.draw(st.sampled_from(able))
        taker = data.draw(st.sampled_from(self.live))
        if (taker, ident) not in self.places:
            self.directory.hold(taker, ident, 1, b"")
            self.places[taker, ident] = self.places[giver, ident]
        self.settle()

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        """The node tells a client that has something in which the object is; it says a moment later that it holds it."""
        _, ident = data.draw(st.sampled_from(sorted(self.places)))
        taker = data.draw(st.sampled_from(self.live))
        value = self.directory.entries[ident].value
        assert value is not None
        if (taker, ident) in self.places or value.kind == ERROR:
            return
        self.number += 1
        outer = b"R%03d" % self.number
        self.directory.register(taker, outer, Value(INLINE, b"", refs=[ident]), b"", b"", Effects())
        told = self.logic.resolve(taker, Value(SHARED, b"", ident, 1, value.size))
        self.places[taker, ident] = told.offset
        self.claims.append((taker, ident, outer))
        self.settle()

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        taker, ident, outer = self.claims.pop(data.draw(st.integers(0, len(self.claims) - 1)))
        self.directory.hold(taker, ident, 1, b"")
        self.directory.hold(taker, outer, -1, b"")
        self.settle()

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def view(self, data: st.DataObject) -> None:
        client, ident = data.draw(st.sampled_from(sorted(self.places)))
        if self.places[client, ident]:
            self.reads.add((client, ident))
            return
        self.wants.setdefault(ident, set()).add(client)
        self.try_restore(ident)

    def try_restore(self, ident: bytes) -> None:
        entry = self.directory.entries[ident]
        assert entry.value is not None
        if entry.value.kind == ERROR:
            self.wants.pop(ident, None)
            return
        found = self.logic.restore(ident)
        if isinstance(found, Read):
            self.reading.append(found)
        elif found is True:
            self.arrived(ident)

    def arrived(self, ident: bytes) -> None:
        entry = self.directory.entries[ident]
        assert entry.value is not None
        for client in self.wants.pop(ident, set()):
            if (client, ident) in self.places and entry.value.kind == SHARED:
                self.logic.disturb(ident)
                self.places[client, ident] = entry.value.offset
                self.reads.add((client, ident))

    @precondition(lambda self: self.reads)
    @rule(data=st.data())
    def close_view(self, data: st.DataObject) -> None:
        self.reads.discard(data.draw(st.sampled_from(sorted(self.reads))))

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        client, ident = data.draw(st.sampled_from(sorted(self.places)))
        if any(claim[:2] == (client, ident) for claim in self.claims):
            return
        del self.places[client, ident]
        self.reads.discard((client, ident))
        self.directory.hold(client, ident, -1, b"")
        self.settle()

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        client, number, ids = self.asked.pop(data.draw(st.integers(0, len(self.asked) - 1)))
        if client not in self.live:
            return
        gone: list[bytes] = []
        busy: list[bytes] = []
        unknown: list[bytes] = []
        for ident in ids:
            if (client, ident) in self.reads:
                busy.append(ident)
            elif (client, ident) in self.places or (client, ident) in self.lent:
                if (client, ident) in self.places:
                    self.places[client, ident] = 0
                self.lent.pop((client, ident), None)
                gone.append(ident)
            else:
                unknown.append(ident)
        self.carry_out(self.logic.answered(client, number, gone, busy, unknown, self.now))
        self.settle()

    @precondition(lambda self: len(self.live) > 1)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.live))
        self.live.remove(client)
        for table in (self.places, self.lent):
            for key in [key for key in table if key[0] == client]:
                del table[key]
        self.reads = {key for key in self.reads if key[0] != client}
        self.asked = [each for each in self.asked if each[0] != client]
        self.claims = [each for each in self.claims if each[0] != client]
        self.directory.client_gone(client, LOST, Effects())
        self.settle()
        self.directory.settle_estate(client)
        self.logic.settled(client)

    # ------------------------------------------------------------ what the node does

    @rule(need=st.integers(1, 4000), later=st.floats(0, 1), restoring=st.booleans())
    def press(self, need: int, later: float, restoring: bool) -> None:
        self.now += later
        self.logic.restoring = restoring
        self.carry_out(self.logic.choose(need, self.now))
        self.settle()

    @precondition(lambda self: self.writing)
    @rule(fails=st.booleans())
    def disk_writes(self, fails: bool) -> None:
        job = self.writing.pop(0)
        if fails:
            self.logic.write_failed(job.file, job.pieces, self.now)
        else:
            for ident, offset, _ in job.pieces:
                assert self.bytes[offset] == ident, "something else was written over it"
            self.disk[job.file] = [ident for ident, _, _ in job.pieces]
            self.logic.written(job.file, [0] * len(job.pieces), job.pieces)
        self.settle()

    @precondition(lambda self: self.reading)
    @rule(fault=st.sampled_from(["", "", "corrupt", "no memory"]))
    def disk_reads(self, fault: str) -> None:
        job = self.reading.pop(0)
        assert job.ident in self.disk[job.part.file], "the file was removed too early"
        if fault == "no memory":
            self.logic.unread(job.ident)
        elif self.logic.read(job.ident, fault == ""):
            if fault:
                self.directory.entries[job.ident].value = LOST
                self.wants.pop(job.ident, None)
            else:
                self.bytes[job.offset] = job.ident
                self.arrived(job.ident)
        self.settle()

    # ------------------------------------------------------------ what must hold

    @invariant()
    def consistent(self) -> None:
        self.directory.validate()
        self.logic.validate()

    @invariant()
    def whoever_knows_a_place_finds_the_object_there(self) -> None:
        for (_, ident), offset in self.places.items():
            if offset:
                assert self.bytes[offset] == ident

    @invariant()
    def memory_is_neither_lost_nor_given_twice(self) -> None:
        parts = list(self.directory.free)
        for grant in self.directory.grants.values():
            parts += list(grant)
        end = 64
        for offset, size in sorted(parts):
            assert offset == end, "a gap, or an overlap"
            end = offset + size
        assert end == ARENA + 64

    @invariant()
    def what_lives_is_in_memory_or_on_the_disk(self) -> None:
        for ident, entry in self.directory.entries.items():
            if entry.value is not None and entry.value.kind == SHARED and not entry.value.offset:
                assert ident in self.disk[self.logic.parts[ident].file]

    def teardown(self) -> None:
        """Everything ends: nothing may be left in memory or on the disk."""
        while self.writing:
            self.disk_writes(False)
        while self.reading:
            self.disk_reads("")
        while self.claims:
            taker, ident, outer = self.claims.pop()
            self.directory.hold(taker, ident, 1, b"")
            self.directory.hold(taker, outer, -1, b"")
        for client, ident in list(self.places):
            self.directory.hold(client, ident, -1, b"")
        self.places.clear()
        self.reads.clear()
        self.settle()
        while self.asked:
            client, number, ids = self.asked.pop()
            self.carry_out(self.logic.answered(client, number, [], ids, [], self.now))
        self.settle()
        assert not self.directory.entries and not self.logic.rows and not self.disk and not self.logic.disk_bytes
        assert STORE not in self.directory.grants
        assert self.directory.free.total == ARENA


TestSpilling = SpillingMachine.TestCase
TestSpilling.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def put(directory: Directory, client: bytes, ident: bytes, size: int = 100) -> int:
    offset = directory.grant(client, size)
    assert offset is not None
    directory.register(client, ident, Value(SHARED, b"", ident, offset, size), b"", b"", Effects())
    return offset


def make(**options: int) -> tuple[Directory, Spilling]:
    directory = Directory(ARENA, 64)
    return directory, Spilling(directory, SpillConfig(roots=["x"], **options), ARENA)  # type: ignore[arg-type]


def test_the_least_recently_used_leaves_first_and_small_ones_share_a_file() -> None:
    directory, logic = make(min_spilling_size=250)
    for ident in (b"one", b"two", b"three", b"four"):
        put(directory, b"a", ident)
    logic.touch(b"one")
    moves = logic.choose(1, 0.0)
    assert moves.ask == {b"a": [b"two", b"three", b"four"]}, "up to min_spilling_size at once"
    logic.answered(b"a", moves.round, [b"two", b"three", b"four"], [], [], 0.0)
    moves = logic.leave(logic.take_agreed(), 0.0)
    assert [len(job.pieces) for job in moves.write] == [2, 1]
    for job in moves.write:
        logic.written(job.file, [0] * len(job.pieces), job.pieces)
    assert {ident for ident, row in logic.rows.items() if row.state is State.SPILLED} == {b"two", b"three", b"four"}


def test_a_nearly_full_disk_takes_what_fits() -> None:
    for restoring in (False, True):
        directory, logic = make(min_spilling_size=400, quota_bytes=250)
        idents = [b"one", b"two", b"three", b"four"]
        for ident in idents:
            put(directory, b"a", ident)
        logic.restoring = restoring
        moves = logic.choose(1, 0.0)
        logic.answered(b"a", moves.round, idents, [], [], 0.0)
        written = [ident for job in logic.leave(logic.take_agreed(), 0.0).write for ident, _, _ in job.pieces]
        assert written == idents[:2]
        assert set(logic.rows) == set(written)
        logic.validate()


def test_after_a_failed_write_smaller_ones_are_tried_when_somebody_waits_to_read() -> None:
    directory, logic = make(min_spilling_size=400)
    idents = [b"one", b"two", b"three", b"four"]
    for ident in idents:
        put(directory, b"a", ident)
    logic.restoring = True
    sizes = []
    for now in (0.0, 1.0, 2.0):
        moves = logic.choose(1, now)
        for client, ids in moves.ask.items():
            logic.answered(client, moves.round, ids, [], [], now)
        jobs = logic.leave(logic.take_agreed(), now).write
        sizes.append([len(job.pieces) for job in jobs])
        for job in jobs:
            logic.write_failed(job.file, job.pieces, now)
        logic.validate()
    assert sizes == [[4], [2, 2], [1, 1, 1, 1]] and logic.is_full(2.0), "one does not fit: nothing does"


def test_a_view_keeps_its_object_and_what_was_told_meanwhile_counts() -> None:
    directory, logic = make()
    put(directory, b"a", b"one")
    moves = logic.choose(1, 0.0)
    logic.answered(b"a", moves.round, [], [b"one"], [], 0.0)
    assert not logic.rows and not logic.choose(1, 0.1).ask, "not asked again at once"
    moves = logic.choose(1, 1.0)
    directory.hold(b"b", b"one", 1, b"")
    logic.answered(b"a", moves.round, [b"one"], [], [], 1.0)
    assert not logic.leave(logic.take_agreed(), 1.0).write and not logic.rows


def test_who_holds_what_it_does_not_know_will_be_told_its_place() -> None:
    directory, logic = make()
    put(directory, b"a", b"one")
    directory.hold(b"b", b"one", 1, b"")
    moves = logic.choose(1, 0.0)
    logic.answered(b"a", moves.round, [b"one"], [], [], 0.0)
    logic.answered(b"b", moves.round, [], [], [b"one"], 0.0)
    assert not logic.rows and not logic.take_agreed()


def test_copies_are_dropped_first_and_never_written() -> None:
    directory, logic = make(min_spilling_size=1)
    logic.copier = b"me"
    put(directory, b"a", b"mine")
    offset = directory.grant(b"me", 100)
    assert offset is not None
    copy = Value(SHARED, b"", b"copy", offset, 100)
    directory.register(b"me", b"copy", copy, b"a", b"me", Effects())
    moves = logic.choose(1, 0.0)
    assert moves.ask == {b"a": [b"copy"]}
    logic.answered(b"a", moves.round, [b"copy"], [], [], 0.0)
    moves = logic.leave(logic.take_agreed(), 0.0)
    assert moves.dropped == [b"copy"] and not moves.write and logic.is_dropped(b"copy")
    assert b"me" not in directory.grants


def test_a_copy_that_is_kept_is_written_and_not_dropped() -> None:
    directory, logic = make()
    directory.number = b"\x00\x00\x00\x01"
    logic.copier = b"node"
    effects = Effects()
    for number in range(2):
        ident = b"%d" % number
        offset = directory.grant(b"node", 100)
        assert offset is not None
        directory.register(b"node", ident, Value(SHARED, b"", ident, offset, 100), HEIR, b"node", effects)
    asked = logic.choose(100, 0.0)  # one is about to be dropped, and is kept at the last moment
    logic.keep(b"0")
    logic.keep(b"1")
    assert not logic.leave(logic.take_agreed(), 0.0).dropped and not asked.write
    assert b"node" not in directory.grants and directory.grants[STORE].total == 2 * aligned(100)
    assert all(directory.is_kept(ident) for ident in (b"0", b"1"))
    logic.choose(200, 10.0)
    moves = logic.leave(logic.take_agreed(), 10.0)
    assert not moves.dropped and {ident for job in moves.write for ident, _, _ in job.pieces} == {b"0", b"1"}
    logic.validate()
    directory.validate()


def test_a_quota_first_gives_up_what_is_in_memory_too() -> None:
    directory, logic = make(min_spilling_size=1, quota_bytes=250)

    def spill(ident: bytes) -> bool:
        logic.touch(ident)
        for other in [each for each in directory.entries if each != ident]:
            logic.touch(other)
        moves = logic.choose(1, 9.0)
        logic.answered(b"a", moves.round, [ident], [], [], 9.0)
        moves = logic.leave(logic.take_agreed(), 9.0)
        for job in moves.write:
            logic.written(job.file, [0], job.pieces)
        return bool(moves.write)

    for ident in (b"one", b"two"):
        put(directory, b"a", ident)
        assert spill(ident)
    put(directory, b"a", b"three")
    assert not spill(b"three") and logic.is_full(9.0), "both parts are needed"
    read = logic.restore(b"one")
    assert isinstance(read, Read) and logic.read(b"one", True) and b"one" in logic.parts
    logic.touch(b"one")
    moves = logic.choose(1, 10.0)
    logic.answered(b"a", moves.round, [b"three"], [], [], 10.0)
    moves = logic.leave(logic.take_agreed(), 10.0)
    assert len(moves.write) == 1 and b"one" not in logic.parts
