"""What an execution has done and waited for, operator by operator.

Pure: numbers and text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

MEMORY = "no room for more blocks"
RESOURCES = "all CPUs or actors are busy"
INPUT = "no input yet"
CONSUMER = "nobody takes what is ready"


class Cost(NamedTuple):
    """What a task has used for a block, or at its end."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    """The most memory that the process has ever had."""


@dataclass
class OperatorStats:
    """What one operator has done.

    Args:
        name: what plans and errors call it.
        tasks: that have ended.
        seconds, cpu_seconds: in its tasks, summed up.
        peak_bytes: the most memory of a process that ran its tasks.
        failed: tasks whose rows were left out, as `max_errored_blocks` allows it.
        blocked: seconds in which none of its tasks ran, by reason.
    """

    name: str
    tasks: int = 0
    failed: int = 0
    rows_in: int = 0
    rows_out: int = 0
    blocks_out: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    blocked: dict[str, float] = field(default_factory=dict)

    def add(self, cost: Cost) -> None:
        """A task has used so much more."""
        self.seconds += cost.seconds
        self.cpu_seconds += cost.cpu_seconds
        self.peak_bytes = max(self.peak_bytes, cost.peak_bytes)

    def wait(self, reason: str, seconds: float) -> None:
        """Nothing of it has run, because of this."""
        self.blocked[reason] = self.blocked.get(reason, 0.0) + seconds

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.tasks} tasks, {self.rows_out} rows, {self.blocks_out} blocks, {size(self.bytes_out)}",
            f"  {self.seconds:.2f}s in tasks, {self.cpu_seconds:.2f}s of CPU, at most {size(self.peak_bytes)} a process",
        ]
        if self.failed:
            lines.append(f"  {self.failed} tasks failed and were left out")
        lines += [f"  {seconds:.2f}s idle: {reason}" for reason, seconds in sorted(self.blocked.items())]
        return "\n".join(lines)


@dataclass
class ExecutionStats:
    """What an execution has done.

    Args:
        operators: inputs first.
        seconds: from its beginning to now, or to its end.
        peak_bytes: the most that its blocks were known or expected to take at one time.
        budget_bytes: what they may take.
    """

    operators: list[OperatorStats]
    seconds: float
    peak_bytes: int
    budget_bytes: int

    def __str__(self) -> str:
        total = f"Total: {self.seconds:.2f}s, blocks took at most {size(self.peak_bytes)}"
        return "\n".join([*(str(each) for each in self.operators), total])


def size(count: int) -> str:
    """Bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("unreachable")
