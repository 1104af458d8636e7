"""Virtual time, chance, and the processes that live in it.

Everything that happens is an event in one queue, ordered by its time. A process does something when it is woken: by bytes that
arrive, by its own timer, or by a call that somebody makes into it. How long each of these takes is drawn from the seed, so one
seed is one history.

INV-1: at any moment at most one process runs, `current`; what is opened meanwhile belongs to it.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

BEGIN_S = 1000.0
"""Many places read a time of 0.0 as never."""
LAST_EVENTS = 400
STEPS_MAX = 100_000
"""A seed that needs more events than this runs in circles."""

Say = Callable[[], str]


class ProcessExit(BaseException):
    """In place of `os._exit`."""


class World:
    """One history."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = BEGIN_S
        self.current: Process | None = None
        self.processes: list[Process] = []
        self.broken: list[str] = []
        """What went wrong that the code under test has caught itself."""
        self.steps = 0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._trace = trace
        self._last: deque[tuple[float, Say]] = deque(maxlen=LAST_EVENTS)

    # ------------------------------------------------------------ events

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Do something at a time."""
        self._count += 1
        heapq.heappush(self._queue, (max(when, self.now), self._count, what))

    def after(self, least: float, most: float, what: Callable[[], None]) -> None:
        """Do something after a delay that is drawn."""
        self.at(self.now + self.rng.uniform(least, most), what)

    def run(self, until: float, stop: Callable[[], bool] | None = None) -> bool:
        """Let time go on; True when `stop` was met."""
        while self._queue and self._queue[0][0] <= until:
            if stop is not None and stop():
                return True
            self.now, _, what = heapq.heappop(self._queue)
            self.steps += 1
            if self.steps > STEPS_MAX:
                busy = max(self.processes, key=lambda process: process._wakes)
                raise AssertionError(f"after {STEPS_MAX} events it still goes on; {busy} was woken {busy._wakes} times")
            what()
            if self.broken:
                raise AssertionError(self.broken[0])
        self.now = max(self.now, until)
        return stop is not None and stop()

    @contextmanager
    def running(self, process: Process | None) -> Iterator[None]:
        """Inside, what is opened belongs to this process."""
        before, self.current = self.current, process
        try:
            yield
        finally:
            self.current = before

    # ------------------------------------------------------------ what is remembered

    def say(self, what: Say) -> None:
        """Note an event, in words that are only made if somebody reads them."""
        if self._trace is not None:
            self._trace(self._line(self.now, what))
        else:
            self._last.append((self.now, what))

    def last(self, count: int) -> list[str]:
        """The last events, in words; without the beats of hearts."""
        lines = [self._line(at, what) for at, what in self._last]
        return [line for line in lines if "  Beat(" not in line][-count:]

    @staticmethod
    def _line(at: float, what: Say) -> str:
        return f"{at - BEGIN_S:10.6f}  {what()}"


class Process:
    """Something that has sockets of its own, and can die."""

    def __init__(self, world: World, name: str, machine: Any) -> None:
        self.world = world
        self.name = name
        self.machine = machine
        self.alive = True
        self.booting = False
        """It waits for something in the middle of its start: nothing else in it runs."""
        self.frozen_until = 0.0
        self.sockets: dict[int, Any] = {}
        self.calls: deque[Callable[[], None]] = deque()
        """What is to run in it at its next step."""
        self._wake_at: float | None = None
        self._wakes = 0
        world.processes.append(self)

    def wake(self, at: float | None = None) -> None:
        """Run a step at a time; as soon as the machine gets to it, if none is given."""
        world = self.world
        if at is None:
            at = world.now + world.rng.uniform(20e-6, 300e-6)
        at = max(at, world.now)
        if not self.alive or (self._wake_at is not None and self._wake_at <= at):
            return
        self._wake_at = at
        self._wakes += 1
        token = self._wakes
        world.at(at, lambda: self._run(token))

    def post(self, call: Callable[[], None]) -> None:
        """Run something in this process."""
        self.calls.append(call)
        self.wake()

    def _run(self, token: int) -> None:
        if token != self._wakes or not self.alive:
            return
        self._wake_at = None
        if self.frozen_until > self.world.now:
            self.wake(self.frozen_until)
            return
        if self.booting:
            self.wake(self.world.now + 1e-3)
            return
        self.enter(self._work)

    def enter(self, what: Callable[[], None]) -> None:
        """Run something in this process, now."""
        with self.world.running(self):
            try:
                what()
            except ProcessExit:
                self.die("it exits")
        if self.alive:
            self.check()

    def _work(self) -> None:
        while self.calls:
            self.calls.popleft()()
            if not self.alive:
                return
        self.step()

    def step(self) -> None:
        """Do what there is to do, and say with `wake` when there will be more."""
        raise NotImplementedError

    def check(self) -> None:
        """Check what must hold whenever it has done something."""

    def freeze(self, seconds: float) -> None:
        """It gets no processor for a while."""
        self.frozen_until = self.world.now + seconds

    def die(self, how: str) -> None:
        """The process ends; the kernel closes what it had open."""
        if not self.alive:
            return
        self.alive = False
        self.world.say(lambda: f"{self.name} ends: {how}")
        for sock in list(self.sockets.values()):
            sock.close()
        self.calls.clear()
        self.ended()

    def ended(self) -> None:
        """What else ends with it."""

    def __repr__(self) -> str:
        return self.name
