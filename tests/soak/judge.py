"""Which errors the faults explain.

Pure: faults and errors in, words out. A driver knows of each error which kinds of faults could have caused it, and how many
of them it takes: a task that may run twice fails only after two deaths. Here is what really happened, and when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What is done to the cluster."""

    KILL_WORKER = "kill_worker"
    STOP_WORKER = "stop_worker"
    KILL_NODE = "kill_node"
    FREEZE_NODE = "freeze_node"
    BLIP = "blip"
    KILL_HEAD = "kill_head"
    CUT = "cut"
    KILL_DRIVER = "kill_driver"


NODE_LOSS = (Kind.KILL_NODE, Kind.FREEZE_NODE)
"""What takes a node along with all that is on it."""
DEATHS = (Kind.KILL_WORKER, Kind.CUT, *NODE_LOSS)
"""What may cost a task or a call the attempt that runs."""
ECHO_S = 10.0
"""A fault explains errors for this long after it has ended: a loss shows when somebody reads."""


@dataclass
class Fault:
    """One thing that was done, by the clock that all processes of a machine share."""

    kind: Kind
    at: float
    node: int = 0
    pid: int = 0
    what: str = ""
    until: float = 0.0

    def explains(self, began: float, ended: float) -> bool:
        """Whether it could be the cause of something that was under way between two moments."""
        return self.at <= ended and max(self.at, self.until) + ECHO_S >= began


@dataclass
class Judge:
    """What has happened, and what has been excused by it."""

    faults: list[Fault] = field(default_factory=list)
    excused: Counter[str] = field(default_factory=Counter)

    def unexplained(self, error: dict[str, Any]) -> str:
        """Why an error is not to be excused; "" if it is."""
        kinds: Collection[str] = error["needs"]
        times = int(error["times"])
        found = [
            fault
            for fault in self.faults
            if fault.kind in kinds
            and fault.explains(error["began"], error["ended"])
            and error["node"] in (0, fault.node)
        ]
        if len(found) >= times:
            self.excused[f"{error['activity']}: {error['type']}"] += 1
            return ""
        return (
            f"{error['activity']}: {error['type']} needs {times} of {', '.join(kinds)}, and there were {len(found)}"
            f" while it was under way ({error['ended'] - error['began']:.1f} s): {error['text']}"
        )

    def counts(self) -> dict[str, int]:
        """How many faults of each kind there were."""
        seen = Counter(str(fault.kind) for fault in self.faults)
        return {str(kind): seen[kind] for kind in Kind}
