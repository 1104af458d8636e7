"""What this process counts, until its node is told: the metrics of the user, and how its tasks have ended.

To count is to add to a number here; the node hears of all numbers at once, at most every second, and before this process ends in
order. A process that is killed takes what it had counted in its last second with it.

There is one `Metering` for each process, whatever runtimes come and go in it. What is counted while there is none is told to the
next.

INV-1: what `take` has returned is not returned again, and nothing that was counted is left out: it is in one message, or waits.
INV-2: nothing grows without limit: `SERIES_MAX` series of a metric wait, and `NAMES_MAX` names of tasks are known. What has no
room is counted.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..wire import messages as m
from ..wire.metrics import COUNTER, GAUGE, HISTOGRAM, RESERVED, Counted, Metric, Series, exposed

if TYPE_CHECKING:
    from .runtime import ClientRuntime

EVERY_S = 1.0
SERIES_MAX = 10_000
METRICS_MAX = 1000
NAMES_MAX = 200
CRASHED = m.MISSING + 1
"""In place of a kind of reply: there was none, as the worker died."""
OTHER = "(other)"
"""The name of tasks beyond `NAMES_MAX` names."""
PER_MESSAGE = 1000
"""Series in one message."""


class Meter:
    """One metric of this process."""

    __slots__ = ("bounds", "description", "keys", "kind", "last", "name", "waits")

    def __init__(
        self, kind: str, name: str, description: str, keys: tuple[str, ...], bounds: tuple[float, ...]
    ) -> None:
        self.kind = kind
        self.name = name
        self.description = description
        self.keys = keys
        self.bounds = bounds
        self.waits: dict[tuple[str, ...], Series] = {}
        """What was not told yet, by the values of the tags."""
        self.last: dict[tuple[str, ...], float] = {}
        """Of a gauge: what it is."""

    def message(self, series: list[Series]) -> Metric:
        """For the node."""
        return Metric(self.kind, self.name, self.description, list(self.keys), list(self.bounds), series)


class Metering:
    """All that one process counts. Its lock is never held while another is asked for."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._meters: dict[tuple[str, tuple[str, ...]], Meter] = {}
        self._kinds: dict[str, tuple[str, tuple[float, ...]]] = {}
        self._exposed: dict[str, str] = {}
        """Which metric Prometheus sees under a name."""
        self._tallies: dict[str, list[int]] = {}
        """How tasks have ended, by name, since this process began: one number for each kind of `Reply`, and `CRASHED`."""
        self._told: dict[str, list[int]] = {}
        self._dropped = 0
        self.changed = False
        """There is something to tell."""
        self._woken = False
        self.wake: Callable[[], None] = _nobody
        """Called when something waits to be told that did not before; by any thread."""

    def forget(self) -> None:
        """In a process that was forked: what waits here is told by its parent."""
        self._lock = threading.RLock()
        for meter in self._meters.values():
            meter.waits.clear()
            meter.last.clear()
        self._tallies.clear()
        self._told.clear()
        self._dropped = 0
        self.changed = self._woken = False
        self.wake = _nobody

    # ------------------------------------------------------------ the user's metrics

    def meter(
        self, kind: str, name: str, description: str, keys: tuple[str, ...], bounds: tuple[float, ...] = ()
    ) -> Meter:
        """The metric of that name with these tags; it is made if there is none.

        Raises:
            ValueError: there is one of another kind, or with other buckets, or that Prometheus would see under the same name; or
                there are too many.
        """
        with self._lock:
            known = self._kinds.get(name, (kind, bounds))
            if known != (kind, bounds):
                words = f" with the boundaries {list(known[1])}" if known[1] else ""
                raise ValueError(f"this process has another metric {name!r}: a {known[0]}{words}")
            meter = self._meters.get((name, keys))
            if meter is None:
                if len(self._meters) >= METRICS_MAX:
                    raise ValueError(f"this process has {METRICS_MAX} metrics already: use tags for what varies")
                self._name(kind, name)
                self._kinds[name] = known
                meter = self._meters[name, keys] = Meter(kind, name, description, keys, bounds)
            return meter

    def _name(self, kind: str, name: str) -> None:
        names = exposed(kind, name)
        for each in names:
            other = self._exposed.get(each, name)
            if other != name:
                raise ValueError(
                    f"Prometheus could not tell the metrics {name!r} and {other!r} of this process apart: it would see both as "
                    f"{each!r}. Give one of them another name"
                )
        self._exposed.update(dict.fromkeys(names, name))

    def add(self, meter: Meter, values: tuple[str, ...], amount: float) -> None:
        """Count more."""
        with self._lock:
            series = self._waiting(meter, values)
            if series is not None:
                series.value += amount
        self._change()

    def set(self, meter: Meter, values: tuple[str, ...], value: float) -> None:
        """A gauge is this now."""
        with self._lock:
            series = self._waiting(meter, values)
            if series is not None:
                series.value = meter.last[values] = value
        self._change()

    def observe(self, meter: Meter, values: tuple[str, ...], value: float) -> None:
        """One more observation for a histogram."""
        with self._lock:
            series = self._waiting(meter, values)
            if series is not None:
                series.value += value
                series.counts[bisect_left(meter.bounds, value)] += 1
        self._change()

    def _waiting(self, meter: Meter, values: tuple[str, ...]) -> Series | None:
        series = meter.waits.get(values)
        if series is None:
            known = len(meter.last) if meter.kind == GAUGE and values not in meter.last else len(meter.waits)
            if known >= SERIES_MAX:
                self._dropped += 1
                return None
            counts = [0] * (len(meter.bounds) + 1) if meter.kind == HISTOGRAM else []
            series = meter.waits[values] = Series(list(values), 0.0, counts)
        return series

    def _change(self) -> None:
        self.changed = True
        if not self._woken:
            self._woken = True
            self.wake()

    # ------------------------------------------------------------ tasks

    def tally(self, name: str) -> list[int]:
        """Where tasks of this name are counted: a number for each kind of reply. Whoever adds to one sets `changed`, and nobody
        else adds to it at the same time."""
        with self._lock:
            if name not in self._tallies and len(self._tallies) >= NAMES_MAX:
                name = OTHER
            return self._tallies.setdefault(name, [0] * (CRASHED + 1))

    def crashed(self, name: str) -> None:
        """A task of this process was running in a worker that died. Needs the lock, and is for who handles messages: what
        has changed is looked at after that."""
        self.tally(name)[CRASHED] += 1
        self.changed = True

    # ------------------------------------------------------------ telling

    def again(self) -> None:
        """There is a new node, which knows nothing of what gauges are."""
        with self._lock:
            for meter in self._meters.values():
                for values, value in meter.last.items():
                    meter.waits[values] = Series(list(values), value)
                    self.changed = True

    def take(self) -> list[Counted]:
        """What is to be told, in messages of bounded size."""
        self.changed = self._woken = False  # first: what is counted from here on is told the next time
        with self._lock:
            metrics: list[Metric] = []
            out: list[Counted] = []
            for meter in self._meters.values():
                series, meter.waits = list(meter.waits.values()), {}
                metrics += [meter.message(series[at : at + PER_MESSAGE]) for at in range(0, len(series), PER_MESSAGE)]
            while metrics:
                size = 0
                part: list[Metric] = []
                while metrics and size + len(metrics[-1].series) <= PER_MESSAGE:
                    size += len(metrics[-1].series)
                    part.append(metrics.pop())
                out.append(Counted(part))
            tasks = self._tasks()
            if tasks or self._dropped:
                last = out[-1] if out else Counted([])
                last.tasks, last.dropped = tasks, self._dropped
                self._dropped = 0
                return out or [last]
            return out

    def _tasks(self) -> dict[str, list[int]]:
        """How many tasks have finished, failed, were cancelled, and crashed, since the last time."""
        tasks: dict[str, list[int]] = {}
        for name, tally in self._tallies.items():
            finished = tally[m.DONE] + tally[m.DONE_VALUES] + tally[m.END]
            done = [finished, tally[m.FAILED], tally[m.CANCELLED], tally[CRASHED]]
            before = self._told.get(name, [0, 0, 0, 0])
            if done != before:
                self._told[name] = done
                tasks[name] = [now - then for now, then in zip(done, before, strict=True)]
        return tasks


