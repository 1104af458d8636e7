"""Expressions: arithmetic as Python's, nulls as SQL's, and functions of strings, times, lists, structs, maps and arrays."""

from __future__ import annotations

import datetime as dt
import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from skate.data import block as blocks, plan
from skate.data.errors import ColumnNotFoundError
from skate.data.expressions import (
    Expr,
    coalesce,
    col,
    download,
    if_else,
    lit,
    monotonically_increasing_id,
    pyarrow_udf,
    random,
    star,
    udf,
    unnest,
    uuid,
    when,
)

from .helpers import compute, one, parts_of, run

INTS = st.integers(-(2**31), 2**31)
FLOATS = st.floats(-1e9, 1e9, width=32)
SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(sorted(SIGNS)),
    st.one_of(st.tuples(INTS, INTS), st.tuples(FLOATS, FLOATS), st.tuples(INTS, FLOATS)),
    st.booleans(),
)
def test_arithmetic_is_that_of_python(sign: str, values: tuple[Any, Any], literal: bool) -> None:
    left, right = values
    if sign in ("/", "//", "%") and right == 0:
        right = 1
    wanted = SIGNS[sign](left, right)
    found = one(SIGNS[sign](col("a"), lit(right) if literal else col("b")), a=[left, None], b=[right, right])
    assert found[0] == pytest.approx(wanted, rel=1e-12, abs=1e-12) and type(found[0]) is type(wanted)
    assert found[1] is None
    assert one(SIGNS[sign](lit(left), col("b")), a=[1], b=[right]) == pytest.approx([wanted], rel=1e-12, abs=1e-12)


@settings(deadline=None)
@given(st.integers(-12, 12), st.integers(0, 9))
def test_powers_of_integers_are_integers(base: int, exponent: int) -> None:
    assert one(col("a") ** exponent, a=[base]) == [base**exponent]
    assert one(2 ** col("a"), a=[-exponent - 1]) == [2 ** (-exponent - 1)]


def test_division_by_zero() -> None:
    assert one(col("a") / 0, a=[1, -1]) == [math.inf, -math.inf]
    assert math.isnan(one(col("a") / 0, a=[0])[0])
    for expr in (col("a") // 0, col("a") % col("zero")):
        with pytest.raises(ZeroDivisionError, match="divide by zero"):
            one(expr, a=[1], zero=[0])


@pytest.mark.parametrize("expr", [col("a") + 1, col("a") * 2, -(-col("a") - 1) + 2, col("a") ** 2, 0 - (-col("a") - 2)])
def test_integers_that_grow_too_large_are_an_error(expr: Expr) -> None:
    with pytest.raises(OverflowError, match="overflow"):
        one(expr, a=[2**63 - 1])


BOOLS = st.sampled_from([True, False, None])
NUMBERS = st.one_of(st.none(), st.integers(-2, 2))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, BOOLS, BOOLS), min_size=1, max_size=8))
def test_nulls_are_those_of_sql(rows: list[tuple[Any, Any, Any, Any]]) -> None:
    names = ["a", "b", "p", "q"]
    types = [pa.int64(), pa.int64(), pa.bool_(), pa.bool_()]
    data = pa.table(
        [pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), types, strict=True)], names
    )
    exprs: dict[str, Expr] = {
        "a + b": col("a") + col("b"),
        "a < b": col("a") < col("b"),
        "a = b": col("a") == col("b"),
        "p and q": col("p") & col("q"),
        "p or q": col("p") | col("q"),
        "not p": ~col("p"),
        "a is null": col("a").is_null(),
        "a is not null": col("a").is_not_null(),
        "coalesce(a, b, 7)": coalesce(col("a"), col("b"), 7),
        "a between b and 1": col("a").between(col("b"), 1),
        "case when a > b then 1 when p then 2 else 3 end": when(col("a") > col("b")).then(1).when(col("p")).then(2).otherwise(3),
        "case when a > b then a end": when(col("a") > col("b")).then(col("a")).otherwise(),
        "if(p, a, b)": if_else(col("p"), col("a"), col("b")),
    }  # fmt: skip
    found = compute(data, **{f"c{at}": expr for at, expr in enumerate(exprs.values())})
    wanted = duckdb.sql(f"select {', '.join(exprs)} from data").fetchall()
    assert list(zip(*found.values(), strict=True)) == wanted


def test_membership_has_no_unknown() -> None:
    values = [1, 2, None]
    assert one(col("a").is_in([1, 5]), a=values) == [True, False, False]
    assert one(col("a").not_in([1, 5]), a=values) == [False, True, True]
    assert one(col("a").is_in([1, None]), a=values) == [True, False, True]
    assert one(col("a").is_in([1.5, 2.0]), a=values) == [False, True, False]
    assert one(col("a").is_in([]), a=values) == [False, False, False]


