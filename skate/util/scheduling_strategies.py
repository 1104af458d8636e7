"""The values of the option `scheduling_strategy`, besides "DEFAULT" and "SPREAD"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NodeAffinitySchedulingStrategy:
    """Run on one node.

    Args:
        node_id: its hexadecimal id, as in `skate.nodes()`.
        soft: run elsewhere when the node is gone, rather than fail.

    Example:
        >>> NodeAffinitySchedulingStrategy("ab" * 16, soft=True).soft
        True
    """

    node_id: str
    soft: bool

    def __post_init__(self) -> None:
        if not isinstance(self.node_id, str):
            # Ray's callers pass NodeID objects too; what matters is their hexadecimal form.
            hexadecimal = getattr(self.node_id, "hex", None)
            if hexadecimal is None:
                raise TypeError(f"node_id must be a hexadecimal string, not {type(self.node_id).__name__}.")
            object.__setattr__(self, "node_id", hexadecimal())


@dataclass(frozen=True)
class PlacementGroupSchedulingStrategy:
    """Run in what a placement group has reserved.

    Args:
        placement_group: the group.
        placement_group_bundle_index: the bundle, or -1 for any that has room.
        placement_group_capture_child_tasks: what the task or actor starts runs in the group, too, unless it says otherwise.
    """

    placement_group: Any
    placement_group_bundle_index: int = -1
    placement_group_capture_child_tasks: bool | None = None


class In:
    """The label has one of these values."""

    def __init__(self, *values: str) -> None:
        self.values = values


class NotIn:
    """The label has none of these values, or is not there."""

    def __init__(self, *values: str) -> None:
        self.values = values


class Exists:
    """The label is there."""


class DoesNotExist:
    """The label is not there."""


@dataclass(frozen=True)
class NodeLabelSchedulingStrategy:
    """Run on a node with certain labels.

    Args:
        hard: what the node must have: a dict from a label's name to `In(...)`, `NotIn(...)`, `Exists()` or `DoesNotExist()`.
        soft: what it should have, too, if there is such a node.

    Example:
        >>> NodeLabelSchedulingStrategy({"region": In("us", "eu")}, soft={"disk": Exists()}).hard["region"].values
        ('us', 'eu')
    """

    hard: Mapping[str, Any]
    soft: Mapping[str, Any] = field(default_factory=dict)


DEFAULT_SCHEDULING_STRATEGY = "DEFAULT"
SPREAD_SCHEDULING_STRATEGY = "SPREAD"
