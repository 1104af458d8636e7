"""Projections and filters by expressions, as tasks run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from . import plan
from .block import Block
from .compute import pc
from .expr import Expr, as_column
from .functions import HERE, Transform
from .keys import check_columns


class Star(Expr):
    """All columns that there are."""

    spreads = True

    def spread(self, block: Block) -> Mapping[str, Any]:
        return dict(zip(block.column_names, block.columns, strict=True))

    def __str__(self) -> str:
        return "star()"


class Unnest(Expr):
    """The fields of a struct, each as a column."""

    spreads = True

    def __init__(self, expr: Expr) -> None:
        self.expr = expr

    def children(self) -> Sequence[Expr]:
        return (self.expr,)

    def with_children(self, children: Sequence[Expr]) -> Expr:
        return Unnest(*children)

    def spread(self, block: Block) -> Mapping[str, Any]:
        values = as_column(self.expr.evaluate(block), block.num_rows)
        if not pa.types.is_struct(values.type):
            raise TypeError(f"{self}: {self.expr} is {values.type}, not a struct")
        return {field.name: pc.struct_field(values, [at]) for at, field in enumerate(values.type)}

    def __str__(self) -> str:
        return f"unnest({self.expr})"


def _started(part: Expr) -> Expr:
    return part.started()


def project(node: plan.Project) -> Transform:
    """What a projection does in a task."""
    started = replace(node, columns=tuple((name, expr.rewrite(_started)) for name, expr in node.columns))
    return partial(_by_block, partial(project_block, replace(started, input=NOTHING)))


NOTHING = plan.Blocks(())
"""What comes before a projection does not travel along with it."""


def _by_block(run: Callable[[Block], Block], source: Iterator[Block]) -> Iterator[Block]:
    """A function of the module, so that `HERE` is that of the process that runs it."""
    first = 0
    for block in source:
        HERE.row = first
        yield run(block)
        first += block.num_rows


def project_block(node: plan.Project, block: Block) -> Block:
    """The columns that a projection makes of a block."""
    out: dict[str, Any] = _kept(node, block) if node.keep else {}
    for name, expr in node.columns:
        if expr.spreads:
            out.update(expr.spread(block))
        else:
            out[name] = as_column(expr.evaluate(block), block.num_rows)
    return pa.table(out) if out else block.select([])


def _kept(node: plan.Project, block: Block) -> dict[str, Any]:
    names = dict(node.rename)
    check_columns(block, (*node.drop, *names))
    dropped = set(node.drop)
    out: dict[str, Any] = {}
    for name, values in zip(block.column_names, block.columns, strict=True):
        if name in dropped:
            continue
        new = str(names.get(name, name))
        if new in out:
            raise ValueError(f"two columns would be called {new!r}")
        out[new] = values
    return out


def filter_rows(predicate: Expr) -> Transform:
    """What a filter by an expression does in a task. Rows for which it is null are left out."""
    return partial(_by_block, partial(_filtered, predicate.rewrite(_started)))


def _filtered(predicate: Expr, block: Block) -> Block:
    mask = as_column(predicate.evaluate(block), block.num_rows)
    if not pa.types.is_boolean(mask.type) and not pa.types.is_null(mask.type):
        raise TypeError(f"{predicate} is {mask.type}, not true or false")
    return block.filter(mask.cast(pa.bool_()))
