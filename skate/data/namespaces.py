"""Functions of one type of values, grouped: `col("name").str.upper()`, `col("day").dt.year()`, `col("tags").list.len()`.

All are Arrow's, or made of them in `kernels.py` and `nested.py`. A null stays one.
"""

from __future__ import annotations

from typing import Any, Literal

from .expr import Call, Expr, Literal as Value

Unit = Literal[
    "year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond", "microsecond", "nanosecond"
]


_slice = slice
"""`ListNamespace.slice` hides the type inside of the class."""


class Namespace:
    """Functions of an expression."""

    def __init__(self, expr: Expr) -> None:
        self._expr = expr

    def _call(self, function: str, /, **options: Any) -> Expr:
        return Call(function, (self._expr,), options)


class StringNamespace(Namespace):
    """Functions of strings. Patterns of regular expressions are those of RE2."""

    def len(self) -> Expr:
        """The number of characters."""
        return self._call("utf8_length")

    def byte_len(self) -> Expr:
        """The number of bytes."""
        return self._call("binary_length")

    def upper(self) -> Expr:
        """In capital letters."""
        return self._call("utf8_upper")

    def lower(self) -> Expr:
        """In small letters."""
        return self._call("utf8_lower")

    def capitalize(self) -> Expr:
        """The first letter large, the others small."""
        return self._call("utf8_capitalize")

    def title(self) -> Expr:
        """The first letter of each word large."""
        return self._call("utf8_title")

    def swapcase(self) -> Expr:
        """Large letters small, and the other way round."""
        return self._call("utf8_swapcase")

    def reverse(self) -> Expr:
        """Backwards."""
        return self._call("utf8_reverse")

    def is_alpha(self) -> Expr:
        """Whether there are only letters."""
        return self._call("utf8_is_alpha")

    def is_alnum(self) -> Expr:
        """Whether there are only letters and digits."""
        return self._call("utf8_is_alnum")

    def is_digit(self) -> Expr:
        """Whether there are only digits."""
        return self._call("utf8_is_digit")

    def is_decimal(self) -> Expr:
        """Whether there are only decimal digits."""
        return self._call("utf8_is_decimal")

    def is_numeric(self) -> Expr:
        """Whether there are only characters that are numbers."""
        return self._call("utf8_is_numeric")

    def is_space(self) -> Expr:
        """Whether there is only white space."""
        return self._call("utf8_is_space")

    def is_lower(self) -> Expr:
        """Whether all letters are small."""
        return self._call("utf8_is_lower")

    def is_upper(self) -> Expr:
        """Whether all letters are large."""
        return self._call("utf8_is_upper")

    def is_title(self) -> Expr:
        """Whether the first letter of each word is large."""
        return self._call("utf8_is_title")

    def is_printable(self) -> Expr:
        """Whether all characters can be printed."""
        return self._call("utf8_is_printable")

    def is_ascii(self) -> Expr:
        """Whether all characters are of ASCII."""
        return self._call("string_is_ascii")

    def split_whitespace(self) -> Expr:
        """The words, as a list."""
        return self._call("utf8_split_whitespace")

    # ------------------------------------------------------------ looking for something

    def starts_with(self, pattern: str, *, ignore_case: bool = False) -> Expr:
        """Whether it begins with something."""
        return self._call("starts_with", pattern=pattern, ignore_case=ignore_case)

    def ends_with(self, pattern: str, *, ignore_case: bool = False) -> Expr:
        """Whether it ends with something."""
        return self._call("ends_with", pattern=pattern, ignore_case=ignore_case)

    startswith = starts_with
    endswith = ends_with

    def contains(self, pattern: str, *, ignore_case: bool = False) -> Expr:
        """Whether something is a part of it."""
        return self._call("match_substring", pattern=pattern, ignore_case=ignore_case)

    def match(self, pattern: str, *, ignore_case: bool = False) -> Expr:
        """Whether it is like a pattern of SQL: `%` is any text, `_` one character."""
        return self._call("match_like", pattern=pattern, ignore_case=ignore_case)

    def match_regex(self, pattern: str, *, ignore_case: bool = False) -> Expr:
        """Whether a regular expression fits somewhere in it."""
        return self._call("match_substring_regex", pattern=pattern, ignore_case=ignore_case)

    def find(self, pattern: str, *, ignore_case: bool = False) -> Expr:
        """At which byte something begins first; -1: nowhere."""
        return self._call("find_substring", pattern=pattern, ignore_case=ignore_case)

    def find_regex(self, pattern: str, *, ignore_case: bool = False) -> Expr:
        """At which byte a regular expression fits first; -1: nowhere."""
        return self._call("find_substring_regex", pattern=pattern, ignore_case=ignore_case)

    def count(self, pattern: str, *, ignore_case: bool = False) -> Expr:
        """How often something is in it."""
        return self._call("count_substring", pattern=pattern, ignore_case=ignore_case)

    def count_regex(self, pattern: str, *, ignore_case: bool = False) -> Expr:
        """How often a regular expression fits."""
        return self._call("count_substring_regex", pattern=pattern, ignore_case=ignore_case)

    def extract(self, pattern: str) -> Expr:
        """The groups of a regular expression, `(?P<name>...)`, as a struct; null where it does not fit."""
        return self._call("extract_regex", pattern=pattern)

    # ------------------------------------------------------------ other strings

    def slice(self, start: int, stop: int | None = None, step: int = 1) -> Expr:
        """Some of the characters, as Python's slices are."""
        return self._call("utf8_slice_codeunits", start=start, stop=stop, step=step)

    def replace(self, pattern: str, replacement: str, *, max_replacements: int | None = None) -> Expr:
        """With something in place of something else."""
        options = {"pattern": pattern, "replacement": replacement, "max_replacements": max_replacements}
        return self._call("replace_substring", **options)

    def replace_regex(self, pattern: str, replacement: str, *, max_replacements: int | None = None) -> Expr:
        """With something in place of what a regular expression fits; `\\1` is its first group."""
        options = {"pattern": pattern, "replacement": replacement, "max_replacements": max_replacements}
        return self._call("replace_substring_regex", **options)

    def replace_slice(self, start: int, stop: int, replacement: str) -> Expr:
        """With something in place of the characters from one place to another."""
        return self._call("utf8_replace_slice", start=start, stop=stop, replacement=replacement)

    def split(self, pattern: str, *, max_splits: int | None = None, reverse: bool = False) -> Expr:
        """The parts between something, as a list. With `reverse`, the splits are counted from the end."""
        return self._call("split_pattern", pattern=pattern, max_splits=max_splits, reverse=reverse)

    def split_regex(self, pattern: str, *, max_splits: int | None = None) -> Expr:
        """The parts between what a regular expression fits, as a list."""
        return self._call("split_pattern_regex", pattern=pattern, max_splits=max_splits)

    def repeat(self, n: int) -> Expr:
        """So many times in a row."""
        return Call("binary_repeat", (self._expr, Value(n)))

    def concat(self, *others: Any) -> Expr:
        """With others after it."""
        found = self._expr
        for other in others:
            found = found + other
        return found

    def strip(self, characters: str | None = None) -> Expr:
        """Without white space, or other characters, at both ends."""
        return self._strip("utf8_trim", characters)

    def lstrip(self, characters: str | None = None) -> Expr:
        """Without white space, or other characters, at the beginning."""
        return self._strip("utf8_ltrim", characters)

    def rstrip(self, characters: str | None = None) -> Expr:
        """Without white space, or other characters, at the end."""
        return self._strip("utf8_rtrim", characters)

    def _strip(self, function: str, characters: str | None) -> Expr:
        if characters is None:
            return self._call(f"{function}_whitespace")
        return self._call(function, characters=characters)

    def lpad(self, width: int, padding: str = " ") -> Expr:
        """At the right of so many characters."""
        return self._call("utf8_lpad", width=width, padding=padding)

    def rpad(self, width: int, padding: str = " ") -> Expr:
        """At the left of so many characters."""
        return self._call("utf8_rpad", width=width, padding=padding)

    def center(self, width: int, padding: str = " ") -> Expr:
        """In the middle of so many characters."""
        return self._call("utf8_center", width=width, padding=padding)

    def pad(self, width: int, fillchar: str = " ", side: Literal["left", "right", "both"] = "right") -> Expr:
        """With characters at one side or both, so that there are `width`."""
        pads = {"left": self.lpad, "right": self.rpad, "both": self.center}
        if side not in pads:
            raise ValueError(f"side={side!r}: it must be 'left', 'right' or 'both'")
        return pads[side](width, fillchar)

    def zfill(self, width: int) -> Expr:
        """With zeros before it, after its sign, so that there are `width` characters."""
        return self._call("utf8_zero_fill", width=width)

    def strptime(self, format: str, *, unit: Literal["s", "ms", "us", "ns"] = "us", errors_null: bool = False) -> Expr:
        """The time that it says in a format of C's strptime; with `errors_null`, null where it does not."""
        return self._call("strptime", format=format, unit=unit, error_is_null=errors_null)


