"""What the drivers do: tasks, actors and placement groups, drawn from the seed; and what they may expect of each.

INV-1: work has one outcome: its value, or an error that something in the history accounts for.
"""

from __future__ import annotations

import pickle
import random
from typing import TYPE_CHECKING, Any

from ...client.errors import unpack_error
from ...client.refs import ERROR, VALUE
from ...client.specs import SPREAD, ActorOptions, ActorSpec, FunctionSpec, MethodOptions, TaskOptions, group_request
from .workers import LARGE

if TYPE_CHECKING:
    from .cluster import DriverRun

READY = ".ready"
DURATIONS = (1e-4, 1e-3, 2e-2, 0.3)


def work(label: str, seconds: float, *_: object) -> None:
    """What tasks are: the workers here know how long they take."""


class Part:
    """What actors are."""


class Work:
    """One task or call, and what its program knows of it."""

    def __init__(self, label: str, ref: Any, retries: int, needs: Work | None, owner: Held | None) -> None:
        self.label = label
        self.ref = ref
        self.record = ref._task
        """As long as it is under way."""
        self.seq = 0
        self.retries = retries
        self.needs = needs
        self.owner = owner
        """The actor or group that it depends on."""

    @property
    def done(self) -> bool:
        """Whether it has its outcome."""
        return bool(self.ref._state >= VALUE)

    @property
    def error(self) -> BaseException | None:
        """How it has failed."""
        if self.ref._state != ERROR:
            return None
        value = self.ref._value
        return value if isinstance(value, Exception) else unpack_error(value)

    def look(self) -> bool:
        """Whether it has its outcome; then nothing of it is kept but that."""
        if not self.done:
            return False
        self.seq, self.record = getattr(self.record, "seq", 0), None
        return True

    def must_succeed(self, faults: int) -> bool:
        """Whether nothing that has happened accounts for a failure."""
        if self.needs is not None and not self.needs.must_succeed(faults):
            return False
        if self.needs is not None and self.needs.label.endswith(LARGE) and faults and self.retries >= 0:
            return False  # its argument may have been missed, again and again
        if self.owner is not None and (self.owner.ended or (faults > self.owner.restarts >= 0)):
            return False
        return self.retries < 0 or self.retries >= faults

    def check(self, faults: int) -> None:
        """Its outcome is right."""
        error = self.error
        if error is not None:
            assert not self.must_succeed(faults), f"{self.label} has failed, and nothing accounts for it: {error!r}"
            return
        if self.label.endswith((LARGE, READY)):
            return
        label, seq = pickle.loads(self.ref._value)
        assert label == self.label, f"{self.label} has the value of {label}"
        assert seq == self.seq, f"{self.label} has the value of attempt {seq}, which was given up for {self.seq}"


class Held:
    """An actor or a group that a program has made."""

    def __init__(self, restarts: int) -> None:
        self.restarts = restarts
        self.ended = False
        """The program has ended it."""


class Actor(Held):
    """An actor."""

    def __init__(self, ref: Any, restarts: int) -> None:
        super().__init__(restarts)
        self.ref = ref


class Group(Held):
    """A placement group."""

    def __init__(self, ident: str) -> None:
        super().__init__(-1)
        self.ident = ident


