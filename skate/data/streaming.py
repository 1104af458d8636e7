"""`streaming_split`: one execution for several consumers, in whatever processes they are.

An actor, the coordinator, carries the plan out on a thread of its own, once for each epoch, and gives references to blocks to
the consumers that ask; `shares.py` says who gets what. An epoch begins when all consumers have asked for it. A call to the
coordinator never waits for longer than `CALL_S`: who got no answer asks again.

INV-1: at most one execution runs; that of the epoch before has ended when one begins.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from . import plan
from .block import Block
from .context import DataContext
from .execution.executor import Execution
from .execution.loaded import loaded
from .iterator import DataIterator, Stream
from .run import execute
from .schema import Schema
from .schemas import schema as known_columns
from .shares import NOBODY, Share, Shares

if TYPE_CHECKING:
    from .dataset import MaterializedDataset

Near = Callable[[Any], frozenset[int]]
LOG = logging.getLogger(__name__)
CALL_S = 5.0
"""How long the coordinator keeps a consumer waiting before it says that there is nothing yet."""
WARN_S = 60.0
"""After so long, a consumer that waits for the others says so."""
PATIENCE_S = 0.2
"""How often the thread of an epoch looks whether it has become superfluous, while nobody takes blocks."""


class Epoch:
    """One execution, the thread that drives it, and the blocks that wait for consumers."""

    def __init__(self, number: int, node: plan.Node, context: DataContext, shares: Shares, near: Near) -> None:
        self.number = number
        self.shares = shares
        self.near = near
        self.changed = threading.Condition()
        self.error: BaseException | None = None
        self.execution: Execution | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"skate-data-epoch-{number}", daemon=True)
        try:
            self.execution = execute(node, context)
        except Exception as error:
            self.error = error  # which all consumers are to get
        else:
            self._thread.start()

    def _run(self) -> None:
        assert self.execution is not None
        source = iter(self.execution)
        try:
            while self._has_place() and (bundle := next(source, None)) is not None:
                consumers = self.near(bundle.block)
                with self.changed:
                    self.shares.add(bundle.block, bundle.meta.rows, consumers)
                    self.changed.notify_all()
        except BaseException as error:
            self.error = error
        finally:
            source.close()  # type: ignore[attr-defined]
            with self.changed:
                if self.error is None and not self._stopped:
                    self.shares.end()
                self.shares.ended = True
                self.changed.notify_all()

    def _has_place(self) -> bool:
        """Wait until more blocks are wanted; false if none ever will be."""
        with self.changed:
            while not self._stopped and not self.shares.wants_more:
                self.changed.wait(PATIENCE_S)
            return not self._stopped

    def next(self, consumer: int) -> Share | bool:
        """A piece for a consumer; False: there will be no more; True: none yet.

        Raises:
            Exception: what a task has raised.
        """
        until = time.monotonic() + CALL_S
        with self.changed:
            while True:
                share = self.shares.take(consumer)
                if share is not None:
                    self.changed.notify_all()
                    return share
                if self.error is not None:
                    raise self.error
                if self.shares.ended:
                    return False
                left = until - time.monotonic()
                if left <= 0:
                    return True
                self.changed.wait(left)

    def leave(self, consumer: int) -> None:
        """A consumer wants no more."""
        with self.changed:
            self.shares.leave(consumer)
            self.changed.notify_all()

    def close(self) -> None:
        """End it, whatever it does."""
        with self.changed:
            self._stopped = True
            self.changed.notify_all()
        if self.execution is not None:
            self.execution.stop()
            self._thread.join()


class Coordinator:
    """The actor. `seen` is the epoch that a consumer has been in last; -1: none."""

    def __init__(
        self, node: plan.Node, context: DataContext, n: int, equal: bool, hints: Sequence[str | None] | None = None
    ) -> None:
        self._node, self._context, self._n, self._equal, self._hints = node, context, n, equal, hints
        self._epoch: Epoch | None = None
        self._number = -1
        self._waiting: set[int] = set()
        self._begun = threading.Condition()

    def begin(self, consumer: int, seen: int) -> int:
        """Ask for an epoch after `seen`: its number, or -1 if not all have asked yet."""
        until = time.monotonic() + CALL_S
        with self._begun:
            if self._number <= seen:
                self._waiting.add(consumer)
                if len(self._waiting) == self._n:
                    self._start()
            while self._number <= seen and (left := until - time.monotonic()) > 0:
                self._begun.wait(left)
            return self._number if self._number > seen else -1

    def _start(self) -> None:
        if self._epoch is not None:
            self._epoch.close()
        self._number += 1
        self._waiting.clear()
        shares = Shares(self._n, self._equal, self._hints is not None)
        self._epoch = Epoch(self._number, self._node, self._context, shares, near(self._hints))
        self._begun.notify_all()

    def next(self, consumer: int, number: int) -> Share | bool:
        """See `Epoch.next`. In an epoch that is over there is nothing more."""
        epoch = self._epoch
        if epoch is None or epoch.number != number:
            return False
        return epoch.next(consumer)

    def leave(self, consumer: int, number: int) -> None:
        """A consumer wants no more of an epoch."""
        epoch = self._epoch
        if epoch is not None and epoch.number == number:
            epoch.leave(consumer)

    def waits_for(self) -> list[int]:
        """The consumers that have not asked for the next epoch."""
        with self._begun:
            return [consumer for consumer in range(self._n) if consumer not in self._waiting]

    def stats(self) -> str:
        """What the execution of the latest epoch has done."""
        execution = self._epoch and self._epoch.execution
        return str(execution.stats()) if execution else ""


class SharedIterator(DataIterator):
    """The share of one consumer."""

    def __init__(self, coordinator: Any, consumer: int, node: plan.Node, context: DataContext) -> None:
        self._coordinator = coordinator
        self._consumer = consumer
        self._node, self._context = node, context
        self._seen = -1

    def _open(self) -> Stream:
        stopped = threading.Event()
        return Stream(self._blocks(stopped), stopped.set)

    def _blocks(self, stopped: threading.Event) -> Iterator[Block]:
        from ..api.objects import get
        from ..client.refs import ObjectRef

        number = self._begin(stopped)
        complete = False
        try:
            while not stopped.is_set():
                share = get(self._coordinator.next.remote(self._consumer, number))
                if share is False:
                    complete = True
                    return
                if share is not True:
                    table = get(share.block) if isinstance(share.block, ObjectRef) else share.block
                    yield table.slice(share.start, share.rows)
        finally:
            if number >= 0 and not complete:
                get(self._coordinator.leave.remote(self._consumer, number))

    def _begin(self, stopped: threading.Event) -> int:
        from ..api.objects import get

        warn = time.monotonic() + WARN_S
        while not stopped.is_set():
            number: int = get(self._coordinator.begin.remote(self._consumer, self._seen))
            if number >= 0:
                self._seen = number
                return number
            if time.monotonic() > warn:
                missing = get(self._coordinator.waits_for.remote())
                LOG.warning("consumer %s waits for consumers %s to begin the next epoch", self._consumer, missing)
                warn += WARN_S
        return -1

    def schema(self) -> Schema | None:
        found = known_columns(self._node)
        return self._whole().schema() if found is None else Schema(found)

    def stats(self) -> str:
        from ..api.objects import get

        text: str = get(self._coordinator.stats.remote())
        return text

    def materialize(self) -> MaterializedDataset:
        """The rows of this share in one epoch, which all consumers have to begin, as a dataset."""
        from .block import meta_of
        from .dataset import MaterializedDataset

        found = [(block, meta_of(block)) for block in self._open().blocks]
        return MaterializedDataset(plan.Blocks(found), self._context)

    def get_context(self) -> DataContext:
        return self._context

    def _whole(self) -> Any:
        from .dataset import Dataset

        return Dataset(self._node, self._context)

    def __repr__(self) -> str:
        return f"DataIterator(share {self._consumer} of\n{plan.render(self._node)}\n)"


def near(hints: Sequence[str | None] | None) -> Near:
    """A function from a block to the consumers on whose node it is. `hints` has the id of each one's node."""
    if hints is None:
        return lambda block: NOBODY
    from ..api.objects import wait
    from ..client import current
    from ..client.locality import place_of
    from ..client.observing import living
    from ..client.refs import ObjectRef

    runtime: Any = current.runtime
    here = runtime.context().node_id
    numbers = {member.id: 0 if member.id == here else member.no for member in living(runtime.nodes())}
    consumers: dict[int | None, set[int]] = {}
    for consumer, hint in enumerate(hints):
        if hint in numbers:
            consumers.setdefault(numbers[hint], set()).add(consumer)
    known = {number: frozenset(some) for number, some in consumers.items()}

    def consumers_near(block: Any) -> frozenset[int]:
        if not isinstance(block, ObjectRef):
            return NOBODY
        wait([block], timeout=CALL_S, fetch_local=False)  # of what came as a reference, nobody knows before where it is
        return known.get(place_of(block), NOBODY)

    return consumers_near


def check_hints(hints: Sequence[Any], n: int) -> list[str | None]:
    """The ids of nodes, one for each consumer; None: it may be anywhere.

    Raises:
        ValueError: there are not as many, or a node is not there.
    """
    from ..api.cluster import nodes

    if len(hints) != n:
        raise ValueError(f"streaming_split: {len(hints)} locality_hints for {n} consumers")
    there = {node["NodeID"] for node in nodes()}
    for hint in hints:
        if hint is not None and hint not in there:
            raise ValueError(
                f"streaming_split: locality_hints: there is no node {hint!r}; they are {', '.join(sorted(there))}"
            )
    return list(hints)


def split(
    node: plan.Node, context: DataContext, n: int, equal: bool, hints: Sequence[Any] | None = None
) -> list[SharedIterator]:
    """Start the coordinator, and make the iterators of its consumers. It ends with the last of them."""
    from ..api.decorator import remote

    places = None if hints is None else check_hints(hints, n)
    actor = remote(**loaded(num_cpus=0, max_concurrency=2 * n + 2))(Coordinator).remote(node, context, n, equal, places)
    return [SharedIterator(actor, consumer, node, context) for consumer in range(n)]
