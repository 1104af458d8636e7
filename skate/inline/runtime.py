"""The `Runtime` protocol in one process."""

from __future__ import annotations

import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..client import current
from ..client.pump import Waiter
from ..client.refs import ERROR, PENDING, ObjectRef, ObjectRefGenerator
from ..client.serialization import serialize
from ..client.specs import (
    CHECKED,
    DYNAMIC,
    STREAMING,
    ActorSpec,
    FunctionSpec,
    MethodOptions,
    in_request,
    meets,
    wish_of,
    without,
)
from ..client.waist import TaskContext
from ..exceptions import GetTimeoutError, NotRunningError, TaskUnschedulableError, UnsupportedError, WorkerCrashedError
from .actors import InlineActors
from .environment import inherited, variables
from .streams import InlineStream, restore_finished, restore_stream
from .values import (
    Failure,
    copy_arguments,
    dependencies,
    failure_of,
    is_interrupt,
    load,
    matches,
    resolve,
    running,
    store,
    system_failure,
    task_context,
)

if TYPE_CHECKING:
    from ..client.init_options import InitOptions


class InlineRuntime:
    """Runs each task where it is submitted."""

    def __init__(self, options: InitOptions) -> None:
        self._prefix = os.urandom(8)
        self._numbers = itertools.count(1)
        self.namespace = options.namespace or os.urandom(8).hex()
        self._labels = dict(options.labels)
        self.total = _resources_of_machine(options)
        self._node_name = options.node_name or os.uname().nodename
        session = f"session_inline_{self._prefix.hex()}"
        self.base_context = TaskContext(
            job_id=self._prefix[:4].hex(),
            node_id=self._prefix.hex() * 2,
            worker_id=self._prefix.hex(),
            namespace=self.namespace,
            session=session,
            session_dir=os.path.join(options.temp_dir or "/tmp/skate", session),
            is_driver=True,
            runtime_env=inherited("", options.env),
        )
        self._outer = dict(os.environ)
        """The variables that this process had before; a node has no others."""
        self._variables = variables(self.base_context.runtime_env, self._outer)
        self._variables.__enter__()
        self._change = threading.Condition(threading.RLock())
        self._known: weakref.WeakValueDictionary[bytes, ObjectRef[Any]] = weakref.WeakValueDictionary()
        self._pinned: list[ObjectRef[Any]] = []
        self.streams: dict[str, InlineStream] = {}
        self.actors = InlineActors(self)
        self._closed = False

    # ------------------------------------------------------------ references

    def new_ref(self, task_id: str = "") -> ObjectRef[Any]:
        """A pending reference of a task."""
        ident = self._prefix + next(self._numbers).to_bytes(8, "big")
        ref: ObjectRef[Any] = ObjectRef(self, ident)
        ref._task = task_id
        self._known[ident] = ref
        return ref

    def find(self, ident: bytes) -> ObjectRef[Any]:
        """The living reference of an id."""
        ref = self._known.get(ident)
        if ref is None:
            raise NotRunningError(f"Object {ident.hex()} is not known in this inline session.")
        return ref

    def finish(self, ref: ObjectRef[Any], value: Any) -> None:
        """A reference gets its value; `TypeError` if it cannot be pickled."""
        store(ref, value)
        self._done(ref)

    def finish_error(self, ref: ObjectRef[Any], failure: Failure) -> None:
        """A reference gets its error."""
        ref._value, ref._state = failure, ERROR
        self._done(ref)

    def _done(self, ref: ObjectRef[Any]) -> None:
        with self._change:
            callbacks, ref._callbacks = ref._callbacks, None
            self._change.notify_all()
        for callback in callbacks or ():
            callback(ref)

    def changed(self) -> None:
        """Wake whoever waits for something."""
        with self._change:
            self._change.notify_all()

    def check_open(self) -> None:
        """Raise when the runtime has been shut down."""
        if self._closed:
            raise NotRunningError(
                "skate was shut down, and this function, reference or handle belongs to the ended session."
            )

    # ------------------------------------------------------------ tasks

    def submit(self, function: FunctionSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the function; see `Runtime.submit`."""
        self.check_open()
        options = function.options
        if function.exported is None:
            serialize(function.function)  # fails here as it would where functions travel
            function.exported = CHECKED
        self._check_room(f"Task {options.name}", options.resources)
        env = inherited(self.context().runtime_env, options.env)
        name = str(getattr(function.function, "__name__", options.name))
        attempt_copy = copy_arguments(args, kwargs)
        needed = dependencies(args, kwargs)
        self.await_all(needed)
        task_id = (self._prefix + next(self._numbers).to_bytes(8, "big")).hex()
        retries = options.max_retries if options.retry_exceptions else 0
        result = self.new_result(task_id, options.name, options.num_returns, options.backpressure)
        for attempt in itertools.count():
            context = task_context(
                self, task_id=task_id, task_name=options.name, function_name=name, attempt=attempt,
                resources=without(options.resources), runtime_env=env,
            )  # fmt: skip
            outcome = self.run_attempt(function.function, attempt_copy, needed, context)
            failed = isinstance(outcome, Failure)
            if failed and retries and matches(outcome, options.retry_exceptions):
                retries -= 1
                continue
            return self.deliver(result, outcome, context, options.num_returns, options.name)
        raise AssertionError("unreachable")

    def run_attempt(
        self, function: Callable[..., Any], copy: Any, needed: list[ObjectRef[Any]], context: TaskContext
    ) -> Any:
        """What the function returns for a fresh copy of the arguments, or its `Failure`."""
        for ref in needed:
            if ref._state == ERROR:
                return ref._value  # as in the real runtime, the error of an argument is the error of the task
        token = running.set(context)
        try:
            args, kwargs = resolve(*copy())
            with variables(context.runtime_env, self._outer):
                return function(*args, **kwargs)
        except SystemExit as error:
            if context.actor_id:
                raise
            return system_failure(WorkerCrashedError(f"Task {context.task_name} called sys.exit({error.code!r})."))
        except BaseException as error:
            if is_interrupt(error):
                raise
            return failure_of(error, context.task_name, context.task_id)
        finally:
            running.reset(token)

    def new_result(self, task_id: str, name: str, num_returns: int, backpressure: int) -> Any:
        """What a call returns: see `Runtime`."""
        if num_returns == STREAMING:
            return ObjectRefGenerator(self, InlineStream(self, task_id, name, backpressure))
        if num_returns == 0:
            return None
        if num_returns in (1, DYNAMIC):
            return self.new_ref(task_id)
        return [self.new_ref(task_id) for _ in range(num_returns)]

    def deliver(self, result: Any, outcome: Any, context: TaskContext, num_returns: int, name: str) -> Any:
        """Put what a call returned, or its failure, into its result."""
        if isinstance(outcome, Failure):
            self.fail(result, outcome)
            return result
        token = running.set(context)
        try:
            with variables(context.runtime_env, self._outer):
                if num_returns == STREAMING:
                    result._stream.run(iter(outcome))
                else:
                    self._deliver_values(result, outcome, num_returns, name)
        except BaseException as error:
            if is_interrupt(error):
                raise
            self.fail(result, failure_of(error, name, context.task_id))
        finally:
            running.reset(token)
        return result

    def _deliver_values(self, result: Any, outcome: Any, num_returns: int, name: str) -> None:
        if num_returns == 0:
            return
        if num_returns == 1:
            self.finish(result, outcome)
            return
        if num_returns == DYNAMIC:
            refs = [self.put(value) for value in outcome]
            completed = self.new_ref(result._task)
            self.finish(completed, None)
            self.finish(result, restore_finished(refs, completed, result._task))
            return
        values = list(outcome)
        if len(values) != num_returns:
            raise ValueError(f"{name} has num_returns={num_returns} but returned {len(values)} values.")
        for ref, value in zip(result, values, strict=True):
            self.finish(ref, value)

    def fail(self, result: Any, failure: Failure) -> None:
        """Every reference of a result that is not done gets the failure."""
        if result is None:
            return
        if isinstance(result, ObjectRefGenerator):
            result._stream.fail(failure)
            return
        for ref in result if isinstance(result, list) else [result]:
            if ref._state == PENDING:
                self.finish_error(ref, failure)

    # ------------------------------------------------------------ actors

    def create_actor(
        self, spec: ActorSpec, args: tuple[Any, ...], kwargs: dict[str, Any], meta: bytes
    ) -> tuple[ObjectRef[Any], bytes]:
        """See `Runtime.create_actor`."""
        self.check_open()
        return self.actors.create(spec, args, kwargs, meta)

    def call(self, actor: ObjectRef[Any], method: MethodOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Runtime.call`."""
        self.check_open()
        return self.actors.call(actor, method, args, kwargs)

    def get_actor(self, name: str, namespace: str) -> tuple[ObjectRef[Any], bytes]:
        """See `Runtime.get_actor`."""
        self.check_open()
        return self.actors.find_named(name, namespace)

    def list_named_actors(self, all_namespaces: bool) -> list[tuple[str, str]]:
        """See `Runtime.list_named_actors`."""
        names = self.actors.names()
        return names if all_namespaces else [each for each in names if each[0] == self.namespace]

    def kill(self, actor: ObjectRef[Any], no_restart: bool) -> None:
        """See `Runtime.kill`."""
        self.check_open()
        self.actors.kill(actor, no_restart)

    def exit_actor(self) -> None:
        """See `Runtime.exit_actor`."""
        self.actors.exit_current()

    # ------------------------------------------------------------ objects

    def put(self, value: Any) -> ObjectRef[Any]:
        """See `Runtime.put`."""
        self.check_open()
        ref = self.new_ref()
        self.finish(ref, value)
        return ref

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """See `Runtime.get`."""
        self.check_open()
        deadline = None if timeout is None else time.monotonic() + timeout
        for ref in refs:
            if not self._wait_until(partial(_is_done, ref), deadline):
                raise GetTimeoutError(f"get() waited {timeout:g} s. {self.why(ref)}.")
            if ref._state == ERROR:
                load(ref)
        return [load(ref) for ref in refs]

    def await_all(self, refs: Sequence[ObjectRef[Any]]) -> None:
        """Wait until all are done."""
        for ref in refs:
            self._wait_until(partial(_is_done, ref), None)

    def wait(
        self, refs: Sequence[Any], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[Any], list[Any]]:
        """See `Runtime.wait`."""
        self.check_open()
        deadline = None if timeout is None else time.monotonic() + timeout

        def ready() -> list[Any]:
            return list(itertools.islice((ref for ref in refs if self._is_ready(ref)), num_returns))

        self._wait_until(lambda: len(ready()) >= num_returns, deadline)
        found = ready()
        chosen = set(found)
        return found, [ref for ref in refs if ref not in chosen]

    def _is_ready(self, what: ObjectRef[Any] | ObjectRefGenerator[Any]) -> bool:
        if isinstance(what, ObjectRefGenerator):
            return bool(what._stream.has_item())
        return what._state != PENDING

    def _wait_until(self, condition: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until the condition holds; False when it does not at the deadline."""
        if condition():
            return True
        with self._change:
            while not condition():
                self.check_open()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._change.wait(left)
        return True

    def await_met(self, waiter: Waiter, timeout: float) -> bool:
        """See `Runtime.await_met`."""
        return self._wait_until(lambda: waiter.left <= 0, time.monotonic() + timeout)

    def meet(self, waiter: Waiter) -> None:
        """See `Runtime.meet`."""
        with self._change:
            waiter.notify()
            self._change.notify_all()

    def on_done(self, ref: ObjectRef[Any], callback: Callable[[ObjectRef[Any]], None], quick: bool = False) -> None:
        """See `Runtime.on_done`."""
        with self._change:
            if ref._state == PENDING:
                if ref._callbacks is None:
                    ref._callbacks = []
                ref._callbacks.append(callback)
                return
        callback(ref)

    def cancel(self, what: ObjectRef[Any] | ObjectRefGenerator[Any], force: bool, recursive: bool) -> None:
        """See `Runtime.cancel`. Only calls of async actors and streams can still be running."""
        if isinstance(what, ObjectRefGenerator):
            what._stream.cancel()
        else:
            self.actors.cancel(what, force)

    # ------------------------------------------------------------ streams

    def stream_next(self, generator: ObjectRefGenerator[Any], timeout: float | None) -> ObjectRef[Any] | None:
        """See `Runtime.stream_next`."""
        stream: InlineStream = generator._stream
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._wait_until(stream.has_item, deadline):
            raise GetTimeoutError(f"the stream of task {stream.task_id} had no item within {timeout:g} s.")
        return stream.items.popleft() if stream.items else None

    def stream_on_item(self, generator: ObjectRefGenerator[Any], callback: Callable[[], None]) -> None:
        """See `Runtime.stream_on_item`."""
        generator._stream.on_item(callback)

    def stream_completed(self, generator: ObjectRefGenerator[Any]) -> ObjectRef[None]:
        """See `Runtime.stream_completed`. The rest of the generator runs now."""
        stream: InlineStream = generator._stream
        while not stream.ended and stream._source is not None:
            stream.advance()
        return stream.completed

    def stream_finished(self, generator: ObjectRefGenerator[Any]) -> bool:
        """See `Runtime.stream_finished`."""
        stream: InlineStream = generator._stream
        return stream.has_item() and not stream.items

    def stream_dropped(self, stream: InlineStream) -> None:
        """See `Runtime`: inline, a stream makes its items when they are asked for, or has made them."""

    def stream_id(self, generator: ObjectRefGenerator[Any]) -> str:
        """See `Runtime.stream_id`."""
        return str(generator._stream.task_id)

    def reduce_stream(self, generator: ObjectRefGenerator[Any]) -> tuple[Any, ...]:
        """See `Runtime.reduce_stream`."""
        stream: InlineStream = generator._stream
        if stream.ended:
            return restore_finished, (list(stream.items), stream.completed, stream.task_id)
        self.streams[stream.task_id] = stream
        return restore_stream, (stream.task_id,)

    # ------------------------------------------------------------ ids and state

    def ref_id(self, ref: ObjectRef[Any]) -> bytes:
        """See `Runtime.ref_id`."""
        assert isinstance(ref._id, bytes)
        return ref._id

    def task_id_of(self, ref: ObjectRef[Any]) -> str:
        """See `Runtime.task_id_of`."""
        return ref._task or ref.hex()

    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        """A reference pickled outside of a value of ours: it stays alive until the end, as nobody counts it."""
        self._pinned.append(ref)
        return restore_ref, (ref.binary(),)

    def context(self) -> TaskContext:
        """See `Runtime.context`."""
        return running.get() or self.base_context

    def head_address(self) -> str:
        """There is no cluster."""
        return ""

    def nodes(self) -> list[dict[str, Any]]:
        """See `Runtime.nodes`."""
        return [
            {
                "NodeID": self.base_context.node_id,
                "Alive": not self._closed,
                "alive": not self._closed,
                "NodeManagerAddress": "127.0.0.1",
                "NodeManagerHostname": os.uname().nodename,
                "NodeName": self._node_name,
                "Resources": dict(self.total),
                "Labels": dict(self._labels),
            }
        ]

    def cluster_resources(self) -> dict[str, float]:
        """See `Runtime.cluster_resources`."""
        return dict(self.total)

    def status(self) -> dict[str, Any]:
        """See `Runtime.status`."""
        of_all = {"No": 0, "NodeManagerPort": 0, "State": "alive", "Free": self.available_resources(), "Store": None}
        nodes = [{**node, **of_all, "Drain": None, "DeathReasonMessage": ""} for node in self.nodes()]
        return {"head": "", "nodes": nodes, "demand": [], "groups": [], "jobs": [], "failures": []}

    def available_resources(self) -> dict[str, float]:
        """See `Runtime.available_resources`."""
        left = dict(self.total)
        now = running.get()
        held = self.actors.held() + ([now.resources] if now is not None and not now.actor_id else [])
        for request in held:
            for name, amount in request.items():
                left[name] = round(left.get(name, 0.0) - amount, 4)
        return {name: amount for name, amount in left.items() if amount > 0}

    def check_feasible(self, what: str, resources: Mapping[str, float], node_id: str = "") -> None:
        """See `Runtime.check_feasible`."""
        if node_id and node_id != self.base_context.node_id:
            raise TaskUnschedulableError(
                f"{what} can never run: it must run on node {node_id}, and there is no such node."
            )
        wish = in_request(resources)
        if wish and not any(meets(self._labels, each) for each in wish_of(wish)):
            raise TaskUnschedulableError(
                f"{what} can never run: the node of this session has not the labels that it needs."
            )
        _check_fits(what, resources, self.total, "can never run", "the machine has")

    @property
    def groups(self) -> Any:
        """See `Runtime.groups`."""
        raise UnsupportedError('mode="inline" has no placement groups: everything runs in this process.')

    def _check_room(self, what: str, resources: Mapping[str, float]) -> None:
        """A task that has to wait for an actor to end would wait forever here."""
        left = dict(self.total)
        for request in self.actors.held():
            for name, amount in request.items():
                left[name] = left.get(name, 0.0) - amount
        _check_fits(what, resources, left, "would wait forever in inline mode", "the living actors leave")

    def why(self, what: ObjectRef[Any] | str) -> str:
        """See `Runtime.why`."""
        if isinstance(what, str):
            return f"{what}: in inline mode nothing waits but for what runs now in this process"
        ref = what
        if ref._state == ERROR:
            return f"{ref!r} is done: it failed"
        if ref._state != PENDING:
            return f"{ref!r} is done"
        return self.actors.why(ref)

    def shutdown(self) -> None:
        """See `Runtime.shutdown`."""
        if self._closed:
            return
        self.actors.close()
        self._variables.__exit__(None, None, None)
        self._closed = True
        self.streams.clear()
        self._pinned.clear()
        self.changed()


def _is_done(ref: ObjectRef[Any]) -> bool:
    return ref._state != PENDING


def _check_fits(what: str, wanted: Mapping[str, float], have: Mapping[str, float], problem: str, who: str) -> None:
    for name, amount in without(wanted).items():
        if amount > have.get(name, 0.0) + 1e-9:
            listing = ", ".join(f"{key}: {value:g}" for key, value in sorted(have.items()))
            raise TaskUnschedulableError(f"{what} {problem}: it needs {amount:g} {name}; {who} {{{listing}}}.")


def _resources_of_machine(options: InitOptions) -> dict[str, float]:
    memory = options.memory
    if memory is None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    total: dict[str, float] = {
        "CPU": float(options.num_cpus if options.num_cpus is not None else len(os.sched_getaffinity(0))),
        "GPU": float(options.num_gpus or 0),
        "memory": float(memory),
        "object_store_memory": float(options.object_store_memory or memory // 4),
        "node:127.0.0.1": 1.0,
        **options.resources,
    }
    return {name: amount for name, amount in total.items() if amount}


def current_inline() -> InlineRuntime:
    """The runtime of this process, which must be an inline one."""
    runtime = current.runtime
    if not isinstance(runtime, InlineRuntime):
        raise NotRunningError("This reference belongs to an inline session, which does not run in this process.")
    return runtime


def restore_ref(ident: bytes) -> ObjectRef[Any]:
    """Unpickle a reference."""
    return current_inline().find(ident)
