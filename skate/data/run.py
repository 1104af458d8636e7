"""Carry out a plan: here, if it is small, and on the cluster otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter
from typing import Any

import psutil
import pyarrow as pa

from ..client import current
from . import plan
from .aggregate.base import Arrow
from .block import Block
from .context import DataContext
from .execution.executor import Execution
from .execution.inline import InlineRunner
from .execution.operators import Bundle
from .execution.remote import RemoteRunner
from .execution.threads import ThreadRunner
from .lower import PARTITION_BYTES, Lowering
from .optimize import optimize
from .telling import know

INLINE_BUDGET_BYTES = 1 << 40
MIN_BUDGET_BYTES = 1 << 20
MIN_BLOCK_BYTES = 1 << 20
"""However small the store is, blocks are not cut smaller."""
THREADS_BLOCK_BYTES = 64 << 20
"""More than a part: what comes out of an exchange is not cut, so it need not be copied to be compact."""
FIRST_BLOCK_BYTES = 1 << 20
"""Where nothing needs all of the data, blocks are small, so that the first one comes soon."""
THREADS_PART_BYTES = 32 << 20
"""What a part of an exchange has that threads carry out."""
THREADS_BUDGET = 4
"""How many times the data an exchange in threads may have in blocks: its input, its pieces and its result."""
READ_AHEAD_BYTES = 64 << 20
"""How much threads make before somebody takes it, if nothing needs all of it."""
FREE_TIMES = 6
"""So many times the data must be free in memory."""
ALL_TO_ALL = (plan.Sort, plan.Shuffle, plan.Aggregate, plan.Join)
KNOWN_WORK = (
    plan.Sort,
    plan.TopRows,
    plan.Limit,
    plan.Join,
    plan.Union,
    plan.Mix,
    plan.Draw,
    plan.Shuffle,
    plan.Sample,
)
FLOWS = (plan.Read, plan.Project, plan.Limit)
"""Of these, the first block is there soon after they begin."""
MAX_WINDOW = 8
"""How many blocks a task makes ahead, if memory allows it."""


HERE, THREADS, TASKS = "this process", "threads of this process", "tasks"
"""What carries plans out."""


def planned(node: plan.Node, context: DataContext) -> tuple[plan.Node, str]:
    """The plan to carry out, and what does."""
    node = optimize(node)
    if runs_here(node, context):
        return node, HERE
    if not runs_in_threads(node, context):
        return node, TASKS
    if not context.use_polars:
        return node, THREADS
    from .on_polars.delegate import delegated

    return delegated(node), THREADS


def execute(node: plan.Node, context: DataContext) -> Execution:
    """Begin to carry out a plan. Iterate over the result for its bundles."""
    node, how = planned(node, context)
    errored = context.max_errored_blocks
    if how == HERE:
        operators = Lowering(context, 1).lower(node)
        return Execution(operators, InlineRunner(), INLINE_BUDGET_BYTES, max_errored=errored, clock=perf_counter)
    if how == THREADS:
        return _in_threads(node, context)
    runner = RemoteRunner()
    parallelism = max(context.read_op_min_num_blocks, 2 * runner.cpus)
    budget = _budget(runner, context)
    # All tasks together may make a quarter of the budget ahead of whoever takes it, in blocks that are not too small.
    each = budget // (4 * runner.slots)
    size = min(context.target_max_block_size, max(MIN_BLOCK_BYTES, each))
    runner.window = max(1, min(MAX_WINDOW, each // size))
    # What a task of an exchange reads and makes: that of all tasks together fits into the budget.
    part_bytes = min(PARTITION_BYTES, max(MIN_BLOCK_BYTES, budget // (2 * runner.slots)))
    operators = Lowering(replace(context, target_max_block_size=size), parallelism, part_bytes).lower(node)
    execution = Execution(operators, runner, budget, runner.window * size, errored, perf_counter)
    runner.on_size = lambda: _resize(execution, runner, context)
    runner.expect(execution.operators)
    know(execution)
    return execution


def _budget(runner: RemoteRunner, context: DataContext) -> int:
    return _limited(int(context.memory_share * runner.store_bytes), context)


def _resize(execution: Execution, runner: RemoteRunner, context: DataContext) -> None:
    """Nodes have come or gone: the budget is of the stores that there are."""
    execution.budget_bytes = _budget(runner, context)


def _limited(budget: int, context: DataContext) -> int:
    """The budget of an execution, with the limit that the settings have for it."""
    limit = context.execution_options.resource_limits.object_store_memory
    return max(MIN_BUDGET_BYTES, budget if limit is None else min(budget, int(limit)))


def _in_threads(node: plan.Node, context: DataContext) -> Execution:
    threads = len(os.sched_getaffinity(0))
    needs_all = any(isinstance(each, ALL_TO_ALL) for each in plan.walk(node))
    budget = _limited(THREADS_BUDGET * context.local_bytes if needs_all else READ_AHEAD_BYTES, context)
    size = min(context.target_max_block_size, THREADS_BLOCK_BYTES if needs_all else FIRST_BLOCK_BYTES)
    operators = Lowering(replace(context, target_max_block_size=size), 2 * threads, THREADS_PART_BYTES).lower(node)
    runner = InlineRunner() if _is_one_task(node) else ThreadRunner(threads, operators)
    first = FIRST_BLOCK_BYTES if all(isinstance(each, FLOWS) for each in plan.walk(node)) else None
    return Execution(operators, runner, budget, size, context.max_errored_blocks, perf_counter, first)


def _is_one_task(node: plan.Node) -> bool:
    """Whether all is Polars' work, which has threads of its own: one of ours would only be waited for."""
    return isinstance(node, plan.Polars) and not any(isinstance(each, plan.Given) for each in plan.walk(node))


