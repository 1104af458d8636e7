"""What a standalone node is told of its cluster when it starts."""

from __future__ import annotations

from msgspec import Struct, field

from ..wire.tls import Tls


class Membership(Struct):
    """What a node is told of its cluster when it starts."""

    is_head: bool
    host: str
    port: int
    token: str
    head_host: str = ""
    head_port: int = 0
    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    daemon: bool = True
    """It outlives its drivers."""
    store: str = ""
    """Where the head keeps its state: see `head/store.py`."""
    forget: bool = True
    """When the cluster ends in order, the head's state is removed."""
    patience_s: float = 60.0
    """How long a node goes on without a head."""
    again: bool = False
    """It was fenced, and joins anew: the head may be away still."""
    tls: Tls | None = None
    """What goes between machines is encrypted, with these files."""
    listen: str = ""
    """The address to listen on, if it is another than `host`, where the others find this node."""
    metrics_port: int = 0
    """A port for the metrics alone; 0: they are only served on the node's own port."""
