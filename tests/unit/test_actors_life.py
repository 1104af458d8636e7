"""The life of actors: any order of events, and what must hold of the effects."""

from __future__ import annotations

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skate.head import actors as module
from skate.head.actors import Actor, Actors, Effect, End, Place, State, Tell, Unplace
from skate.wire.cluster import MOVED
from skate.wire.messages import INLINE, CreateActor, Death, Definition, Value

JOBS = ["one", "two"]


def spec(number: int, name: str = "", detached: bool = False, max_restarts: int = 0) -> CreateActor:
    definition = Definition(0, b"hash", None, "Thing", 1)
    return CreateActor(
        b"%016d" % number, definition, Value(INLINE), None, b"", name, "space", "Thing", detached, {}, {}, max_restarts,
        1, {}, False, False, 0,
    )  # fmt: skip


def alive(actors: Actors, number: int = 1, **options: object) -> Actor:
    made = spec(number, **options)  # type: ignore[arg-type]
    actors.create(b"client", "one", made)
    actor = actors.placed(made.id, number, 1000 + number)
    actors.ready(number, b"")
    return actor


class ActorsMachine(RuleBasedStateMachine):
    """A model of what the node does with the effects: which actors wait for a worker, and which processes run."""

    def __init__(self) -> None:
        super().__init__()
        self.actors = Actors()
        self.waiting: set[bytes] = set()
        self.ending: set[int] = set()
        self.told_dead: set[bytes] = set()
        self.number = 0
        self.worker = 0

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            actor = effect.actor
            if isinstance(effect, Place):
                assert actor.id not in self.waiting and not actor.worker and actor.state is not State.DEAD
                self.waiting.add(actor.id)
            elif isinstance(effect, Unplace):
                self.waiting.discard(actor.id)
            elif isinstance(effect, End):
                assert actor.worker, "there is no process to end"
                self.ending.add(actor.worker)
            elif isinstance(effect, Tell) and actor.state is State.DEAD:
                assert actor.id not in self.told_dead, "an actor dies once"
                assert actor.death is not None, "a death has a reason"
                self.told_dead.add(actor.id)

    def some(self, data: st.DataObject) -> bytes:
        return data.draw(st.sampled_from(sorted(self.actors.by_id)))

    @rule(
        name=st.sampled_from(["", "x", "y"]),
        detached=st.booleans(),
        restarts=st.sampled_from([0, 1, -1]),
        job=st.sampled_from(JOBS),
    )
    def create(self, name: str, detached: bool, restarts: int, job: str) -> None:
        if name and self.actors.find("space", name) is not None:
            return
        self.number += 1
        self.carry_out(self.actors.create(b"client", job, spec(self.number, name, detached, restarts)))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def placed(self, data: st.DataObject) -> None:
        ident = data.draw(st.sampled_from(sorted(self.waiting)))
        self.waiting.discard(ident)
        self.worker += 1
        self.actors.placed(ident, self.worker, 1000 + self.worker)

    @precondition(lambda self: self.actors.by_worker)
    @rule(data=st.data(), error=st.sampled_from([b"", b"", b"packed error"]))
    def ready(self, data: st.DataObject, error: bytes) -> None:
        self.carry_out(self.actors.ready(data.draw(st.sampled_from(sorted(self.actors.by_worker))), error))

    @precondition(lambda self: self.actors.by_worker)
    @rule(data=st.data(), intended=st.booleans())
    def process_died(self, data: st.DataObject, intended: bool) -> None:
        worker = data.draw(st.sampled_from(sorted(self.actors.by_worker)))
        actor = self.actors.by_worker[worker]
        before, charged, moving = actor.restarts, actor.restarts - actor.moves, actor.moving
        may = self.actors.may_restart(actor)
        self.ending.discard(worker)
        reason = MOVED if moving and intended else "gone"
        self.carry_out(self.actors.process_died(worker, Death(reason, intended=intended)))
        assert actor.restarts in (before, before + 1) and not actor.moving
        assert not intended or (actor.state is State.DEAD) == (not (moving and may))
        if moving and intended:
            assert actor.restarts - actor.moves == charged, "a move is not charged"
        assert actor.spec.max_restarts < 0 or actor.restarts - actor.moves <= actor.spec.max_restarts

    @precondition(lambda self: self.actors.by_worker)
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        actor = self.actors.by_worker[data.draw(st.sampled_from(sorted(self.actors.by_worker)))]
        if actor.state is State.ALIVE and self.actors.may_restart(actor):
            self.carry_out(self.actors.move(actor.id))

    @precondition(lambda self: self.actors.by_id)
    @rule(data=st.data(), no_restart=st.booleans())
    def kill(self, data: st.DataObject, no_restart: bool) -> None:
        ident = self.some(data)
        actor = self.actors.by_id[ident]
        self.carry_out(self.actors.kill(ident, no_restart))
        if no_restart:
            assert actor.state is State.DEAD or actor.worker in self.ending
            assert self.actors.by_name.get(("space", actor.spec.name)) != ident

    @precondition(lambda self: self.actors.by_id)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        ident = self.some(data)
        actor = self.actors.by_id[ident]
        self.carry_out(self.actors.release(ident))
        assert actor.spec.detached or actor.state is State.DEAD or actor.worker in self.ending

    @rule(job=st.sampled_from(JOBS))
    def job_ended(self, job: str) -> None:
        self.carry_out(self.actors.job_ended(job))
        for actor in self.actors.by_id.values():
            assert actor.job != job or actor.spec.detached or actor.state is State.DEAD or actor.worker in self.ending

    @invariant()
    def consistent(self) -> None:
        self.actors.validate()
        for actor in self.actors.by_id.values():
            assert (actor.state is State.DEAD) == (actor.id in self.told_dead)
            assert (actor.id in self.waiting) == (actor.state in (State.PENDING, State.RESTARTING))
            assert bool(actor.worker) == (actor.state in (State.STARTING, State.ALIVE))


