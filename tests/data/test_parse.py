"""Expressions that are written as text."""

from __future__ import annotations

import pytest

from skate.data import col
from skate.data.parse import parse


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a > 1 and b == 'x'", (col("a") > 1) & (col("b") == "x")),
        ("b < a <= -3.5", (col("b") < col("a")) & (col("a") <= -3.5)),
        ("not (a + b * 2 == c) or d", ~((col("a") + col("b") * 2) == col("c")) | col("d")),
        ("a in [1, 2] and b not in ('x',)", col("a").is_in([1, 2]) & col("b").not_in(["x"])),
        ("a is None or b is not None", col("a").is_null() | col("b").is_not_null()),
        ("-a % 2 != b // 3", (-col("a")) % 2 != col("b") // 3),
    ],
)
def test_a_text_is_the_expression_that_python_reads(text: str, same: object) -> None:
    assert str(parse(text)) == str(same)


@pytest.mark.parametrize("text", ["a >", "f(a)", "a.b > 1", "a in b", "a in 'bc'", "a is 3", "[a]", "lambda: a"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expression|list of values|None only"):
        parse(text)
