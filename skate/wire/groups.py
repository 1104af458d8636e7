"""Placement groups: the messages about them, and how a request says which bundle it is for.

A node that has a bundle has it as resources of their own: `CPU_group_0_<id>` and, for whoever does not care which bundle it is,
`CPU_group_<id>`; the names are Ray's. So whatever finds room for a request finds it for one in a group, too. A share of
`bundle_group_...` is asked for beside, so that also a request for nothing goes to the bundle's node.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from .labels import PREFIX as LABELS

PENDING = "PENDING"
CREATED = "CREATED"
RESCHEDULING = "RESCHEDULING"
"""A node with some of its bundles was lost."""
REMOVED = "REMOVED"

MARK = "_group_"
BUNDLE = "bundle"
BUNDLE_AMOUNT = 1000.0
BUNDLE_SHARE = 0.001
CAPTURE = "capture"
"""`capture_group_<id>`, with amount 0: what the task starts belongs to the group, too."""


def names(name: str, group: str, index: int) -> list[str]:
    """What a resource is called in a bundle, and in any bundle of the group; the first only if `index` is not -1. What is
    asked of the labels of the node stays as it is."""
    if name.startswith(LABELS):
        return [name]
    return ([f"{name}{MARK}{index}_{group}"] if index >= 0 else []) + [f"{name}{MARK}{group}"]


def request(resources: Mapping[str, float], group: str, index: int, capture: bool = False) -> dict[str, float]:
    """A request for what a group has reserved.

    Args:
        resources: what the task or actor needs.
        group: the group's id, in hexadecimal.
        index: the bundle, or -1 for any.
        capture: whether what it starts belongs to the group, too.

    Example:
        >>> sorted(request({"CPU": 1.0}, "ab", -1))
        ['CPU_group_ab', 'bundle_group_ab']
    """
    amounts = {each: amount for name, amount in resources.items() for each in names(name, group, index)}
    amounts.update(dict.fromkeys(names(BUNDLE, group, index), BUNDLE_SHARE))
    if capture:
        amounts[f"{CAPTURE}{MARK}{group}"] = 0.0
    return amounts


def group_of(resources: Mapping[str, float]) -> tuple[str, bool]:
    """The group that a request is for, "" for none; and whether it captures what is started."""
    for name in resources:
        if name.startswith(BUNDLE + MARK):
            group = name.rsplit("_", 1)[1]
            return group, f"{CAPTURE}{MARK}{group}" in resources
    return "", False


def plain(resources: Mapping[str, float]) -> dict[str, float]:
    """A request as it was before it was made one for a group.

    Example:
        >>> plain(request({"CPU": 1.0}, "ab", 0))
        {'CPU': 1.0}
    """
    short = {name if name.startswith(LABELS) else name.split(MARK)[0]: amount for name, amount in resources.items()}
    return {name: amount for name, amount in short.items() if name not in (BUNDLE, CAPTURE)}


def is_own(name: str) -> bool:
    """Whether a resource is of a node itself, and not of a bundle."""
    return MARK not in name


# ---------------------------------------------------------------- client -> head


class CreateGroup(Struct, array_like=True, tag=40):
    """Reserve bundles of resources, all or none. The answer is `GroupChanged`, at once and whenever its state changes."""

    id: bytes
    bundles: list[dict[str, float]]
    strategy: str
    name: str
    namespace: str
    detached: bool
    selectors: list[dict[str, str]] | None = None
    """Labels that the node of each bundle must have."""


class RemoveGroup(Struct, array_like=True, tag=41):
    """Give the bundles back, and end what runs in them."""

    id: bytes


class WatchGroup(Struct, array_like=True, tag=42):
    """Tell the sender the group's state, now and when it changes."""

    id: bytes


# ---------------------------------------------------------------- head -> client


class GroupChanged(Struct, array_like=True, tag=40):
    """The state of a group."""

    id: bytes
    state: str
    reason: str = ""


# ---------------------------------------------------------------- head -> node


class ReserveBundles(Struct, array_like=True, tag=40):
    """Take the resources of these bundles, if they are free; the answer is `BundlesReserved`."""

    group: bytes
    attempt: int
    bundles: dict[int, dict[str, int]]


class CommitBundles(Struct, array_like=True, tag=41):
    """All nodes have theirs: the bundles may be used."""

    group: bytes


class ReturnBundles(Struct, array_like=True, tag=42):
    """Give bundles back, and end what runs in them; all of the group's, if none are named."""

    group: bytes
    indices: list[int] | None = None


# ---------------------------------------------------------------- node -> head


class BundlesReserved(Struct, array_like=True, tag=40):
    """Whether a node has what it was asked to reserve."""

    group: bytes
    attempt: int
    done: bool
