"""What a node that is drained and its heir say to each other.

The heir is the node that answers for the objects of the drained one from then on. They speak over a connection of their own.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from .messages import Value

HEIR = b"\xff\xff\xff\xffheir"
"""Who holds an object that an heir has brought, until it hears who else does; and who has made one that is inherited."""


class Bring(Struct, array_like=True, tag=0):
    """To the heir: fetch the bytes of these objects (id and size) from the sender, and keep them."""

    objects: list[tuple[bytes, int]]


class Left(Struct, array_like=True):
    """An object, and who holds it how often."""

    id: bytes
    value: Value
    holders: dict[bytes, int]
    site: str = ""


class Inherit(Struct, array_like=True, tag=1):
    """To the heir: answer for these objects from now on, or (not `last`) soon."""

    objects: list[Left]
    homes: list[bytes]
    """What the ids begin with that the heir answers for."""
    clients: list[bytes]
    """Clients that are connected to the sender, and will be to the heir."""
    last: bool


class Forward(Struct, array_like=True, tag=2):
    """To the heir: a client has said to the sender that it holds an object once more, or once less."""

    id: bytes
    change: int
    client: bytes


class Brought(Struct, array_like=True, tag=10):
    """To the drained node: these are here, and these could not be had, for this reason."""

    ids: list[bytes]
    failed: list[bytes]
    reason: str


class Inherited(Struct, array_like=True, tag=11):
    """To the drained node: the heir answers for its objects."""


encode = msgspec.msgpack.Encoder().encode
decode_to_heir = msgspec.msgpack.Decoder(Bring | Inherit | Forward).decode
decode_from_heir = msgspec.msgpack.Decoder(Brought | Inherited).decode
