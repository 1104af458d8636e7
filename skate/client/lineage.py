"""How objects can be made again: what their tasks were given.

Pure: records and weak references, no messages.

Whoever has submitted a task keeps its *recipe* as long as somebody may need one of its large outputs: this process, another one
that was given the reference (the output's home says when nobody has it any more), or the recipe of a task that was given the
output. A recipe does not keep the objects alive that the task was given, only their recipes. So the reference count of Python
is all the bookkeeping: a recipe ends with the last thing that points to it.

Recipes keep arguments, so their bytes are bounded: the oldest are emptied first, and what they would have made is lost for good.

INV-1: `used` is the sum of `size` of the recipes that are kept and neither ended nor emptied, once `settle` was called.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any

from .submitter import TaskRecord

RECORD_BYTES = 600
"""What a recipe takes, but for its arguments."""


class Rerun(TaskRecord):
    """A task that is run once more for outputs that were lost."""

    __slots__ = ("node", "recipe")

    def __init__(self, seq: int, recipe: Recipe, node: int) -> None:
        super().__init__(seq, recipe.function, recipe.body, None)
        self.recipe = recipe
        self.node = node
        """The node whose loss has caused it; 0: another reason, or nobody knows."""
        self.shared = recipe.shared
        self.attempt = recipe.attempt
        self.retries_left = recipe.retries_left


class Input:
    """An object that a task was given, as an argument (`where`) or inside one (None)."""

    __slots__ = ("ident", "kept", "recipe", "ref", "where")

    def __init__(self, where: int | str | None, ident: bytes, ref: Any, recipe: Recipe | None, kept: Any) -> None:
        self.where = where
        self.ident = ident
        self.ref: weakref.ref[Any] = weakref.ref(ref)
        self.recipe = recipe
        """How it is made again; None: it cannot be."""
        self.kept = kept
        """The reference itself, if its value is small."""


class Recipe:
    """What it takes to run a task again.

    Its outputs are missed one by one, and those that were dropped only when something else is made again, so there may be several
    reruns for the loss of one node: the first is charged to the task's retries.

    Args:
        task: the task, its last attempt just over.
        outputs: the ids of all it returns, in order.
        inputs: what it was given by reference.
        actor: a weak reference to the handle's reference of the actor that ran it, or None for a task.
    """

    __slots__ = (
        "__weakref__", "_losses", "actor", "attempt", "body", "function", "inputs", "lineage", "outputs", "refs", "refusal",
        "retries_left", "running", "shared", "size",
    )  # fmt: skip

    def __init__(self, task: TaskRecord, outputs: list[bytes], inputs: list[Input], actor: Any = None) -> None:
        again = bool(task.retries_left)
        self.function = task.function
        self.body = task.body if again else b""
        self.shared = task.shared if again else None
        self.inputs = inputs if again else []
        self.outputs = outputs
        self.refs: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        """The references here to outputs that may be lost, by number, if there are several: they are made again at once."""
        self._losses: tuple[int, ...] = ()
        """Nodes whose loss was charged."""
        self.actor = actor
        self.attempt = task.attempt
        self.retries_left = task.retries_left
        self.running: Rerun | None = None
        """The attempt that is under way or was the last."""
        self.size = RECORD_BYTES + len(self.body) + (self.shared.size if self.shared is not None else 0)
        self.refusal = ""
        """Why it cannot be run again, whatever its retries are."""
        self.lineage: Lineage | None = None

    def __del__(self) -> None:
        if self.lineage is not None:
            self.lineage.ended.append(self.size)

    def begin(self, seq: int, node: int = 0) -> Rerun:
        """Another attempt, because of the loss of a node (0: for another reason). The first for each node is charged."""
        if node not in self._losses:
            if node:
                self._losses += (node,)
            if self.retries_left > 0:
                self.retries_left -= 1
        self.attempt += 1
        self.running = Rerun(seq, self, node)
        return self.running

    def ended(self, task: TaskRecord) -> None:
        """The attempt has made its outputs."""
        self.retries_left, self.attempt = task.retries_left, task.attempt
        self.running = None

    def empty(self, reason: str) -> None:
        """It is not to be kept any more."""
        self.refusal = reason
        self.inputs = []
        self.body = b""
        self.shared = None
        if self.lineage is not None:
            self.lineage.ended.append(self.size)
            self.lineage = None

    def why_not(self, node: int = 0) -> str:
        """Why it cannot be run again, because of the loss of a node; "" if it can."""
        if self.refusal:
            return self.refusal
        return (
            ""
            if self.retries_left or node in self._losses
            else "no retries of its task are left (max_retries, or max_task_retries of an actor)"
        )


class StreamRecipe(Recipe):
    """How the items of a stream can be made again: the generator runs once more, for those that are wanted.

    Args:
        first: the number of the first item's id; the others follow.
        items: how many ids there are for items.
    """

    __slots__ = ("firsts", "items")

    def __init__(self, task: TaskRecord, inputs: list[Input], actor: Any, first: int, items: int) -> None:
        super().__init__(task, [], inputs, actor)
        self.firsts = [first]
        self.items = items

    def also(self, first: int) -> None:
        """Others know the items by these ids."""
        if first not in self.firsts:
            self.firsts.append(first)

    def number(self, ident: bytes) -> int:
        """Which item an id is."""
        at = int.from_bytes(ident[8:], "big")
        return next(at - first for first in self.firsts if 0 <= at - first < self.items)


class Lineage:
    """All recipes of one client.

    Args:
        budget: bytes of arguments and records that may be kept.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.used = 0
        self.ended: deque[int] = deque()
        """Sizes of recipes that have ended. They end in any thread, at any moment."""
        self.published: dict[bytes, Recipe] = {}
        """Of objects that others know, by id."""
        self._order: deque[weakref.ref[Recipe]] = deque()

    def keep(self, recipe: Recipe) -> None:
        """A new recipe."""
        recipe.lineage = self
        self.used += recipe.size
        self._order.append(weakref.ref(recipe))
        self.settle()
        while self.used > self.budget and self._order:
            oldest = self._order.popleft()()
            if oldest is not None and oldest is not recipe:
                oldest.empty(f"how it was made was forgotten: the {self.budget} bytes for that were used up")
                self.settle()
        if len(self._order) > 64 and len(self._order) > 2 * self.used // RECORD_BYTES:
            self._order = deque(each for each in self._order if each() is not None)

    def settle(self) -> None:
        """Take note of recipes that have ended."""
        while self.ended:
            self.used -= self.ended.popleft()

    def publish(self, ident: bytes, recipe: Recipe | None) -> None:
        """Others know the object from now on."""
        if recipe is not None:
            self.published[ident] = recipe

    def forget(self, idents: Iterable[bytes]) -> None:
        """Nobody has these objects any more."""
        for ident in idents:
            self.published.pop(ident, None)
