"""Carry out a plan: here, if it is small, and on the cluster otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pyarrow as pa

from . import plan
from .block import Block
from .context import DataContext
from .execution.executor import Execution
from .execution.operators import Bundle
from .execution.runners import InlineRunner, RemoteRunner
from .lower import Lowering
from .optimize import optimize

INLINE_BUDGET_BYTES = 1 << 40


def execute(node: plan.Node, context: DataContext) -> Execution:
    """Begin to carry out a plan. Iterate over the result for its bundles."""
    node = optimize(node)
    if runs_here(node, context):
        return Execution(Lowering(context, 1).lower(node), InlineRunner(), INLINE_BUDGET_BYTES)
    runner = RemoteRunner()
    parallelism = max(context.read_op_min_num_blocks, 2 * (runner.slots - 1))
    budget = int(context.memory_share * runner.runtime.cluster_resources().get("object_store_memory", 1 << 30))
    limit = context.execution_options.resource_limits.object_store_memory
    if limit is not None:
        budget = min(budget, int(limit))
    return Execution(Lowering(context, parallelism).lower(node), runner, max(budget, 1 << 20))


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
    """Whether a plan is so small that the calling process carries it out itself: nothing could run beside something else, and tasks
    would cost more than the work. A user's function over several blocks is worth tasks, however small they are."""
    total = 0
    leaves = 0
    parallel = False
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
            leaves += 1
            parallel |= (each.blocks or 0) > 1 or (
                _has_functions(node) and len(each.source.tasks(os.cpu_count() or 1)) > 1
            )
        elif isinstance(each, plan.Blocks):
            if any(not isinstance(block, pa.Table) for block, _ in each.blocks):
                return False
            total += sum(meta.size_bytes for _, meta in each.blocks)
            parallel |= len(each.blocks) > 1 and _has_functions(node)
        elif isinstance(each, plan.Repartition):
            parallel |= _has_functions(node)
    return total <= context.inline_bytes and not parallel


def _has_functions(node: plan.Node) -> bool:
    """Whether there is a user's function, which may take any time."""
    return any(isinstance(each, (plan.MapFunction, plan.MapGroups)) for each in plan.walk(node))
