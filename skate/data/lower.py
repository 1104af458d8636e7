"""From the logical plan to operators that run.

Neighbours that work on one block at a time are fused: a source and all such operators after it are one task for each block,
so that nothing is stored in between. What breaks a chain: everything that needs several blocks, an actor pool, other task
options.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from . import block as blocks, exchange, plan
from .block import ALONE, Block, BlockMeta, Least
from .context import DataContext
from .execution.mixing import CountOperator, MixOperator
from .execution.operators import (
    Bundle,
    ExchangeOperator,
    GatherOperator,
    InputOperator,
    LimitOperator,
    MapOperator,
    Operator,
    Task,
    UnionOperator,
    Work,
    groups,
)
from .functions import HERE, Transform, UserFunction, batch_transform, chain, row_transform
from .sources.source import NO_SCHEMA, ReadTask, read_all

PARTITION_BYTES = 128 << 20
"""What a part of an exchange should have."""
PIECE_BYTES = 128 << 10
"""What a split gives to a part should be no less: small objects do not stay in the store, but in the process that began all."""
SMALL_EXCHANGE_BYTES = 64 << 20
"""What is not more than this is not cut."""


@dataclass
class Chain:
    """Operators that are being fused."""

    name: str
    source: Operator
    transforms: list[Transform] = field(default_factory=list)
    options: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int | None = None
    pool: Any = None
    min_rows: int = 0
    least: Least = ALONE
    is_read: bool = False
    """It begins with a source, which says itself how much it reads in one task."""
    functions: list[UserFunction] = field(default_factory=list)
    """Those of users, in the transforms."""

    def fits(self, options: Mapping[str, Any], pool: Any, concurrency: int | None, min_rows: int) -> bool:
        """Whether an operator with these can be a part of it."""
        if min_rows and self.transforms and not self.is_read:
            return False
        if pool is not None or self.pool is not None:
            return pool is not None and not self.transforms
        if concurrency is not None and self.concurrency is not None and concurrency != self.concurrency:
            return False
        return not options or not self.options or dict(options) == dict(self.options)


class Lowering:
    """Makes the operators of one plan.

    Args:
        context: the settings.
        parallelism: into how many blocks a source is cut that says nothing itself.
        part_bytes: what a part of an exchange should have, and how much is split at a time.
    """

    def __init__(self, context: DataContext, parallelism: int, part_bytes: int = PARTITION_BYTES) -> None:
        self.context = context
        self.parallelism = parallelism
        self.part_bytes = part_bytes

    def lower(self, node: plan.Node) -> Operator:
        """The operator whose output is the node's rows."""
        return self._close(self._lower(node))

    def _lower(self, node: plan.Node) -> Chain | Operator:
        make: Callable[[Any], Chain | Operator] = getattr(self, f"_{type(node).__name__.lower()}")
        return make(node)

    # ------------------------------------------------------------ chains

    def _close(self, made: Chain | Operator) -> Operator:
        """The operator of a chain that nothing is added to any more."""
        if isinstance(made, Operator):
            return made
        if not made.transforms:
            return made.source
        work = self._work(made.name, _on_blocks(chain(made.transforms)), made.options, made.concurrency, made.pool)
        if made.pool is not None:
            work = work._replace(prepare=partial(_prepare, made.functions))
        return MapOperator(made.name, made.source, work, made.min_rows, made.least)

    def _work(
        self,
        name: str,
        run: Callable[..., Any],
        options: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
        pool: Any = None,
    ) -> Work:
        return Work(name, run, options or {}, self.context.target_max_block_size, concurrency, pool)

    def _extend(
        self,
        below: plan.Node,
        label: str,
        transform: Transform,
        options: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
        pool: Any = None,
        min_rows: int = 0,
    ) -> Chain:
        made = self._lower(below)
        options = options or {}
        if isinstance(made, Chain) and made.fits(options, pool, concurrency, min_rows):
            made.name = f"{made.name}->{label}" if made.name else label
            made.transforms.append(transform)
            made.options = made.options or options
            made.concurrency = made.concurrency or concurrency
            made.pool = made.pool or pool
            made.min_rows = 0 if made.is_read else max(made.min_rows, min_rows)
            return made
        return Chain(label, self._close(made), [transform], options, concurrency, pool, min_rows)

    def _read(self, node: plan.Read) -> Chain:
        tasks = node.source.tasks(node.blocks or self.parallelism)
        source = InputOperator(node.label, [Bundle(task, task.meta) for task in tasks])
        return Chain(node.label, source, [read_all], node.options, node.concurrency, is_read=True)

    def _blocks(self, node: plan.Blocks) -> Chain:
        return Chain("", InputOperator(node.label, [Bundle(*each) for each in node.blocks]))

    def _mapfunction(self, node: plan.MapFunction) -> Chain:
        if node.kind == "map_batches":
            transform = batch_transform(node.function, node.batch_size, node.batch_format, node.label)
        else:
            transform = row_transform(node.function, node.kind, node.label)
        min_rows = node.batch_size or 0
        made = self._extend(node.input, node.label, transform, node.options, node.concurrency, node.pool, min_rows)
        made.functions.append(node.function)
        return made

    def _project(self, node: plan.Project) -> Chain:
        from .projection import project

        return self._extend(node.input, node.label, project(node))

    def _filterexpr(self, node: plan.FilterExpr) -> Chain:
        from .projection import filter_rows

        return self._extend(node.input, node.label, filter_rows(node.predicate))

    def _sample(self, node: plan.Sample) -> Chain:
        return self._extend(node.input, node.label, _sampler(node.fraction, self._seed(node.seed)))

    def _write(self, node: plan.Write) -> Chain:
        transform = partial(_write_blocks, node.sink)
        if node.sink.least == ALONE:
            return self._extend(node.input, node.label, transform, node.options, node.concurrency)
        source = self.lower(node.input)  # how much a task has is known only when its blocks are there
        return Chain(node.label, source, [transform], node.options, node.concurrency, least=node.sink.least)

    # ------------------------------------------------------------ the others

    def _limit(self, node: plan.Limit) -> Operator:
        below = self._lower(node.input)
        return LimitOperator(self._close(below), node.rows, self._work("Limit", exchange.cut))

    def _union(self, node: plan.Union) -> Operator:
        return UnionOperator([self.lower(part) for part in node.parts])

    def _mix(self, node: plan.Mix) -> Operator:
        work = self._work("Mix", exchange.in_turns)
        return MixOperator([self.lower(part) for part in node.parts], node.weights, node.until_shortest, work)

    def _draw(self, node: plan.Draw) -> Operator:
        work = self._work(node.label, exchange.draw(node.share, node.seed, node.drawn))
        return CountOperator(node.label, self.lower(node.input), work)

    def _repartition(self, node: plan.Repartition) -> Operator:
        if node.keys:
            merge = exchange.merge_sorted(node.keys, [False] * len(node.keys)) if node.sort else exchange.merge_whole
            return self._by_key(node, [self.lower(node.input)], [node.keys], merge)
        work = self._work("Repartition", exchange.gather)._replace(target_bytes=1 << 62)
        return GatherOperator(node.label, [self.lower(node.input)], partial(_repartition, node, work))

    def _polars(self, node: plan.Polars) -> Chain | Operator:
        from .on_polars.delegate import carry_out, givens
        from .schemas import schema

        parts = [each.input for each in givens(node.input)]
        known = [schema(each) for each in parts]
        run = partial(carry_out, node.input, known, self.context)
        if not parts:
            task = ReadTask(partial(run, []), BlockMeta(-1, plan.size_bytes(node.input) or 0, NO_SCHEMA))
            return Chain(node.label, InputOperator(node.label, [Bundle(task, task.meta)]), [read_all], is_read=True)
        work = self._work(node.label, run)
        return GatherOperator(node.label, [self.lower(each) for each in parts], partial(_all_together, work))

    def _shuffleblocks(self, node: plan.ShuffleBlocks) -> Operator:
        seed = self._seed(node.seed)

        def shuffled(operator: Operator, bundles: list[list[Bundle]]) -> list[Task | Bundle]:
            order = np.random.default_rng(seed).permutation(len(bundles[0]))
            return [bundles[0][at] for at in order]

        return GatherOperator(node.label, [self.lower(node.input)], shuffled)

    def _zip(self, node: plan.Zip) -> Operator:
        work = self._work("Zip", exchange.zip_pieces)._replace(target_bytes=1 << 62)
        return GatherOperator(node.label, [self.lower(node.left), self.lower(node.right)], partial(_align, work))

    def _shuffle(self, node: plan.Shuffle) -> Operator:
        seed = self._seed(node.seed)

        def prepare(bundles: list[list[Bundle]], samples: list[Bundle]) -> tuple[int, list[Any]]:
            parts = node.blocks or self._parts(bundles, len(bundles[0]))
            return parts, [parts]

        return ExchangeOperator(
            node.label,
            [self.lower(node.input)],
            prepare,
            [self._work("Shuffle(split)", _joined(exchange.split_random(seed)))],
            self._work("Shuffle(merge)", exchange.merge_random(seed)),
            split_bytes=self.part_bytes,
        )

    def _sort(self, node: plan.Sort) -> Operator:
        keys, descending = node.keys, node.descending
        split_by = 1 if node.boundaries else len(keys)

        def prepare(bundles: list[list[Bundle]], samples: list[Bundle]) -> tuple[int, list[Any]]:
            if node.boundaries:
                kinds = {meta.schema.field(keys[0]).type for _, meta in bundles[0] if keys[0] in meta.schema.names}
                return len(node.boundaries) + 1, [exchange.given_boundaries(keys[0], node.boundaries, kinds)]
            parts = self._parts(bundles, len(bundles[0]))
            if parts == 1 or not samples:
                return 1, [None]
            found = blocks.concat(_here([bundle.block for bundle in samples]))
            if blocks.says_nothing(found):
                return 1, [None]
            return parts, [exchange.boundaries(found, keys, descending, parts)]

        merge = self._work("Sort(merge)", exchange.merge_sorted(keys, descending))
        return ExchangeOperator(
            node.label,
            [self.lower(node.input)],
            prepare,
            [self._work("Sort(split)", _joined(exchange.split_sorted(keys[:split_by], descending[:split_by])))],
            merge._replace(target_bytes=1 << 62) if node.boundaries else merge,
            None if node.boundaries else self._work("Sort(sample)", exchange.sample(keys)),
            self.part_bytes,
        )

    def _toprows(self, node: plan.TopRows) -> Chain:
        return self._extend(node.input, node.label, exchange.top_rows(node.keys, node.descending, node.rows))

    def _aggregate(self, node: plan.Aggregate) -> Operator:
        from .aggregate import Aggregation

        aggregation = Aggregation(node.keys, node.aggregates)
        below = self._extend(node.input, "Aggregate(first)", aggregation.first)
        return self._by_key(node, [self._close(below)], [node.keys], exchange.merge_with(aggregation.last))

    def _mapgroups(self, node: plan.MapGroups) -> Operator:
        run = batch_transform(node.function, None, node.batch_format, node.label)
        keys = node.keys

        def each(block: Block) -> Iterator[Block]:
            return run(exchange.groups(block, keys) if keys else iter((block,)))

        source = self.lower(node.input)
        return self._by_key(node, [source], [keys], exchange.merge_with(each), node.options)

    def _join(self, node: plan.Join) -> Operator:
        from .join import BROADCAST_LEFT, BROADCAST_RIGHT, join

        sources = [self.lower(node.left), self.lower(node.right)]
        run = partial(join, node.how, node.left_keys, node.right_keys, (node.left_suffix, node.right_suffix))
        for small, kinds, side in ((1, BROADCAST_RIGHT, node.right), (0, BROADCAST_LEFT, node.left)):
            size = plan.size_bytes(side)
            if node.how in kinds and size is not None and size <= self.context.broadcast_bytes:
                work = self._work("Join(broadcast)", exchange.join_broadcast(run, small))
                return GatherOperator(
                    node.label, sources, partial(_broadcast, work, small, self.parallelism, self.part_bytes)
                )
        divided = 0 if node.how in BROADCAST_RIGHT else 1 if node.how in ("right_semi", "right_anti") else None
        return self._by_key(node, sources, [node.left_keys, node.right_keys], exchange.merge_join(run), divided=divided)

    def _by_key(
        self,
        node: Any,
        sources: list[Operator],
        keys: Sequence[Sequence[str]],
        merge: Callable[..., Iterator[Block]],
        options: Mapping[str, Any] | None = None,
        divided: int | None = None,
    ) -> Operator:
        def prepare(bundles: list[list[Bundle]], samples: list[Bundle]) -> tuple[int, list[Any]]:
            wanted = node.blocks if isinstance(node, plan.Repartition) else node.partitions
            parts = wanted or self._parts(bundles, 1)
            parts = 1 if not all(keys) else parts
            return parts, [parts] * len(bundles)

        splits = [self._work(f"{node.label}(split)", _joined(exchange.split_by_key(each))) for each in keys]
        last = self._work(f"{node.label}(merge)", merge, options)
        if isinstance(node, plan.Repartition):
            last = last._replace(target_bytes=1 << 62)  # a part is one block
        return ExchangeOperator(
            node.label, sources, prepare, splits, last, split_bytes=self.part_bytes, divided=divided
        )

    def _parts(self, bundles: list[list[Bundle]], wanted: int) -> int:
        """Into how many parts an exchange cuts its inputs."""
        if self.context.shuffle_partitions is not None:
            return self.context.shuffle_partitions
        total = sum(bundle.meta.size_bytes for each in bundles for bundle in each)
        if total <= SMALL_EXCHANGE_BYTES:
            return max(1, min(wanted, self.parallelism)) if total > SMALL_EXCHANGE_BYTES // 16 else 1
        target = max(self.part_bytes, math.isqrt(total * PIECE_BYTES))
        return max(min(wanted, self.parallelism), -(-total // target))

    def _seed(self, given: int | None) -> int:
        if given is not None:
            return given
        return self.context.seed if self.context.seed is not None else int.from_bytes(os.urandom(6), "little")


def _on_blocks(transform: Transform) -> Callable[..., Iterator[Block]]:
    """What a task runs: the transform over all blocks that it is given."""
    return partial(_run, transform)  # a function of the module, so that `HERE` is that of the process which runs it


def _run(transform: Transform, extra: Any, *inputs: Any) -> Iterator[Block]:
    HERE.task = extra
    made = transform(each for each in inputs if not (isinstance(each, pa.Table) and blocks.says_nothing(each)))
    while True:
        HERE.task = extra  # tasks that run in the calling process take turns
        block = next(made, None)
        if block is None:
            return
        yield block


def _write_blocks(sink: Any, source: Iterator[Block]) -> Iterator[Block]:
    """The transform of a sink: what comes out says what was written."""
    return sink.write(source, HERE.task)  # type: ignore[no-any-return]


def _joined(split: Callable[[Any, Block], list[Block]]) -> Callable[..., list[Block]]:
    """A split of several blocks at once, so that there are fewer and larger pieces."""

    def run(extra: Any, *inputs: Block) -> list[Block]:
        return split(extra, blocks.concat(inputs))

    return run


def _prepare(functions: Sequence[UserFunction]) -> None:
    """Construct the classes among the functions of users."""
    for function in functions:
        function.ready()


def _here(found: list[Any]) -> list[Block]:
    """Small blocks, wherever they are, as tables."""
    from ..api.objects import get
    from ..client.refs import ObjectRef

    return [get(each) if isinstance(each, ObjectRef) else each for each in found]


def _sampler(fraction: float, seed: int) -> Transform:
    def run(source: Iterator[Block]) -> Iterator[Block]:
        for number, block in enumerate(source):
            chosen = np.random.default_rng((seed, HERE.task, number)).random(block.num_rows) < fraction
            yield block.filter(chosen)

    return run


def _repartition(
    node: plan.Repartition, work: Work, operator: Operator, inputs: list[list[Bundle]]
) -> list[Task | Bundle]:
    """Cut and join blocks so that there are as many as wanted; what fits already goes on as it is."""
    total = sum(bundle.meta.rows for bundle in inputs[0])
    if node.rows is not None:
        cuts = [*range(0, total, node.rows), total] if total else [0, 0]
    else:
        assert node.blocks is not None
        cuts = [total * at // node.blocks for at in range(node.blocks + 1)]
    return [_piece(operator, work, inputs[0], first, last) for first, last in itertools.pairwise(cuts)]


def _overlaps(bundles: Sequence[Bundle], first: int, last: int) -> tuple[list[Bundle], list[tuple[int, int]]]:
    """The blocks that have rows `first` to `last` of all, and which of their rows these are."""
    found: list[Bundle] = []
    ranges: list[tuple[int, int]] = []
    at = 0
    for bundle in bundles:
        start, stop = max(first, at), min(last, at + bundle.meta.rows)
        if start < stop:
            found.append(bundle)
            ranges.append((start - at, stop - at))
        at += bundle.meta.rows
    if not found and bundles:
        found, ranges = [bundles[0]], [(0, 0)]
    return found, ranges


def _piece(operator: Operator, work: Work, bundles: Sequence[Bundle], first: int, last: int) -> Task | Bundle:
    found, ranges = _overlaps(bundles, first, last)
    if len(found) == 1 and ranges[0] == (0, found[0].meta.rows) and first < last:
        return found[0]
    return Task(operator, None, work, found, ranges)


def _align(work: Work, operator: Operator, inputs: list[list[Bundle]]) -> list[Task | Bundle]:
    """A task for each block on the left, with the rows on the right that stand beside it."""
    left, right = inputs
    totals = [sum(bundle.meta.rows for bundle in side) for side in inputs]
    if totals[0] != totals[1]:
        raise ValueError(f"zip needs as many rows on both sides: {totals[0]} on the left, {totals[1]} on the right")
    tasks: list[Task | Bundle] = []
    at = 0
    for bundle in left:
        found, ranges = _overlaps(right, at, at + bundle.meta.rows)
        tasks.append(Task(operator, None, work, [bundle, *found], ranges))
        at += bundle.meta.rows
    return tasks


def _all_together(work: Work, operator: Operator, inputs: list[list[Bundle]]) -> list[Task | Bundle]:
    """One task for all blocks, which is told how many there are of each input."""
    return [Task(operator, None, work, [bundle for each in inputs for bundle in each], [len(each) for each in inputs])]


def _broadcast(
    work: Work, small: int, parts: int, part_bytes: int, operator: Operator, inputs: list[list[Bundle]]
) -> list[Task | Bundle]:
    """Tasks for some blocks of the large side each, with all of the small one: each puts the small one into a hash table."""
    large = inputs[1 - small]
    size = min(part_bytes, sum(bundle.meta.size_bytes for bundle in large) // parts)
    together = groups(large, size)
    return [Task(operator, None, work, [*each, *inputs[small]], len(each)) for each in together]


def empty_meta(schema: Any) -> BlockMeta:
    """Of a block without rows."""
    return BlockMeta(0, 0, schema)