class DateNamespace(Namespace):
    """Functions of dates and times. Parts of times with a zone are those of the clock there."""

    def year(self) -> Expr:
        """The year."""
        return self._call("year")

    def quarter(self) -> Expr:
        """The quarter of the year, from 1."""
        return self._call("quarter")

    def month(self) -> Expr:
        """The month, from 1."""
        return self._call("month")

    def day(self) -> Expr:
        """The day of the month, from 1."""
        return self._call("day")

    def day_of_week(self) -> Expr:
        """The day of the week, from 0: Monday."""
        return self._call("day_of_week")

    def day_of_year(self) -> Expr:
        """The day of the year, from 1."""
        return self._call("day_of_year")

    def iso_year(self) -> Expr:
        """The year that the week is counted to, as ISO 8601 has it."""
        return self._call("iso_year")

    def iso_week(self) -> Expr:
        """The number of the week, as ISO 8601 counts."""
        return self._call("iso_week")

    def is_leap_year(self) -> Expr:
        """Whether the year has a 29th of February."""
        return self._call("is_leap_year")

    def hour(self) -> Expr:
        """The hour."""
        return self._call("hour")

    def minute(self) -> Expr:
        """The minute."""
        return self._call("minute")

    def second(self) -> Expr:
        """The second."""
        return self._call("second")

    def millisecond(self) -> Expr:
        """The milliseconds of the second."""
        return self._call("millisecond")

    def microsecond(self) -> Expr:
        """The microseconds of the millisecond."""
        return self._call("microsecond")

    def nanosecond(self) -> Expr:
        """The nanoseconds of the microsecond."""
        return self._call("nanosecond")

    def date(self) -> Expr:
        """The day, as a date."""
        return self._call("day_of")

    def time(self) -> Expr:
        """The time of the day."""
        return self._call("time_of")

    def epoch(self, unit: Literal["s", "ms", "us", "ns"] = "s") -> Expr:
        """The time since 1970, as a whole number."""
        return self._call("epoch", unit=unit)

    def strftime(self, fmt: str = "%Y-%m-%dT%H:%M:%S") -> Expr:
        """As text, in a format of C's strftime."""
        return self._call("strftime", format=fmt)

    def floor(self, unit: Unit, multiple: int = 1) -> Expr:
        """Down to the begin of a unit, or of several."""
        return self._call("floor_temporal", unit=unit, multiple=multiple)

    def ceil(self, unit: Unit, multiple: int = 1) -> Expr:
        """Up to the begin of a unit, or of several."""
        return self._call("ceil_temporal", unit=unit, multiple=multiple)

    def round(self, unit: Unit, multiple: int = 1) -> Expr:
        """To the nearer begin of a unit, or of several."""
        return self._call("round_temporal", unit=unit, multiple=multiple)

    def replace_time_zone(self, zone: str) -> Expr:
        """A time without a zone as one of a zone's clock."""
        return self._call("assume_timezone", timezone=zone)

    def convert_time_zone(self, zone: str) -> Expr:
        """The same moment in another zone."""
        return self._call("in_zone", zone=zone)


