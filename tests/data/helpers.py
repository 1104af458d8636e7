"""What the tests of plans share: datasets of rows, and plans carried out here."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa

from skate.data import block as blocks, plan
from skate.data.context import DataContext
from skate.data.execution.executor import Execution
from skate.data.execution.inline import InlineRunner
from skate.data.expressions import Expr
from skate.data.lower import Lowering
from skate.data.optimize import optimize
from skate.data.run import table

BUDGET = 1 << 40


def parts_of(whole: pa.Table, count: int) -> plan.Node:
    """A table as so many blocks."""
    cuts = [whole.num_rows * at // count for at in range(count + 1)]
    pieces = [whole.slice(first, last - first) for first, last in itertools.pairwise(cuts)]
    return plan.Blocks([(piece, blocks.meta_of(piece)) for piece in pieces])


def run(node: plan.Node, optimized: bool = True, **settings: Any) -> pa.Table:
    """The rows of a plan, computed in this process; with `shuffle_partitions=3`, exchanges have so many parts."""
    execution = Execution(
        Lowering(DataContext(**settings), 3).lower(optimize(node) if optimized else node), InlineRunner(), BUDGET
    )
    return blocks.concat([table(bundle) for bundle in execution])


def compute(whole: pa.Table, **columns: Expr) -> dict[str, list[Any]]:
    """The values of expressions over a table of one block."""
    found: dict[str, list[Any]] = run(plan.Project(parts_of(whole, 1), tuple(columns.items()))).to_pydict()
    return found


def one(expr: Expr, **values: Any) -> Any:
    """The values of an expression over columns."""
    return compute(blocks.from_columns(values), out=expr)["out"]


def source_of(dataset: Any) -> Any:
    """The source at the bottom of the optimised plan."""
    return next(node.source for node in plan.walk(optimize(dataset._node)) if isinstance(node, plan.Read))
