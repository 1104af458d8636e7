"""Making lost objects again: what is run, for whom, and who is told.

A loss shows when somebody wants the bytes. The process that has submitted the task runs it again (`lineage.py` knows how), and
first the tasks of what that one was given, if that is lost, too. A process that was given a reference tells the object's home,
which asks the submitter, once for all who ask.

A reference whose object is made again goes back to PENDING, or REMOTE, and whatever was queued waits for it
again.

INV-1: of an object's id there is at most one `ObjectRef` that waits for a rerun, so no rerun makes an output twice.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..exceptions import (
    ObjectLostError,
    ObjectReconstructionFailedError,
    ObjectReconstructionFailedLineageEvictedError,
    ObjectReconstructionFailedMaxAttemptsExceededError,
)
from ..wire import messages as m
from .lineage import Input, Lineage, Recipe, Rerun, StreamRecipe
from .refs import ERROR, FAR, PENDING, PLAIN, REMOTE, SHARED, VALUE, ObjectRef
from .replays import Replays
from .submitter import Function, TaskRecord

if TYPE_CHECKING:
    from .runtime import ClientRuntime

LINEAGE_BYTES_MAX = 1 << 30
ARENA_SHARE = 8
"""Arguments that are kept may lie in the store: of this part of it at the most."""


class Rebuild:
    """The lost objects of one client."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self.lineage = Lineage(min(LINEAGE_BYTES_MAX, runtime.welcome.arena_bytes // ARENA_SHARE))
        self.replays = Replays(runtime, self)

    # ------------------------------------------------------------ what is kept

    def keep(self, task: TaskRecord, refs: list[ObjectRef[Any]]) -> None:
        """A task has ended, and has large outputs that may be lost. Needs the lock."""
        shared = [ref for ref in refs if ref._state in (FAR, SHARED)]
        if not shared:
            return
        if isinstance(task, Rerun):
            recipe = task.recipe
            recipe.ended(task)
        else:
            recipe = Recipe(task, [ref.binary() for ref in refs], self.inputs(task), self.actor_of(task))
            self.lineage.keep(recipe)
        if len(refs) > 1:
            for number, ref in enumerate(refs):
                recipe.refs.setdefault(number, ref)
        for ref in shared:
            ref._value.recipe = recipe
            if ref._hold is not None:
                self.lineage.publish(ref.binary(), recipe)

    @staticmethod
    def actor_of(task: TaskRecord) -> weakref.ref[Any] | None:
        """A weak reference to the actor that has run a call; None for a task."""
        return None if isinstance(task.function, Function) else weakref.ref(task.pins)

    def inputs(self, task: TaskRecord) -> list[Input]:
        """What a task was given."""
        given: list[tuple[int | str | None, ObjectRef[Any]]] = list(task.dependencies or ())
        given += [(None, ref) for ref in task.refs or ()]
        return [
            Input(
                where, self.runtime.ref_id(ref), ref, self._recipe(ref), ref if ref._state in (VALUE, PLAIN) else None
            )
            for where, ref in given
        ]

    def _recipe(self, ref: ObjectRef[Any]) -> Recipe | None:
        return (
            ref._value.recipe if ref._state in (FAR, SHARED) else self.lineage.published.get(self.runtime.ref_id(ref))
        )

    # ------------------------------------------------------------ losses

    def look(self, refs: Iterable[ObjectRef[Any]]) -> None:
        """Some nodes are gone: whatever of these was there only is made again. Needs the lock."""
        for ref in refs:
            if self.is_lost(ref):
                self.lost(ref, b"")

    def is_lost(self, ref: ObjectRef[Any]) -> bool:
        """Whether its bytes were on a node that is gone, and nobody has inherited them."""
        return ref._state == FAR and self.runtime.links.death(ref._value.value.node) is not None

    def lost(self, ref: ObjectRef[Any], error: bytes) -> None:
        """The bytes of a reference cannot be had: make them again, or have its home see to that, or fail. Needs the lock."""
        if ref._state not in (FAR, SHARED):
            return  # it is being made again, or has been
        block, node = _bytes_of(ref)
        ident = ref.binary()
        mine = ident[:8] == self.runtime.client_id
        if mine and (ref._value.recipe is not None or not error):
            recipe = ref._value.recipe
            self.release(ref)
            self._make(ref, recipe, node)
        elif not mine and ref._hold is not None and block != ident:
            self.reset(ref, REMOTE)
            self.runtime.objects.fetching[ident] = ref
            self.runtime.tell(m.Lost(ident, block))
        else:
            ref._value, ref._state = error or ObjectLostError(ident.hex(), self._where(node)), ERROR

    def release(self, ref: ObjectRef[Any]) -> None:
        """The bytes of a reference are lost, and are about to be made again by this process. Needs the lock."""
        if ref._hold is not None:
            self.runtime.send(m.Lost(ref.binary(), _bytes_of(ref)[0]))
        self.reset(ref, PENDING)

    def asked(self, message: m.Rebuild) -> None:
        """The home of an object of this process has heard that its bytes are lost. Needs the lock."""
        objects = self.runtime.objects
        ref = objects.known.get(message.id)
        if ref is not None and ref._state == PENDING:
            return  # it is under way, and will be delivered
        if ref is not None and ref._state == SHARED and ref._value.offset:
            self.runtime.send(m.Deliver(message.id, objects.to_value(ref)))  # there is a copy here
            return
        recipe = self.lineage.published.get(message.id)
        ref = objects.adopt(message.id)
        self.reset(ref, PENDING)
        self._make(ref, recipe, message.node)

    def missing(self, task: TaskRecord, reply: m.Reply) -> None:
        """A worker could not get arguments of a task, which has not begun: it runs when they were made again."""
        idents = {value.id for value in reply.values or ()}
        waits = False
        for _, ref in task.dependencies or ():
            if ref._state in (FAR, SHARED) and _bytes_of(ref)[0] in idents:
                self.lost(ref, reply.data)
            waits |= ref._state < VALUE or ref._state == ERROR
        if not waits and not task.retries_left:
            self.runtime.tasks.fail(task, reply.data)
            return
        if not waits and task.retries_left > 0:
            task.retries_left -= 1  # they were made again already, or somebody cannot reach what is there
        if isinstance(task.function, Function):
            self.runtime.tasks.enqueue(task)
        else:
            self._call_again(task, first=True)

    # ------------------------------------------------------------ making again

    def _make(self, ref: ObjectRef[Any], recipe: Recipe | None, node: int) -> None:
        cause = self._cause(recipe, node)
        why = "it was put" if recipe is None else recipe.why_not(cause)
        if recipe is None or (why and not self._under_way(recipe, ref.binary())):
            self.fail(ref, self._failure(ref.binary(), why, node, recipe))
            return
        started: list[Rerun] = []
        self._attach(ref, self._start(recipe, ref.binary(), cause, started))
        for task in started:  # grows while it is gone through
            self._give(task, started)
        for task in reversed(started):
            if isinstance(task.function, Function):
                self.runtime.tasks.begin(task)
            else:
                self._call_again(task)

    def _cause(self, recipe: Recipe | None, node: int) -> int:
        """The node whose loss is charged once; 0: each rerun is. A node that lives may lose what is made there for ever."""
        return node if isinstance(recipe, StreamRecipe) or self.runtime.links.death(node) is not None else 0

    @staticmethod
    def _under_way(recipe: Recipe, ident: bytes) -> bool:
        """Whether a rerun will make an output without being started."""
        task = recipe.running
        if task is None:
            return False
        if isinstance(recipe, StreamRecipe):
            will_make: bool = task.stream.will_make(recipe.number(ident))
            return will_make
        return bool(_outputs(task)[0]._state == PENDING)

    def _start(self, recipe: Recipe, ident: bytes, node: int, started: list[Rerun]) -> Rerun:
        """The rerun that makes an output; a new one is added to `started`."""
        if self._under_way(recipe, ident):
            assert recipe.running is not None
            return recipe.running
        task = recipe.begin(self.runtime.next_id(), node)
        self.runtime.recording.again(task)
        task.pins = recipe.actor() if recipe.actor is not None else None
        started.append(task)
        if isinstance(recipe, StreamRecipe):
            self.replays.begin(task, recipe)
            return task
        refs: list[ObjectRef[Any]] = [ObjectRef(self.runtime, ident) for ident in recipe.outputs]
        for number, known in list(recipe.refs.items()):
            if self.is_lost(known):
                self.release(known)
                refs[number] = known
        for ref in refs:
            ref._task = task
        task.ref = refs[0] if len(refs) == 1 and recipe.function.options.num_returns == 1 else refs
        return task

    @staticmethod
    def _attach(ref: ObjectRef[Any], task: Rerun) -> None:
        """The output with a reference's id goes to that one."""
        ref._task = task
        if isinstance(task.recipe, StreamRecipe):
            task.stream.want(task.recipe.number(ref.binary()), ref)
        elif type(task.ref) is list:
            task.ref[task.recipe.outputs.index(ref.binary())] = ref
        else:
            task.ref = ref

    def _give(self, task: Rerun, started: list[Rerun]) -> None:
        """A rerun gets what the task was given; what is lost of that is made again, too."""
        dependencies: list[tuple[int | str, ObjectRef[Any]]] = []
        refs: list[ObjectRef[Any]] = []
        for given in task.recipe.inputs:
            ref = self._source(given, task.node, started)
            if given.where is None:
                refs.append(ref)
            else:
                dependencies.append((given.where, ref))
        task.dependencies = dependencies or None
        task.refs = refs or None

    def _source(self, given: Input, cause: int, started: list[Rerun]) -> ObjectRef[Any]:
        ref = given.ref() or given.kept or self.runtime.objects.known.get(given.ident)
        if ref is not None and not self.is_lost(ref):
            return ref
        recipe = given.recipe
        ident = given.ident
        node = cause if ref is None else ref._value.value.node
        if recipe is not None and (not recipe.why_not(node) or self._under_way(recipe, ident)):
            if ref is not None:
                self.release(ref)
                self._attach(ref, self._start(recipe, ident, node, started))
                return ref
            task = self._start(recipe, ident, node, started)
            if isinstance(recipe, StreamRecipe):
                ref = ObjectRef(self.runtime, ident)
                self._attach(ref, task)
                return ref
            found: ObjectRef[Any] = _outputs(task)[recipe.outputs.index(ident)]
            return found
        if ident[:8] != self.runtime.client_id:  # another process has made it: its home knows, or says that it is lost
            return self.runtime.objects.adopt(ident) if ref is None else ref
        why = "it was put, and nobody has it any more" if recipe is None else recipe.why_not(node)
        error = self._failure(ident, why, 0, recipe)
        if ref is None:
            return ObjectRef(self.runtime, ident, ERROR, error)
        self.reset(ref, PENDING)
        self.fail(ref, error)
        return ref

    def _call_again(self, task: TaskRecord, first: bool = False) -> None:
        actors = self.runtime.actors
        if task.pins is None:
            error = ObjectReconstructionFailedError(
                _outputs(task)[0].hex(),
                f"it was made by {task.function.options.name}, it was lost, and the actor that made it is gone",
            )
            self.runtime.tasks.fail(task, error)
            return
        actor = actors.client(task.pins)
        for before in (*actor.inflight.values(), *actor.queue):
            if before.stream is not None:  # whoever should take its items may wait for this call
                self.runtime.streams.hurry(before.stream)
        task.worker = actor
        (actor.queue.appendleft if first else actor.queue.append)(task)
        actors.creation.when_ready(task, lambda: actors.flush(actor))

    # ------------------------------------------------------------ references

    def reset(self, ref: ObjectRef[Any], state: int) -> None:
        """A reference has no value any more; who would have used it waits for the next."""
        ref._state = state  # before the value: a reader that has seen the old state looks again
        ref._value = None
        tasks = self.runtime.tasks
        for shape in tasks.submitter.by_no:
            for task in [task for task in shape.queue if _uses(task, ref)]:
                shape.queue.remove(task)
                tasks.wait_for(task, ref)
        actors = self.runtime.actors
        for actor in actors.by_id.values():
            for task in [task for task in actor.queue if _uses(task, ref) and not task.missing]:
                actors.creation.when_ready(task, partial(actors.flush, actor))

    def fail(self, ref: ObjectRef[Any], error: Any) -> None:
        """It cannot be made again. Needs the lock."""
        ref._value, ref._state = error, ERROR
        ref._task = None
        objects = self.runtime.objects
        if ref._hold is not None:
            self.runtime.send(m.Deliver(ref.binary(), objects.to_value(ref)))
        objects.finish(ref)

    def _failure(self, ident: bytes, why: str, node: int, recipe: Recipe | None) -> Exception:
        if recipe is None:
            return ObjectLostError(ident.hex(), f"{self._where(node)}, and it cannot be made again: {why}")
        kind = ObjectReconstructionFailedError
        if recipe.refusal:
            kind = ObjectReconstructionFailedLineageEvictedError
        elif recipe.attempt:
            kind = ObjectReconstructionFailedMaxAttemptsExceededError
        made = f"it was made by {recipe.function.options.name}"
        return kind(ident.hex(), f"{made}, {self._where(node)}, and it is not made again: {why}")

    def _where(self, node: int) -> str:
        reason = self.runtime.links.death(node)
        return f"its bytes were on node {node}, which is gone ({reason})" if reason else "its bytes are lost"


def _bytes_of(ref: ObjectRef[Any]) -> tuple[bytes, int]:
    """The block that has a reference's bytes, and the node that has the block."""
    value = ref._value.value if ref._state == FAR else ref._value
    return value.id, value.node


def _outputs(task: TaskRecord) -> list[Any]:
    return task.ref if type(task.ref) is list else [task.ref]


def _uses(task: TaskRecord, ref: ObjectRef[Any]) -> bool:
    return task.dependencies is not None and any(each is ref for _, each in task.dependencies)