class ListNamespace(Namespace):
    """Functions of lists."""

    def len(self) -> Expr:
        """How many values it has."""
        return self._call("list_length")

    def get(self, index: int) -> Expr:
        """The value at a place, from the end if it is negative; null where there is none."""
        return self._call("list_get", index=index)

    def slice(self, start: int | None = None, stop: int | None = None, step: int | None = None) -> Expr:
        """A part of it, as Python's slices are, forwards."""
        if step is not None and step < 1:
            raise ValueError(f"step={step}: it must be 1 or more")
        return self._call("list_cut", start=start, stop=stop, step=step)

    def __getitem__(self, key: int | _slice) -> Expr:
        if isinstance(key, _slice):
            return self.slice(key.start, key.stop, key.step)
        if isinstance(key, int):
            return self.get(key)
        raise TypeError(f"a place in a list is a whole number or a slice, not {type(key).__name__}")

    def sort(
        self,
        order: Literal["ascending", "descending"] = "ascending",
        null_placement: Literal["at_start", "at_end"] = "at_end",
    ) -> Expr:
        """Its values in order."""
        if order not in ("ascending", "descending"):
            raise ValueError(f"order={order!r}: it must be 'ascending' or 'descending'")
        if null_placement not in ("at_start", "at_end"):
            raise ValueError(f"null_placement={null_placement!r}: it must be 'at_start' or 'at_end'")
        return self._call("list_ordered", order=order, null_placement=null_placement)

    def flatten(self) -> Expr:
        """The values of the lists in it, as one list."""
        return self._call("list_flat")

    def contains(self, value: Any) -> Expr:
        """Whether a value is in it."""
        return self._call("list_contains", value=value)

    def sum(self) -> Expr:
        """The sum of its values; null if there is none."""
        return self._call("list_aggregate", function="sum")

    def min(self) -> Expr:
        """The smallest of its values."""
        return self._call("list_aggregate", function="min")

    def max(self) -> Expr:
        """The largest of its values."""
        return self._call("list_aggregate", function="max")

    def mean(self) -> Expr:
        """The mean of its values."""
        return self._call("list_aggregate", function="mean")

    def join(self, separator: str) -> Expr:
        """Its strings as one, with something between them."""
        return Call("binary_join", (self._expr, Value(separator)))


class StructNamespace(Namespace):
    """The fields of structs."""

    def field(self, field_name: str) -> Expr:
        """A field by its name."""
        return self._call("struct_field", indices=[field_name])

    def field_by_index(self, index: int) -> Expr:
        """A field by its place."""
        return self._call("struct_field", indices=[index])

    def __getitem__(self, key: str | int) -> Expr:
        return self.field(key) if isinstance(key, str) else self.field_by_index(key)


class MapNamespace(Namespace):
    """The parts of maps, as lists."""

    def keys(self) -> Expr:
        """The keys."""
        return self._call("map_part", part=0)

    def values(self) -> Expr:
        """The values, in the order of the keys."""
        return self._call("map_part", part=1)


class ArrayNamespace(Namespace):
    """Functions of arrays."""

    def to_list(self) -> Expr:
        """Arrays of one dimension as lists."""
        return self._call("array_to_list")
