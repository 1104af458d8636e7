"""Operators in Polars' words, one at a time.

INV-1: rows come in the order that our own operators give them, where these give one at all: those of a join have any.
INV-2: the columns of what is said have the types of Polars for those that `schemas.py` tells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from .. import plan
from ..block import Block
from ..sources.parquet import Parquet
from ..storage import storage_of
from . import aggregates, expressions
from .types import Refused, dtype_of, is_float, is_integer, same

SEEN_ROWS = 10_000
SHARE_ALONE = 0.9
"""If so many of the first rows have keys of their own, they are sorted before they are grouped."""


class At(NamedTuple):
    """Where an operator stands.

    Args:
        inputs: the frames of Polars that come before it.
        columns: of each of these.
        made: its own columns.
        ordered: somebody may see in which order its rows come.
    """

    inputs: Sequence[Any]
    columns: Sequence[pa.Schema]
    made: pa.Schema
    ordered: bool = True


def say(node: plan.Node, at: At) -> Any:
    """An operator on frames of Polars.

    Raises:
        Refused: it cannot be said with the same meaning.
    """
    rule = _RULES.get(type(node))
    if rule is None:
        raise Refused(node.label)
    for field in at.made:
        dtype_of(field.type)
    return rule(node, at)


def given(table: Block) -> Any:
    """A table as a frame of Polars."""
    import polars as pl

    for field in table.schema:
        dtype_of(field.type)
    return pl.DataFrame(pl.from_arrow(table, rechunk=False)).lazy()


def empty(columns: pa.Schema) -> Any:
    """A frame without rows."""
    import polars as pl

    return pl.LazyFrame(schema={field.name: dtype_of(field.type) for field in columns})


def _read(node: plan.Read, at: At) -> Any:
    import polars as pl

    source = node.source
    if not is_scanned(source) or not isinstance(source, Parquet):
        raise Refused(f"this way to read {source.name}")
    paths = [storage_of(file.path)[1] for file in source.where.found]
    found = pl.scan_parquet(paths, glob=False, hive_partitioning=False)
    if source.predicate is not None:
        full = Parquet(source.where).schema()
        assert full is not None
        found = found.filter(expressions.say(source.predicate, full).expr)
    return found.select(at.made.names)


def is_scanned(source: Any) -> bool:
    """Whether Polars reads a source itself: plain Parquet files of this machine."""
    if type(source) is not Parquet or not source.is_local or source.condition is not None:
        return False
    where = source.where
    plain = where.filesystem is None and where.shuffle is None
    return plain and not any(where.extras(file.path) for file in where.found)


def _filter(node: plan.FilterExpr, at: At) -> Any:
    said = expressions.say(node.predicate, at.columns[0])
    if said.type != expressions.BOOL:
        raise Refused("a filter that is not true or false")
    return at.inputs[0].filter(said.expr)


def _project(node: plan.Project, at: At) -> Any:
    import polars as pl

    out: dict[str, Any] = {}
    if node.keep:
        names = dict(node.rename)
        out = {str(names.get(name, name)): pl.col(name) for name in at.columns[0].names if name not in node.drop}
    for name, expr in node.columns:
        if expr.spreads:
            raise Refused(str(expr))
        said = expressions.say(expr, at.columns[0])
        if not same(said.type, at.made.field(name).type):
            raise Refused(f"{expr}, which is {said.type} there")
        out[name] = said.expr
    if list(out) != at.made.names or not (node.keep or any(expr.columns() for _, expr in node.columns)):
        raise Refused("a projection of this kind")
    return at.inputs[0].select(**out)


def _limit(node: plan.Limit, at: At) -> Any:
    return at.inputs[0].head(node.rows)


def _top_rows(node: plan.TopRows, at: At) -> Any:
    return at.inputs[0]  # the sort and the limit above are seen through as well


def _sort(node: plan.Sort, at: At) -> Any:
    import polars as pl

    if node.boundaries:
        raise Refused("blocks that begin with given values")
    keys, down = [], []
    for name, descends in zip(node.keys, node.descending, strict=True):
        turned = descends and is_float(at.made.field(name).type)  # NaN comes after the numbers, whatever their order is
        keys.append(-pl.col(name) if turned else pl.col(name))
        down.append(descends and not turned)
    return at.inputs[0].sort(keys, descending=down, nulls_last=True, maintain_order=True)


def _aggregate(node: plan.Aggregate, at: At) -> Any:
    said = [aggregates.say(each, at.columns[0]) for each in node.aggregates]
    if not node.keys:
        return at.inputs[0].select(said)
    if not said:
        raise Refused("groups without anything of them")
    rows, keys = at.inputs[0], list(node.keys)
    if _hardly_repeats(node, at):  # to sort first is less work than to sort what hashing has mixed up
        return rows.sort(keys, nulls_last=True).group_by(keys, maintain_order=True).agg(said)
    return rows.group_by(keys).agg(said).sort(keys, nulls_last=True)


def _hardly_repeats(node: plan.Aggregate, at: At) -> bool:
    """Whether most rows seem to have a key of their own, judged by the first, where it is cheap to look at them."""
    key, *others = node.keys
    if others or node.input.inputs or not is_integer(at.columns[0].field(key).type):
        return False
    keys = at.inputs[0].select(key).head(SEEN_ROWS).collect().to_series()
    return len(keys) == SEEN_ROWS and keys.n_unique() > SHARE_ALONE * SEEN_ROWS


def _union(node: plan.Union, at: At) -> Any:
    import polars as pl

    if any(each != at.made for each in at.columns):
        raise Refused("parts with other columns")
    return pl.concat(at.inputs)


HOW = {"inner": "inner", "left_outer": "left", "left_semi": "semi", "left_anti": "anti"}
TURNED = {"right_semi": "semi", "right_anti": "anti"}


def _join(node: plan.Join, at: At) -> Any:
    for one, other in zip(node.left_keys, node.right_keys, strict=True):
        kinds = at.columns[0].field(one).type, at.columns[1].field(other).type
        if kinds[0] != kinds[1] or is_float(kinds[0]):
            raise Refused("keys of these types")
    left, right = list(node.left_keys), list(node.right_keys)
    order = "left_right" if at.ordered else "none"
    if node.how in TURNED:
        semi = TURNED[node.how]
        return at.inputs[1].join(at.inputs[0], left_on=right, right_on=left, how=semi, maintain_order=order)
    if node.how not in HOW:
        raise Refused(f"a join that is {node.how}")
    if node.how in ("left_semi", "left_anti"):
        semi = HOW[node.how]
        return at.inputs[0].join(at.inputs[1], left_on=left, right_on=right, how=semi, maintain_order=order)
    rest = [name for name in at.columns[1].names if name not in right]
    names = dict(zip(at.columns[0].names, at.made.names, strict=False))
    others = dict(zip(rest, at.made.names[len(names) :], strict=True)) | dict(zip(right, left, strict=True))
    renamed = [each.rename(to) for each, to in zip(at.inputs, (names, others), strict=True)]
    joined = renamed[0].join(renamed[1], on=left, how=HOW[node.how], coalesce=True, maintain_order=order)
    return joined.select(at.made.names)


_RULES: dict[type[plan.Node], Callable[..., Any]] = {
    plan.Read: _read,
    plan.FilterExpr: _filter,
    plan.Project: _project,
    plan.Limit: _limit,
    plan.TopRows: _top_rows,
    plan.Sort: _sort,
    plan.Aggregate: _aggregate,
    plan.Union: _union,
    plan.Join: _join,
}
