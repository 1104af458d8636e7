"""The operators that run: which task could start next, and in which order what they make goes on.

Pure: blocks are known by reference and size only; no task is started and nothing is waited for here. `executor.py` moves
bundles from one operator to the next, starts the tasks that these ask for, and tells them what tasks have made.

INV-1: what an operator gives on has the order of its input, whatever order its tasks end in.
INV-2: a bundle is in one place: an input queue, a running task, or an output queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..block import ALONE, BlockMeta, Least, unify_blocks
from .stats import OperatorStats


class Bundle(NamedTuple):
    """A block somewhere: a table in this process, or a reference to one; or, for a source, what reads it."""

    block: Any
    meta: BlockMeta


class Task:
    """Something to run. What `run` is given are the blocks of `inputs`; what it makes are blocks."""

    __slots__ = ("extra", "inputs", "key", "made_blocks", "made_bytes", "operator", "outputs", "work")

    def __init__(
        self, operator: Operator, key: Any, work: Work, inputs: list[Bundle], extra: Any = None, outputs: int = 0
    ) -> None:
        self.operator = operator
        self.key = key
        """What the operator knows it by."""
        self.work = work
        self.inputs = inputs
        self.extra = extra
        """One more argument, a small one."""
        self.outputs = outputs
        """How many blocks it makes; 0: any number, one after the other."""
        self.made_blocks = 0
        self.made_bytes = 0

    @property
    def input_bytes(self) -> int:
        """What it reads."""
        return sum(bundle.meta.size_bytes for bundle in self.inputs)


class Work(NamedTuple):
    """How a task is run. Tasks of the same work share its code."""

    name: str
    run: Callable[..., Any]
    """Called with the extra argument and the blocks: an iterator of blocks, or a list of `outputs` blocks."""
    options: Mapping[str, Any]
    target_bytes: int
    concurrency: int | None = None
    pool: Any = None
    """How many actors run it; None: tasks do."""
    prepare: Callable[[], None] | None = None
    """What an actor does before its first task."""


class Ordered:
    """Numbered outputs, given on in the order of the numbers."""

    def __init__(self) -> None:
        self._made: dict[int, deque[Bundle]] = {}
        self._ended: set[int] = set()
        self._next = 0
        self.size_bytes = 0

    def add(self, number: int, bundle: Bundle) -> None:
        """One more output of a number."""
        self._made.setdefault(number, deque()).append(bundle)
        self.size_bytes += bundle.meta.size_bytes

    def end(self, number: int) -> None:
        """There will be no more of this number."""
        self._ended.add(number)

    def is_next(self, number: int) -> bool:
        """Whether everything waits for this number."""
        return number == self._next

    def take(self) -> Bundle | None:
        """The next in order, if it is there."""
        while True:
            made = self._made.get(self._next)
            if made:
                bundle = made.popleft()
                self.size_bytes -= bundle.meta.size_bytes
                return bundle
            if self._next not in self._ended:
                return None
            self._ended.discard(self._next)
            self._made.pop(self._next, None)
            self._next += 1

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not any(self._made.values())


class Operator:
    """One step. The executor calls these; every subclass says what it does with them."""

    def __init__(self, name: str, inputs: Sequence[Operator]) -> None:
        self.name = name
        self.inputs = list(inputs)
        self.open = len(self.inputs)
        """Inputs that may bring more."""
        self.running = 0
        self.stopped = False
        """Nobody wants more of it."""
        self.out = Ordered()
        self.stats = OperatorStats(name)
        self.running_bytes = 0
        """What its running tasks read."""
        self.made_bytes = 0

    def add(self, port: int, bundle: Bundle) -> None:
        """An input has a bundle."""
        raise NotImplementedError

    def input_ended(self, port: int) -> None:
        """An input has no more."""
        self.open -= 1

    def next_task(self) -> Task | None:
        """A task that could be started now. It is started when it is taken."""
        return None

    def task_made(self, task: Task, bundle: Bundle) -> None:
        """A running task has made a block."""
        self.out.add(task.key, bundle)

    def counts(self, port: int) -> bool:
        """Whether the blocks of an input are this execution's. Those that were there before it are not."""
        return not isinstance(self.inputs[port], InputOperator)

    def task_ended(self, task: Task) -> None:
        """A task has made all that it makes."""
        self.out.end(task.key)

    def take(self) -> Bundle | None:
        """The next bundle for whoever comes after this."""
        bundle = self.out.take()
        if bundle is not None:
            self.stats.rows_out += bundle.meta.rows
            self.stats.bytes_out += bundle.meta.size_bytes
            self.stats.blocks_out += 1
        return bundle

    def urgent(self, task: Task) -> bool:
        """Whether what comes after waits for exactly this task: its blocks are taken even if there is no room."""
        return isinstance(task.key, int) and self.out.is_next(task.key)

    @property
    def held_bytes(self) -> int:
        """What its queues hold."""
        return self.out.size_bytes

    @property
    def pooled(self) -> Work | None:
        """What its actors do, if actors do it."""
        return None

    @property
    def can_start(self) -> bool:
        """Whether `next_task` would give one now."""
        return False

    @property
    def has_work(self) -> bool:
        """Whether it could start a task, now or when its input is complete."""
        return self.can_start

    def wants(self, port: int) -> bool:
        """Whether it has a use for more of an input now."""
        return True

    @property
    def finished(self) -> bool:
        """Whether nothing will come any more, and all was taken."""
        return (self.stopped or (not self.open and not self.has_work)) and not self.running and self.out.empty

    @property
    def enough(self) -> bool:
        """Whether it needs no more of its inputs, though they have not ended."""
        return False

    def stop(self) -> None:
        """Nobody wants more."""
        self.stopped = True


