"""What is plotted over time: a bounded ring of samples, made of counters that only grow.

Pure. A rate is the difference of two counts by the time between them; a count that went down (a node has gone, a history was cut)
makes no rate.
"""

from __future__ import annotations

from collections import deque
from typing import Any

SAMPLES_MAX = 900
"""A quarter of an hour, at one sample a second."""

Sample = dict[str, float | None]


class Samples:
    """The last samples, the oldest first; each has a number `no` that goes on."""

    def __init__(self, most: int = SAMPLES_MAX) -> None:
        self._ring: deque[Sample] = deque(maxlen=most)
        self._before: dict[str, Any] | None = None
        self._last = 0

    def add(self, now: float, counts: dict[str, Any]) -> None:
        """A new reading.

        Args:
            now: seconds since 1970.
            counts: `cpu_busy_s`, `cpu_s`, `memory_used`, `memory_total`, `store_used`, `store_total`, `cpus_used`, `cpus_total`,
                `ended` (tasks that have ended, ever), `unfinished`.
        """
        before = self._before
        self._last += 1
        sample: Sample = {
            "no": self._last,
            "time": now,
            "memory": _share(counts["memory_used"], counts["memory_total"]),
            "store": _share(counts["store_used"], counts["store_total"]),
            "cpus": _share(counts["cpus_used"], counts["cpus_total"]),
            "unfinished": counts["unfinished"],
            "cpu": None,
            "tasks": None,
        }
        if before is not None and now > before["now"]:
            elapsed = counts["cpu_s"] - before["cpu_s"]
            busy = counts["cpu_busy_s"] - before["cpu_busy_s"]
            if elapsed > 0 and 0 <= busy <= elapsed:
                sample["cpu"] = 100 * busy / elapsed
            if counts["ended"] >= before["ended"]:
                sample["tasks"] = (counts["ended"] - before["ended"]) / (now - before["now"])
        self._before = {**counts, "now": now}
        self._ring.append(sample)

    def after(self, no: int) -> list[Sample]:
        """The samples that came after the one of this number."""
        return [sample for sample in self._ring if (sample["no"] or 0) > no]


def _share(used: float, total: float) -> float | None:
    """In percent."""
    return 100 * used / total if total else None