def blocks_of(node: plan.Node, context: DataContext) -> Iterator[Block]:
    """The blocks of a plan's result, as tables of this process."""
    for bundle in execute(node, context):
        yield table(bundle)


def table(bundle: Bundle) -> Block:
    """The block of a bundle."""
    from ..api.objects import get
    from ..client.refs import ObjectRef

    return get(bundle.block) if isinstance(bundle.block, ObjectRef) else bundle.block


def runs_here(node: plan.Node, context: DataContext) -> bool:
    """Whether a plan is so small that the calling process carries it out itself.

    Then nothing could run beside something else, and tasks would cost more than the work. A user's function over several blocks
    is worth tasks, however small they are.
    """
    total = 0
    parallel = False
    functions = _has_functions(node)
    for each in plan.walk(node):
        if isinstance(each, plan.MapFunction):
            if each.pool is not None or each.function.is_class or each.options or each.concurrency is not None:
                return False
        elif isinstance(each, (plan.Write, plan.MapGroups)) and each.options:
            return False
        if isinstance(each, plan.Read):
            size = each.source.size_bytes()
            if size is None or each.options:
                return False
            total += size
            if total > context.inline_bytes:
                return False  # before the source is asked how it would be cut, which may be much work
            parallel |= (each.blocks or 0) > 1 or (
                functions and len(each.source.tasks(each.blocks or context.read_op_min_num_blocks)) > 1
            )
        elif isinstance(each, plan.Blocks):
            if any(not isinstance(block, pa.Table) for block, _ in each.blocks):
                return False
            total += sum(meta.size_bytes for _, meta in each.blocks)
            parallel |= len(each.blocks) > 1 and functions
        elif isinstance(each, plan.Repartition):
            parallel |= functions
    return total <= context.inline_bytes and not parallel


def runs_in_threads(node: plan.Node, context: DataContext) -> bool:
    """Whether threads of the calling process carry a plan out: it fits into memory, and nothing in it is a user's code.

    A task keeps to its own CPU: what it begins does not run in threads.
    """
    if not context.local_bytes or (current.runtime is not None and _is_task(current.runtime.context())):
        return False
    total = 0
    for each in plan.walk(node):
        if not _is_known_work(each):
            return False
        if isinstance(each, plan.Read):
            total += each.source.size_bytes() or 0
        elif isinstance(each, plan.Blocks):
            total += sum(meta.size_bytes for _, meta in each.blocks)
    free: int = psutil.virtual_memory().available
    return total <= min(context.local_bytes, free // FREE_TIMES)


def _is_task(context: Any) -> bool:
    return bool(context.task_id or context.actor_id)


def _is_known_work(node: plan.Node) -> bool:
    """Whether all that a node does is Arrow's work, or numpy's."""
    if isinstance(node, plan.Read):
        return node.source.is_local and not (node.options or node.concurrency or node.blocks)
    if isinstance(node, plan.Blocks):
        return all(isinstance(block, pa.Table) for block, _ in node.blocks)
    if isinstance(node, plan.Project):
        return all(expr.pure for _, expr in node.columns)
    if isinstance(node, plan.FilterExpr):
        return node.predicate.pure
    if isinstance(node, plan.Aggregate):
        return all(isinstance(each, Arrow) for each in node.aggregates)
    return isinstance(node, KNOWN_WORK)


def _has_functions(node: plan.Node) -> bool:
    """Whether there is a user's function, which may take any time."""
    return any(isinstance(each, (plan.MapFunction, plan.MapGroups)) for each in plan.walk(node))
