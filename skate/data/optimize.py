"""Rewrites of a plan that change how much is read and computed, and never what comes out.

Projections, predicates and limits move towards the source, as far as expressions can be seen through. A user's function is never
looked into: nothing that depends on its columns moves below it.

Each rule is a function from a node to a node; `optimize` applies them from the source upwards, and again where something changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from . import plan
from .expressions import Alias, Column, Expr

Rule = Callable[[plan.Node], plan.Node | None]
"""The node in place of another; None: the rule does not apply."""


def optimize(node: plan.Node) -> plan.Node:
    """The plan to carry out."""
    return needed(push(node), None)


def push(node: plan.Node) -> plan.Node:
    """Limits and predicates towards the source."""
    node = node.with_inputs([push(below) for below in node.inputs])
    for rule in RULES:
        found = rule(node)
        if found is not None:
            return push(found)
    return node


# ---------------------------------------------------------------- limits


def merge_limits(node: plan.Node) -> plan.Node | None:
    """The smaller of two."""
    if isinstance(node, plan.Limit) and isinstance(node.input, plan.Limit):
        return plan.Limit(node.input.input, min(node.rows, node.input.rows))
    return None


def limit_below_rows(node: plan.Node) -> plan.Node | None:
    """What makes one row of each need not see the others."""
    if not isinstance(node, plan.Limit):
        return None
    below = node.input
    one_to_one = isinstance(below, plan.Project) or (
        isinstance(below, plan.MapFunction) and below.row_by_row and below.pool is None
    )
    return below.with_inputs([plan.Limit(below.inputs[0], node.rows)]) if one_to_one else None


def limit_source(node: plan.Node) -> plan.Node | None:
    """A source that can stop early is told."""
    if not isinstance(node, plan.Limit) or not isinstance(node.input, plan.Read):
        return None
    rows = node.input.source.count_at_most()
    if rows is not None and rows <= node.rows:
        return None
    source = node.input.source.with_limit(node.rows)
    return None if source is None else plan.Limit(replace(node.input, source=source), node.rows)


# ---------------------------------------------------------------- predicates


def filter_below_project(node: plan.Node) -> plan.Node | None:
    """A predicate over computed columns is one over those that they are computed of."""
    if not isinstance(node, plan.FilterExpr) or not isinstance(node.input, plan.Project):
        return None
    project = node.input
    made = dict(project.columns)
    back = {new: old for old, new in project.rename}
    gone = set(project.drop) | set(dict(project.rename))
    columns: dict[str, Expr] = {}
    for name in node.predicate.columns():
        if name in made:
            if not made[name].pure:
                return None
            columns[name] = made[name]
        elif name in back:
            columns[name] = Column(back[name])
        elif not project.keep or name in gone:
            return None  # the error for a column that is not there comes where it was written
    below = plan.FilterExpr(project.input, node.predicate.substitute(columns))
    return project.with_inputs([below])


def filter_below_order(node: plan.Node) -> plan.Node | None:
    """Rows that are left out need not be put in order."""
    if isinstance(node, plan.FilterExpr) and isinstance(node.input, plan.Sort):
        return node.input.with_inputs([plan.FilterExpr(node.input.input, node.predicate)])
    return None


def filter_below_union(node: plan.Node) -> plan.Node | None:
    """Each part has its own."""
    if isinstance(node, plan.FilterExpr) and isinstance(node.input, plan.Union):
        return plan.Union(tuple(plan.FilterExpr(part, node.predicate) for part in node.input.parts))
    return None


def merge_filters(node: plan.Node) -> plan.Node | None:
    """Two in a row are one."""
    if isinstance(node, plan.FilterExpr) and isinstance(node.input, plan.FilterExpr):
        return plan.FilterExpr(node.input.input, node.input.predicate & node.predicate)
    return None


def filter_source(node: plan.Node) -> plan.Node | None:
    """A source that can leave rows out does so."""
    if not isinstance(node, plan.FilterExpr) or not isinstance(node.input, plan.Read):
        return None
    source = node.input.source.with_filter(node.predicate)
    return None if source is None else replace(node.input, source=source)


RULES: tuple[Rule, ...] = (
    merge_limits,
    limit_below_rows,
    limit_source,
    merge_filters,
    filter_below_project,
    filter_below_order,
    filter_below_union,
    filter_source,
)


# ---------------------------------------------------------------- columns


def needed(node: plan.Node, columns: set[str] | None) -> plan.Node:
    """The node, making only what is needed of it.

    Args:
        columns: what those after it need of its columns; None: all, because nobody can say.
    """
    if isinstance(node, plan.Read):
        return _read(node, columns)
    if isinstance(node, plan.Project):
        return _project(node, columns)
    if isinstance(node, plan.FilterExpr):
        wanted = None if columns is None else columns | node.predicate.columns()
        return node.with_inputs([needed(node.input, wanted)])
    if isinstance(node, plan.Sort):
        wanted = None if columns is None else columns | set(node.keys)
        return node.with_inputs([needed(node.input, wanted)])
    if isinstance(node, plan.Aggregate):
        uses = [each.needs for each in node.aggregates]
        wanted = None if None in uses else {*node.keys, *(name for each in uses if each is not None for name in each)}
        return node.with_inputs([needed(node.input, wanted)])
    if isinstance(node, plan.Repartition) and columns is not None:
        return node.with_inputs([needed(node.input, columns | set(node.keys))])
    if isinstance(node, (plan.Limit, plan.Shuffle, plan.ShuffleBlocks, plan.Repartition, plan.Sample)):
        return node.with_inputs([needed(node.input, columns)])
    return node.with_inputs([needed(below, None) for below in node.inputs])


def _read(node: plan.Read, columns: set[str] | None) -> plan.Node:
    schema = node.source.schema() if columns is not None and node.source.can_select else None
    if schema is None or columns is None or not columns.issubset(schema.names):
        return node  # the error for a column that is not there comes where it was written
    order = [name for name in schema.names if name in columns]
    if len(order) == len(schema.names):
        return node
    source = node.source.with_columns(order or schema.names[:1])
    return node if source is None else replace(node, source=source)


def _project(node: plan.Project, columns: set[str] | None) -> plan.Node:
    made = node.columns
    if columns is not None:
        made = tuple((name, expr) for name, expr in made if name in columns or not expr.pure)
        if not made and not node.keep:
            made = node.columns[:1]  # the number of rows is needed, at least
    uses = {name for _, expr in made for name in expr.columns()}
    if node.keep:
        if columns is None:
            below = needed(node.input, None)
            return replace(node, input=below)
        back = {new: old for old, new in node.rename}
        uses |= {back.get(name, name) for name in columns if name not in dict(node.columns)}
        uses |= set(node.drop) | set(back.values())
    return replace(node, input=needed(node.input, uses), columns=made)


def is_plain_selection(node: plan.Project) -> bool:
    """Whether a projection only chooses columns, and computes nothing."""
    return not node.keep and all(
        isinstance(expr.expr if isinstance(expr, Alias) else expr, Column) for _, expr in node.columns
    )