def _nobody() -> None:
    """There is no runtime: what is counted waits for the next."""


PROCESS = Metering()


class Reporting:
    """A runtime's part of it: when its node is told."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self._told_at = 0.0
        PROCESS.again()
        PROCESS.wake = self._wake

    def _wake(self) -> None:
        if not self.runtime.is_driver:
            with self.runtime.lock:  # two threads of the user's may be here
                self.runtime.pump.start_thread()  # or nothing would be told while a task runs
        self.runtime.pump.wake()

    def next_due(self) -> float | None:
        """Seconds until the node is to be told; None: there is nothing to tell."""
        return max(0.0, self._told_at + EVERY_S - time.monotonic()) if PROCESS.changed else None

    def run_due(self) -> float | None:
        """Tell the node if it is time; then as `next_due`. Call it without the lock."""
        due = self.next_due()
        if due is None or due > 0:
            return due
        with self.runtime.lock:
            self.tell()
        return None

    def tell(self) -> None:
        """Tell the node all that it does not know. Needs the lock."""
        if PROCESS.changed:
            self._told_at = time.monotonic()
            for message in PROCESS.take():
                self.runtime.send(message)

    def close(self) -> None:
        """There is no node any more."""
        PROCESS.wake = _nobody


__all__ = ["COUNTER", "GAUGE", "HISTOGRAM", "PROCESS", "RESERVED", "Meter", "Metering", "Reporting"]
