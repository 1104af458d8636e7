"""What processes count: a metric's words between a process and its node, and the secret with which metrics may be read.

Processes tell differences: what a counter or a histogram has grown by since they told it last, and what a gauge is now. So the
node only adds, and a process that ends takes nothing back but its gauges.
"""

from __future__ import annotations

from msgspec import Struct

COUNTER = "counter"
GAUGE = "gauge"
HISTOGRAM = "histogram"

RESERVED = frozenset({"le", "quantile", "WorkerId"})
"""Tags that only the exporter sets."""


class Series(Struct, array_like=True, gc=False):
    """One metric with one set of tags."""

    values: list[str]
    """Of its tags, in the order of the metric's keys."""
    value: float = 0.0
    """What was added; what a gauge is; of a histogram, what was added to its sum."""
    counts: list[int] = []
    """Of a histogram: how many more observations fell into each bucket; the last one has no upper bound."""


class Metric(Struct, array_like=True):
    """One metric, and what is new of it."""

    kind: str
    name: str
    description: str
    keys: list[str]
    bounds: list[float]
    """Of a histogram: the upper bounds of its buckets, the last one left out."""
    series: list[Series]


class Counted(Struct, array_like=True, tag=80):
    """To the node: what this process has counted since it told so last."""

    metrics: list[Metric]
    tasks: dict[str, list[int]] = {}
    """By name: how many tasks and calls have finished, failed, were cancelled, and crashed."""
    dropped: int = 0
    """How many values had no room."""


def exposed(kind: str, name: str) -> tuple[str, ...]:
    """The names under which Prometheus sees a metric, without the prefix: no other metric may have one of them.

    Example:
        >>> exposed(COUNTER, "requests"), exposed(HISTOGRAM, "size")
        (('requests_total',), ('size', 'size_bucket', 'size_sum', 'size_count'))
    """
    if kind == HISTOGRAM:
        return name, f"{name}_bucket", f"{name}_sum", f"{name}_count"
    return (name if kind != COUNTER or name.endswith("_total") else f"{name}_total",)


def reading_token(token: str) -> str:
    """The secret with which the metrics of a cluster may be read, and nothing else can be done: the cluster's token cannot be
    found out from it."""
    import hmac  # most processes need none of it

    return hmac.digest(token.encode(), b"skate: read metrics", "sha256").hex()
