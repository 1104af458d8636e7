"""The examples in the docstrings of skate.data are right."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import skate.data

MODULES = [each.name for each in pkgutil.walk_packages(skate.data.__path__, "skate.data.")] + ["skate.data"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_examples_are_found() -> None:
    found = [doctest.DocTestFinder().find(importlib.import_module(name)) for name in MODULES]
    assert sum(bool(test.examples) for tests in found for test in tests) > 15
