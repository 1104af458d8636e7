"""What a task, an actor and a method call are, before anything is sent.

`api/` builds these once per remote function, class or method, with every option checked and every default
filled in; the runtimes only read them. `exported` is the one mutable field: a runtime keeps there what it
has prepared for the function (its pickle, its content hash), so that the second call pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct, field
from msgspec.structs import astuple

from ..wire import groups
from ..wire.labels import (
    EXISTS as EXISTS,
    IN as IN,
    MISSING as MISSING,
    NOT_IN as NOT_IN,
    Condition as Condition,
    Wish as Wish,
    in_request as in_request,
    meets as meets,
    request_for as request_for,
    wish_of as wish_of,
    without as without,
)

group_of = groups.group_of
group_request = groups.request
own_resources = groups.plain

SPREAD = "SPREAD"
"""In place of a node's id: the nodes take turns."""
STREAMING = -1
"""`num_returns` of a generator whose items are handed out one reference at a time."""

CHECKED = (None, None)
"""`exported`, when no runtime has prepared anything, but it is known that the function or class can be pickled."""

DYNAMIC = -2
"""`num_returns="dynamic"`: one reference, to an `ObjectRefGenerator` over all items."""


class TaskOptions(Struct, frozen=True, eq=False):
    """The options of a task, checked and with defaults filled in.

    Attributes:
        name: shown in errors, logs and state.
        resources: name to amount; `CPU`, `GPU`, `memory` (bytes) and the user's own. Zero amounts are left out.
        num_returns: 0 or more, or `STREAMING` or `DYNAMIC`.
        max_retries: how often the task may be tried again after its worker died; -1 is without limit.
        retry_exceptions: exception classes that are retried too; `(Exception,)` for all, `()` for none.
        max_calls: a worker that has run the function this often is replaced; 0 is without limit.
        backpressure: a streaming task waits when this many items are not yet consumed; 0 is without limit.
        lends: while it waits for that, others may have its CPU. Whoever says so bounds the number of such tasks.
        node_id: hex id of the node to run on (node affinity), "SPREAD" to use all nodes evenly, or "".
        node_soft: with `node_id`: run elsewhere when that node is gone.
        env: what it asks of its environment, as text (`api/environments.py`); "" inherits all.
    """

    name: str
    resources: dict[str, float] = field(default_factory=lambda: {"CPU": 1.0})
    num_returns: int = 1
    max_retries: int = 3
    retry_exceptions: tuple[type[BaseException], ...] = ()
    max_calls: int = 0
    backpressure: int = 0
    lends: bool = False
    node_id: str = ""
    node_soft: bool = False
    env: str = ""


def value_of(options: Any) -> tuple[Any, ...]:
    """What options are equal by: a key for tables. Identity is faster, but does not find equal ones."""
    return tuple(tuple(sorted(each.items())) if type(each) is dict else each for each in astuple(options))


class FunctionSpec(Struct, eq=False):
    """A remote function with its options. One per `.options(...)` variant; variants share `exported`'s function."""

    function: Callable[..., Any]
    options: TaskOptions
    exported: Any = None


class MethodOptions(Struct, frozen=True, eq=False):
    """The options of one actor method (from `@skate.method`) or of one call (`.options` on it)."""

    name: str
    num_returns: int = 1
    max_task_retries: int = 0
    retry_exceptions: tuple[type[BaseException], ...] = ()
    concurrency_group: str = ""
    backpressure: int = 0
    class_name: str = ""
    """Of the actor, so that whoever has only a handle can say whose method it calls."""


class ActorOptions(Struct, frozen=True, eq=False):
    """The options of an actor, checked and with defaults filled in.

    Attributes:
        class_name: for errors, logs and `repr`.
        name: the actor's name in its namespace, or "" for none.
        namespace: "" is the namespace of the job.
        get_if_exists: return the named actor if there is one.
        detached: outlives its driver and its handles.
        resources: held as long as the actor lives.
        placement: needed at the moment of placement only (Ray's "1 CPU to place, 0 to run").
        max_restarts: how often the actor is started again after its process died; -1 is without limit.
        max_task_retries: the default of its methods.
        max_concurrency: calls at the same time; 1 is one after the other in the order of each caller.
        concurrency_groups: name to number of calls at the same time.
        max_pending_calls: unfinished calls per handle before `PendingCallsLimitExceeded`; -1 is without limit.
        is_async: the class has `async def` methods: its methods run on one event loop.
        node_id, node_soft, env: as for tasks.
    """

    class_name: str
    name: str = ""
    namespace: str = ""
    get_if_exists: bool = False
    detached: bool = False
    resources: dict[str, float] = field(default_factory=dict)
    placement: dict[str, float] = field(default_factory=lambda: {"CPU": 1.0})
    max_restarts: int = 0
    max_task_retries: int = 0
    max_concurrency: int = 1
    concurrency_groups: dict[str, int] = field(default_factory=dict)
    max_pending_calls: int = -1
    is_async: bool = False
    node_id: str = ""
    node_soft: bool = False
    env: str = ""


class ActorSpec(Struct, eq=False):
    """An actor class with its options.

    `methods` is the table of public methods with their default options; it travels with the handle, so that a
    handle can check names and options without the class.
    """

    cls: type
    options: ActorOptions
    methods: dict[str, MethodOptions]
    exported: Any = None