class Program:
    """The program of one driver."""

    def __init__(self, driver: DriverRun, rng: random.Random) -> None:
        self.driver = driver
        self.rng = rng
        self.work: list[Work] = []
        self.open: list[Work] = []
        """Without an outcome."""
        self.actors: list[Actor] = []
        self.groups: list[Group] = []
        self._count = 0
        self._specs: dict[Any, FunctionSpec] = {}

    def act(self) -> None:
        """Do one thing."""
        runtime = self.driver.runtime
        if runtime is None or runtime.closed:
            return
        what = self.rng.choice(
            ("tasks", "tasks", "tasks", "actor", "calls", "calls", "calls", "kill", "group", "remove")
        )
        self.driver.world.say(lambda: f"{self.driver.name} does {what}")
        getattr(self, f"_{what}")(runtime)

    def look(self) -> None:
        """Note outcomes."""
        if self.open:
            self.open = [work for work in self.open if not work.look()]

    def finish(self) -> None:
        """Nothing more is needed."""
        runtime = self.driver.runtime
        if runtime is None or runtime.closed:
            return
        for group in self.groups:
            self._remove_one(runtime, group)
        self.groups.clear()
        for actor in self.actors:
            actor.ref = None

    def close(self, faults: int) -> None:
        """Every outcome is right; nothing is kept of them."""
        for work in self.work:
            work.check(faults)
        self.driver.post(self.work.clear)

    def _label(self, kind: str) -> str:
        self._count += 1
        return f"{self.driver.name}.{kind}{self._count}"

    def _note(self, label: str, ref: Any, retries: int, needs: Work | None = None, owner: Held | None = None) -> None:
        if not retries:
            self.driver.machine.cluster.ledger.once.add(label)
        self.work.append(Work(label, ref, retries, needs, owner))
        self.open.append(self.work[-1])

    # ------------------------------------------------------------ tasks

    def _tasks(self, runtime: Any) -> None:
        rng = self.rng
        resources = {"CPU": rng.choice((1.0, 1.0, 0.5, 2.0))}
        retries = rng.choice((0, 3, -1))
        node_id = rng.choice(("", "", SPREAD))
        group = rng.choice(self.groups) if self.groups and rng.random() < 0.4 else None
        if group is not None:
            resources, node_id = group_request({"CPU": 1.0}, group.ident, -1), ""
        key = (tuple(resources.items()), retries, node_id)
        spec = self._specs.get(key)
        if spec is None:
            options = TaskOptions("work", resources, max_retries=retries, node_id=node_id)
            spec = self._specs[key] = FunctionSpec(work, options)
        needs = self._needed()
        duration = rng.choice(DURATIONS)
        large = retries < 0 and rng.random() < 0.5
        for _ in range(rng.randint(1, 12)):
            label = self._label("task") + (LARGE if large else "")
            arguments = (label, duration) if needs is None else (label, duration, needs.ref)
            self._note(label, runtime.submit(spec, arguments, {}), retries, needs, group)

    def _needed(self) -> Work | None:
        """What tasks get as an argument, if anything: rather something large."""
        rng = self.rng
        if not self.work or rng.random() < 0.5:
            return None
        large = [work for work in self.work if work.label.endswith(LARGE)]
        return rng.choice(large or self.work)

    # ------------------------------------------------------------ actors

    def _actor(self, runtime: Any) -> None:
        rng = self.rng
        restarts = rng.choice((0, 2, -1))
        held = rng.choice(({}, {}, {"CPU": 1.0}))
        options = ActorOptions("Part", resources=held, max_restarts=restarts, node_id=rng.choice(("", SPREAD)))
        ref, _ = runtime.create_actor(ActorSpec(Part, options, {}), (), {}, b"")
        self.actors.append(Actor(ref, restarts))
        self._calls(runtime)

    def _living(self) -> list[Actor]:
        return [actor for actor in self.actors if actor.ref is not None and not actor.ended]

    def _calls(self, runtime: Any) -> None:
        rng = self.rng
        actors = self._living()
        if not actors:
            return
        actor = rng.choice(actors)
        retries = rng.choice((0, 0, -1))
        duration = rng.choice(DURATIONS)
        for _ in range(rng.randint(1, 8)):
            label = self._label("call")
            ref = runtime.call(actor.ref, MethodOptions("work", max_task_retries=retries), (label, duration), {})
            self._note(label, ref, retries, None, actor)

    def _kill(self, runtime: Any) -> None:
        actors = self._living()
        if not actors:
            return
        actor = self.rng.choice(actors)
        how = self.rng.choice(("kill", "drop"))
        if how == "kill":
            actor.ended = True
            runtime.kill(actor.ref, True)
        actor.ref = None

    # ------------------------------------------------------------ groups

    def _group(self, runtime: Any) -> None:
        rng = self.rng
        bundles = [{"CPU": 1.0}] * rng.randint(1, 3)
        strategy = rng.choice(("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"))
        group = Group(runtime.groups.create(bundles, strategy, "", False, None))
        self.groups.append(group)
        self._note(self._label("ready"), runtime.groups.ready(group.ident, None), -1, None, group)
        self.work[-1].label += READY

    def _remove(self, runtime: Any) -> None:
        if self.groups:
            group = self.rng.choice(self.groups)
            self.groups.remove(group)
            self._remove_one(runtime, group)

    @staticmethod
    def _remove_one(runtime: Any, group: Group) -> None:
        group.ended = True
        runtime.groups.remove(group.ident)
