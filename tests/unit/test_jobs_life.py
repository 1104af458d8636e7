"""The life of submitted jobs: any order of events, and no entrypoint begins twice."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from skate.head import jobs as module
from skate.head.jobs import Changed, Effect, Forget, Job, Jobs, Place, Say, Status
from skate.wire.jobs import OVER, ROOM, RUNS, BeginJob, DropJob, HostedJob, JobSpec, PlaceJob, StopJob

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Job).decode


def spec(ident: str, nonce: str = "n") -> JobSpec:
    return JobSpec(ident, "true", nonce)


class JobsMachine(RuleBasedStateMachine):
    """A head that is killed at times, nodes that carry out what they hear, and messages that are lost when either dies."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs = Jobs()
        self.store: dict[str, bytes] = {}
        self.now = 0
        self.nodes: dict[int, dict[str, HostedJob]] = {1: {}}
        self.last_node = 1
        self.to_node: list[tuple[int, object]] = []
        self.to_head: list[tuple[int, HostedJob]] = []
        self.began: list[str] = []
        self.deleted: set[str] = set()

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Changed):
                self.store[effect.job.spec.id] = _encode(effect.job)
            elif isinstance(effect, Forget):
                del self.store[effect.job.spec.id]
            elif isinstance(effect, Place):
                self.carry_out(self.jobs.place(effect.job.spec.id, min(self.nodes, default=0)))
            elif isinstance(effect, Say) and effect.node in self.nodes:
                self.to_node.append((effect.node, effect.message))

    def tell(self, node: int, hosted: HostedJob) -> None:
        self.to_head.append((node, msgspec.structs.replace(hosted)))

    @rule(number=st.integers(0, 5), nonce=st.sampled_from("ab"))
    def submit(self, number: int, nonce: str) -> None:
        known = self.jobs.by_id.get(f"j{number}")
        self.now += 1
        if f"j{number}" in self.deleted:
            return
        if known is not None and known.spec.nonce != nonce:
            with pytest.raises(ValueError, match="already"):
                self.jobs.submit(spec(f"j{number}", nonce), self.now)
            return
        self.carry_out(self.jobs.submit(spec(f"j{number}", nonce), self.now))

    @precondition(lambda self: self.jobs.by_id)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        ident = data.draw(st.sampled_from(sorted(self.jobs.by_id)))
        self.now += 1
        was_over = self.jobs.by_id[ident].over
        found, effects = self.jobs.stop(ident, self.now)
        assert found is not was_over
        self.carry_out(effects)

    @precondition(lambda self: self.jobs.by_id)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        ident = data.draw(st.sampled_from(sorted(self.jobs.by_id)))
        if self.jobs.by_id[ident].over:
            self.carry_out(self.jobs.delete(ident))
            self.deleted.add(ident)
        else:
            with pytest.raises(ValueError, match="stop it"):
                self.jobs.delete(ident)

    @precondition(lambda self: self.jobs.waiting())
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs.waiting()))
        self.carry_out(self.jobs.place(job.spec.id, data.draw(st.sampled_from([0, *self.nodes]))))

    @precondition(lambda self: self.to_node)
    @rule()
    def node_hears(self) -> None:
        node, message = self.to_node.pop(0)
        here = self.nodes.get(node)
        if here is None:
            return
        if isinstance(message, PlaceJob):
            here.setdefault(message.spec.id, HostedJob(message.spec.id))
            return
        assert isinstance(message, BeginJob | StopJob | DropJob)
        hosted = here.get(message.id)
        if hosted is None:
            return
        if isinstance(message, DropJob):
            del here[message.id]
        elif isinstance(message, BeginJob) and hosted.state == ROOM:
            hosted.state, hosted.pid = RUNS, 7
            self.began.append(message.id)
            self.tell(node, hosted)
        elif isinstance(message, StopJob) and hosted.state != OVER:
            hosted.state, hosted.stopped, hosted.message = OVER, True, "stopped"
            self.tell(node, hosted)

    @precondition(lambda self: any(self.nodes.values()))
    @rule(data=st.data(), code=st.sampled_from([0, 1, None]))
    def node_goes_on(self, data: st.DataObject, code: int | None) -> None:
        node = data.draw(st.sampled_from([no for no, here in self.nodes.items() if here]))
        hosted = data.draw(st.sampled_from(list(self.nodes[node].values())))
        if hosted.state == RUNS:
            hosted.state, hosted.exit_code, hosted.message = OVER, code, "ended"
        elif hosted.state != OVER:
            hosted.state = ROOM
        self.tell(node, hosted)

    @precondition(lambda self: self.to_head)
    @rule()
    def head_hears(self) -> None:
        node, hosted = self.to_head.pop(0)
        self.now += 1
        if node in self.nodes:
            self.carry_out(self.jobs.is_now(node, hosted, self.now))

    @rule()
    def head_dies(self) -> None:
        self.to_head.clear()
        self.to_node.clear()
        self.jobs = Jobs()
        self.jobs.restore(_decode(row) for row in self.store.values())
        self.now += 1
        for node, here in self.nodes.items():
            self.carry_out(
                self.jobs.node_has(node, [msgspec.structs.replace(each) for each in here.values()], self.now)
            )

    @precondition(lambda self: len(self.nodes) > 1)
    @rule(data=st.data())
    def node_dies(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.nodes)))
        del self.nodes[node]
        self.now += 1
        self.carry_out(self.jobs.node_died(node, "killed", self.now))

    @rule()
    def node_joins(self) -> None:
        self.last_node += 1
        self.nodes[self.last_node] = {}
        for job in self.jobs.waiting():
            if not job.node:
                self.carry_out(self.jobs.place(job.spec.id, self.last_node))

    @invariant()
    def holds(self) -> None:
        self.jobs.validate()
        assert len(set(self.began)) == len(self.began), "an entrypoint has begun twice"
        for ident, row in self.store.items():
            assert _decode(row).status == self.jobs.by_id[ident].status, "what is said is written"

    def teardown(self) -> None:
        """When nothing more fails, all that is not waiting for room ends, and nothing is left that nobody knows."""
        for _ in range(200):
            while self.to_node:
                self.node_hears()
            for node, here in self.nodes.items():
                for hosted in list(here.values()):
                    if hosted.state == RUNS:
                        hosted.state, hosted.exit_code, hosted.message = OVER, 0, "ended"
                    elif hosted.state != OVER:
                        hosted.state = ROOM
                    self.tell(node, hosted)
            while self.to_head:
                self.head_hears()
            if not self.to_node and not any(job.node for job in self.jobs.living.values()):
                break
        assert not any(job.node for job in self.jobs.living.values())
        for node, here in self.nodes.items():
            for ident in here:
                assert self.jobs.by_id[ident].node == node, "a node has what nobody knows"


