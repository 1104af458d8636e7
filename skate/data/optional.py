"""Packages that only some formats need."""

from __future__ import annotations

import importlib
from typing import Any


def need(module: str, package: str, what: str) -> Any:
    """A module that may not be installed.

    Raises:
        ImportError: it is not; the message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} needs the package {package!r}: pip install {package}") from error
