"""Rewrites of a plan that change how much is read, and never what comes out.

Projections and predicates move towards the source as far as expressions can be seen through; a user's function is never looked into.
"""

from __future__ import annotations

from . import plan


def optimize(node: plan.Node) -> plan.Node:
    """The plan to carry out."""
    node = node.with_inputs([optimize(below) for below in node.inputs])
    if isinstance(node, plan.Limit):
        return _limit(node)
    return node


def _limit(node: plan.Limit) -> plan.Node:
    below = node.input
    if isinstance(below, plan.Limit):
        return _limit(plan.Limit(below.input, min(node.rows, below.rows)))
    if isinstance(below, plan.Project):
        return below.with_inputs([_limit(plan.Limit(below.input, node.rows))])
    if isinstance(below, plan.MapFunction) and below.kind == "map" and below.pool is None:
        return below.with_inputs([_limit(plan.Limit(below.input, node.rows))])
    if isinstance(below, plan.Read):
        source = below.source.with_limit(node.rows)
        if source is not None:
            return plan.Limit(plan.Read(source, below.blocks, below.options, below.concurrency), node.rows)
    return node
