"""Functions that were pickled for the workers, with the option variants that they are called with."""

from __future__ import annotations

from typing import Any

from .arguments import Code
from .submitter import Function

VARIANTS_MAX = 256
"""Option variants remembered per function."""


class Exported:
    """A function that was pickled once, and what it is called with: equal options are one `Function`.

    Only the last variants are remembered; one that comes again after that gets a new number.
    """

    __slots__ = ("code", "newest", "variants")

    def __init__(self, code: Code) -> None:
        self.code = code
        self.variants: dict[Any, Function] = {}
        self.newest: Function | None = None

    def add(self, key: Any, function: Function) -> None:
        """Remember a variant. It is expected to take as long as the last one: the code is the same."""
        if self.newest is not None:
            function.expected_us = self.newest.expected_us
        self.newest = self.variants[key] = function
        if len(self.variants) > VARIANTS_MAX:
            del self.variants[next(iter(self.variants))]
