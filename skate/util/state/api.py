"""What there is and what has happened, as rows: `list_...`, `get_...`, `summarize_...`.

Rows are objects with an attribute for each column; `row["name"]`, `dict(row)` and `row.asdict()` work, too. What could not be
asked is in `missing` of the list, in words, and warned about.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Concatenate, ParamSpec

from ...client import observing, state
from ...client.refs import ObjectRef
from ...exceptions import UnsupportedError
from .common import GetApiOptions, ListApiOptions, StateResource, SummaryApiOptions, SummaryResource
from .exception import RayStateApiException

DEFAULT_LIMIT = state.LIMIT
Filters = Sequence[tuple[str, str, Any]] | None


class StateRow(Mapping[str, Any]):
    """One thing of a list."""

    def __init__(self, values: dict[str, Any], columns: Sequence[str] = ()) -> None:
        self._values = values
        self._columns = columns

    def asdict(self) -> dict[str, Any]:
        """A copy as a dict with all columns that its kind has, as in Ray: those that were not asked for are None."""
        return deepcopy({**dict.fromkeys(self._columns), **self._values})

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked for by `copy` and `pickle`, before there are values
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"there is no {name!r} here; there are {', '.join(self)}") from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"


class StateList(list[StateRow]):
    """A list, and what is to be known of it."""

    def __init__(self, found: state.Listing, kind: str) -> None:
        columns = [*state.COLUMNS[kind], *state.DETAILS[kind]]
        super().__init__(StateRow(row, columns) for row in found.rows)
        self.total = found.total
        """How many there are; -1: more than the limit."""
        self.missing = found.missing
        """Of whom nothing is known, and why."""


def observe(address: str | None, timeout: float | None) -> observing.Observer:
    """The cluster at an address (see `observing.observe`), whose nodes may take so long to answer; None: this one, and 5 s."""
    return observing.observe(address, None, observing.ANSWER_S if timeout is None else timeout)


def complain(missing: list[str], strictly: bool) -> None:
    """Say to whoever has called the caller of the caller of whom nothing is known; an error, if it is to be strict."""
    if missing and strictly:
        raise RayStateApiException("the answer is not complete: " + "; ".join(missing))
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
        address: of which cluster: HOST:PORT of a node, http://HOST:PORT of its dashboard, or the process id of a program;
            else this one, or the one that runs on this machine.
        filters: `("state", "=", "FAILED")` and `("name", "!=", "f")`; all must hold.
        limit: how many at the most.
        timeout: how many seconds each node may take to answer; 5 unless said.
        detail: with times and error messages.
        raise_on_missing_output: RayStateApiException when somebody could not be asked; if not, a warning.
    """
    found = state.listing(observe(address, timeout), kind, list(filters or ()), limit, detail)
    complain(found.missing, raise_on_missing_output)
    return StateList(found, kind)


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
list_runtime_envs = _lists(
    "runtime-envs", "Runtime environments of nodes, also those that could not be set up lately.", _list
)
list_cluster_events = _lists(
    "cluster-events", "What has happened, the last so many, the oldest first: what `skate events` shows.", _list
)


# ------------------------------------------------------------ one of them


def _get(kind: str, ident: str, address: str | None, timeout: float | None) -> StateList:
    found = state.get(observe(address, timeout), kind, ident)
    complain(found.missing, False)
    return StateList(found, kind)


def get_task(
    id: str | ObjectRef[Any], address: str | None = None, timeout: float | None = None
) -> StateRow | list[StateRow] | None:
    """The task with this id, or of this reference, in detail; a list if there were several attempts, None if it is not known."""
    found = _get("tasks", id.task_id() if isinstance(id, ObjectRef) else id, address, timeout)
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


# ------------------------------------------------------------ summaries


def _summarize(kind: str, address: str | None, timeout: float | None, strictly: bool) -> dict[str, Any]:
    found, missing = state.summarize(observe(address, timeout), kind)
    complain(missing, strictly)
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
        cookies, headers: of Ray's dashboard, which is not asked here: they are refused.
    """

    def __init__(
        self,
        address: str | None = None,
        cookies: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
    ) -> None:
        if cookies or headers:
            raise UnsupportedError("StateApiClient asks the nodes themselves: it has no use for cookies and headers.")
        self.address = address

    def list(
        self, resource: StateResource | str, options: ListApiOptions | None = None, raise_on_missing_output: bool = True
    ) -> StateList:
        """The things of a kind, as `list_tasks` and so on have them."""
        wish = options or ListApiOptions()
        kind, filters = _kind(resource), wish.filters
        return _list(kind, self.address, filters, wish.limit, wish.timeout, wish.detail, raise_on_missing_output)

    def get(
        self, resource: StateResource | str, id: str, options: GetApiOptions | None = None
    ) -> StateRow | list_[StateRow] | None:
        """The thing of a kind with this id, in detail, or None; of objects a list."""
        found = _get(_kind(resource), id, self.address, (options or GetApiOptions()).timeout)
        return list_(found) if _kind(resource) == "objects" else next(iter(found), None)

    def summary(
        self,
        resource: SummaryResource | str,
        *,
        options: SummaryApiOptions | None = None,
        raise_on_missing_output: bool = True,
    ) -> dict[str, Any]:
        """How many there are of what: of "tasks", "actors" or "objects"."""
        kind = _kind(resource, state.SUMMARIES)
        return _summarize(kind, self.address, (options or SummaryApiOptions()).timeout, raise_on_missing_output)


list_ = list


def _kind(resource: StateResource | SummaryResource | str, kinds: Iterable[str] = state.COLUMNS) -> str:
    kind = str(getattr(resource, "value", resource)).replace("_", "-")
    if kind not in kinds:
        raise ValueError(f"there are no {str(resource)!r} here; there are {', '.join(kinds)}")
    return kind
