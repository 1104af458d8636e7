"""What has changed between two states, as a JSON merge patch (RFC 7386): what viewers are sent instead of the whole.

Pure. In a patch, null takes a member away; states have no nulls (`without_nulls`), so nothing is ambiguous.
"""

from __future__ import annotations

from typing import Any


def patch(old: Any, new: Any) -> Any:
    """What makes `new` of `old`.

    Example:
        >>> patch({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 2, "d": 4}})
        {'b': {'d': 4}, 'a': None}
    """
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    found = {
        name: patch(old[name], value) if name in old else value
        for name, value in new.items()
        if name not in old or old[name] != value
    }
    found.update({name: None for name in old if name not in new})
    return found


def apply(state: Any, change: Any) -> Any:
    """The state after a patch.

    Example:
        >>> apply({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 4}, "a": None})
        {'b': {'c': 2, 'd': 4}}
    """
    if not isinstance(change, dict):
        return change
    found = dict(state) if isinstance(state, dict) else {}
    for name, value in change.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = apply(found.get(name), value)
    return found


def without_nulls(value: Any) -> Any:
    """The same without members that are None.

    Example:
        >>> without_nulls({"a": None, "b": [{"c": None}]})
        {'b': [{}]}
    """
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [without_nulls(each) for each in value]
    return value
