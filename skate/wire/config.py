"""What a node is told about spilling, memory and its history.

Whoever reads the user's words has checked it (`client/system_config.py`).
"""

from __future__ import annotations

from msgspec import Struct, field


class SpillConfig(Struct):
    """How objects leave memory for the disk."""

    enabled: bool = True
    roots: list[str] = field(default_factory=list)
    """Folders or fsspec URLs, used in turn; the node puts its own in place of an empty list."""
    threshold: float = 0.8
    """The share of the store from which on objects are written before memory is asked for."""
    min_spilling_size: int = 100 << 20
    """Objects are written together until a file has so many bytes, if there are that many."""
    max_spilling_file_size_bytes: int | None = None
    """Files of several objects are not larger; None: than `min_spilling_size`."""
    quota_bytes: int = 0
    """The most to have on the disk; 0: no limit."""
    capacity_threshold: float = 0.95
    """A disk that is fuller than this is not written to."""
    buffer_size: int = 1 << 20
    """Bytes that are read or written at a time."""


class MemoryConfig(Struct):
    """When a worker is killed before the kernel kills the machine's largest process."""

    usage_threshold: float = 0.95
    """The share of the machine's or container's memory."""
    refresh_ms: int = 250
    """How often it is looked at; 0: never."""
    min_free_bytes: int = -1
    """Alternatively, the memory that must stay free; the higher of the two limits counts. -1: none."""
    limit_bytes: int = 0
    """A limit of our own, on the memory of this node's workers, in place of the machine's; 0: none."""
    task_oom_retries: int = -1
    """How often a task that was killed for memory is run again before it fails; -1: without end."""


class HistoryConfig(Struct):
    """What is kept of tasks that have ended, and of what else has happened."""

    enabled: bool = True
    max_bytes: int = 256 << 20
    """Of one session; the oldest tasks go first."""
    sessions_max: int = 20
    """So many sessions of this user are kept on a machine, the newest."""


class SitesConfig(Struct):
    """What is noted of where references are made."""

    enabled: bool = False


class SystemConfig(Struct):
    """All of it."""

    spill: SpillConfig = field(default_factory=SpillConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    sites: SitesConfig = field(default_factory=SitesConfig)
