"""One soak, from the first node to the verdict."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

import skate
from skate.exceptions import RayError

from . import verdict
from .cluster import DRIVERS_LOG, Driver, Nodes, until
from .evidence import collect
from .faults import Injector, Misfire
from .judge import NODE_LOSS, Fault, Judge
from .work import KEEPER, NAMESPACE, Calls

MEMBERS = 3
DRIVERS = 2
START_S = 30.0
SAMPLE_S = 2.0
MORE_S = 30.0
"""A short soak goes on so much longer, if not every kind of fault has happened yet."""
FORGET_S = 15.0
"""A driver whose node was lost may come back for 10 s: so long the head keeps what it has made."""


class Soak:
    """A cluster, its drivers, its faults, and what is found wrong."""

    def __init__(self, seed: int, seconds: float, limit_s: float, every_s: float, out: Path, hold_s: float = 0) -> None:
        self.seed = seed
        self.seconds = seconds
        self.limit_s = limit_s
        self.every_s = every_s
        self.out = out
        self.hold_s = hold_s
        self.nodes = Nodes()
        self.judge = Judge()
        self.drivers: list[Driver] = []
        self.failures: list[str] = []
        self.results: Counter[str] = Counter()
        self.started = 0
        self.orphans = 0
        self.largest: dict[str, int] = {}
        self.lasted_s = 0.0
        self._lock = threading.Lock()
        self._events = Path()

    def command(self) -> str:
        """The command for the same again."""
        return f"python -m tests.soak --minutes {self.seconds / 60:g} --seed {self.seed} --every {self.every_s:g}"

    # ------------------------------------------------------------ from the start to the end

    def run(self) -> list[str]:
        """Run it; what is wrong, in words."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        home = Path(tempfile.mkdtemp(prefix="soak"))
        before = verdict.shared_memory()
        for name in ("SKATE_TOKEN", "RAY_AUTH_TOKEN", "SKATE_ADDRESS", "RAY_ADDRESS"):
            os.environ.pop(name, None)
        os.environ.update(SKATE_TEMP_DIR=str(home), SKATE_TOKEN_PATH=str(home / "token"))
        try:
            for _ in range(1 + MEMBERS):
                self.nodes.add()
            self._make_keeper()
            self._load()
            if not self.failures:
                self._finish()
            if not self.failures:
                self._rest()
        except Exception:
            self._fail(f"the soak itself: {traceback.format_exc()}")
        finally:
            if self.failures:
                self._keep_evidence()
            for driver in self.drivers:
                driver.kill()
            self.failures += verdict.nothing_left(self.nodes, home, before)
            shutil.rmtree(home, ignore_errors=True)
        return self.failures

    def _make_keeper(self) -> None:
        skate.init(address=self._address(), namespace=NAMESPACE, log_to_driver=False)
        options = {"name": KEEPER, "lifetime": "detached", "max_restarts": -1, "num_cpus": 0}
        skate.get(Calls.options(**options).remote().add.remote(0), timeout=START_S)
        skate.shutdown()

    def _address(self) -> str:
        return f"{self.nodes.head.host}:{self.nodes.head.port}"

    # ------------------------------------------------------------ the load

    def _load(self) -> None:
        for number in range(DRIVERS):
            self._start_driver(number)
        if not until(lambda: all(driver.up for driver in self.drivers), START_S):
            self._fail("the drivers do not start")
            return
        injector = Injector(self.nodes, self._hittable, self._replace, self._note, self.seed)
        rng = random.Random(f"{self.seed} pauses")
        began = time.monotonic()
        end, next_at, sample_at = began + self.seconds, began + self.every_s, began
        while not self.failures and ((now := time.monotonic()) < end or (self._missing() and now < end + MORE_S)):
            self._look_at_drivers()
            if now >= sample_at:
                sample_at = now + SAMPLE_S
                self._sample()
            if now >= next_at:
                self._inject(injector)
                next_at = time.monotonic() + rng.uniform(0.3, 1.7) * self.every_s
            time.sleep(0.05)
        self.lasted_s = time.monotonic() - began

    def _missing(self) -> list[str]:
        """The kinds of faults that there were none of."""
        return [kind for kind, count in self.judge.counts().items() if not count]

    def _inject(self, injector: Injector) -> None:
        try:
            fault = injector.next()
        except (Misfire, RayError) as error:
            self._fail(f"a fault went wrong: {error}")
        except psutil.NoSuchProcess:
            return  # what was chosen has ended by itself meanwhile
        else:
            print(
                f"{fault.at:.2f} to {fault.until:.2f} {fault.kind} node {fault.node} pid {fault.pid} {fault.what}",
                flush=True,
            )

    def _note(self, fault: Fault) -> None:
        self.judge.faults.append(fault)

    def _hittable(self) -> list[Driver]:
        return [driver for driver in self.drivers if driver.up and driver.process.poll() is None]

    def _start_driver(self, number: int) -> None:
        """The first driver is at the head's node, the others at nodes that may go away."""
        self.started += 1
        node = (
            self.nodes.head if number == 0 else random.Random(f"{self.seed} {self.started}").choice(self.nodes.members)
        )
        seed = self.seed * 1000 + self.started
        self.drivers.append(Driver(number, node, seed, self.limit_s, self.out, self._hear))

    def _replace(self, driver: Driver) -> None:
        self.drivers.remove(driver)
        self.results.update(driver.counts)
        self._start_driver(driver.number)

    def _look_at_drivers(self) -> None:
        for driver in list(self.drivers):
            code = driver.process.poll()
            if code is None:
                continue
            driver.wait(5)
            driver.stop()
            if driver.orphaned and self._node_was_lost(driver):
                self.orphans += 1
                self._replace(driver)
            elif not self.failures:
                self._fail(f"driver {driver.number} has ended with {code} {driver.orphaned}")

    def _node_was_lost(self, driver: Driver) -> bool:
        return any(fault.kind in NODE_LOSS and fault.node == driver.node.node_no for fault in self.judge.faults)

    def _hear(self, driver: Driver, event: dict[str, Any]) -> None:
        """Called in a thread of the driver's own."""
        kind = event["event"]
        if kind == "error":
            problem = self.judge.unexplained(event)
            if problem:
                self._fail(f"driver {driver.number}: {problem}")
        elif kind == "failure":
            state = json.dumps(event.pop("state"), indent=1, default=str)
            with self._lock, open(self.out / "failures.txt", "a") as file:
                file.write(f"driver {driver.number} at {event['at']:.2f}: {event['text']}\n{state}\n")
            self._fail(f"driver {driver.number}, {event['activity']}: {event['text']}")

    def _fail(self, text: str) -> None:
        with self._lock:
            self.failures.append(text)
        print(f"{time.monotonic():.2f} FAILED {text}", flush=True)

    def _sample(self) -> None:
        try:
            found = verdict.sizes(self.nodes)
        except psutil.NoSuchProcess:
            return  # one of them is being replaced
        for name, (memory, _) in found.items():
            kind = name.split()[0]
            self.largest[kind] = max(self.largest.get(kind, 0), memory)

    # ------------------------------------------------------------ the end

    def _finish(self) -> None:
        """Let the drivers finish what they have begun."""
        for driver in self.drivers:
            driver.stop()
        for driver in self.drivers:
            code = driver.wait(self.limit_s * 3)
            self.results.update(driver.counts)
            if driver.orphaned and self._node_was_lost(driver):
                self.orphans += 1
            elif code != 0 or not driver.done:
                self._fail(f"driver {driver.number} did not finish: exit code {code}")

    def _rest(self) -> None:
        """Nothing may be in use, and fresh work is done; the next start removes what killed nodes have left on disk."""
        if self._missing():
            self._fail(f"there was no {', '.join(self._missing())}")
        self.nodes.add()
        self.failures += self._last_program()
        self.failures += verdict.at_rest(self.nodes)
        self._sample()
        self.failures += verdict.bounded(self.nodes)
        self.failures += verdict.complaints(self.nodes, self.out / DRIVERS_LOG)

    def _last_program(self) -> list[str]:
        """End the detached actor, run fresh tasks, and let the head check itself."""
        from skate.client import current

        from .work import mixed, small

        skate.init(address=self._address(), namespace=NAMESPACE, log_to_driver=False)
        try:
            found = skate.get([small.remote(number, 0.0) for number in range(20)], timeout=self.limit_s)
            out = [] if found == [mixed(number) for number in range(20)] else ["fresh tasks return something else"]
            skate.kill(skate.get_actor(KEEPER))
            runtime: Any = current.runtime
            head = runtime.links.head
            for what in ("named_actors", "actors", "groups"):
                if not until(lambda what=what: not head.ask(what), FORGET_S):
                    out.append(f"the head still has {what}: {head.ask(what)}")
            head.ask("validate")
            return out
        except (RayError, ValueError, AssertionError) as error:
            return [f"after the load: {type(error).__name__}: {error}"]
        finally:
            skate.shutdown()

    def _keep_evidence(self) -> None:
        pids = [driver.process.pid for driver in self.drivers if driver.process.poll() is None]
        pids += [process.pid for process in self.nodes.processes()]
        collect(self.out, self.nodes.living, pids)
        (self.out / "faults.txt").write_text("\n".join(map(str, self.judge.faults)))
        (self.out / "report.txt").write_text(self.report() + "\n" + "\n".join(self.failures))
        if self.hold_s:
            print(f"the cluster of {self._address()} is kept for {self.hold_s:g} s", flush=True)
            time.sleep(self.hold_s)

    def report(self) -> str:
        """What was done, in a few lines."""
        lines = [
            f"{sum(self.results.values())} results checked in {self.lasted_s:.0f} s: {dict(sorted(self.results.items()))}",
            f"faults: {self.judge.counts()}",
            f"drivers: {self.started} started, {self.orphans} lost their node",
            f"errors that faults explain: {dict(sorted(self.judge.excused.items()))}",
            f"largest: {', '.join(f'{name} {size / 1e6:.0f} MB' for name, size in sorted(self.largest.items()))}",
        ]
        return "\n".join(lines)
