"""Expressions that are written as text: `"id > 3 and name in ['a', 'b']"`. Python's parser reads the text."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

from .expressions import Column, Expr, lit

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def parse(text: str) -> Expr:
    """The expression that a text says.

    Raises:
        ValueError: it is no expression over columns.

    Example:
        >>> sorted(parse("a > 1 and b == 'x'").columns())
        ['a', 'b']
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise ValueError(f"{text!r} is no expression: {error.msg}") from None
    return _expression(tree.body, text)


def _expression(node: ast.expr, text: str) -> Expr:
    if isinstance(node, ast.Name):
        return Column(node.id)
    if isinstance(node, ast.Constant):
        return lit(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.Invert)):
        return ~_expression(node.operand, text)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = node.operand
        return lit(-inner.value) if _is_number(inner) else -_expression(inner, text)  # type: ignore[attr-defined]
    if isinstance(node, ast.BoolOp):
        join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        return reduce(join, [_expression(each, text) for each in node.values])
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        made: Expr = _BINARY[type(node.op)](_expression(node.left, text), _expression(node.right, text))
        return made
    if isinstance(node, ast.Compare):
        return _comparison(node, text)
    raise ValueError(
        f"{text!r}: {ast.unparse(node)!r} cannot be used in an expression that is text; use skate.data.col"
    )


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float))


def _comparison(node: ast.Compare, text: str) -> Expr:
    parts: list[Expr] = []
    left = node.left
    for op, right in zip(node.ops, node.comparators, strict=True):
        parts.append(_compared(left, op, right, text))
        left = right
    return reduce(operator.and_, parts)


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr, text: str) -> Expr:
    value = _expression(left, text)
    if isinstance(op, (ast.In, ast.NotIn)):
        if not isinstance(right, (ast.List, ast.Tuple, ast.Set)):
            raise ValueError(f"{text!r}: what comes after `in` must be a list of values")
        try:
            choices = list(ast.literal_eval(right))
        except (ValueError, TypeError):
            raise ValueError(f"{text!r}: what comes after `in` must be a list of values") from None
        return value.is_in(choices) if isinstance(op, ast.In) else value.not_in(choices)
    if isinstance(op, (ast.Is, ast.IsNot)):
        if not (isinstance(right, ast.Constant) and right.value is None):
            raise ValueError(f"{text!r}: `is` is for None only")
        return value.is_null() if isinstance(op, ast.Is) else value.is_not_null()
    made: Expr = _COMPARE[type(op)](value, _expression(right, text))
    return made
