"""Node labels, and selectors over them: `{"region": "us", "zone": "!in(a,b)"}`.

Pure. A selector's values are `v`, `!v`, `in(a,b)` or `!in(a,b)`; a label that a node does not have is different from every value.
"""

from __future__ import annotations

from collections.abc import Mapping


def matches(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether a node's labels meet all conditions.

    Example:
        >>> matches({"region": "us"}, {"region": "in(us,eu)", "zone": "!a"})
        True
    """
    return all(_meets(labels.get(name), condition) for name, condition in selector.items())


def _meets(value: str | None, condition: str) -> bool:
    negated = condition.startswith("!")
    condition = condition.removeprefix("!")
    if condition.startswith("in(") and condition.endswith(")"):
        wanted = [each.strip() for each in condition[3:-1].split(",")]
    else:
        wanted = [condition]
    return (value in wanted) != negated
