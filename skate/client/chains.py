"""Chains of reasons: what one thing waits for, what that waits for, and so on, to an end or around in a circle.

Pure: `explore` is given a function that says why one thing is not done; who knows that, and how they are asked, it does not know.

Something waits for all of its `next` (a task for its arguments), or for any of them (a resource, for one of those who hold it).
What can go on: what waits for nothing, what nobody could say more of, and what waits for something that can go on. All else is
in a deadlock. Reasons are heard one after the other, while the system goes on, and still what is said of a deadlock is true: a
thing waits for another until that other is done, and one that was found waiting later had not been done before.

INV-1: a deadlock is never claimed because too little is known: what was not asked for counts as able to go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

STEPS_MAX = 40
"""So many things are asked about for one chain."""
ENDS_SHOWN = 3
"""So many steps are shown at each end of a long chain."""

Key = tuple[str, str]
"""A kind of thing, and its id."""


@dataclass(slots=True)
class Reason:
    """Why one thing is not done."""

    key: Key
    """What it is about; may differ from what was asked for, as an object is made by its task."""
    subject: str
    """What to call it."""
    text: str
    """Why it is not done, in a few words."""
    next: list[Key] = field(default_factory=list)
    """What it waits for."""
    any: bool = False
    """One of `next` is enough."""
    moves: bool = False
    """It does not wait without end, whatever it waits for."""
    done: bool = False
    unknown: bool = False
    """Nobody knows what it is about."""
    details: list[str] = field(default_factory=list)
    """More lines about it, for whoever wants more than the reason."""


@dataclass(slots=True)
class Chain:
    """What was found out about one thing."""

    reasons: list[Reason]
    """Each but the last waits for the one after it."""
    circle: list[str] = field(default_factory=list)
    """The members of the deadlock that it ends in, by name."""
    unsaid: str = ""
    """Why no more is known."""

    def __str__(self) -> str:
        words = " -> ".join([*_shown(self.reasons), *([f"[{self.unsaid}]"] if self.unsaid else [])])
        if not self.circle:
            return words
        circle = " waits for ".join([*self.circle, self.circle[0]])
        return f"DEADLOCK: {circle}: none of them can go on until one is cancelled or killed; in detail: {words}"


def _shown(reasons: list[Reason]) -> list[str]:
    """What is said of these. Of very many, as of calls that call each other without end, the first and the last show which."""
    words = [reason.text for reason in reasons]
    more = len(words) - 2 * ENDS_SHOWN
    return words if more <= ENDS_SHOWN else [*words[:ENDS_SHOWN], f"({more} more steps)", *words[-ENDS_SHOWN:]]


def explore(start: Key, why: Callable[[Key], Reason], in_time: Callable[[], bool], most: int = STEPS_MAX) -> Chain:
    """Follow what `start` waits for.

    Args:
        start: what it is about.
        why: says why something is not done.
        in_time: False when no more is to be asked.
        most: how many things are asked about.
    """
    known: dict[Key, Reason] = {}
    found: dict[Key, Reason] = {}
    """By what was asked for."""
    todo = [start]
    unsaid = ""
    for key in todo:
        if key in found:
            continue
        if len(found) >= most or not in_time():
            unsaid = "there was no time to ask on" if len(found) < most else f"no more than {most} steps are followed"
            break
        reason = why(key)
        found[key] = known.setdefault(reason.key, reason)
        todo.extend(found[key].next)
    stuck = stuck_in(found)
    reasons, circle = _path(start, found, stuck)
    end = reasons[-1] if reasons else None
    cut = not circle and (end is None or any(key not in found for key in end.next))
    return Chain(reasons, circle, unsaid if cut else "")


def stuck_in(found: dict[Key, Reason]) -> set[Key]:
    """What can never go on, by what was asked for."""
    free: set[Key] = set()
    changed = True
    while changed:
        changed = False
        for key, reason in found.items():
            if key not in free and _goes_on(reason, found, free):
                free.add(key)
                changed = True
    return set(found) - free


def _goes_on(reason: Reason, found: dict[Key, Reason], free: set[Key]) -> bool:
    if reason.moves or reason.done or not reason.next:
        return True
    able = [key not in found or key in free for key in reason.next]
    return any(able) if reason.any else all(able)


def _path(start: Key, found: dict[Key, Reason], stuck: set[Key]) -> tuple[list[Reason], list[str]]:
    """From `start` to an end, along what can never go on if there is such; and the circle that it ends in."""
    path: list[Reason] = []
    key: Key | None = start
    while key is not None and key in found:
        reason = found[key]
        if reason in path:
            circle = path[path.index(reason) :] if key in stuck else []
            return path, [each.subject for each in circle]
        path.append(reason)
        waits = [each for each in reason.next if each in found and not found[each].done]
        key = next((each for each in waits if each in stuck), waits[0] if waits else None)
    return path, []
