"""A driver of the soak: all activities at once, each in a thread, until its standard input ends.

It is a process of its own, because it is killed now and then. What it has to say goes to a pipe, a JSON object per line:
`results` (how many were checked), `error` (one that faults must explain), `failure`, `orphaned` (its node is gone), `done`.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import skate
from skate.client import current
from skate.exceptions import GetTimeoutError
from skate.testing import Snapshot

from .evidence import describe
from .work import ACTIVITIES, NAMESPACE, Activity

REPORT_S = 1.0
STEP_LIMITS = 2
"""A step with several waits may take so many times the limit of one answer."""
PAUSE_S = 0.01
"""Between two steps of an activity: the quick ones must not use up the machine."""


class World:
    """What the activities of a driver share."""

    def __init__(self, events: int, limit_s: float) -> None:
        self.limit_s = limit_s
        self.stop = threading.Event()
        self.over = threading.Event()
        self.results: Counter[str] = Counter()
        self._events = events
        self._lock = threading.Lock()
        self._local = threading.local()
        self._nodes: dict[str, int] = {}
        self._began: dict[str, float] = {}
        """When the step of each activity began that runs now."""

    def say(self, event: str, **fields: Any) -> None:
        """Tell the soak."""
        line = json.dumps({"event": event, "at": time.monotonic(), **fields}) + "\n"
        with self._lock:
            os.write(self._events, line.encode())

    # ------------------------------------------------------------ waiting with a limit

    def get(self, refs: Any) -> Any:
        """`skate.get` with the soak's time limit."""
        try:
            return skate.get(refs, timeout=self.limit_s)
        except GetTimeoutError:
            if not self.lost():
                pending = refs if isinstance(refs, list) else [refs]
                _, waiting = skate.wait(pending, num_returns=len(pending), timeout=0)
                why = [skate.why(ref) for ref in waiting[:3]]
                self.fail(f"no answer in {self.limit_s:g} s: {len(waiting)} of {len(pending)} are missing: {why}")
            raise

    def next(self, items: Any) -> Any:
        """The next reference of a stream, with the time limit; None after the last."""
        ready, _ = skate.wait([items], timeout=self.limit_s)
        if not ready and not self.lost():
            self.fail(f"no item of a stream in {self.limit_s:g} s")
        return next(items, None)

    # ------------------------------------------------------------ errors

    @contextmanager
    def excusing(
        self, errors: dict[type[Exception], Collection[str]], times: int = 1, node_id: str = ""
    ) -> Iterator[None]:
        """What is raised inside is no failure, if so many faults of these kinds (of that node) have happened meanwhile."""
        began = time.monotonic()
        try:
            yield
        except tuple(errors) as error:
            if isinstance(error, GetTimeoutError) or self.lost():
                raise
            needs = next(kinds for kind, kinds in errors.items() if isinstance(error, kind))
            self.say(
                "error",
                activity=self._local.name,
                type=type(error).__name__,
                text=str(error)[:600],
                needs=[str(kind) for kind in needs],
                times=times,
                node=self._number(node_id),
                began=began,
                ended=time.monotonic(),
            )

    def _number(self, node_id: str) -> int:
        if node_id and node_id not in self._nodes:
            status = current.runtime.ask("cluster_status")  # type: ignore[union-attr]
            self._nodes = {node["NodeID"]: node["No"] for node in status["nodes"]}
        return self._nodes.get(node_id, 0)

    @staticmethod
    def lost() -> bool:
        """Whether the node of this driver is gone."""
        return current.runtime is None or bool(current.runtime.closed)  # type: ignore[attr-defined]

    def fail(self, text: str) -> None:
        """Say what is wrong, with all that can be seen from here."""
        faulthandler.dump_traceback()
        self.say("failure", activity=self._local.name, text=text, state=describe(current.runtime))

    # ------------------------------------------------------------ threads

    def run(self, activity: Activity) -> None:
        """Repeat an activity until all are to stop."""
        self._local.name = activity.name
        while not self.stop.is_set():
            try:
                self._began[activity.name] = time.monotonic()
                self.results[activity.name] += activity.step()
                self.stop.wait(PAUSE_S)
            except Exception:
                if not self.lost() and not self.over.is_set():
                    self.fail(traceback.format_exc())
                self._end()
        self._began.pop(activity.name, None)

    def _end(self) -> None:
        self.over.set()
        self.stop.set()

    def report(self) -> None:
        """Say how far it is, now and then."""
        while not self.over.wait(REPORT_S):
            self.say("results", counts=dict(self.results))
            now = time.monotonic()
            stuck = [name for name, began in dict(self._began).items() if now - began > STEP_LIMITS * self.limit_s]
            if stuck and not self.lost():
                self._local.name = stuck[0]
                self.fail(f"a step takes more than {STEP_LIMITS * self.limit_s:g} s: {stuck}")
                self._end()


def _watch_input(world: World) -> None:
    sys.stdin.readline()
    world.stop.set()


def main() -> None:
    """Run as `python -m tests.soak.driver ADDRESS SEED EVENTS_FD LIMIT_S`."""
    address, seed, events, limit_s = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    faulthandler.enable()
    world = World(events, limit_s)
    threading.Thread(target=_watch_input, args=(world,), daemon=True).start()
    before = Snapshot.take()
    try:
        skate.init(address=address, namespace=NAMESPACE, log_to_driver=False)
    except Exception:
        world.say("orphaned", text=traceback.format_exc())
        sys.exit(3)
    world.say("up", node=current.runtime.node_no)  # type: ignore[union-attr]
    threads = [
        threading.Thread(target=world.run, args=(kind(world, random.Random(f"{seed} {kind.name}")),), name=kind.name)
        for kind in ACTIVITIES
    ]
    reporter = threading.Thread(target=world.report)
    for thread in [*threads, reporter]:
        thread.start()
    for thread in threads:
        while thread.is_alive() and not world.over.is_set():
            thread.join(REPORT_S)
    failed = world.over.is_set()
    world.over.set()
    reporter.join()
    world.say("results", counts=dict(world.results))
    if failed:
        if world.lost():
            world.say("orphaned", text="its node is gone")
        os._exit(3)
    del threads
    skate.shutdown()
    before.check(timeout_s=10)
    world.say("done")


if __name__ == "__main__":
    main()