class InputOperator(Operator):
    """Bundles that are there from the beginning."""

    def __init__(self, name: str, bundles: Iterable[Bundle]) -> None:
        super().__init__(name, [])
        self.total = 0
        """How many there are."""
        for bundle in bundles:
            self.out.add(0, bundle)
            self.total += 1

    @property
    def held_bytes(self) -> int:
        return 0  # they are not this execution's: they were there before


class MapOperator(Operator):
    """One task for each bundle, or for several small ones.

    Args:
        work: what the tasks do.
        min_rows: bundles go into a task together as long as they have no more rows. What does not know its rows (-1) is a task of
            its own.
        least: they go together until they have as much.
    """

    def __init__(self, name: str, source: Operator, work: Work, min_rows: int = 0, least: Least = ALONE) -> None:
        super().__init__(name, [source])
        self.work = work
        self.min_rows = min_rows
        self.least = least
        self.queue: deque[Bundle] = deque()
        self._queued = ALONE
        self._queued_bytes = 0
        self._number = 0

    def add(self, port: int, bundle: Bundle) -> None:
        self.queue.append(bundle)
        self.stats.rows_in += bundle.meta.rows
        self._queued = _more(self._queued, bundle.meta)
        if self.counts(port):
            self._queued_bytes += bundle.meta.size_bytes

    def next_task(self) -> Task | None:
        if not self.can_start:
            return None
        inputs = [self._pop()]
        have = Least(inputs[0].meta.rows, inputs[0].meta.size_bytes)
        while self.queue and self._goes_with(have, self.queue[0].meta):
            inputs.append(self._pop())
            have = _more(have, inputs[-1].meta)
        self._number += 1
        return Task(self, self._number - 1, self.work, inputs, self._number - 1)

    @property
    def can_start(self) -> bool:
        if not self.queue or self.stopped:
            return False
        if self.work.concurrency is not None and self.running >= self.work.concurrency and self.work.pool is None:
            return False
        if not self.open or (not self.min_rows and self.least == ALONE):
            return True
        return (
            self._queued.rows >= max(self.min_rows, self.least.rows)
            and self._queued.size_bytes >= self.least.size_bytes
        )

    def _goes_with(self, have: Least, more: BlockMeta) -> bool:
        if have.rows < 0 or more.rows < 0:
            return False
        if have.rows < self.least.rows or have.size_bytes < self.least.size_bytes:
            return True
        return more.rows <= self.min_rows - have.rows

    def _pop(self) -> Bundle:
        bundle = self.queue.popleft()
        self._queued = _more(self._queued, bundle.meta, -1)
        if self.counts(0):
            self._queued_bytes -= bundle.meta.size_bytes
        return bundle

    @property
    def has_work(self) -> bool:
        return bool(self.queue)

    @property
    def pooled(self) -> Work | None:
        return self.work if self.work.pool is not None else None

    @property
    def held_bytes(self) -> int:
        return self.out.size_bytes + self._queued_bytes

    def stop(self) -> None:
        super().stop()
        self.queue.clear()
        self._queued, self._queued_bytes = ALONE, 0


def _more(have: Least, meta: BlockMeta, times: int = 1) -> Least:
    return Least(have.rows + times * meta.rows, have.size_bytes + times * meta.size_bytes)