def test_an_expression_says_what_it_cannot_do() -> None:
    with pytest.raises(TypeError, match=r"\(col\('a'\) \* 2\): cannot be computed on string, int64"):
        one(col("a") * 2, a=["x"])
    with pytest.raises(ColumnNotFoundError, match=r"no column 'valu'.*Did you mean 'value'"):
        one(col("valu") + 1, value=[1])
    with pytest.raises(TypeError, match=r"use &, \| and ~"):
        bool(col("a") > 1)
    with pytest.raises(AttributeError, match="no attribute 'uper'"):
        col("a").uper  # noqa: B018
    with pytest.raises(ValueError, match="cast"):
        one(col("a").cast(int), a=["x"])


STRING_CASES: list[tuple[Expr, Callable[[str], Any]]] = [
    (col("s").str.len(), len),
    (col("s").str.byte_len(), lambda s: len(s.encode())),
    (col("s").str.upper(), str.upper),
    (col("s").str.lower(), str.lower),
    (col("s").str.capitalize(), str.capitalize),
    (col("s").str.swapcase(), str.swapcase),
    (col("s").str.reverse(), lambda s: s[::-1]),
    (col("s").str.strip(), str.strip),
    (col("s").str.lstrip("ab"), lambda s: s.lstrip("ab")),
    (col("s").str.rstrip(), str.rstrip),
    (col("s").str.contains("b"), lambda s: "b" in s),
    (col("s").str.starts_with("a"), lambda s: s.startswith("a")),
    (col("s").str.endswith("b"), lambda s: s.endswith("b")),
    (col("s").str.count("a"), lambda s: s.count("a")),
    (col("s").str.find("b"), lambda s: s.encode().find(b"b")),
    (col("s").str.replace("a", "xy"), lambda s: s.replace("a", "xy")),
    (col("s").str.replace("a", "", max_replacements=1), lambda s: s.replace("a", "", 1)),
    (col("s").str.slice(1, 3), lambda s: s[1:3]),
    (col("s").str.slice(-2), lambda s: s[-2:]),
    (col("s").str.split("a"), lambda s: s.split("a")),
    (col("s").str.split("a", max_splits=1, reverse=True), lambda s: s.rsplit("a", 1)),
    (col("s").str.repeat(2), lambda s: s * 2),
    (col("s").str.lpad(4, "-"), lambda s: s.rjust(4, "-")),
    (col("s").str.pad(4, "-"), lambda s: s.ljust(4, "-")),
    (col("s").str.zfill(4), lambda s: s.zfill(4)),
    (col("s").str.is_ascii(), str.isascii),
    (col("s").str.is_alpha(), str.isalpha),
    (col("s").str.is_space(), str.isspace),
    (col("s").str.concat("-", col("s")), lambda s: f"{s}-{s}"),
    ("<" + col("s") + ">", lambda s: f"<{s}>"),
]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text("abAB 1é", max_size=6)), min_size=1, max_size=6))
def test_strings_are_those_of_python(values: list[str | None]) -> None:
    data = pa.table({"s": pa.array(values, pa.string())})
    found = compute(data, **{str(at): expr for at, (expr, _) in enumerate(STRING_CASES)})
    for at, (expr, python) in enumerate(STRING_CASES):
        assert found[str(at)] == [None if value is None else python(value) for value in values], str(expr)


def test_patterns_in_strings() -> None:
    s = col("s").str
    values = ["ab12", "x", None]
    assert one(s.match("a%2"), s=values) == [True, False, None]
    assert one(s.match_regex("^[a-z]$"), s=values) == [False, True, None]
    assert one(s.find_regex("[0-9]"), s=values) == [2, -1, None]
    assert one(s.count_regex("[a-z]"), s=values) == [2, 1, None]
    assert one(s.contains("AB", ignore_case=True), s=values) == [True, False, None]
    assert one(s.extract(r"(?P<l>[a-z]+)(?P<n>\d+)"), s=values) == [{"l": "ab", "n": "12"}, None, None]
    assert one(s.replace_regex(r"(\d)(\d)", r"\2\1"), s=values) == ["ab21", "x", None]
    assert one(s.replace_slice(0, 1, "--"), s=values) == ["--b12", "--", None]
    assert one(s.split_regex("[0-9]"), s=values) == [["ab", "", ""], ["x"], None]
    assert one(s.split_whitespace(), s=["a  b", None]) == [["a", "b"], None]
    assert one(s.title(), s=["new york"]) == ["New York"]
    assert one(s.center(3), s=["x"]) == [" x "]
    for expr in (s.is_digit(), s.is_decimal(), s.is_numeric(), s.is_alnum()):
        assert one(expr, s=["12", "a-"]) == [True, False]
    assert one(s.is_upper(), s=["AB", "aB"]) == [True, False] == one(s.is_lower(), s=["ab", "aB"])
    assert one(s.is_title(), s=["Ab", "aB"]) == [True, False] == one(s.is_printable(), s=["ab", "\n"])
    with pytest.raises(ValueError, match="side='middle'"):
        s.pad(3, side="middle")  # type: ignore[arg-type]
    assert one(col("s").str.upper(), s=pa.array(["a", "b", "a"]).dictionary_encode()) == ["A", "B", "A"]