TestActors = ActorsMachine.TestCase
TestActors.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_restarts_are_counted() -> None:
    actors = Actors()
    actor = alive(actors, max_restarts=1)
    assert [type(e) for e in actors.process_died(1, Death("crash"))] == [Tell, Place]
    assert actor.state is State.RESTARTING
    actors.placed(actor.id, 2, 1002)
    actors.ready(2, b"")
    actors.process_died(2, Death("crash"))
    assert (actor.state, actor.restarts) == (State.DEAD, 1)


def test_the_end_of_a_drained_node_is_not_charged() -> None:
    actors = Actors()
    actor = alive(actors, max_restarts=1)
    actors.process_died(1, Death("its node is gone"), drained=True)
    assert (actor.state, actor.restarts) == (State.RESTARTING, 1)
    actors.placed(actor.id, 2, 1002)
    actors.ready(2, b"")
    actors.process_died(2, Death("crash"))
    assert (actor.state, actor.restarts) == (State.RESTARTING, 2)
    actors.placed(actor.id, 3, 1003)
    actors.process_died(3, Death("crash"))
    assert actor.state is State.DEAD


def test_an_actor_whose_init_raised_is_not_restarted() -> None:
    actors = Actors()
    made = spec(1, max_restarts=-1)
    actors.create(b"client", "one", made)
    actor = actors.placed(made.id, 1, 1001)
    assert [type(e) for e in actors.ready(1, b"error")] == [End]
    actors.process_died(1, Death("it ended"))
    assert actor.state is State.DEAD and actor.error == b"error"


def test_a_killed_actors_name_is_free_at_once() -> None:
    actors = Actors()
    old = alive(actors, name="x")
    actors.kill(old.id, True)
    assert actors.find("space", "x") is None
    new = alive(actors, 2, name="x")
    actors.process_died(1, Death("killed"))
    assert actors.find("space", "x") is new


def test_a_detached_actor_outlives_its_handles_and_its_job() -> None:
    actors = Actors()
    actor = alive(actors, name="x", detached=True)
    assert actors.release(actor.id) == [] and actors.job_ended("one") == []
    assert actors.find("space", "x") is actor


def test_an_actor_whose_program_has_ended_says_so() -> None:
    actors = Actors()
    left, killed, lost = (alive(actors, number, name=str(number)) for number in (1, 2, 3))
    lost.job = "two"
    actors.kill(killed.id, True, "it was in the way")
    actors.job_ended("one", told=True)
    actors.job_ended("two")
    assert actors.release(left.id) == [], "it is being killed already"
    for number in (1, 2, 3):
        actors.process_died(number, Death("killed by signal 9 (SIGKILL)"))
    assert left.death == Death("its program has ended", intended=True)
    assert lost.death == Death("its program has ended without a word", intended=True)
    assert killed.death == Death("it was in the way", intended=True)


def test_only_so_many_dead_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEAD_ACTORS_MAX", 2)
    actors = Actors()
    for number in range(1, 6):
        actors.kill(alive(actors, number).id, True)
        actors.process_died(number, Death("killed"))
    assert len(actors.by_id) == 2
    assert actors.kill(spec(1).id, True) == []