class LimitOperator(Operator):
    """The first rows. What comes before is stopped as soon as there are enough."""

    def __init__(self, source: Operator, rows: int, cut: Work) -> None:
        super().__init__(f"Limit({rows})", [source])
        self.left = rows
        self._cut = cut
        self._pending: Task | None = None
        self._number = 0

    def add(self, port: int, bundle: Bundle) -> None:
        if self.left <= 0 and self._number:
            return
        self.stats.rows_in += bundle.meta.rows
        number, self._number = self._number, self._number + 1
        if bundle.meta.rows <= self.left:
            self.out.add(number, bundle)
            self.out.end(number)
            self.left -= bundle.meta.rows
            return
        self._pending = Task(self, number, self._cut, [bundle], (0, self.left), 1)
        self.left = 0

    def next_task(self) -> Task | None:
        task, self._pending = self._pending, None
        return task

    @property
    def can_start(self) -> bool:
        return self._pending is not None

    @property
    def enough(self) -> bool:
        """Whether it needs no more input; one block has come, so that the columns are known."""
        return self.left <= 0 and self._number > 0

    def stop(self) -> None:
        super().stop()
        self._pending = None


class UnionOperator(Operator):
    """Inputs one after the other."""

    def __init__(self, inputs: Sequence[Operator]) -> None:
        super().__init__("Union", inputs)
        self._at = 0

    def add(self, port: int, bundle: Bundle) -> None:
        self.stats.rows_in += bundle.meta.rows
        self.out.add(port, bundle)

    def wants(self, port: int) -> bool:
        return port == self._at

    def input_ended(self, port: int) -> None:
        super().input_ended(port)
        self.out.end(port)
        self._at = port + 1


class GatherOperator(Operator):
    """Needs to see all of its inputs before it begins: `plan` then says what is to be done with them.

    Args:
        plan: given the bundles of each input, returns tasks (with keys 0, 1, ... in the order of the output) or bundles
            as they are.
    """

    def __init__(
        self, name: str, inputs: Sequence[Operator], plan: Callable[[Operator, list[list[Bundle]]], list[Task | Bundle]]
    ) -> None:
        super().__init__(name, inputs)
        self._plan = plan
        self._bundles: list[list[Bundle]] = [[] for _ in inputs]
        self._tasks: deque[Task] | None = None

    def add(self, port: int, bundle: Bundle) -> None:
        self.stats.rows_in += bundle.meta.rows
        self._bundles[port].append(bundle)

    def input_ended(self, port: int) -> None:
        super().input_ended(port)
        if not self.open and not self.stopped:
            self._tasks = deque()
            for number, each in enumerate(self._plan(self, self._bundles)):
                if isinstance(each, Task):
                    each.key = number
                    self._tasks.append(each)
                else:
                    self.out.add(number, each)
                    self.out.end(number)
            self._bundles.clear()

    def next_task(self) -> Task | None:
        return self._tasks.popleft() if self._tasks and not self.stopped else None

    @property
    def can_start(self) -> bool:
        return bool(self._tasks) and not self.stopped

    def stop(self) -> None:
        super().stop()
        self._bundles.clear()
        self._tasks = None


Piece = tuple[int, int, Bundle]
"""Of a part: which input it is of, which split made it, and its rows."""


