"""Arrow's compute functions. Type checkers cannot see them, as most are made when they are imported: here they are `Any`."""

from __future__ import annotations

from typing import Any

import pyarrow.compute

pc: Any = pyarrow.compute
