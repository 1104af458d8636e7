"""What is to be listed, and how: the arguments of `StateApiClient`, with Ray's names where these have a meaning here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

DEFAULT_LIMIT = 100


class StateResource(StrEnum):
    """What can be listed."""

    ACTORS = "actors"
    JOBS = "jobs"
    PLACEMENT_GROUPS = "placement_groups"
    NODES = "nodes"
    WORKERS = "workers"
    TASKS = "tasks"
    OBJECTS = "objects"
    RUNTIME_ENVS = "runtime_envs"
    CLUSTER_EVENTS = "cluster_events"


class SummaryResource(StrEnum):
    """What can be counted."""

    ACTORS = "actors"
    TASKS = "tasks"
    OBJECTS = "objects"


@dataclass
class ListApiOptions:
    """Which of them, and how much of each.

    Attributes:
        limit: how many at the most.
        timeout: how many seconds each node may take to answer; None: 5.
        detail: with times and error messages.
        filters: `("state", "=", "FAILED")` and `("name", "!=", "f")`; all must hold.
    """

    limit: int = DEFAULT_LIMIT
    timeout: float | None = None
    detail: bool = False
    filters: Sequence[tuple[str, str, Any]] = field(default_factory=list)


@dataclass
class GetApiOptions:
    """How long each node may take to answer, in seconds; None: 5."""

    timeout: float | None = None


@dataclass
class SummaryApiOptions:
    """How long each node may take to answer, in seconds; None: 5."""

    timeout: float | None = None