class ExchangeOperator(Operator):
    """All to all: each block is split into parts, and the parts of one number, of all blocks, are merged.

    First, `sample` tasks may look at each block. When the inputs are complete, `prepare` says how many parts there are, and
    gives the extra arguments of the splits. With one part, nothing is split.

    Args:
        sample: looks at a block and makes a small one; None: not needed.
        split_bytes: blocks are split together until they have so many bytes, or as many as a part: the number of pieces
            is the product of splits and parts. 0: each is split on its own.
        prepare: given the bundles of each input and the blocks that the samples made, returns the number of parts and, for each
            input, the extra argument of its splits.
        split: makes as many blocks as there are parts; one for each input. Its extra argument is (what `prepare` gave, the number
            of the split, how many splits there are).
        merge: makes the blocks of one part of its pieces, those of each input one after the other; its extra argument is
            (the number of the task, how many pieces are of each input).
        divided: an input whose rows are merged each on its own: when very many of them have one key, several tasks share them,
            each with all that the other inputs have in this part.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[Operator],
        prepare: Callable[[list[list[Bundle]], list[Bundle]], tuple[int, list[Any]]],
        split: Sequence[Work],
        merge: Work,
        sample: Work | None = None,
        split_bytes: int = 0,
        divided: int | None = None,
    ) -> None:
        super().__init__(name, inputs)
        self._divided = divided
        self._prepare, self._split, self._merge, self._sample = prepare, split, merge, sample
        self._bundles: list[list[Bundle]] = [[] for _ in inputs]
        self._ready: deque[Task] = deque()
        self._split_bytes = split_bytes
        self._part_bytes = 0
        """Of a part, if all have the same size."""
        self._samples: list[Bundle] = []
        self._sampling = 0
        self._splitting = 0
        self._parts: list[list[Piece]] | None = None
        self._merging = False

    def add(self, port: int, bundle: Bundle) -> None:
        self.stats.rows_in += bundle.meta.rows
        self._bundles[port].append(bundle)
        if self._sample is not None and bundle.meta.rows:
            self._sampling += 1
            self._ready.append(Task(self, ("sample",), self._sample, [bundle], None, 1))

    def input_ended(self, port: int) -> None:
        super().input_ended(port)
        self._look()

    def _look(self) -> None:
        """Go on to the next phase when the one before it is done."""
        if self.open or self._sampling or self.stopped:
            return
        if self._parts is None:
            self._begin()
        elif not self._splitting and not self._merging:
            self._begin_merging()

    def _begin(self) -> None:
        for bundles in self._bundles:
            if bundles:
                unify_blocks([bundle.meta for bundle in bundles])  # or the error names the files
        count, extras = self._prepare(self._bundles, self._samples)
        self._samples = []
        self._parts = [[] for _ in range(count)]
        total = sum(bundle.meta.size_bytes for bundles in self._bundles for bundle in bundles)
        size = self._part_bytes = max(self._split_bytes, total // count) if self._split_bytes else 0
        for port, bundles in enumerate(self._bundles):
            if count == 1:
                self._parts[0].extend((port, at, bundle) for at, bundle in enumerate(bundles))
                continue
            together = groups(bundles, size)
            for at, group in enumerate(together):
                self._splitting += 1
                extra = extras[port], at, len(together)
                self._ready.append(Task(self, ("split", port, at), self._split[port], group, extra, count))
        self._bundles = []
        self._look()

    def _begin_merging(self) -> None:
        assert self._parts is not None
        self._merging = True
        number = 0
        for part in self._parts:
            for pieces in self._shares(sorted(part, key=lambda entry: entry[:2])):
                counts = [sum(port == entry[0] for entry in pieces) for port in range(len(self.inputs))]
                self._ready.append(Task(self, number, self._merge, [entry[2] for entry in pieces], (number, counts)))
                number += 1
        self._parts = []

    def _shares(self, part: list[Piece]) -> Iterator[list[Piece]]:
        """The pieces of a part for each of the tasks that merge it: one, unless there is far more in it than in others."""
        mine = [entry for entry in part if entry[0] == self._divided]
        most = 2 * self._part_bytes
        if sum(entry[2].meta.size_bytes for entry in mine) <= most:
            yield part
            return
        before = [entry for entry in part if entry[0] < mine[0][0]]
        after = [entry for entry in part if entry[0] > mine[0][0]]
        share: list[Piece] = []
        size = 0
        for entry in mine:
            if share and size + entry[2].meta.size_bytes > most:
                yield [*before, *share, *after]
                share, size = [], 0
            share.append(entry)
            size += entry[2].meta.size_bytes
        yield [*before, *share, *after]

    def next_task(self) -> Task | None:
        return self._ready.popleft() if self._ready and not self.stopped else None

    def task_made(self, task: Task, bundle: Bundle) -> None:
        if isinstance(task.key, int):
            super().task_made(task, bundle)
        elif task.key[0] == "sample":
            self._samples.append(bundle)
        else:
            assert self._parts is not None
            self._parts[task.made_blocks].append((task.key[1], task.key[2], bundle))

    def task_ended(self, task: Task) -> None:
        if isinstance(task.key, int):
            super().task_ended(task)
            return
        if task.key[0] == "sample":
            self._sampling -= 1
        else:
            self._splitting -= 1
        self._look()

    @property
    def can_start(self) -> bool:
        return bool(self._ready) and not self.stopped

    @property
    def has_work(self) -> bool:
        return not self._merging or bool(self._ready)

    def urgent(self, task: Task) -> bool:
        return not isinstance(task.key, int) or super().urgent(task)

    def stop(self) -> None:
        super().stop()
        self._bundles = []
        self._ready.clear()
        self._parts = []


def groups(bundles: Sequence[Bundle], size_bytes: int) -> list[list[Bundle]]:
    """Neighbours together, of about so many bytes; empty ones are left out, but for one that has the columns."""
    groups: list[list[Bundle]] = []
    have = 0
    for bundle in [bundle for bundle in bundles if bundle.meta.rows] or bundles[:1]:
        if not groups or have + bundle.meta.size_bytes > size_bytes:
            groups.append([])
            have = 0
        groups[-1].append(bundle)
        have += bundle.meta.size_bytes
    return groups