TestJobs = JobsMachine.TestCase
TestJobs.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_what_is_over_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OVER_MAX", 2)
    jobs = Jobs()
    for number in range(4):
        jobs.submit(spec(f"j{number}"), number)
        effects = jobs.stop(f"j{number}", 10 + number)[1]
    assert list(jobs.by_id) == ["j2", "j3"]
    assert [effect.job.spec.id for effect in effects if isinstance(effect, Forget)] == ["j1"]
    jobs.validate()


def test_there_is_a_limit_to_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIVING_MAX", 1)
    jobs = Jobs()
    jobs.submit(spec("a"), 1)
    assert jobs.submit(spec("a"), 1) == [], "whoever has not heard the answer says it again"
    with pytest.raises(ValueError, match="running or waiting"):
        jobs.submit(spec("b"), 1)


@pytest.mark.parametrize("ident", ["", "-f", ".", "..", "a/b", "a b", "a:b", "ä", "x" * 101, "a\n"])
def test_names_that_would_be_trouble(ident: str) -> None:
    with pytest.raises(ValueError, match="cannot be called"):
        Jobs().submit(spec(ident), 1)


def test_a_job_that_was_stopped_and_has_finished_before_has_succeeded() -> None:
    jobs = Jobs()
    jobs.submit(spec("a"), 1)
    jobs.place("a", 1)
    jobs.is_now(1, HostedJob("a", ROOM), 2)
    jobs.stop("a", 3)
    jobs.is_now(1, HostedJob("a", OVER, 7, 0, "it has finished"), 4)
    assert jobs.by_id["a"].status is Status.SUCCEEDED
