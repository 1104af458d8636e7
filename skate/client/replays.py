"""Items of streams that were lost: the generator runs once more, and only what is wanted is kept.

A stream has one recipe, made when its first item comes whose bytes may be lost; so items can be made again while the stream still
runs. A rerun is ended as soon as nobody waits for a further item of it.

INV-1: a reference in `wanted` of a replay is PENDING.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions import ObjectReconstructionFailedError
from ..wire import messages as m
from .lineage import Rerun, StreamRecipe
from .refs import FAR, PENDING, SHARED, ObjectRef
from .stream import ITEMS_MAX, Replay, Stream

if TYPE_CHECKING:
    from .rebuild import Rebuild
    from .runtime import ClientRuntime


class Replays:
    """The reruns of one client's generators. Every method needs the lock."""

    def __init__(self, runtime: ClientRuntime, rebuild: Rebuild) -> None:
        self.runtime = runtime
        self.rebuild = rebuild

    # ------------------------------------------------------------ what is kept

    def keep(self, stream: Stream, ref: ObjectRef[Any]) -> None:
        """An item of a stream has come; its bytes may be lost."""
        if ref._state not in (FAR, SHARED):
            return
        recipe = stream.recipe
        if recipe is None:
            task = stream.record
            rebuild = self.rebuild
            recipe = StreamRecipe(task, rebuild.inputs(task), rebuild.actor_of(task), stream.first, ITEMS_MAX)
            stream.recipe = recipe
            rebuild.lineage.keep(recipe)
        ref._value.recipe = recipe
        recipe.refs[stream.made] = ref

    def published(self, ident: bytes, number: int, ref: ObjectRef[Any]) -> None:
        """An item has another id, under which other processes know it."""
        recipe = ref._value.recipe if ref._state in (FAR, SHARED) else None
        if recipe is not None:
            recipe.also(int.from_bytes(ident[8:], "big") - number)
            self.rebuild.lineage.publish(ident, recipe)

    # ------------------------------------------------------------ a rerun

    def begin(self, task: Rerun, recipe: StreamRecipe) -> None:
        """A rerun is about to start. It makes everything that is known to be lost."""
        task.ref = ObjectRef(self.runtime, self.runtime.next_id())
        task.stream = stream = Replay(task.ref, task, recipe)
        for number, ref in list(recipe.refs.items()):
            if self.rebuild.is_lost(ref):
                self.rebuild.release(ref)
                ref._task = task
                stream.want(number, ref)

    def item(self, stream: Replay, reply: m.Reply) -> None:
        """An item has come again: it goes to those who wait for it."""
        stream.made = reply.at + 1
        refs = stream.wanted.pop(reply.at, [])
        for value in reply.values or ():
            if value.id and len(refs) != 1:  # it is held once for this process
                self.runtime.tell(m.Hold(value.id, len(refs) - 1))
            for ref in refs:
                self._give(ref, value, stream.recipe)
        task = stream.record
        if stream.wanted:
            if task.function.options.backpressure and task.worker is not None:
                self.runtime.send_credit(task, stream.made)
        elif stream.total is None:
            stream.total = stream.made  # whoever wants more starts another
            self.runtime.streams.stop(stream)

    def _give(self, ref: ObjectRef[Any], value: m.Value, recipe: StreamRecipe) -> None:
        self.runtime.objects.set_value(ref, value, given=True)
        if ref._state in (FAR, SHARED):
            ref._value.recipe = recipe
            if ref._hold is not None:
                self.rebuild.lineage.publish(ref.binary(), recipe)
        self.runtime.objects.finish(ref)

    def end(self, stream: Replay, total: int) -> None:
        """The generator has ended: what it has not made, it will not make."""
        recipe, task = stream.recipe, stream.record
        if recipe.running is task:
            recipe.running = None
            if not task.cancelled:
                recipe.ended(task)
        self._over(stream, lambda: ObjectReconstructionFailedError(
            "",
            f"it was lost, and its generator {recipe.function.options.name} has made only {total} items when it was run again",
        ))  # fmt: skip

    def fail(self, stream: Replay, error: Any) -> None:
        """The rerun has failed."""
        self._over(stream, lambda: error)

    def _over(self, stream: Replay, error: Any) -> None:
        stream.total = stream.made
        wanted, stream.wanted = stream.wanted, {}
        for refs in wanted.values():
            for ref in refs:
                if ref._state == PENDING:
                    self.rebuild.fail(ref, error())
