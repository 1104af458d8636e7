"""Actors of inline mode: an instance, a lock, and for async actors an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..client.refs import PENDING, ObjectRef, ObjectRefGenerator
from ..client.serialization import serialize
from ..client.specs import CHECKED, STREAMING, ActorOptions, ActorSpec, MethodOptions
from ..client.waist import TaskContext
from ..exceptions import (
    ActorAlreadyExistsError,
    ActorDiedError,
    ActorUnschedulableError,
    RayError,
    TaskCancelledError,
    TaskUnschedulableError,
    UnsupportedError,
)
from .environment import inherited
from .methods import find_method
from .values import (
    Failure,
    copy_arguments,
    dependencies,
    error_to_raise,
    failure_of,
    is_interrupt,
    matches,
    resolve,
    running,
    system_failure,
    task_context,
)

if TYPE_CHECKING:
    from .runtime import InlineRuntime


class ActorExit(SystemExit):
    """Unwinds the method that called `exit_actor`."""


class _Lifetime:
    """Hangs on the reference of an actor; when it goes, nobody can call the actor any more."""

    __slots__ = ("_actor", "_actors")

    def __init__(self, actors: InlineActors, actor: InlineActor) -> None:
        self._actors = actors
        self._actor = actor

    def __del__(self) -> None:
        if not self._actor.options.detached:
            self._actors.bury(self._actor, "its last handle was dropped", False)


class InlineActor:
    """One actor.

    Attributes:
        death: why it is dead, or None.
        pending: results of its async calls that have not ended, and the asyncio tasks that run them.
    """

    def __init__(self, ident: bytes, spec: ActorSpec, meta: bytes, namespace: str, copy: Any) -> None:
        self.id = ident
        self.spec = spec
        self.options: ActorOptions = spec.options
        self.meta = meta
        self.namespace = namespace
        self.copy = copy
        self.env = ""
        self.instance: Any = None
        self.death: RayError | None = None
        self.restarts_left = spec.options.max_restarts
        self.restarted = False
        self.lock = threading.RLock()
        self.pending: dict[Any, asyncio.Future[Any] | None] = {}
        self.limits: dict[str, asyncio.Semaphore] = {}


class InlineActors:
    """All actors of a runtime."""

    def __init__(self, runtime: InlineRuntime) -> None:
        self._runtime = runtime
        self._actors: dict[bytes, InlineActor] = {}
        self._named: dict[tuple[str, str], InlineActor] = {}
        self._detached: list[ObjectRef[Any]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------ life

    def create(
        self, spec: ActorSpec, args: tuple[Any, ...], kwargs: dict[str, Any], meta: bytes
    ) -> tuple[ObjectRef[Any], bytes]:
        """Create an actor and run its `__init__`, or find it with `get_if_exists`."""
        runtime, options = self._runtime, spec.options
        namespace = options.namespace or runtime.namespace
        if options.name and (namespace, options.name) in self._named:
            if options.get_if_exists:
                return self.find_named(options.name, namespace)
            raise ActorAlreadyExistsError(
                f"There is an actor named {options.name!r} in the namespace {namespace!r} already: use get_actor(), "
                "get_if_exists=True, or another name."
            )
        if spec.exported is None:
            serialize(spec.cls)
            spec.exported = CHECKED
        try:
            runtime._check_room(f"Actor {options.class_name}", options.placement)
        except TaskUnschedulableError as error:
            raise ActorUnschedulableError(str(error)) from None
        env = inherited(runtime.context().runtime_env, options.env)
        if options.env and options.is_async:
            raise UnsupportedError(
                f'runtime_env of async actor {options.class_name} is not supported with mode="inline".'
            )
        needed = dependencies(args, kwargs)
        ref = runtime.new_ref()
        actor = InlineActor(ref.binary(), spec, meta, namespace, copy_arguments(args, kwargs))
        actor.env = env
        self._actors[actor.id] = actor
        if options.name:
            self._named[namespace, options.name] = actor
        if options.detached:
            self._detached.append(ref)
        ref._hold = _Lifetime(self, actor)
        runtime.await_all(needed)
        self._construct(actor, ref, needed)
        return ref, meta

    def _construct(self, actor: InlineActor, ref: ObjectRef[Any], needed: list[ObjectRef[Any]]) -> None:
        context = self._context(actor, ref, f"{actor.options.class_name}.__init__", 0)
        try:
            if actor.options.is_async:
                made = self._on_loop(actor.spec.cls, actor, needed, context)
            else:
                made = self._runtime.run_attempt(actor.spec.cls, actor.copy, needed, context)
        except SystemExit:
            self.bury(actor, "its __init__ called exit_actor() or sys.exit()", False)
            return
        if isinstance(made, Failure):
            cause = error_to_raise(made).with_traceback(None)
            self._die(actor, ActorDiedError(cause, actor_id=actor.id.hex(), class_name=actor.options.class_name))
            return
        actor.instance = made

    def _on_loop(
        self, cls: Callable[..., Any], actor: InlineActor, needed: list[ObjectRef[Any]], context: TaskContext
    ) -> Any:
        """Construct an async actor on its loop, so that its `__init__` may use asyncio."""

        async def construct() -> Any:
            return self._runtime.run_attempt(cls, actor.copy, needed, context)

        return asyncio.run_coroutine_threadsafe(construct(), self._running_loop()).result()

    def _die(self, actor: InlineActor, death: RayError) -> None:
        if actor.death is not None:
            return
        actor.death = death
        actor.instance = None
        self._actors.pop(actor.id, None)
        if actor.options.name:
            self._named.pop((actor.namespace, actor.options.name), None)
        self._detached = [ref for ref in self._detached if ref.binary() != actor.id]
        self._fail_pending(actor, system_failure(death))

    def _fail_pending(self, actor: InlineActor, failure: Failure) -> None:
        for result, task in list(actor.pending.items()):
            self._runtime.fail(list(result) if isinstance(result, tuple) else result, failure)
            if task is not None and self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(task.cancel)
        actor.pending.clear()

    def bury(self, actor: InlineActor, reason: str, may_restart: bool) -> None:
        """The actor ends; with `may_restart` it is started again if it has restarts left."""
        options = actor.options
        death = ActorDiedError(reason, actor_id=actor.id.hex(), class_name=options.class_name)
        if not may_restart or not actor.restarts_left or actor.death is not None:
            self._die(actor, death)
            return
        actor.restarts_left -= 1 if actor.restarts_left > 0 else 0
        actor.restarted = True
        self._fail_pending(actor, system_failure(death))
        self._construct(actor, self._runtime.find(actor.id), [])

    def kill(self, ref: ObjectRef[Any], no_restart: bool) -> None:
        """See `Runtime.kill`."""
        actor = self._actors.get(ref.binary())
        if actor is not None:
            self.bury(actor, "it was killed by kill()", not no_restart)

    def exit_current(self) -> None:
        """See `Runtime.exit_actor`."""
        context = running.get()
        if context is None or not context.actor_id:
            raise TypeError("exit_actor() can only be called from a method of an actor.")
        raise ActorExit

    def close(self) -> None:
        """End all actors and the event loop."""
        for actor in list(self._actors.values()):
            self.bury(actor, "skate was shut down", False)
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            if thread is not threading.current_thread():
                thread.join()

    # ------------------------------------------------------------ names

    def find_named(self, name: str, namespace: str) -> tuple[ObjectRef[Any], bytes]:
        """See `Runtime.get_actor`."""
        actor = self._named.get((namespace, name))
        if actor is None:
            raise ValueError(
                f"There is no actor named {name!r} in the namespace {namespace!r}: it was never created, or it is dead."
            )
        return self._runtime.find(actor.id), actor.meta

    def names(self) -> list[tuple[str, str]]:
        """(namespace, name) of each named actor."""
        return list(self._named)

    def held(self) -> list[Mapping[str, float]]:
        """What the living actors hold."""
        return [actor.options.resources for actor in list(self._actors.values())]

    # ------------------------------------------------------------ calls

    def _context(self, actor: InlineActor, ref: ObjectRef[Any], name: str, attempt: int) -> TaskContext:
        return task_context(
            self._runtime,
            task_id=self._runtime.new_ref().hex(),
            task_name=name,
            function_name=name,
            actor_id=actor.id.hex(),
            actor_name=actor.options.name,
            actor_ref=lambda: (ref, actor.meta),
            attempt=attempt,
            restarted=actor.restarted,
            resources=actor.options.resources,
            runtime_env=actor.env,
        )

    def call(self, ref: ObjectRef[Any], method: MethodOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Runtime.call`."""
        runtime = self._runtime
        actor = self._hold_of(ref)
        name = f"{actor.options.class_name}.{method.name}"
        copy = copy_arguments(args, kwargs)
        needed = dependencies(args, kwargs)
        context = self._context(actor, ref, name, 0)
        result = runtime.new_result(context.task_id, name, method.num_returns, method.backpressure)
        if actor.death is not None:
            runtime.fail(result, system_failure(actor.death))
            return result
        if actor.options.is_async:
            self._call_async(actor, method, copy, needed, context, result)
            return result
        runtime.await_all(needed)
        with actor.lock if actor.options.max_concurrency == 1 else threading.RLock():
            self._call_sync(actor, method, copy, needed, context, result)
        return result

    def _hold_of(self, ref: ObjectRef[Any]) -> InlineActor:
        lifetime: _Lifetime = ref._hold
        return lifetime._actor

    def _call_sync(
        self,
        actor: InlineActor,
        method: MethodOptions,
        copy: Any,
        needed: list[ObjectRef[Any]],
        context: TaskContext,
        result: Any,
    ) -> None:
        runtime = self._runtime

        def body(*args: Any, **kwargs: Any) -> Any:
            return find_method(actor.instance, method.name)(*args, **kwargs)

        retries = method.max_task_retries if method.retry_exceptions else 0
        for attempt in itertools.count():
            context.attempt = attempt
            try:
                outcome = runtime.run_attempt(body, copy, needed, context)
            except SystemExit:
                self._exit(actor, result)
                return
            if isinstance(outcome, Failure) and retries and matches(outcome, method.retry_exceptions):
                retries -= 1
                continue
            runtime.deliver(result, outcome, context, method.num_returns, context.task_name)
            return

    def _exit(self, actor: InlineActor, result: Any) -> None:
        """A method called `exit_actor()` or `sys.exit()`."""
        self.bury(actor, "it called exit_actor() or sys.exit()", False)
        assert actor.death is not None
        self._runtime.fail(result, system_failure(actor.death))

    # ------------------------------------------------------------ async actors

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()

            def serve() -> None:
                asyncio.set_event_loop(loop)
                loop.run_forever()
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                loop.run_until_complete(asyncio.sleep(0))
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.close()

            self._loop = loop
            self._thread = threading.Thread(target=serve, name="skate-inline-actors", daemon=True)
            self._thread.start()
        return self._loop

    def _call_async(
        self,
        actor: InlineActor,
        method: MethodOptions,
        copy: Any,
        needed: list[ObjectRef[Any]],
        context: TaskContext,
        result: Any,
    ) -> None:
        key = tuple(result) if isinstance(result, list) else result if result is not None else object()
        actor.pending[key] = None
        call = self._run_async(actor, method, copy, needed, context, result)

        def start() -> None:
            task = asyncio.ensure_future(call)
            if key in actor.pending:
                actor.pending[key] = task
            else:
                task.cancel()
            task.add_done_callback(lambda _: actor.pending.pop(key, None))

        if isinstance(result, ObjectRefGenerator):
            result._stream.cancel_hook = lambda: self.cancel(result, False)
        self._running_loop().call_soon_threadsafe(start)

    async def _run_async(
        self,
        actor: InlineActor,
        method: MethodOptions,
        copy: Any,
        needed: list[ObjectRef[Any]],
        context: TaskContext,
        result: Any,
    ) -> None:
        runtime = self._runtime
        running.set(context)
        try:
            for ref in needed:
                await _done(runtime, ref)
            async with self._limit(actor, method.concurrency_group):
                await self._attempts(actor, method, copy, context, result)
        except SystemExit:
            self._exit(actor, result)
        except asyncio.CancelledError:
            runtime.fail(result, system_failure(TaskCancelledError(context.task_id)))
        except BaseException as error:
            if is_interrupt(error):
                raise
            runtime.fail(result, failure_of(error, context.task_name, context.task_id))

    def _limit(self, actor: InlineActor, group: str) -> asyncio.Semaphore:
        limit = actor.limits.get(group)
        if limit is None:
            number = actor.options.concurrency_groups.get(group, actor.options.max_concurrency)
            limit = actor.limits[group] = asyncio.Semaphore(number)
        return limit

    async def _attempts(
        self, actor: InlineActor, method: MethodOptions, copy: Any, context: TaskContext, result: Any
    ) -> None:
        runtime = self._runtime
        retries = method.max_task_retries if method.retry_exceptions else 0
        for attempt in itertools.count():
            context.attempt = attempt
            try:
                args, kwargs = resolve(*copy())
                outcome = find_method(actor.instance, method.name)(*args, **kwargs)
                if inspect.isawaitable(outcome):
                    outcome = await outcome
                if method.num_returns == STREAMING and inspect.isasyncgen(outcome):
                    async for value in outcome:
                        result._stream.add(value)
                    result._stream.end()
                    return
                if inspect.isasyncgen(outcome):
                    outcome = [value async for value in outcome]
            except Exception as error:
                failure = failure_of(error, context.task_name, context.task_id)
                if not retries or not matches(failure, method.retry_exceptions):
                    raise
                retries -= 1
                continue
            if result is not None and not _is_done(result):
                runtime.deliver(result, outcome, context, method.num_returns, context.task_name)
            return

    def cancel(self, what: Any, force: bool) -> None:
        """Cancel a call that has not ended; see `Runtime.cancel`."""
        for actor in list(self._actors.values()):
            for result, task in list(actor.pending.items()):
                if result is what or (isinstance(result, tuple) and what in result):
                    if force:
                        raise ValueError("cancel(force=True) is for tasks: an actor's call cannot be killed alone.")
                    if task is not None and self._loop is not None:
                        self._loop.call_soon_threadsafe(task.cancel)
                    else:
                        actor.pending.pop(result, None)  # not started: `start` finds it gone
                        task_id = self._runtime.base_context.job_id if result is None else ""
                        self._runtime.fail(what, system_failure(TaskCancelledError(task_id)))

    def why(self, ref: ObjectRef[Any]) -> str:
        """What a pending reference waits for."""
        for actor in list(self._actors.values()):
            if ref.binary() == actor.id:
                return "it is an actor, which is alive"
            for result in list(actor.pending):
                if result is ref or (isinstance(result, tuple) and ref in result):
                    return f"{ref!r} waits for a call of the async actor {actor.options.class_name} to end"
        return f"{ref!r} is being made by a task that runs now"


def _is_done(result: Any) -> bool:
    if isinstance(result, ObjectRefGenerator):
        return bool(result._stream.ended)
    first = result[0] if isinstance(result, list) else result
    return bool(first._state != PENDING)


async def _done(runtime: InlineRuntime, ref: ObjectRef[Any]) -> None:
    """Wait for a reference without blocking the loop; its error is raised."""
    if ref._state == PENDING:
        loop = asyncio.get_running_loop()
        event = asyncio.Event()

        def wake(_: ObjectRef[Any]) -> None:
            loop.call_soon_threadsafe(event.set)

        runtime.on_done(ref, wake)
        await event.wait()
