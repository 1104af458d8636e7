"""How something ended of which no process knows any more: what histories and deaths of nodes say of it, in one line.

`skate why` asks here when whoever has submitted a task, or the head, has nothing to say of an id: because it is done, or because
they have ended themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from msgspec import convert

from ..exceptions import RayError
from ..wire.history import FAILED, Chunk, tasks_of
from ..wire.messages import Death
from .reasons import death_in_words
from .words import several

if TYPE_CHECKING:
    from .observing import Member, Observer

Ask = Callable[[int, str, Any], Any]
EVENTS_MAX = 1000
_CRASHES = ("WorkerCrashedError", "OutOfMemoryError", "ActorDiedError")
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def ago(at: float) -> str:
    """How long ago a moment was.

    Example:
        >>> ago(time.time() - 300)
        '5 min ago'
    """
    seconds = max(0.0, time.time() - at)
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def of_task(ask: Ask, home: int, ident: str, clustered: bool) -> str:
    """How the last attempt of a task ended, by the history of the node that its caller was on; "" if it is not there."""
    row = _last_attempt(ask, home, ident)
    if row is None:
        return ""
    place = f"process {row['worker_pid']}" if row["worker_pid"] else ""
    if place and clustered and row["node_no"]:
        place += f" of node {row['node_no']}"
    who = f"{row['name']} ({ident})"
    if row["state"] != FAILED:
        took = "" if row["start_time"] is None else f"after {_span(row['end_time'] - row['start_time'])}"
        details = ", ".join(filter(None, (took, f"in {place}" if place else "")))
        return f"{who} is done: it finished {ago(row['end_time'])}{', ' + details if details else ''}"
    attempt = f" in attempt {row['attempt_number'] + 1}" if row["attempt_number"] else ""
    text = f"{who} failed{attempt} {ago(row['end_time'])}{', in ' + place if place else ''}: "
    return text + (_how_it_died(ask, row) or error_of(row))


def _last_attempt(ask: Ask, home: int, ident: str) -> dict[str, Any] | None:
    before = None
    while True:
        answer = ask(home, "history_tasks", {"client": ident[:16], "before": before})["value"]
        if answer is None:
            return None
        for chunk in answer["chunks"]:
            for row in tasks_of(convert(chunk, Chunk), None, int(ident[16:], 16)):
                if row["task_id"] == ident:
                    return row
        before = answer["before"]
        if before is None:
            return None


def error_of(row: dict[str, Any]) -> str:
    """How an attempt failed, by its row."""
    kind, message = row["error_type"], row["error_message"]
    return message if kind and kind in message.partition(":")[0] else f"{kind}: {message}".strip(": ")


def _how_it_died(ask: Ask, row: dict[str, Any]) -> str:
    """Of a task whose process died, with memory and last output, if its node remembers it."""
    if row["error_type"] not in _CRASHES or not row["worker_pid"]:
        return ""
    from .why import Silent

    try:
        found = ask(row["node_no"], "deaths", {"key": "pid", "value": row["worker_pid"]})
    except (Silent, LookupError, RayError):
        return ""  # the node is gone: the history has the reason, too
    return death_in_words(convert(found[0]["death"], Death)) if found else ""


def _events(ask: Ask, node: int) -> list[dict[str, Any]]:
    return ask(node, "history_events", {"source": "ACTOR", "limit": EVENTS_MAX})["value"] or []


def of_actor(ask: Ask, head: int, home: int, ident: str) -> str:
    """The last thing that has happened to an actor, by the events of who knows actors; "" if there is nothing."""
    found = _events(ask, head) or _events(ask, home)  # a session without a cluster has one file
    last = next((event for event in reversed(found) if event.get("actor_id") == ident), None)
    return "" if last is None else f"{last['text']} ({ago(last['time'])})"


def actor_of_past(observer: Observer, name: str, nodes: Iterable[Member]) -> str:
    """The id of the actor of this name, or if it had none class, of which events told last; "" if there was none."""
    wanted = {"source": "ACTOR", "limit": EVENTS_MAX}
    answers = [observer.ask_head("history_events", wanted)]
    answers += [observer.ask(member, "history_events", wanted) for member in nodes]
    events = [event for answer in answers for event in answer["value"] or ()]
    found = [event for event in events if event["text"].startswith(f"actor {name} (")]
    return str(max(found, key=lambda event: event["time"])["actor_id"]) if found else ""


def of_object(ask: Ask, home: int, ident: str) -> str:
    """An object that a node answers for; "" if it is not there."""
    found = ask(home, "list_objects", {"limit": 1, "id": ident})["objects"]
    if not found:
        return ""
    row = found[0]
    where = f" on node {home}" if home else ""
    held = ", ".join(f"{who} x{count}" if count != 1 else who for who, count in row["holders"].items())
    if row["contained_in"]:
        held += f"{', ' * bool(held)}{several(row['contained_in'], 'object')} around it"
    state = "not made yet" if row["status"] == "PENDING" else f"done: {row['object_size']} bytes, {row['status']}"
    return f"object {ident} is {state}{where}; made by {row['owner']}, held by {held or 'nobody'}"
