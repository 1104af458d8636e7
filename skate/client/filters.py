"""Which rows of a list are wanted: conditions such as `state=FAILED` and `name!=f`.

Pure. Rows are dicts of plain data; values are compared as text, without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .words import choices

Filter = tuple[str, str, Any]
"""(key, "=" or "!=", value), as Ray has them."""
EQUAL, UNEQUAL = "=", "!="
LIKE = "~"
"""It begins or ends so: for who looks for an id of which he has a part. Not for users, who could not say which part."""
VALUES: dict[tuple[str, str], tuple[str, ...]] = {
    ("tasks", "state"): (
        "PENDING_ARGS_AVAIL",
        "PENDING_NODE_ASSIGNMENT",
        "SUBMITTED_TO_WORKER",
        "RUNNING",
        "FINISHED",
        "FAILED",
    ),
    ("tasks", "type"): ("NORMAL_TASK", "ACTOR_TASK"),
    ("actors", "state"): ("PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD"),
    ("objects", "status"): ("PENDING", "INLINE", "IN_STORE", "SPILLED", "ERROR", "LOST"),
    ("nodes", "state"): ("ALIVE", "DEAD"),
    ("workers", "state"): ("IDLE", "LEASED", "ACTOR", "DRIVER"),
    ("workers", "worker_type"): ("WORKER", "DRIVER"),
    ("jobs", "type"): ("DRIVER", "SUBMISSION"),
    ("jobs", "status"): ("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"),
    ("placement-groups", "state"): ("PENDING", "CREATED", "RESCHEDULING", "REMOVED"),
}
"""The values of columns that have few, by the kind of thing."""
TRUTHS = frozenset(
    (
        ("nodes", "is_head_node"),
        ("workers", "is_alive"),
        ("actors", "is_detached"),
        ("runtime-envs", "success"),
    )
)
"""Columns that are true or false, by the kind of thing."""
YES, NO = ("true", "1", "yes"), ("false", "0", "no")
OF_RAY = frozenset(
    (
        "NIL",
        "INFEASIBLE",
        "UNKNOWN",
        "DRIVER_TASK",
        "ACTOR_CREATION_TASK",
        "DEPENDENCIES_UNREADY",
        "PENDING_ACTOR_TASK_ARGS_FETCH",
        "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY",
        "PENDING_OBJ_STORE_MEM_AVAIL",
        "GETTING_AND_PINNING_ARGS",
        "RUNNING_IN_RAY_GET",
        "RUNNING_IN_RAY_WAIT",
    )
)
"""What may be asked for in Ray, too, and never is so here: nothing is found."""


def parse(text: str) -> Filter:
    """A condition as it is written on a command line, where the key may be in capitals.

    Raises:
        ValueError: it is none.

    Example:
        >>> parse("name!=f")
        ('name', '!=', 'f')
    """
    key, equals, value = text.partition("=")
    operator = UNEQUAL if key.endswith("!") else EQUAL
    key = key.rstrip("!").strip().lower()
    if not equals or not key:
        raise ValueError(f"{text!r} is not KEY=VALUE or KEY!=VALUE")
    return key, operator, value.strip()


def check(filters: Iterable[Filter] | None, keys: Sequence[str], kind: str = "") -> list[Filter]:
    """The conditions, if they are about these keys, and values that there can be.

    Args:
        filters: the conditions.
        keys: the columns of the things.
        kind: what they are called, as in `VALUES`.

    Raises:
        ValueError: one is not; the message names the keys, or the values.
    """
    found = []
    for each in filters or ():
        if isinstance(each, str) or len(each) != 3:
            raise ValueError(f"filters are a list of (key, '=' or '!=', value), and {each!r} is none")
        key, operator, value = each
        if key not in keys:
            raise ValueError(f"there is no {key!r} to filter by{choices(str(key), keys)}")
        if operator not in (EQUAL, UNEQUAL):
            raise ValueError(f"a filter is (key, '=' or '!=', value), not {each!r}")
        found.append((key, operator, _value(kind, key, value)))
    return found


def _value(kind: str, key: str, value: Any) -> Any:
    """What a column is compared with: of one that is true or false, that."""
    if (kind, key) in TRUTHS:
        word = str(value).casefold()
        if word not in (*YES, *NO):
            raise ValueError(f"{key} of {kind} is true or false, not {str(value)!r}")
        return word in YES
    known = VALUES.get((kind, key), ())
    if known and str(value).upper() not in (*known, *OF_RAY):
        raise ValueError(f"no {key} of {kind} is {str(value)!r}{choices(str(value), known)}")
    return value


def meets(row: dict[str, Any], filters: Iterable[Filter]) -> bool:
    """Whether a row is wanted; conditions about what it does not have are left aside.

    Example:
        >>> meets({"state": "FAILED"}, [("state", "=", "failed"), ("name", "=", "f")])
        True
    """
    return all(
        _like(_text(row[key]), _text(value))
        if operator == LIKE
        else (_text(row[key]) == _text(value)) == (operator == EQUAL)
        for key, operator, value in filters
        if key in row
    )


def _like(text: str, part: str) -> bool:
    return text.startswith(part) or text.endswith(part)


def only(filters: Iterable[Filter], key: str) -> Any:
    """The value that a key must have, or None."""
    return next((value for name, operator, value in filters if name == key and operator == EQUAL), None)


def _text(value: Any) -> str:
    return "" if value is None else str(value).casefold()
