"""The state of the cluster, under the names of `ray.util.state`: what there is, and what has happened.

Rows are objects with an attribute for each column; `row["name"]` and `dict(row)` work, too. What could not be asked is in
`missing` of the list, in words, and warned about.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..client import observing, state

DEFAULT_LIMIT = state.LIMIT
Filters = Sequence[tuple[str, str, Any]] | None


class StateRow(Mapping[str, Any]):
    """One thing of a list."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"there is no {name!r} here; there are {', '.join(self)}") from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"


class StateList(list[StateRow]):
    """A list, and what is to be known of it."""

    def __init__(self, found: state.Listing) -> None:
        super().__init__(StateRow(row) for row in found.rows)
        self.total = found.total
        """How many there are; -1: more than the limit."""
        self.missing = found.missing
        """Of whom nothing is known, and why."""


def _observe(address: str | None, timeout: float | None) -> observing.Observer:
    return observing.observe(address, None, observing.ANSWER_S if timeout is None else timeout)


def _list(
    kind: str,
    address: str | None,
    filters: Filters,
    limit: int,
    timeout: float | None,
    detail: bool,
    raise_on_missing_output: bool,
) -> StateList:
    found = state.listing(_observe(address, timeout), kind, list(filters or ()), limit, detail)
    _complain(found.missing, raise_on_missing_output)
    return StateList(found)


def _complain(missing: list[str], strictly: bool) -> None:
    if missing and strictly:
        raise RuntimeError("the answer is not complete: " + "; ".join(missing))
    if missing:
        warnings.warn("the answer is not complete: " + "; ".join(missing), stacklevel=4)


