"""The framework under test, by the name `ray`: skate, or Ray itself when `BENCH_FRAMEWORK=ray`.

Every program that is measured imports `ray` from here, so one and the same file is measured on both.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

NAME = os.environ.get("BENCH_FRAMEWORK", "skate")

if TYPE_CHECKING:
    import psutil

    import skate as ray
else:
    ray = importlib.import_module(NAME)
    psutil = importlib.import_module("psutil")  # in this order: Ray's environment may have no psutil but Ray's own

__all__ = ["NAME", "psutil", "ray"]
