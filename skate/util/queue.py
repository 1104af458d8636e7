"""A queue that tasks, actors and drivers share: an actor that holds an `asyncio.Queue`."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable
from typing import Any

from ..api.actors import ActorClass
from ..api.objects import get, kill


class Empty(queue.Empty):
    """The queue has no item, or none within the timeout."""


class Full(queue.Full):
    """The queue has no room, or none within the timeout."""


class Queue:
    """A first-in, first-out queue. Pass it to tasks and actors; all share one queue.

    Args:
        maxsize: how many items it holds; 0 is without limit.
        actor_options: options of the actor behind it, such as `{"num_cpus": 1}`.

    Example:
        >>> import skate
        >>> context = skate.init(mode="inline")
        >>> queue = Queue(maxsize=2)
        >>> queue.put("a")
        >>> queue.get()
        'a'
        >>> skate.shutdown()
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        self.maxsize = maxsize
        queue_actor: Any = ActorClass(_QueueActor, {"max_concurrency": 1000, **(actor_options or {})})
        self.actor: Any = queue_actor.remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """The number of items."""
        return int(get(self.actor.size.remote()))

    def qsize(self) -> int:
        """The number of items."""
        return self.size()

    def empty(self) -> bool:
        """True when it has no item."""
        return self.size() == 0

    def full(self) -> bool:
        """True when it has no room."""
        return 0 < self.maxsize <= self.size()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item.

        Args:
            item: anything that can be pickled.
            block: wait for room; False raises at once when there is none.
            timeout: seconds to wait; None is without limit.

        Raises:
            Full: there was no room in time.
            ValueError: a negative timeout.
        """
        if not get(self.actor.put.remote([item], _patience(block, timeout))):
            raise Full("The queue is full.")

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """As `put`, for use with `await`."""
        if not await self.actor.put.remote([item], _patience(block, timeout)):
            raise Full("The queue is full.")

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item.

        Args:
            block: wait for an item; False raises at once when there is none.
            timeout: seconds to wait; None is without limit.

        Raises:
            Empty: there was no item in time.
            ValueError: a negative timeout.
        """
        return _only(get(self.actor.get.remote(_patience(block, timeout))))

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """As `get`, for use with `await`."""
        return _only(await self.actor.get.remote(_patience(block, timeout)))

    def put_nowait(self, item: Any) -> None:
        """`put(item, block=False)`."""
        self.put(item, block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Add all items, or none.

        Raises:
            Full: there is no room for all of them.
        """
        if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
            raise TypeError(f"put_nowait_batch() needs a list of items, not {type(items).__name__}.")
        batch = list(items)
        if not get(self.actor.put.remote(batch, 0.0)):
            raise Full(f"The queue has no room for {len(batch)} items.")

    def get_nowait(self) -> Any:
        """`get(block=False)`."""
        return self.get(block=False)

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take the oldest items, exactly that many.

        Raises:
            Empty: there are less.
        """
        if isinstance(num_items, bool) or not isinstance(num_items, int):
            raise TypeError(f"num_items must be an int, not {num_items!r}.")
        if num_items < 0:
            raise ValueError(f"num_items must be 0 or more, not {num_items}.")
        items: list[Any] | None = get(self.actor.get_batch.remote(num_items))
        if items is None:
            raise Empty(f"The queue has less than {num_items} items.")
        return items

    def shutdown(self, force: bool = False, grace_period_s: float = 5) -> None:
        """End the queue's actor; the items are lost, and whoever waits gets `ActorDiedError`.

        Args:
            force: end it at once.
            grace_period_s: without `force`: how long calls under way may take to end.
        """
        if not force:
            from ..api.objects import wait

            wait([self.actor.__ray_terminate__.remote()], timeout=grace_period_s)
        kill(self.actor, no_restart=True)


class _QueueActor:
    """Holds the items."""

    def __init__(self, maxsize: int) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    async def size(self) -> int:
        return self._queue.qsize()

    async def put(self, items: list[Any], patience: float | None) -> bool:
        """Add all items or none; `patience` is how long to wait for room, None without limit, for one item."""
        if len(items) != 1 or patience == 0:
            room = self._queue.maxsize - self._queue.qsize()
            if self._queue.maxsize > 0 and room < len(items):
                return False
            for item in items:
                self._queue.put_nowait(item)
            return True
        try:
            await asyncio.wait_for(self._queue.put(items[0]), patience)
        except TimeoutError:
            return False
        return True

    async def get(self, patience: float | None) -> list[Any]:
        """The oldest item in a list; an empty list when there was none in time."""
        if patience == 0:
            return [self._queue.get_nowait()] if self._queue.qsize() else []
        try:
            return [await asyncio.wait_for(self._queue.get(), patience)]
        except TimeoutError:
            return []

    async def get_batch(self, number: int) -> list[Any] | None:
        """That many items, or None when there are less."""
        if self._queue.qsize() < number:
            return None
        return [self._queue.get_nowait() for _ in range(number)]


def _patience(block: bool, timeout: float | None) -> float | None:
    if not block:
        return 0.0
    if timeout is not None and timeout < 0:
        raise ValueError(f"The timeout of a queue must be 0 or more, not {timeout!r}.")
    return timeout


def _only(items: list[Any]) -> Any:
    if not items:
        raise Empty("The queue is empty.")
    return items[0]