def list_tasks(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = None,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> StateList:
    """Tasks and calls of actors: those that have not ended, then those that have, the last first.

    Args:
        address: of which cluster; this one, or the one that runs on this machine.
        filters: `("state", "=", "FAILED")` and `("name", "!=", "f")`; all must hold.
        limit: how many at the most.
        timeout: how many seconds each node may take to answer; 5 unless said.
        detail: with times and error messages.
        raise_on_missing_output: RuntimeError when somebody could not be asked; if not, a warning.
    """
    return _list("tasks", address, filters, limit, timeout, detail, raise_on_missing_output)


def list_actors(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = None,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> StateList:
    """Actors, also those that have died lately. Arguments as for `list_tasks`."""
    return _list("actors", address, filters, limit, timeout, detail, raise_on_missing_output)


def list_objects(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = None,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> StateList:
    """Objects that nodes answer for, the largest first, and who holds them. Arguments as for `list_tasks`."""
    return _list("objects", address, filters, limit, timeout, detail, raise_on_missing_output)


def list_nodes(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = None,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> StateList:
    """Nodes, also those that have ended. Arguments as for `list_tasks`."""
    return _list("nodes", address, filters, limit, timeout, detail, raise_on_missing_output)


def list_workers(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = None,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> StateList:
    """Worker processes and drivers that live. Arguments as for `list_tasks`."""
    return _list("workers", address, filters, limit, timeout, detail, raise_on_missing_output)


def list_jobs(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = None,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> StateList:
    """Programs that run, and those that have. Arguments as for `list_tasks`."""
    return _list("jobs", address, filters, limit, timeout, detail, raise_on_missing_output)


def list_placement_groups(
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = None,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> StateList:
    """Placement groups. Arguments as for `list_tasks`."""
    return _list("placement-groups", address, filters, limit, timeout, detail, raise_on_missing_output)


# ------------------------------------------------------------ one of them


def _get(kind: str, ident: str, address: str | None, timeout: float | None) -> StateList:
    found = state.get(_observe(address, timeout), kind, ident)
    _complain(found.missing, False)
    return StateList(found)


def get_task(id: str, address: str | None = None, timeout: float | None = None) -> StateRow | list[StateRow] | None:
    """The task with this id, in detail; a list if there were several attempts, None if it is not known."""
    found = _get("tasks", id, address, timeout)
    return None if not found else found[0] if len(found) == 1 else list(found)


def get_actor(id: str, address: str | None = None, timeout: float | None = None) -> StateRow | None:
    """The actor with this id, in detail, or None."""
    return next(iter(_get("actors", id, address, timeout)), None)


def get_node(id: str, address: str | None = None, timeout: float | None = None) -> StateRow | None:
    """The node with this id, in detail, or None."""
    return next(iter(_get("nodes", id, address, timeout)), None)


def get_worker(id: str, address: str | None = None, timeout: float | None = None) -> StateRow | None:
    """The process with this id, in detail, or None."""
    return next(iter(_get("workers", id, address, timeout)), None)


def get_job(id: str, address: str | None = None, timeout: float | None = None) -> StateRow | None:
    """The job with this id, in detail, or None."""
    return next(iter(_get("jobs", id, address, timeout)), None)


def get_placement_group(id: str, address: str | None = None, timeout: float | None = None) -> StateRow | None:
    """The placement group with this id, in detail, or None."""
    return next(iter(_get("placement-groups", id, address, timeout)), None)


def get_objects(id: str, address: str | None = None, timeout: float | None = None) -> list[StateRow]:
    """The object with this id, as each node that answers for it sees it."""
    return list(_get("objects", id, address, timeout))


# ------------------------------------------------------------ summaries


def summarize_tasks(
    address: str | None = None, timeout: float | None = None, raise_on_missing_output: bool = True
) -> dict[str, Any]:
    """How many tasks of each function are in which state, as Ray has it."""
    counts, missing = state.summary_of_tasks(_observe(address, timeout))
    _complain(missing, raise_on_missing_output)
    rows = {name: {"func_or_class_name": name, "state_counts": states} for name, states in sorted(counts.items())}
    total = sum(sum(states.values()) for states in counts.values())
    return {"cluster": {"summary": rows, "total_tasks": total, "summary_by": "func_name"}}


def summarize_actors(
    address: str | None = None, timeout: float | None = None, raise_on_missing_output: bool = True
) -> dict[str, Any]:
    """How many actors of each class are in which state, as Ray has it."""
    rows = _list("actors", address, None, 1 << 30, timeout, False, raise_on_missing_output)
    return {"cluster": state.summary_of(rows, "class_name", "state", "total_actors")}


def summarize_objects(
    address: str | None = None, timeout: float | None = None, raise_on_missing_output: bool = True
) -> dict[str, Any]:
    """How many objects of each owner are in which state, and their bytes."""
    rows = _list("objects", address, None, 1 << 30, timeout, False, raise_on_missing_output)
    found = state.summary_of(rows, "owner", "status", "total_objects")
    return {"cluster": {**found, "total_size_mb": sum(row["object_size"] for row in rows) / 1e6}}


class StateApiClient:
    """The same, for one address.

    Args:
        address: of which cluster; this one, or the one that runs on this machine.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = address

    def list(
        self, resource: str, filters: Filters = None, limit: int = DEFAULT_LIMIT, detail: bool = False
    ) -> StateList:
        """The things of a kind: "tasks", "actors", "objects", "nodes", "workers", "jobs" or "placement-groups"."""
        kind = str(resource).replace("_", "-")
        if kind not in state.COLUMNS:
            raise ValueError(f"there are no {resource!r}; there are {', '.join(state.COLUMNS)}")
        return _list(kind, self.address, filters, limit, None, detail, True)

    def get(self, resource: str, id: str) -> StateRow | None:
        """The thing of a kind with this id, in detail, or None."""
        return next(iter(_get(str(resource).replace("_", "-"), id, self.address, None)), None)


__all__ = [
    "StateApiClient",
    "StateRow",
    "get_actor",
    "get_job",
    "get_node",
    "get_objects",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_jobs",
    "list_nodes",
    "list_objects",
    "list_placement_groups",
    "list_tasks",
    "list_workers",
    "summarize_actors",
    "summarize_objects",
    "summarize_tasks",
]
