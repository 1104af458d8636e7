"""What the node on the head's machine and the head's process tell each other."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from .config import HistoryConfig
from .tls import Tls


class HeadSettings(Struct, array_like=True, tag=0):
    """The first word to a head's process."""

    session_dir: str
    store: str
    """Where it keeps its state: see `head/store.py`."""
    forget: bool
    """When the cluster ends in order, its state is of no use any more."""
    token: str
    host: str
    port: int
    tls: Tls | None = None
    history: HistoryConfig = msgspec.field(default_factory=HistoryConfig)


class Accept(Struct, array_like=True, tag=1):
    """Somebody has come for the head; the connection comes along. `rest` was read from it already."""

    purpose: str
    payload: bytes
    rest: bytes
    address: str


class End(Struct, array_like=True, tag=2):
    """The cluster is over."""


class CannotStart(Struct, array_like=True, tag=3):
    """The head cannot do its work: why. It ends."""

    reason: str


class LoopTimes(Struct, array_like=True):
    """How much a process has had to do."""

    rounds: int
    busy_s: float
    longest_s: float
    """The longest round of late."""


class Figures(Struct, array_like=True, tag=80):
    """What the head says of itself, for the metrics of its machine's node."""

    loop: LoopTimes
    actors: dict[str, int]
    """How many are in each state."""


encode = msgspec.msgpack.Encoder().encode
decode_to_head = msgspec.msgpack.Decoder(HeadSettings | Accept | End).decode
decode_from_head = msgspec.msgpack.Decoder(CannotStart | Figures).decode
