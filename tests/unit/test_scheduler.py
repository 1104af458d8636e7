"""The leases of a node: demands, releases and deaths in any order."""

from __future__ import annotations

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skate.node.resources import UNIT, Amounts, Pool, from_units, to_units
from skate.node.scheduler import Lease, Scheduler, WaitingActor

CLIENTS = [b"a", b"b", b"c"]
SHAPES: list[Amounts] = [to_units({"CPU": 1}), to_units({"CPU": 0.3}), to_units({"CPU": 2, "disk": 1}), to_units({})]
TOTAL = {"CPU": 4.0, "disk": 2.0, "GPU": 2.0}
JOB = "job"


def make(**total: float) -> Scheduler:
    return Scheduler(Pool(total or TOTAL))


def workers(scheduler: Scheduler, *numbers: int) -> None:
    for number in numbers:
        scheduler.worker_idle(number, JOB)


class SchedulerMachine(RuleBasedStateMachine):
    """The pool is never overdrawn, every lease is accounted for, and nobody waits for what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = make()
        self.next_worker = 0
        self.next_actor = 0
        self.gone: set[bytes] = set()

    def leased(self) -> list[Lease]:
        return list(self.scheduler.leases.values())

    @rule(client=st.sampled_from(CLIENTS), shape=st.integers(0, 3), count=st.integers(0, 6), depth=st.integers(0, 3))
    def want(self, client: bytes, shape: int, count: int, depth: int) -> None:
        if client not in self.gone:
            self.scheduler.want(client, JOB, shape, SHAPES[shape], count, depth)

    @rule(shape=st.integers(0, 3))
    def want_actor(self, shape: int) -> None:
        self.next_actor += 1
        placement = SHAPES[shape] or SHAPES[0]
        self.scheduler.want_actor(WaitingActor(b"%d" % self.next_actor, JOB, placement, SHAPES[shape]))

    @precondition(lambda self: self.scheduler.actors)
    @rule(data=st.data())
    def forget_actor(self, data: st.DataObject) -> None:
        ident = data.draw(st.sampled_from([actor.id for actor in self.scheduler.actors]))
        self.scheduler.forget_actor(ident)
        assert ident not in [actor.id for actor in self.scheduler.actors]

    @rule()
    def worker_starts(self) -> None:
        self.next_worker += 1
        self.scheduler.worker_idle(self.next_worker, JOB)

    @precondition(lambda self: self.scheduler.leases)
    @rule(data=st.data(), dies=st.booleans())
    def release(self, data: st.DataObject, dies: bool) -> None:
        worker = data.draw(st.sampled_from(sorted(self.scheduler.leases)))
        self.scheduler.release(worker)
        if not dies:
            self.scheduler.worker_idle(worker, JOB)

    @precondition(lambda self: any(self.scheduler.idle.values()))
    @rule(data=st.data())
    def idle_worker_dies(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.scheduler.idle[JOB]))
        self.scheduler.release(worker)
        assert worker not in self.scheduler.idle[JOB]

    @precondition(lambda self: self.scheduler.leases)
    @rule(data=st.data(), is_blocked=st.booleans())
    def blocked(self, data: st.DataObject, is_blocked: bool) -> None:
        worker = data.draw(st.sampled_from(sorted(self.scheduler.leases)))
        self.scheduler.blocked(worker, is_blocked)

    @rule(client=st.sampled_from(CLIENTS))
    def client_gone(self, client: bytes) -> None:
        if len(self.gone) == len(CLIENTS) - 1:
            return
        self.gone.add(client)
        self.scheduler.client_gone(client)
        for lease in self.leased():
            if lease.client == client:
                self.scheduler.release(lease.worker)

    @rule()
    def decide(self) -> None:
        scheduler = self.scheduler
        before = dict(scheduler.pool.free)
        granted, placed, start = scheduler.decide()
        for name, units in scheduler.pool.free.items():
            assert units >= min(0, before[name]), f"{name} is overdrawn by a grant"
        for lease in granted:
            assert lease.client not in self.gone
        for actor, lease in placed:
            assert lease.amounts == actor.amounts and actor not in scheduler.actors
        assert all(number > 0 for number in start.values())
        if scheduler.idle.get(JOB):
            for demand in scheduler.demands.values():
                assert demand.count <= demand.held or not scheduler.pool.fits(demand.amounts), "a worker is kept back"
        again = scheduler.decide()
        assert not again[0] and not again[1], "one decision decides all"

    @invariant()
    def accounts(self) -> None:
        self.scheduler.validate()
        for demand in self.scheduler.demands.values():
            leases = [x for x in self.leased() if (x.client, x.shape) == (demand.client, demand.shape)]
            assert demand.held == len(leases)


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_who_has_more_of_what_another_lacks_gives_half_of_the_difference_back() -> None:
    scheduler = make(CPU=8.0, disk=1.0)
    workers(scheduler, *range(1, 20))
    one, disk = to_units({"CPU": 1}), to_units({"CPU": 1, "disk": 1})
    scheduler.want(b"a", JOB, 0, one, 20, 0)
    scheduler.decide()
    for _ in range(2):
        scheduler.release(next(iter(scheduler.leases)))
        scheduler.want(b"a", JOB, 0, one, len(scheduler.leases), 0)
    scheduler.want(b"b", JOB, 0, one, 20, 0)
    scheduler.decide()
    assert sorted(map(scheduler._holds, (b"a", b"b"))) == [2, 6]
    assert (b"a", -1, 2) in scheduler.starved(0.0)
    for lease in [lease for lease in scheduler.leases.values() if lease.client == b"a"][:2]:
        scheduler.release(lease.worker)
        scheduler.worker_idle(lease.worker, JOB)
    scheduler.decide()
    assert [scheduler._holds(client) for client in (b"a", b"b")] == [4, 4]
    assert not any(busy for *_, busy in scheduler.starved(0.0)), "nobody has too many"
    scheduler.validate()
    scheduler.want(b"b", JOB, 0, one, 4, 0)
    scheduler.release(next(no for no, lease in scheduler.leases.items() if lease.client == b"a"))
    scheduler.want(b"a", JOB, 0, one, 3, 0)
    scheduler.want(b"c", JOB, 0, disk, 1, 0)
    scheduler.decide()
    scheduler.want(b"c", JOB, 1, to_units({"disk": 1}), 1, 0)
    assert not any(busy for *_, busy in scheduler.starved(0.0)), "others have nothing of what is lacking"


def test_deepest_goes_first() -> None:
    scheduler = make(CPU=1.0)
    scheduler.want(b"a", JOB, 0, SHAPES[0], 1, 0)
    scheduler.want(b"b", JOB, 0, SHAPES[0], 1, 2)
    workers(scheduler, 1)
    granted, _, start = scheduler.decide()
    assert [lease.client for lease in granted] == [b"b"] and not start


def test_equal_clients_share() -> None:
    scheduler = make(CPU=4.0)
    workers(scheduler, 1, 2, 3, 4)
    scheduler.want(b"a", JOB, 0, SHAPES[0], 3, 0)
    scheduler.decide()
    scheduler.want(b"a", JOB, 0, SHAPES[0], 9, 0)
    scheduler.want(b"b", JOB, 0, SHAPES[0], 9, 0)
    assert [lease.client for lease in scheduler.decide()[0]] == [b"b"]
    assert scheduler.starved(0.0), "who holds more is asked to give back"


def test_a_worker_is_started_only_for_what_fits() -> None:
    scheduler = make(CPU=2.0)
    scheduler.want(b"a", JOB, 0, SHAPES[0], 100, 0)
    assert scheduler.decide() == ([], [], {JOB: 2})
    scheduler.starting[JOB] = 2
    assert scheduler.decide() == ([], [], {})


def test_a_blocked_task_lends_its_cpu_and_nothing_else() -> None:
    scheduler = make(CPU=1.0, disk=1.0)
    shape = to_units({"CPU": 1, "disk": 1})
    workers(scheduler, 1, 2)
    scheduler.want(b"a", JOB, 0, shape, 1, 0)
    scheduler.decide()
    scheduler.blocked(1 if 1 in scheduler.leases else 2, True)
    assert from_units(scheduler.pool.free) == {"CPU": 1.0, "disk": 0.0}
    scheduler.want(b"b", JOB, 0, SHAPES[0], 1, 1)
    assert len(scheduler.decide()[0]) == 1
    for worker in list(scheduler.leases):
        scheduler.blocked(worker, False)
    assert scheduler.pool.free["CPU"] == -UNIT, "both run: one CPU is owed"
    scheduler.validate()


@pytest.mark.parametrize(("before", "then"), [([0.6, 0.6], 0.8), ([0.5, 0.5, 0.5], 0.6), ([0.6, 0.6], 0.7)])
def test_a_share_of_a_gpu_is_on_one_gpu(before: list[float], then: float) -> None:
    """What is free on two devices together does not serve a request that needs it on one."""
    scheduler = make(GPU=2.0)
    for shape, amount in enumerate([*before, then]):
        workers(scheduler, shape)
        scheduler.want(b"a", JOB, shape, to_units({"GPU": amount}), 1, 0)
        for lease in scheduler.decide()[0]:
            assert len(lease.gpus) == 1, f"{amount} of a GPU was granted without a device"


def test_whole_gpus_are_whole() -> None:
    scheduler = make(GPU=3.0)
    for shape, amount in enumerate([0.6, 0.6, 0.6, 1.0]):  # 1.2 are left, on three devices
        workers(scheduler, shape)
        scheduler.want(b"a", JOB, shape, to_units({"GPU": amount}), 1, 0)
        scheduler.decide()
    assert len(scheduler.leases) == 3


def test_gpus_come_back() -> None:
    pool = Pool({"GPU": 3.0})
    one, two = pool.take_gpus({"GPU": UNIT}), pool.take_gpus({"GPU": 2 * UNIT})
    assert sorted(one + two) == [0, 1, 2]
    pool.give_gpus(two, {"GPU": 2 * UNIT})
    assert sorted(pool.take_gpus({"GPU": 2 * UNIT})) == sorted(two)


def give_back(scheduler: Scheduler, now: float) -> None:
    """The clients do as they are asked."""
    for client, shape, busy in scheduler.starved(now):
        leases = [x for x in scheduler.leases.values() if x.client == client and shape in (-1, x.shape)]
        for lease in leases[:busy]:
            scheduler.release(lease.worker)
            scheduler.worker_idle(lease.worker, JOB)


def waits(scheduler: Scheduler, shape: int, limit_s: float) -> float:
    """How long until client a has a worker of a shape, while others always want more."""
    now = 0.0
    while now < limit_s:
        now += 0.1
        for lease in scheduler.decide(now)[0]:
            lease.since = now
        if any(lease.shape == shape for lease in scheduler.leases.values()):
            return now
        give_back(scheduler, now)
    return now


@pytest.mark.parametrize("cpus", [1, 2, 8])
def test_one_kind_of_task_does_not_wait_for_all_of_another(cpus: int) -> None:
    scheduler = make(CPU=float(cpus), disk=1.0)
    workers(scheduler, *range(cpus))
    scheduler.want(b"a", JOB, 0, to_units({"CPU": 1}), 100, 0)
    scheduler.decide(0.1)
    scheduler.want(b"a", JOB, 1, to_units({"CPU": 1, "disk": 1}), 1, 0)
    assert waits(scheduler, 1, 10) < 1
    scheduler.want(b"b", JOB, 0, to_units({"CPU": 1}), 100, 0)
    scheduler.want(b"a", JOB, 1, to_units({"CPU": 1, "disk": 1}), 0, 0)
    give_back(scheduler, 1.0)
    for _ in range(5):
        scheduler.decide(2.0)
        give_back(scheduler, 2.0)
    assert cpus == 1 or scheduler._holds(b"b") >= cpus // 2
    scheduler.validate()


def test_what_needs_all_is_not_passed_over_for_ever() -> None:
    scheduler = make(CPU=8.0)
    workers(scheduler, *range(8))
    scheduler.want(b"a", JOB, 0, to_units({"CPU": 1}), 100, 0)
    scheduler.want(b"b", JOB, 0, to_units({"CPU": 1}), 100, 0)
    scheduler.decide(0.1)
    scheduler.want(b"a", JOB, 1, to_units({"CPU": 8}), 1, 0)
    assert 2 <= waits(scheduler, 1, 20) < 4
    scheduler.want(b"a", JOB, 1, to_units({"CPU": 9}), 1, 0)
    for lease in list(scheduler.leases.values()):
        scheduler.release(lease.worker)
        scheduler.worker_idle(lease.worker, JOB)
    for now in (10.0, 13.0, 16.0):
        scheduler.decide(now)
        assert len(scheduler.leases) == 8, "nothing is kept for what can never be"


def test_an_actor_gets_room_among_tasks() -> None:
    scheduler = make(CPU=4.0)
    workers(scheduler, *range(4))
    scheduler.want(b"a", JOB, 0, to_units({"CPU": 1}), 100, 0)
    scheduler.decide(0.1)
    scheduler.want_actor(WaitingActor(b"actor", JOB, to_units({"CPU": 3}), to_units({"CPU": 3})))
    now, placed = 0.1, []
    while not placed and now < 20:
        now += 0.1
        give_back(scheduler, now)
        for lease in (decided := scheduler.decide(now))[0]:
            lease.since = now
        placed = decided[1]
    assert placed and now < 4
    scheduler.validate()


def test_workers_of_one_crew_are_not_for_another() -> None:
    scheduler = make(CPU=2.0)
    workers(scheduler, 1)
    scheduler.want(b"a", f"{JOB}/env", 0, SHAPES[0], 1, 0)
    assert scheduler.decide() == ([], [], {f"{JOB}/env": 1})
    scheduler.worker_idle(2, f"{JOB}/env")
    assert [lease.worker for lease in scheduler.decide()[0]] == [2]


def test_nothing_is_kept_for_an_environment_that_is_being_set_up() -> None:
    scheduler = make(CPU=1.0)
    crew = f"{JOB}/env"
    workers(scheduler, 1)
    scheduler.preparing.add(crew)
    scheduler.want(b"a", crew, 0, SHAPES[0], 1, 5)
    scheduler.want_actor(WaitingActor(b"actor", crew, SHAPES[0], SHAPES[0]))
    scheduler.want(b"b", JOB, 0, SHAPES[0], 1, 0)
    granted, placed, start = scheduler.decide()
    assert [lease.client for lease in granted] == [b"b"] and not placed and not start
    assert not scheduler.starved(1.0) and scheduler.wanted(crew), "nobody is asked to make room for it"
    scheduler.release(1)
    scheduler.preparing.clear()
    assert scheduler.decide()[2] == {crew: 1}
    scheduler.cannot_start(b"a", crew)
    scheduler.forget_actor(b"actor")
    assert not scheduler.wanted(crew)
    scheduler.validate()


def test_all_crews_of_a_job_end_with_it() -> None:
    scheduler = make(CPU=4.0)
    scheduler.starting = {JOB: 1, f"{JOB}/env": 1, "other": 1, f"{JOB}s/env": 1}
    scheduler.idle = {JOB: [1], f"{JOB}/env": [2], "other": [3], f"{JOB}s/env": [4]}
    scheduler.job_gone(JOB)
    assert set(scheduler.starting) == set(scheduler.idle) == {"other", f"{JOB}s/env"}
