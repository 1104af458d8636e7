"""Workers that have what datasets need when they start.

To import it takes half a second, and 60 MB that no other worker shares. Pandas is much of it: Arrow imports it for nearly all
that it makes of Python's values. So the tasks of datasets run in a runtime environment whose process imports it once on each
node; its workers are forks, which have it and share its memory. Nodes of clusters on which nobody runs a dataset stay small.
"""

from __future__ import annotations

from typing import Any

IMPORTS = ("skate.data", "pandas")


def loaded(**options: Any) -> dict[str, Any]:
    """Options of a task or actor, with such a worker for it."""
    environment = dict(options.get("runtime_env") or {})
    imports = dict.fromkeys([*environment.get("imports", ()), *IMPORTS])
    return {**options, "runtime_env": {**environment, "imports": list(imports)}}
