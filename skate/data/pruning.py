"""Projection push-down: which columns each operator has to make, from the last one towards the sources."""

from __future__ import annotations

from dataclasses import replace

from . import plan
from .expr import Expr
from .schemas import SAME, schema

Columns = set[str] | None
"""What those after an operator need of its columns; None: all, because nobody can say."""


def needed(node: plan.Node, columns: Columns) -> plan.Node:
    """The node, making only what is needed of it."""
    if isinstance(node, plan.Read):
        return _read(node, columns)
    if columns is not None and not columns:
        known = schema(node)  # blocks without columns have no rows: one has to stay
        columns = {known.names[0]} if known is not None and known.names else None
    if isinstance(node, plan.Project):
        return _project(node, columns)
    if isinstance(node, plan.Aggregate):
        uses = [each.needs for each in node.aggregates]
        wanted = None if None in uses else {*node.keys, *(name for each in uses for name in each or ())}
        return node.with_inputs([needed(node.input, wanted)])
    if isinstance(node, plan.Join):
        return _join(node, columns)
    if isinstance(node, (*SAME, plan.Union, plan.Mix)):
        return node.with_inputs([needed(below, _with_own(node, columns)) for below in node.inputs])
    return node.with_inputs([needed(below, None) for below in node.inputs])


def _with_own(node: plan.Node, columns: Columns) -> Columns:
    """And those that an operator looks at which gives on all of its columns."""
    if columns is None:
        return None
    if isinstance(node, plan.FilterExpr):
        return columns | node.predicate.columns()
    return columns | set(node.keys) if isinstance(node, (plan.Sort, plan.TopRows, plan.Repartition)) else columns


def _read(node: plan.Read, columns: Columns) -> plan.Node:
    known = node.source.schema() if columns is not None and node.source.can_select else None
    if known is None or columns is None or not columns.issubset(known.names):
        return node  # the error for a column that is not there comes where it was written
    order = [name for name in known.names if name in columns]
    if len(order) == len(known.names):
        return node
    source = node.source.with_columns(order or known.names[:1])
    return node if source is None else replace(node, source=source)


def _project(node: plan.Project, columns: Columns) -> plan.Node:
    made = node.columns
    if any(expr.spreads for _, expr in made):
        return node.with_inputs([needed(node.input, None)])
    if columns is not None:
        made = tuple((name, expr) for name, expr in made if name in columns or not expr.pure)
        if not made and not node.keep:
            made = node.columns[:1]
    if node.keep and columns is None:
        return replace(node, input=needed(node.input, None))
    uses = {name for _, expr in made for name in expr.columns()}
    if node.keep and columns is not None:
        back = {new: old for old, new in node.rename}
        uses |= {back.get(name, name) for name in columns if name not in dict(node.columns)}
        uses |= {*node.drop, *back.values()}
    return replace(node, input=needed(node.input, uses), columns=made)


def _join(node: plan.Join, columns: Columns) -> plan.Node:
    known = [schema(side) for side in (node.left, node.right)] if columns is not None else []
    if columns is None or known[0] is None or known[1] is None:
        return node.with_inputs([needed(below, None) for below in node.inputs])
    both = set(known[0].names) & set(known[1].names)  # whose names follow from one another
    sides = []
    for side, has, keys in ((node.left, known[0], node.left_keys), (node.right, known[1], node.right_keys)):
        sides.append(needed(side, (columns | both | set(keys)) & set(has.names)))
    return node.with_inputs(sides)


def for_count(node: plan.Node) -> plan.Node:
    """A plan with as many rows, that computes less."""
    while True:
        if isinstance(node, plan.Project):
            if not all(_only_counts(expr) for _, expr in node.columns):
                break
            node = node.input
        elif isinstance(node, (plan.Sort, plan.Shuffle, plan.ShuffleBlocks, plan.Repartition)):
            node = node.inputs[0]
        else:
            break
    return needed(node, set())


def _only_counts(expr: Expr) -> bool:
    return expr.pure and not expr.spreads
