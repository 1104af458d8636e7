"""Rewrites of a plan that change how much is read and computed, and never what comes out.

Projections, predicates and limits move towards the source, as far as expressions can be seen through. A user's function is never
looked into: nothing that depends on its columns moves below it. A predicate meets more rows where it moves to than where it was
written only if it cannot fail on them (INV-1).

Each rule is a function from a node to a node; `push` applies them from the source upwards, and again where something changed.
Then `pruning.py` leaves out the columns that nobody needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from . import kernels, plan
from .expr import Alias, Call, Column, Expr, Literal
from .pruning import needed
from .schemas import schema

Rule = Callable[[plan.Node], plan.Node | None]
"""The node in place of another; None: the rule does not apply."""

TOP_ROWS = 100_000
"""A sort of which no more is wanted looks for them in each block first."""
MAX_SIZE = 100
"""A predicate of more parts stays where it is: what it would compute again costs more than the rows that it leaves out."""
FILTERED_LEFT = frozenset({"inner", "left_outer", "left_semi", "left_anti"})
"""Joins of which a predicate over left columns may leave out left rows before."""
FILTERED_RIGHT = frozenset({"inner", "right_outer", "right_semi", "right_anti"})


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


# ---------------------------------------------------------------- what may be moved


def computed_alike(node: plan.Project) -> bool:
    """Whether a projection makes the same of a row wherever it stands, and of each row one."""
    return all(expr.pure and not expr.spreads for _, expr in node.columns)


def cannot_fail(expr: Expr) -> bool:
    """Whether an expression has a value for any row, if it has for one; see INV-1."""
    if isinstance(expr, (Column, Literal, Alias)):
        return all(map(cannot_fail, expr.children()))
    return isinstance(expr, Call) and expr.function in kernels.SEEN_THROUGH and all(map(cannot_fail, expr.children()))


def size(expr: Expr) -> int:
    """Of how many parts an expression is made."""
    return 1 + sum(map(size, expr.children()))


def conjuncts(expr: Expr) -> list[Expr]:
    """What all has to be true."""
    if isinstance(expr, Call) and expr.function == "and_kleene":
        return [part for arg in expr.args for part in conjuncts(arg)]
    return [expr]


def _filtered(node: plan.Node, parts: Sequence[Expr]) -> plan.Node:
    """The rows of a node for which all is true."""
    if not parts:
        return node
    predicate = parts[0]
    for part in parts[1:]:
        predicate = predicate & part
    return plan.FilterExpr(node, predicate)


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
    one_to_one = (isinstance(below, plan.Project) and computed_alike(below)) or (
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
    left = None if source is None else source.count_at_most()
    if source is None or left is None or (rows is not None and left >= rows):
        return None  # it would be asked forever
    return plan.Limit(replace(node.input, source=source), node.rows)


def limit_of_sort(node: plan.Node) -> plan.Node | None:
    """Of each block, only its first rows in the order can be among the first of all."""
    if not isinstance(node, plan.Limit) or not isinstance(node.input, plan.Sort) or node.rows > TOP_ROWS:
        return None
    sort = node.input
    if isinstance(sort.input, plan.TopRows):
        return None
    top = plan.TopRows(sort.input, sort.keys, sort.descending, node.rows)
    return plan.Limit(sort.with_inputs([top]), node.rows)


# ---------------------------------------------------------------- predicates


def merge_filters(node: plan.Node) -> plan.Node | None:
    """Two in a row are one, if the second may see the rows that the first would have left out."""
    if not isinstance(node, plan.FilterExpr) or not isinstance(node.input, plan.FilterExpr):
        return None
    if node.input.predicate.pure and cannot_fail(node.predicate):
        return plan.FilterExpr(node.input.input, node.input.predicate & node.predicate)
    return None


def filter_below_project(node: plan.Node) -> plan.Node | None:
    """A predicate over computed columns is one over those that they are computed of."""
    if not isinstance(node, plan.FilterExpr) or not isinstance(node.input, plan.Project):
        return None
    project = node.input
    if not node.predicate.pure or not computed_alike(project):
        return None
    columns = _origins(project, node.predicate.columns())
    if columns is None:
        return None
    predicate = node.predicate.substitute(columns)
    return project.with_inputs([plan.FilterExpr(project.input, predicate)]) if size(predicate) <= MAX_SIZE else None


def _origins(project: plan.Project, names: set[str]) -> dict[str, Expr] | None:
    """What columns of a projection are computed of; None: not all of them are there, which is an error to come."""
    made = dict(project.columns)
    back = {new: old for old, new in project.rename}
    gone = set(project.drop) | set(dict(project.rename))
    columns: dict[str, Expr] = {}
    for name in names:
        if name in made:
            columns[name] = made[name]
        elif name in back:
            columns[name] = Column(back[name])
        elif not project.keep or name in gone:
            return None
    return columns


def filter_below_order(node: plan.Node) -> plan.Node | None:
    """Rows that are left out need not be put in order."""
    if isinstance(node, plan.FilterExpr) and isinstance(node.input, plan.Sort) and node.predicate.pure:
        return node.input.with_inputs([plan.FilterExpr(node.input.input, node.predicate)])
    return None


def filter_below_union(node: plan.Node) -> plan.Node | None:
    """Each part has its own."""
    if isinstance(node, plan.FilterExpr) and isinstance(node.input, plan.Union) and node.predicate.pure:
        return plan.Union(tuple(plan.FilterExpr(part, node.predicate) for part in node.input.parts))
    return None


def filter_below_aggregate(node: plan.Node) -> plan.Node | None:
    """Groups that are left out by their keys need not be made."""
    if not isinstance(node, plan.FilterExpr) or not isinstance(node.input, plan.Aggregate):
        return None
    keys = set(node.input.keys)
    below, above = list[Expr](), list[Expr]()
    for part in conjuncts(node.predicate):
        movable = part.columns() and part.columns() <= keys and cannot_fail(part)
        (below if movable else above).append(part)
    if not below:
        return None
    return _filtered(node.input.with_inputs([_filtered(node.input.input, below)]), above)


def filter_below_join(node: plan.Node) -> plan.Node | None:
    """Rows that are left out by the columns of one side need not be joined."""
    if not isinstance(node, plan.FilterExpr) or not isinstance(node.input, plan.Join):
        return None
    join = node.input
    known = schema(join.left), schema(join.right)
    if known[0] is None or known[1] is None:
        return None
    one_side = join.how in ("right_semi", "right_anti")  # which have the right names
    keys = {} if one_side else {one: Column(other) for one, other in zip(join.left_keys, join.right_keys, strict=True)}
    own = _own_columns(join, known[0].names, known[1].names)
    left, right, above = list[Expr](), list[Expr](), list[Expr]()
    for part in conjuncts(node.predicate):
        names = part.columns()
        movable = bool(names) and cannot_fail(part)
        goes_left = movable and join.how in FILTERED_LEFT and names <= own[0]
        goes_right = movable and join.how in FILTERED_RIGHT and names <= own[1]
        if goes_left:
            left.append(part)
        if goes_right:
            right.append(part.substitute(keys))
        if not goes_left and not goes_right:
            above.append(part)
    if not left and not right:
        return None
    return _filtered(join.with_inputs([_filtered(join.left, left), _filtered(join.right, right)]), above)


def _own_columns(join: plan.Join, left: Sequence[str], right: Sequence[str]) -> tuple[set[str], set[str]]:
    """The columns of the result that each side has under the same name, and the keys."""
    if join.how in ("left_semi", "left_anti"):
        return set(left), set()
    if join.how in ("right_semi", "right_anti"):
        return set(), set(right)
    rest = set(right) - set(join.right_keys)
    both = set(left) & rest
    return set(left) - both, (rest - both) | set(join.left_keys)


def filter_source(node: plan.Node) -> plan.Node | None:
    """A source that can leave rows out does so."""
    if not isinstance(node, plan.FilterExpr) or not isinstance(node.input, plan.Read):
        return None
    above: list[Expr] = []
    source = node.input.source
    for part in conjuncts(node.predicate):
        found = source.with_filter(part) if part.pure else None
        source = source if found is None else found
        if found is None:
            above.append(part)
    return None if source is node.input.source else _filtered(replace(node.input, source=source), above)


# ---------------------------------------------------------------- projections and blocks


def merge_projects(node: plan.Node) -> plan.Node | None:
    """Of two in a row, the first only gives columns other names, or computes what is used once."""
    if not isinstance(node, plan.Project) or not isinstance(node.input, plan.Project) or node.keep:
        return None
    below = node.input
    if not computed_alike(node) or not computed_alike(below) or below.drop or below.rename:
        return None  # that what is dropped or renamed is there is checked by the projection itself
    uses = [name for _, expr in node.columns for name in _names(expr)]
    made = {name for name, expr in below.columns if not isinstance(expr, (Column, Literal))}
    columns = _origins(below, set(uses))
    if columns is None or not uses or any(uses.count(name) > 1 for name in made):
        return None
    return replace(
        node, input=below.input, columns=tuple((name, expr.substitute(columns)) for name, expr in node.columns)
    )


def _names(expr: Expr) -> list[str]:
    """Each use of a column."""
    if isinstance(expr, Column):
        return [expr.name]
    return [name for child in expr.children() for name in _names(child)]


def merge_repartitions(node: plan.Node) -> plan.Node | None:
    """Blocks need not be cut that are cut again at once."""
    if isinstance(node, plan.Repartition) and isinstance(node.input, plan.Repartition):
        return replace(node, input=node.input.input)
    return None


RULES: tuple[Rule, ...] = (
    merge_limits,
    limit_below_rows,
    limit_source,
    limit_of_sort,
    merge_filters,
    filter_below_project,
    filter_below_order,
    filter_below_union,
    filter_below_aggregate,
    filter_below_join,
    filter_source,
    merge_projects,
    merge_repartitions,
)
