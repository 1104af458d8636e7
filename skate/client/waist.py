"""The narrow waist: all that `api/` knows of what runs the work.

The runtime over real processes (`client/runtime.py`) implements it; `inline` mode implements it in one process,
where a debugger works. References carry their runtime, so a program never asks which one it talks to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct, field

from .pump import Waiter
from .refs import ObjectRef, ObjectRefGenerator
from .specs import ActorSpec, FunctionSpec, MethodOptions


class TaskContext(Struct, eq=False):
    """Who runs: what `get_runtime_context()` shows. Ids in hexadecimal; "" where there is none (in a driver)."""

    job_id: str
    node_id: str
    worker_id: str
    namespace: str
    session: str
    session_dir: str
    is_driver: bool
    task_id: str = ""
    task_name: str = ""
    function_name: str = ""
    actor_id: str = ""
    actor_name: str = ""
    actor_ref: Any = None
    attempt: int = 0
    restarted: bool = False
    resources: Mapping[str, float] = field(default_factory=dict)
    accelerator_ids: Mapping[str, list[str]] = field(default_factory=dict)
    is_canceled: Callable[[], bool] = lambda: False
    runtime_env: str = ""
    """The text of the environment that it runs in."""


class Runtime(Protocol):
    """What a runtime does for the API. All times in seconds; `timeout=None` waits without limit, 0 does not wait.

    `submit` and `call` return by `num_returns`: one reference for 1 and `DYNAMIC`, a list for 2 or more, None for 0, an
    `ObjectRefGenerator` for `STREAMING`.

    An actor is known by an `ObjectRef` made by `create_actor` or `get_actor`: its lifetime is that of the
    references to it, counted as for any object, and it is never "done".
    """

    namespace: str

    @property
    def groups(self) -> Any:
        """Placement groups: `client.groups.Groups`. Raises `UnsupportedError` where there are none."""
        ...

    def submit(self, function: FunctionSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def create_actor(
        self, spec: ActorSpec, args: tuple[Any, ...], kwargs: dict[str, Any], meta: bytes
    ) -> tuple[ObjectRef[Any], bytes]:
        """Create it, or find it with `get_if_exists`; returns its reference and the `meta` it was created with."""
        ...

    def call(
        self, actor: ObjectRef[Any], method: MethodOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any: ...
    def get_actor(self, name: str, namespace: str) -> tuple[ObjectRef[Any], bytes]:
        """Its reference and `meta`; raises `ValueError` when there is none of that name."""
        ...

    def list_named_actors(self, all_namespaces: bool) -> list[tuple[str, str]]:
        """(namespace, name) of each named actor that lives."""
        ...

    def kill(self, actor: ObjectRef[Any], no_restart: bool) -> None: ...
    def exit_actor(self) -> None:
        """End the actor that runs the current call, after this call; raises `TypeError` outside of one."""
        ...

    def put(self, value: Any) -> ObjectRef[Any]: ...
    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]: ...
    def wait(
        self, refs: Sequence[Any], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[Any], list[Any]]: ...
    def on_done(self, ref: ObjectRef[Any], callback: Callable[[ObjectRef[Any]], None], quick: bool = False) -> None:
        """Call back once, from any thread, when the reference is done; at once if it is.

        `quick`: the callback neither waits nor calls this runtime nor runs user code; it is called without delay.
        """
        ...

    def await_met(self, waiter: Waiter, timeout: float) -> bool:
        """Wait until `meet` is called with a waiter; False if that takes longer. A task lends its CPU meanwhile.

        Who waits for what callbacks say waits in this way: then it is this thread that reads their messages.
        """
        ...

    def meet(self, waiter: Waiter) -> None:
        """End the wait for a waiter, from any thread, callbacks that are `quick` included."""
        ...

    def cancel(self, what: ObjectRef[Any] | ObjectRefGenerator[Any], force: bool, recursive: bool) -> None: ...

    def stream_next(self, generator: ObjectRefGenerator[Any], timeout: float | None) -> ObjectRef[Any] | None:
        """The next item's reference; None at the end; raises `GetTimeoutError` when there is none in time."""
        ...

    def stream_on_item(
        self, generator: ObjectRefGenerator[Any], callback: Callable[[], None]
    ) -> Callable[[], None] | None:
        """Call back once, when `stream_next` would not wait. Returns what takes the wish back, if that can be done."""
        ...

    def stream_completed(self, generator: ObjectRefGenerator[Any]) -> ObjectRef[None]: ...
    def stream_finished(self, generator: ObjectRefGenerator[Any]) -> bool: ...
    def stream_dropped(self, stream: Any) -> None:
        """The generator is gone: its producer may stop."""
        ...

    def stream_id(self, generator: ObjectRefGenerator[Any]) -> str: ...
    def reduce_stream(self, generator: ObjectRefGenerator[Any]) -> tuple[Any, ...]: ...

    def ref_id(self, ref: ObjectRef[Any]) -> bytes: ...
    def task_id_of(self, ref: ObjectRef[Any]) -> str: ...
    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]: ...

    def context(self) -> TaskContext: ...
    def nodes(self) -> list[dict[str, Any]]: ...
    def head_address(self) -> str:
        """Where the head of the cluster is, as host:port; "": there is no cluster."""
        ...

    def cluster_resources(self) -> dict[str, float]: ...
    def available_resources(self) -> dict[str, float]: ...
    def status(self) -> dict[str, Any]:
        """What `skate.cluster()` shows: nodes with what is free there, what waits and why, what failed."""
        ...

    def check_feasible(self, what: str, resources: Mapping[str, float], node_id: str = "") -> None:
        """Raise `TaskUnschedulableError` when no node, or not the node that it must run on, could ever meet the request.

        The error says what exists.
        """
        ...

    def why(self, what: ObjectRef[Any] | str) -> str:
        """One line: why a reference, or the task, object or actor with this id in hexadecimal, is not done."""
        ...

    def shutdown(self) -> None: ...
