"""The columns of a plan's result, as far as they are known without rows: each operation is carried out on an empty block."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from . import plan
from .aggregate import Aggregation
from .aggregate.base import Arrow
from .block import Block, unify, unify_blocks
from .exchange import beside
from .expr import Expr, Udf
from .generators import Download
from .join import join
from .keys import check_columns
from .projection import project_block

SAME = (
    plan.FilterExpr,
    plan.Sample,
    plan.Draw,
    plan.Limit,
    plan.Repartition,
    plan.Shuffle,
    plan.ShuffleBlocks,
    plan.Sort,
    plan.TopRows,
)
"""Operations that give on the columns that they get."""


def schema(node: plan.Node, ask_sources: bool = True) -> pa.Schema | None:
    """The columns of what a node makes; None if only its rows could tell, because they come from a user's function.

    Args:
        ask_sources: files may be opened, for what they say at their beginning or end.

    Raises:
        ColumnNotFoundError: an operation needs a column that is not there.
        TypeError: an operation is not for the types that there are.
    """
    if isinstance(node, plan.Read):
        found = node.source.schema() if ask_sources or not node.source.files() else None
        return None if found is None else found.remove_metadata()
    if isinstance(node, plan.Blocks):
        metas = [meta for _, meta in node.blocks if len(meta.schema)]
        return unify_blocks(metas) if metas else None
    if isinstance(node, SAME):
        known = schema(node.inputs[0], ask_sources)
        if known is not None:
            check_columns(known.empty_table(), _looked_at(node))
        return known
    if isinstance(node, plan.MapFunction):
        return schema(node.input, ask_sources) if node.kind == "filter" else None
    empty = [_empty(schema(below, ask_sources)) for below in node.inputs]
    made = _made(node, [block for block in empty if block is not None]) if None not in empty else None
    return None if made is None else made.schema.remove_metadata()


def _looked_at(node: plan.Node) -> Iterable[str]:
    """The columns that an operation needs which gives on all of them."""
    if isinstance(node, plan.FilterExpr):
        return sorted(node.predicate.columns())
    return node.keys if isinstance(node, (plan.Sort, plan.TopRows)) else ()


def _empty(known: pa.Schema | None) -> Block | None:
    return None if known is None else known.empty_table()


def _made(node: plan.Node, inputs: list[Block]) -> Block | None:
    """What an operation makes of empty blocks."""
    if isinstance(node, plan.Project):
        return None if any(_runs_outside(expr) for _, expr in node.columns) else project_block(node, inputs[0])
    if isinstance(node, plan.Aggregate):
        if not all(isinstance(each, Arrow) for each in node.aggregates):
            return None
        aggregation = Aggregation(node.keys, node.aggregates)
        return next(aggregation.last(next(aggregation.first(iter(inputs)))))
    if isinstance(node, plan.Join):
        suffixes = node.left_suffix, node.right_suffix
        return join(node.how, node.left_keys, node.right_keys, suffixes, *inputs)
    if isinstance(node, plan.Zip):
        return beside(*inputs)
    if isinstance(node, (plan.Union, plan.Mix)):
        return unify([block.schema for block in inputs]).empty_table()
    return None


def _runs_outside(expr: Expr) -> bool:
    """Whether it calls what should not be called without rows."""
    return isinstance(expr, (Udf, Download)) or any(_runs_outside(child) for child in expr.children())
