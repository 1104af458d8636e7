"""What the processes of one node have counted, added up.

Pure: messages in, sums out. Counters and histograms grow, and outlive the processes that counted; a gauge belongs to its process,
and ends with it.

INV-1: a metric has one kind and one set of buckets: the first that was told, and names of its own for Prometheus: two metrics may
want the same, as a counter `x` and a gauge `x_total`. What does not fit is left out, and counted.
INV-2: there are at most `SERIES_MAX` series, as many metrics (also without series, as those have ended), and at most `NAMES_MAX`
names of tasks. What has no room is left out, and counted.
INV-3: no two series of a metric have the same tags for Prometheus, to which their order says nothing, and an empty one is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from ..wire.metrics import COUNTER, GAUGE, HISTOGRAM, RESERVED, Counted, Metric, Series, exposed
from .exposition import Family, Labels, Sample, number

SERIES_MAX = 20_000
NAMES_MAX = 1000
OTHER = "(other)"
BOUNDS_MAX = 1000
PREFIX = "ray_"
"""What stands before the names of users' metrics, as in Ray: its dashboards and alerts find them."""
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_KEY = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Summed:
    """One metric of this node."""

    __slots__ = ("bounds", "description", "kind", "name", "series")

    def __init__(self, metric: Metric) -> None:
        self.kind = metric.kind
        self.name = metric.name
        self.description = metric.description
        self.bounds = metric.bounds
        self.series: dict[Labels, Series] = {}
        """By their tags; those of a gauge have a tag that says whose it is."""


class Sums:
    """All metrics of one node that its processes have told."""

    def __init__(self) -> None:
        self.metrics: dict[str, Summed] = {}
        self.tasks: dict[str, list[int]] = {}
        """By name: how many have finished, failed, were cancelled, and crashed."""
        self._exposed: set[str] = set()
        """Under which names Prometheus sees all these metrics."""
        self.series = 0
        self.dropped = 0
        """Series that had no room, or did not fit."""
        self._gauges: dict[str, set[tuple[str, Labels]]] = {}
        """Those of each process."""

    def add(self, source: str, message: Counted) -> None:
        """Add what a process has told."""
        self.dropped += message.dropped
        for metric in message.metrics:
            self._add(source, metric)
        for name, counts in message.tasks.items():
            if name not in self.tasks and len(self.tasks) >= NAMES_MAX:
                name = OTHER
            known = self.tasks.setdefault(name, [0, 0, 0, 0])
            for at, count in enumerate(counts[:4]):
                known[at] += count

    def _add(self, source: str, metric: Metric) -> None:
        summed = self.metrics.get(metric.name)
        if not _is_sound(metric) or (
            summed is not None and (summed.kind, summed.bounds) != (metric.kind, metric.bounds)
        ):
            self.dropped += len(metric.series)
            return
        if summed is None:
            names = exposed(metric.kind, metric.name)
            if len(self.metrics) >= SERIES_MAX or not self._exposed.isdisjoint(names):
                self.dropped += len(metric.series)
                return
            self._exposed.update(names)
            summed = self.metrics[metric.name] = Summed(metric)
        for series in metric.series:
            labels = tuple(sorted(pair for pair in zip(metric.keys, series.values, strict=True) if pair[1]))
            if metric.kind == GAUGE:
                labels = (*labels, ("WorkerId", source))
            known = summed.series.get(labels)
            if known is None:
                if self.series >= SERIES_MAX:
                    self.dropped += 1
                    continue
                self.series += 1
                summed.series[labels] = series
                if metric.kind == GAUGE:
                    self._gauges.setdefault(source, set()).add((metric.name, labels))
            elif metric.kind == GAUGE:
                known.value = series.value
            else:
                known.value += series.value
                known.counts = [one + more for one, more in zip(known.counts, series.counts, strict=True)]

    def gone(self, source: str) -> None:
        """A process has ended: so do its gauges."""
        for name, labels in self._gauges.pop(source, ()):
            del self.metrics[name].series[labels]
            self.series -= 1

    def families(self) -> Iterator[Family]:
        """Every metric, for Prometheus. Others may be added meanwhile: they come the next time."""
        for summed in list(self.metrics.values()):
            name = exposed(summed.kind, summed.name)[0]
            yield Family(PREFIX + name, summed.kind, summed.description, _samples(summed))

    def validate(self) -> None:
        """Check the invariants."""
        assert self.series == sum(len(summed.series) for summed in self.metrics.values()) <= SERIES_MAX
        assert len(self.metrics) <= SERIES_MAX
        names = [name for summed in self.metrics.values() for name in exposed(summed.kind, summed.name)]
        assert sorted(names) == sorted(self._exposed)
        owned = {pair for pairs in self._gauges.values() for pair in pairs}
        assert owned == {
            (name, labels) for name, summed in self.metrics.items() if summed.kind == GAUGE for labels in summed.series
        }


def _is_sound(metric: Metric) -> bool:
    """What a process says is not believed: a line that it could write itself could say anything."""
    buckets = len(metric.bounds) + 1 if metric.kind == HISTOGRAM else 0
    return (
        metric.kind in (COUNTER, GAUGE, HISTOGRAM)
        and _NAME.fullmatch(metric.name) is not None
        and len(metric.bounds) <= BOUNDS_MAX
        and all(0 < bound < float("inf") for bound in metric.bounds)
        and all(one < other for one, other in pairwise(metric.bounds))
        and all(_KEY.fullmatch(key) and key not in RESERVED and not key.startswith("__") for key in metric.keys)
        and len(set(metric.keys)) == len(metric.keys)
        and all(len(each.values) == len(metric.keys) and len(each.counts) == buckets for each in metric.series)
        and all(count >= 0 for each in metric.series for count in each.counts)
        and (metric.kind != COUNTER or all(each.value >= 0 for each in metric.series))
    )


def _samples(summed: Summed) -> Iterator[Sample]:
    for labels, series in list(summed.series.items()):
        if summed.kind != HISTOGRAM:
            yield "", labels, series.value
            continue
        below = 0
        for bound, count in zip([*summed.bounds, float("inf")], series.counts, strict=True):
            below += count
            yield "_bucket", (*labels, ("le", number(bound))), below
        yield "_sum", labels, series.value
        yield "_count", labels, below
