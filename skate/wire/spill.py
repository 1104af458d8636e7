"""What a node and its clients say to each other so that objects can leave memory for the disk.

A place in the arena is known to whoever was told of it. Before the node takes it away it asks all of them; who says yes forgets
the place, and asks for the object (`messages.Pull`) when it is needed again.
"""

from __future__ import annotations

from msgspec import Struct


class Evict(Struct, array_like=True, tag=60):
    """Forget the places of these objects, unless you read them now; the answer is `Evicted`."""

    round: int
    ids: list[bytes]


class Offer(Struct, array_like=True, tag=61):
    """Let the node answer for objects of yours that nobody reads, so many bytes of them; the answer is `Offered`."""

    size: int


class Evicted(Struct, array_like=True, tag=60):
    """These places are forgotten; the `busy` are in use; the `unknown` are not here, but perhaps on their way."""

    round: int
    ids: list[bytes]
    busy: list[bytes]
    unknown: list[bytes]


class Offered(Struct, array_like=True, tag=61):
    """What could be offered is registered."""

    size: int
