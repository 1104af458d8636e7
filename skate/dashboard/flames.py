"""A flame graph of stacks that were taken one after the other: a tree of frames, with how often each was seen.

Pure. A branch that was seen in less than a thousandth of the samples is left out; so a graph is small, however many
stacks there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SHARE_MIN = 0.001
DEPTH_MAX = 200

Frame = dict[str, Any]


def flame(stacks: Iterable[list[str]]) -> Frame:
    """The tree of stacks, each from the outermost frame to the innermost.

    Example:
        >>> flame([["main", "f"], ["main", "g"], ["main", "f"]])["children"][0]["children"][0]
        {'name': 'f', 'count': 2, 'children': []}
    """
    root: Frame = {"name": "all", "count": 0, "children": {}}
    for stack in stacks:
        frame = root
        frame["count"] += 1
        for name in stack[:DEPTH_MAX]:
            frame = frame["children"].setdefault(name, {"name": name, "count": 0, "children": {}})
            frame["count"] += 1
    return _plain(root, root["count"] * SHARE_MIN)


def _plain(root: Frame, least: float) -> Frame:
    """The same with lists in place of dicts, the widest first."""
    out: Frame = {"name": root["name"], "count": root["count"], "children": []}
    left = [(root, out)]
    while left:
        source, target = left.pop()
        for child in sorted(source["children"].values(), key=lambda each: -each["count"]):
            if child["count"] >= least:
                made: Frame = {"name": child["name"], "count": child["count"], "children": []}
                target["children"].append(made)
                left.append((child, made))
    return out
