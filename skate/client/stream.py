"""What is known of one stream: by the process that started its task, and by one that was passed the generator.

A published stream has a range of object ids, so that any process can follow it with the means it has for objects:

    public               stands for the generator: held by whoever has one
    public + n + 1       item n; after the last one `END_MARK`
    public + ITEMS_MAX - 1   done when the task is
    public + ITEMS_MAX   given a value by whoever asks for the task to be stopped
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from .refs import ObjectRef

ITEMS_MAX = 1 << 32
END_MARK = b"\x00end"
"""The value of the object that stands after the last item of a published stream."""


class Stream:
    """A stream in the process that started its task."""

    __slots__ = (
        "__weakref__",
        "abandoned",
        "ahead",
        "anchor",
        "callbacks",
        "completed",
        "first",
        "holds",
        "items",
        "made",
        "public",
        "recipe",
        "record",
        "taken",
        "total",
        "unread",
    )

    def __init__(self, completed: Any, record: Any, first: int = 0) -> None:
        self.completed = completed
        self.record = record
        self.first = first
        """Item n has this process's id number `first` + n."""
        self.recipe: Any = None
        """How its items are made again, once one of them may be lost."""
        self.abandoned = False
        """Nobody anywhere will take further items."""
        self.unread = False
        """The generator is gone here; there may be others elsewhere."""
        self.items: deque[ObjectRef[Any]] = deque()
        self.made = 0
        self.taken = 0
        self.ahead = 0
        """How far it may go ahead of its consumer in spite of its back-pressure."""
        self.total: int | None = None
        self.callbacks: list[Callable[[], None]] = []
        self.public: bytes | None = None
        self.anchor: ObjectRef[Any] | None = None
        """Stands for the generator of a published stream, as long as there is one here."""
        self.holds: list[Any] = []
        """This process holds what it has published, for readers that come later."""

    def notify(self, _: object = None) -> None:
        """Wake whoever waits for the next item. Needs the lock."""
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()

    def forget(self, callback: Callable[[], None]) -> None:
        """Somebody does not wait any more. Needs the lock."""
        if callback in self.callbacks:
            self.callbacks.remove(callback)


class Replay(Stream):
    """A generator that runs once more, for items that were lost. The other items are dropped."""

    __slots__ = ("wanted",)

    def __init__(self, completed: Any, record: Any, recipe: Any) -> None:
        super().__init__(completed, record)
        self.recipe = recipe
        self.wanted: dict[int, list[ObjectRef[Any]]] = {}
        """References that wait for an item, by its number."""

    def will_make(self, number: int) -> bool:
        """Whether an item is still to come."""
        return self.total is None and number >= self.made

    def want(self, number: int, ref: ObjectRef[Any]) -> None:
        """A reference gets this item when it comes."""
        self.wanted.setdefault(number, []).append(ref)


class RemoteStream(Stream):
    """A stream whose task was started by another process."""

    __slots__ = ("origin", "peeked")

    def __init__(self, origin: ObjectRef[Any], position: int) -> None:
        super().__init__(None, None)
        self.origin = origin
        self.public = origin.binary()
        self.taken = position
        self.peeked: ObjectRef[Any] | None = None
        """The reference of the next item, there or not."""


def item_id(public: bytes, number: int) -> bytes:
    """The object id of item `number` of a published stream."""
    return public[:8] + (int.from_bytes(public[8:], "big") + number + 1).to_bytes(8, "big")


def done_id(public: bytes) -> bytes:
    """The object that is done when the task of a published stream is."""
    return item_id(public, ITEMS_MAX - 2)


def stop_id(public: bytes) -> bytes:
    """The object that gets a value when the task of a published stream is to be stopped."""
    return item_id(public, ITEMS_MAX - 1)