MOMENT = dt.datetime(2024, 2, 29, 23, 58, 59, 123456)


def test_times() -> None:
    t = col("t").dt
    parts = {
        "year": 2024, "quarter": 1, "month": 2, "day": 29, "day_of_week": 3, "day_of_year": 60, "iso_week": 9, "iso_year": 2024,
        "is_leap_year": True, "hour": 23, "minute": 58, "second": 59, "millisecond": 123, "microsecond": 456, "nanosecond": 0,
    }  # fmt: skip
    for name, wanted in parts.items():
        assert one(getattr(t, name)(), t=[MOMENT, None]) == [wanted, None], name
    assert one(t.date(), t=[MOMENT]) == [MOMENT.date()]
    assert one(t.time(), t=[MOMENT]) == [MOMENT.time()]
    assert one(t.epoch("ms"), t=[MOMENT]) == [int(MOMENT.replace(tzinfo=dt.UTC).timestamp() * 1000)]
    assert one(t.strftime("%Y/%m"), t=[MOMENT]) == ["2024/02"]
    assert one(t.floor("hour"), t=[MOMENT]) == [MOMENT.replace(minute=0, second=0, microsecond=0)]
    assert one(t.ceil("month"), t=[MOMENT]) == [dt.datetime(2024, 3, 1)]
    assert one(t.round("minute", 15), t=[MOMENT]) == [dt.datetime(2024, 3, 1)]
    assert one(col("s").str.strptime("%d.%m.%Y"), s=["29.02.2024"]) == [dt.datetime(2024, 2, 29)]
    assert one(col("s").str.strptime("%d.%m.%Y", errors_null=True), s=["x"]) == [None]


def test_arithmetic_of_times() -> None:
    day = dt.timedelta(days=1)
    assert one(col("t") + day, t=[MOMENT]) == [MOMENT + day]
    assert one(col("t") - MOMENT, t=[MOMENT + day]) == [day]
    assert one(col("t") >= MOMENT, t=[MOMENT]) == [True]
    assert one(col("d") + day, d=[MOMENT.date()]) == [dt.datetime(2024, 3, 1)]
    assert one(col("d") < dt.date(2024, 3, 1), d=[MOMENT.date()]) == [True]
    zoned = col("t").dt.replace_time_zone("Europe/Berlin")
    assert one(zoned.dt.convert_time_zone("UTC").dt.hour(), t=[MOMENT]) == [22]
    assert one(zoned.dt.hour(), t=[MOMENT]) == [23] and one(zoned.dt.date(), t=[MOMENT]) == [MOMENT.date()]


LISTS = st.lists(
    st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(-3, 3)), max_size=5)), min_size=1, max_size=6
)


@settings(max_examples=40, deadline=None)
@given(LISTS, st.integers(-4, 4), st.integers(-4, 4), st.integers(1, 3), st.integers(0, 2))
def test_lists_are_those_of_python(values: list[Any], index: int, stop: int, step: int, cut: int) -> None:
    whole = pa.table({"l": pa.array([[9], *values], pa.list_(pa.int64()))})
    data, values = whole.slice(cut), [[9], *values][cut:]
    found = compute(
        data,
        len=col("l").list.len(),
        get=col("l").list[index],
        cut=col("l").list[index:stop:step],
        rest=col("l").list[index:],
        up=col("l").list.sort(),
        down=col("l").list.sort("descending", "at_start"),
        sum=col("l").list.sum(),
        max=col("l").list.max(),
        has=col("l").list.contains(2),
    )

    def each(function: Callable[[list[Any]], Any]) -> list[Any]:
        return [None if value is None else function(value) for value in values]

    def real(value: list[Any]) -> list[int]:
        return [item for item in value if item is not None]

    def blank(value: list[Any]) -> list[None]:
        return [None] * (len(value) - len(real(value)))

    assert found["len"] == each(len)
    assert found["get"] == each(lambda value: value[index] if -len(value) <= index < len(value) else None)
    assert found["cut"] == each(lambda value: value[index:stop:step])
    assert found["rest"] == each(lambda value: value[index:])
    assert found["up"] == each(lambda value: sorted(real(value)) + blank(value))
    assert found["down"] == each(lambda value: blank(value) + sorted(real(value), reverse=True))
    assert found["sum"] == each(lambda value: sum(real(value)) if real(value) else None)
    assert found["max"] == each(lambda value: max(real(value), default=None))
    assert found["has"] == each(lambda value: 2 in value)


