"""Which worker is killed when memory runs out.

Pure. The kernel would kill the process with most memory, and so perhaps the node, or an actor with a day's work in it. Instead:

1. Workers that run tasks come first, actors last: a task can be run again, what an actor knew is lost.
2. Of these, the one that uses most, because its end helps most, and because whoever uses little is not to blame.
3. Of those that use nearly as much (`ALIKE`), the newest, because least work is lost; so if a hundred equal tasks are too many
   for the machine, the oldest finish, one after the other.

One is killed at a time: the next decision needs to see what that has brought.
"""

from __future__ import annotations

from msgspec import Struct

ALIKE = 0.8
"""Who uses this share of what the largest uses is as much to blame."""
WORTH_BYTES = 16 << 20
"""Killing who uses less than this helps nobody."""


class Usage(Struct, frozen=True):
    """What is used, of how much; in bytes."""

    used: int
    limit: int
    whose: str
    """What the limit is of, in words."""


class Candidate(Struct, frozen=True):
    """A worker that does something."""

    worker: int
    used: int
    """Bytes that would be free without it."""
    since: float
    """When it began."""
    is_actor: bool


def allowed(limit: int, usage_threshold: float, min_free_bytes: int) -> int:
    """The bytes that may be used: the higher of the two limits."""
    most = int(limit * usage_threshold)
    return max(most, limit - min_free_bytes) if min_free_bytes >= 0 else most


def culprit(candidates: list[Candidate]) -> Candidate | None:
    """The worker to kill, or None if that would not help."""
    worth = [each for each in candidates if each.used >= WORTH_BYTES]
    group = [each for each in worth if not each.is_actor] or worth
    if not group:
        return None
    largest = max(each.used for each in group)
    return max((each for each in group if each.used >= ALIKE * largest), key=lambda each: (each.since, each.worker))
