"""Which parts of a plan Polars carries out, and how they are.

A part is a tree of operators that can all be said to Polars, as `plans.py` does. What stands below them and cannot, we carry out
first: it is `Given` to Polars as tables. A part is delegated if there is something in it that needs all rows: a sort, a join,
groups. What takes one block at a time is as fast our way, and its first rows come sooner.

INV-1: whatever Polars refuses or fails at, our own way does again, from the same tables. So it is that which says errors.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, NamedTuple

import pyarrow as pa

from .. import block as blocks, plan
from ..block import Block, meta_of
from ..context import DataContext
from ..schemas import schema
from .plans import At, empty, given, is_scanned, say
from .types import Refused, failures

log = logging.getLogger(__name__)


class _Cut(NamedTuple):
    """An operator with all that is below it.

    Args:
        own: as we carry it out, with parts for Polars below.
        said: as Polars does; `Given` if it cannot.
        columns: None: only its rows could tell.
    """

    own: plan.Node
    said: plan.Node
    columns: pa.Schema | None


def delegated(node: plan.Node) -> plan.Node:
    """A plan with the parts marked that Polars is to carry out; as it is, if Polars is not installed."""
    return _cut(node).own if _pays(node) and find_spec("polars") is not None else node


def _cut(node: plan.Node) -> _Cut:
    below = [_cut(each) for each in node.inputs]
    own = node.with_inputs([each.own for each in below])
    columns = _columns(node, [each.columns for each in below])
    try:
        known = [each.columns for each in below if each.columns is not None]
        if columns is None or len(known) < len(below):
            raise Refused("columns that only rows could tell")
        say(node, At([empty(each) for each in known], known, columns))
    except failures() as why:
        log.debug("%s is not said to Polars: %r", node.label, why)
        return _Cut(own, plan.Given(own), columns)
    said = node.with_inputs([each.said for each in below])
    return _Cut(plan.Polars(said) if _pays(said) else own, said, columns)


def _columns(node: plan.Node, below: Sequence[pa.Schema | None]) -> pa.Schema | None:
    if None in below:
        return None
    inputs = [plan.Blocks([(each.empty_table(), meta_of(each.empty_table()))]) for each in below if each is not None]
    try:
        return schema(node.with_inputs(inputs))
    except (KeyError, TypeError, ValueError):
        return None  # our own way says the error


def _pays(node: plan.Node) -> bool:
    """Whether something needs all rows, or adds up those of files that Polars reads."""
    found = plan.walk(node)
    sums = [each for each in found if isinstance(each, plan.Aggregate)]
    if any(isinstance(each, (plan.Sort, plan.Join)) for each in found) or any(each.keys for each in sums):
        return True
    reads = all(each.inputs or (isinstance(each, plan.Read) and is_scanned(each.source)) for each in found)
    return bool(sums) and reads and not any(isinstance(each, plan.Given) for each in found)


# ---------------------------------------------------------------- carrying out


def givens(node: plan.Node) -> list[plan.Given]:
    """What we carry out before Polars begins with a part."""
    return [node] if isinstance(node, plan.Given) else [each for below in node.inputs for each in givens(below)]


def carry_out(
    node: plan.Node, known: Sequence[pa.Schema | None], context: DataContext, counts: Sequence[int], *inputs: Block
) -> Iterator[Block]:
    """The rows of a part.

    Args:
        known: the columns of what is given, for those of which there are no blocks.
        context: the settings.
        counts: how many of the blocks are of the first that is given, of the second, ...
        inputs: their blocks.
    """
    tables = []
    for count, columns in zip(counts, known, strict=True):
        mine, inputs = inputs[:count], inputs[count:]
        tables.append(blocks.concat(mine) if mine or columns is None else columns.empty_table())
    whole = _with_tables(node, iter(tables))
    try:
        found = _result(whole)
    except failures() as why:
        log.info("Polars does not carry this out: %r", why)
        from ..run import blocks_of

        yield from blocks_of(whole, replace(context, use_polars=False))
    else:
        yield found


def _with_tables(node: plan.Node, tables: Iterator[Block]) -> plan.Node:
    if isinstance(node, plan.Given):
        table = next(tables)
        return plan.Blocks([(table, meta_of(table))])
    return node.with_inputs([_with_tables(below, tables) for below in node.inputs])


def _result(node: plan.Node) -> Block:
    import polars as pl

    frame, columns = _said(node, True)
    found = frame.collect().to_arrow(compat_level=pl.CompatLevel.oldest())
    return found.cast(columns)


def _said(node: plan.Node, ordered: bool) -> tuple[Any, pa.Schema]:
    if isinstance(node, plan.Blocks):
        table = node.blocks[0][0]
        return given(table), table.schema.remove_metadata()
    below = [_said(each, ordered and not isinstance(node, plan.Aggregate)) for each in node.inputs]
    columns = _columns(node, [each for _, each in below])
    if columns is None:
        raise Refused("columns that are not there")
    return say(node, At([frame for frame, _ in below], [each for _, each in below], columns, ordered)), columns