def test_nested_values() -> None:
    nested = pa.array([[[1, 2], None, [3]], None, [], [[4]]], pa.list_(pa.list_(pa.int64())))
    assert one(col("l").list.flatten(), l=nested) == [[1, 2, 3], None, [], [4]]
    assert one(col("l").list.flatten(), l=nested.slice(2)) == [[], [4]]
    assert one(col("l").list.join("-"), l=[["a", "b"], []]) == ["a-b", ""]
    assert one(col("l").list.mean(), l=pa.array([[1, 2]], pa.list_(pa.int64(), 2))) == [1.5]
    structs = [{"a": 1, "b": "x"}, None]
    assert one(col("s").struct["a"], s=structs) == [1, None] == one(col("s").struct.field_by_index(0), s=structs)
    maps = pa.array([[("k", 1), ("l", 2)], None, []], pa.map_(pa.string(), pa.int64()))
    assert one(col("m").map.keys(), m=maps) == [["k", "l"], None, []]
    assert one(col("m").map.values(), m=maps.slice(1)) == [None, []]
    assert one(col("a").arr.to_list(), a=np.arange(4).reshape(2, 2)) == [[0, 1], [2, 3]]
    assert one(col("a").arr.to_list(), a=[np.arange(2), np.arange(3)]) == [[0, 1], [0, 1, 2]]
    with pytest.raises(TypeError, match="one dimension"):
        one(col("a").arr.to_list(), a=np.zeros((1, 2, 2)))
    with pytest.raises(TypeError, match="int64 is no type of lists"):
        one(col("a").list.sort(), a=[1])


def test_columns_that_are_spread() -> None:
    data = blocks.from_columns({"a": [1, 2], "s": [{"x": 1, "y": "p"}, {"x": 2, "y": "q"}]})
    found = run(plan.Project(parts_of(data, 1), (("", unnest(col("s"))), ("", star()), ("b", col("a") * 2))))
    assert found.column_names == ["x", "y", "a", "s", "b"]
    assert found.column("y").to_pylist() == ["p", "q"]
    with pytest.raises(TypeError, match="is int64, not a struct"):
        run(plan.Project(parts_of(data, 1), (("", unnest(col("a"))),)))


def test_users_functions_get_arrow_arrays() -> None:
    @udf(return_dtype=pa.int64())
    def twice(values: pa.Array, plus: pa.Array) -> list[int]:
        assert isinstance(values, pa.Array)
        return [2 * value + more for value, more in zip(values.to_pylist(), plus.to_pylist(), strict=True)]

    @pyarrow_udf(return_dtype="float64")
    class Scale:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def __call__(self, values: pa.Array) -> pa.Array:
            return pa.array([self.factor * value for value in values.to_pylist()])

    assert one(twice(col("a"), plus=1) + 1, a=[1, 2]) == [4, 6]
    assert one(Scale(3)(col("a")), a=[1, 2]) == [3.0, 6.0]
    with pytest.raises(ValueError, match="returned 1 values for 2 rows"):
        one(udf()(lambda values: [1])(col("a")), a=[1, 2])


def test_generated_columns(tmp_path: Path) -> None:
    data = parts_of(pa.table({"a": range(20)}), 4)
    columns = (
        ("id", monotonically_increasing_id()),
        ("r", random(seed=1, reseed_after_execution=False)),
        ("next", random(seed=1)),
        ("u", uuid()),
    )
    node = plan.Project(data, columns, keep=True)
    first, second = run(node), run(node)
    ids = first.column("id").to_pylist()
    assert len(set(ids)) == 20 and ids == sorted(ids) and ids[:5] == [0, 1, 2, 3, 4]
    assert first.column("r") == second.column("r") and first.column("next") != second.column("next")
    assert len(set(first.column("r").to_pylist())) == 20 == len(set(first.column("u").to_pylist()))
    assert all(0 <= value < 1 for value in first.column("r").to_pylist())
    kept = run(plan.FilterExpr(node, col("a") >= 10))
    assert (
        kept.column("id").to_pylist() == ids[10:] and kept.column("r").to_pylist() == first.column("r").to_pylist()[10:]
    )
    (tmp_path / "x").write_bytes(b"abc")
    assert one(download("p"), p=[str(tmp_path / "x"), None]) == [b"abc", None]
