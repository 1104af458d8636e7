"""What a plan says about its result without being carried out: the number of rows, files. `schemas.py` says
which columns."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from . import plan

SAME_ROWS = (plan.Sort, plan.Shuffle, plan.ShuffleBlocks, plan.Repartition)
"""Nodes that change the order or the blocks, and nothing else."""
SAME_COLUMNS = (*SAME_ROWS, plan.Limit, plan.FilterExpr, plan.Sample)


def known_count(node: plan.Node) -> int | None:
    """The number of rows, if no rows need to be read for that."""
    if isinstance(node, plan.Read):
        return node.source.count()
    if isinstance(node, plan.Blocks):
        return sum(meta.rows for _, meta in node.blocks)
    if isinstance(node, SAME_ROWS):
        return known_count(node.inputs[0])
    if isinstance(node, plan.Project) and all(expr.pure for _, expr in node.columns):
        return known_count(node.input)
    if isinstance(node, plan.Limit):
        below = known_count(node.input)
        return None if below is None else min(below, node.rows)
    if isinstance(node, plan.Union) or (isinstance(node, plan.Mix) and not node.until_shortest):
        found = [known_count(part) for part in node.parts]
        return None if None in found else sum(count for count in found if count is not None)
    return None


def files_of(node: plan.Node) -> list[str]:
    """The files that it reads, each once."""
    found: dict[str, None] = {}
    for each in plan.walk(node):
        if isinstance(each, plan.Read):
            found.update(dict.fromkeys(each.source.files()))
        elif isinstance(each, plan.Blocks):
            for _, meta in each.blocks:
                found.update(dict.fromkeys(meta.files))
    return list(found)


def columns_like(node: plan.Node) -> plan.Node:
    """A plan with the same columns, that is cheaper to begin."""
    while isinstance(node, SAME_COLUMNS):
        node = node.inputs[0]
    return node


def missing(names: Sequence[str], schema: pa.Schema | None) -> str | None:
    """The first of `names` that is not a column; None: all are, or nobody knows."""
    if schema is None or not len(schema):
        return None
    return next((name for name in names if name not in schema.names), None)
