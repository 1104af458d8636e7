"""The state of the cluster, under the names of `ray.util.state`: what there is, and what has happened.

Rows are objects with an attribute for each column; `row["name"]` and `dict(row)` work, too. What could not be asked is in
`missing` of the list, in words, and warned about.
"""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec

from ..client import observing, state
from ..client.crashes import Crashes

DEFAULT_LIMIT = state.LIMIT
FOLLOW_S = 0.2
"""How often it is looked for more that was printed."""
LOOK_S = 2.0
"""How often it is looked for crashes."""
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


def _complain(missing: list[str], strictly: bool) -> None:
    if missing and strictly:
        raise RuntimeError("the answer is not complete: " + "; ".join(missing))
    if missing:
        warnings.warn("the answer is not complete: " + "; ".join(missing), stacklevel=4)


def _list(
    kind: str,
    address: str | None = None,
    filters: Filters = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = None,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> StateList:
    """
    Args:
        address: of which cluster; this one, or the one that runs on this machine.
        filters: `("state", "=", "FAILED")` and `("name", "!=", "f")`; all must hold.
        limit: how many at the most.
        timeout: how many seconds each node may take to answer; 5 unless said.
        detail: with times and error messages.
        raise_on_missing_output: RuntimeError when somebody could not be asked; if not, a warning.
    """
    found = state.listing(_observe(address, timeout), kind, list(filters or ()), limit, detail)
    _complain(found.missing, raise_on_missing_output)
    return StateList(found)


_P = ParamSpec("_P")


def _lists(kind: str, what: str, lists: Callable[Concatenate[str, _P], StateList]) -> Callable[_P, StateList]:
    """The function that lists a kind, with the arguments of `lists`."""

    def listed(*args: _P.args, **options: _P.kwargs) -> StateList:
        return lists(kind, *args, **options)

    listed.__name__ = listed.__qualname__ = f"list_{kind.replace('-', '_')}"
    listed.__doc__ = f"{what}\n{lists.__doc__}"
    signature = inspect.signature(lists)
    listed.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    return listed


list_tasks = _lists(
    "tasks", "Tasks and calls of actors: those that have not ended, then those that have, the last first.", _list
)
list_actors = _lists("actors", "Actors, also those that have died lately.", _list)
list_objects = _lists("objects", "Objects, the largest first, where they were created, and who holds them.", _list)
list_nodes = _lists("nodes", "Nodes, also those that have ended.", _list)
list_workers = _lists("workers", "Worker processes and drivers that live.", _list)
list_jobs = _lists("jobs", "Programs that run, and those that have.", _list)
list_placement_groups = _lists("placement-groups", "Placement groups.", _list)


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
    """The job with this id, or the one that was submitted with it, in detail, or None."""
    return next(iter(_get("jobs", id, address, timeout)), None)


def get_placement_group(id: str, address: str | None = None, timeout: float | None = None) -> StateRow | None:
    """The placement group with this id, in detail, or None."""
    return next(iter(_get("placement-groups", id, address, timeout)), None)


def get_objects(id: str, address: str | None = None, timeout: float | None = None) -> list[StateRow]:
    """The object with this id, as each node that answers for it sees it."""
    return list(_get("objects", id, address, timeout))


# ------------------------------------------------------------ what has happened, and was printed


def list_cluster_events(
    address: str | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float | None = None,
    raise_on_missing_output: bool = True,
) -> list[StateRow]:
    """What has happened, the last so many, the oldest first: what `skate events` shows."""
    found, missing = state.events(_observe(address, timeout), {}, limit)
    _complain(missing, raise_on_missing_output)
    return [StateRow({**event, "source_type": event["source"], "message": event["text"]}) for event in found]


def get_log(
    address: str | None = None,
    node_id: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = 1000,
    timeout: float | None = None,
    suffix: str = "out",
) -> Iterator[str]:
    """The lines that workers have printed: what `skate logs` shows.

    Args:
        address: of which cluster; this one, or the one that runs on this machine.
        node_id: only of this node.
        actor_id, task_id, pid: only of these.
        follow: go on with what comes, without end.
        tail: so many lines of each file at first; -1: all that is kept, up to 1 MiB of each node.
        timeout: how many seconds each node may take to answer; 5 unless said.
        suffix: "out" for stdout, "err" for stderr.

    Raises:
        ValueError: `suffix` is neither.
        RuntimeError: a node does not answer.
    """
    if suffix not in ("out", "err"):
        raise ValueError(f'suffix must be "out" or "err", not {suffix!r}')
    wish = {
        "task": str(task_id or ""),
        "actor": str(actor_id or ""),
        "job": "",
        "pid": pid or 0,
        "errors": suffix == "err",
    }
    return _lines(_observe(address, timeout), node_id, wish | {"tail": None if tail < 0 else tail}, follow)


def _lines(observer: observing.Observer, node_id: str | None, wish: dict[str, Any], follow: bool) -> Iterator[str]:
    nodes = [member for member in observing.members(observer) if node_id in (None, member.id)]
    if follow and not nodes:
        raise ValueError(f"no node that lives is {node_id!r}")
    places: dict[int, dict[str, Any]] = {member.no: {} for member in nodes}
    crashes = Crashes(observer, wish["task"]) if wish["task"] and wish["errors"] else None
    looks_at = 0.0
    while True:
        for member in nodes:
            since = places[member.no]
            (word,) = observing.ask_all(observer, "printed", {**wish, "since": since}, [member])
            _complain([f"{member}: {word.error}"] if word.error else [], True)
            if word.value["cut"] and not follow:
                warnings.warn(f"{member}: there is more than is returned", stacklevel=2)
            for file in word.value["files"]:
                since[file["name"]] = file["place"]
                if file["is_error"] == wish["errors"]:
                    yield from (f"{text}\n" for _, _, text in file["lines"])
        if crashes is not None and time.monotonic() >= looks_at:
            missing: list[str] = []
            for crash in crashes.new(nodes, missing):
                yield from (f"{text}\n" for text in crash.last(wish["tail"]))
            _complain(missing, True)
            looks_at = time.monotonic() + LOOK_S
        if not follow:
            return
        wish = {**wish, "tail": None}
        time.sleep(FOLLOW_S)


# ------------------------------------------------------------ summaries


def _summarize(kind: str, address: str | None, timeout: float | None, strictly: bool) -> dict[str, Any]:
    found, missing = state.summarize(_observe(address, timeout), kind)
    _complain(missing, strictly)
    return {"cluster": found}


def summarize_tasks(
    address: str | None = None, timeout: float | None = None, raise_on_missing_output: bool = True
) -> dict[str, Any]:
    """How many tasks of each function are in which state, as Ray has it."""
    return _summarize("tasks", address, timeout, raise_on_missing_output)


def summarize_actors(
    address: str | None = None, timeout: float | None = None, raise_on_missing_output: bool = True
) -> dict[str, Any]:
    """How many actors of each class are in which state, as Ray has it."""
    return _summarize("actors", address, timeout, raise_on_missing_output)


def summarize_objects(
    address: str | None = None, timeout: float | None = None, raise_on_missing_output: bool = True
) -> dict[str, Any]:
    """How many objects of each owner are in which state, and their bytes."""
    return _summarize("objects", address, timeout, raise_on_missing_output)


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
        return _list(_kind(resource), self.address, filters, limit, None, detail, True)

    def get(self, resource: str, id: str) -> StateRow | None:
        """The thing of a kind with this id, in detail, or None."""
        return next(iter(_get(_kind(resource), id, self.address, None)), None)


def _kind(resource: str) -> str:
    kind = str(resource).replace("_", "-")
    if kind not in state.COLUMNS:
        raise ValueError(f"there are no {resource!r}; there are {', '.join(state.COLUMNS)}")
    return kind


__all__ = [
    "StateApiClient",
    "StateRow",
    "get_actor",
    "get_job",
    "get_log",
    "get_node",
    "get_objects",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_cluster_events",
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
