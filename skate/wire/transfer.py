"""What two nodes say to each other while the bytes of an object go from one to the other.

Whoever wants them dials with a `Want` in the handshake. The answers are frames, a kind and a number:

    wants                                holds it
      Want(direct=False)  ───────────▶
                          ◀───────────   GO node: ask that one; the connection stays, so that this end knows how it goes
      Want(direct=True)   ───────────▶
                          ◀───────────   TAKE size
      request: at, size   ───────────▶   (two of them are on their way at any time)
                          ◀───────────   TAKE size, and so many bytes

WAIT says that the other end lives, and has nothing yet; GONE, that it does not have the object. A small object (`is_small`) is
answered with TAKE at once, and its bytes follow in the same way without being asked for. Who has all of it says WHOLE on
the connection that stayed.
"""

from __future__ import annotations

import struct

import msgspec
from msgspec import Struct, field

TAKE = 0
WAIT = 1
GONE = 2
GO = 3

SHARE_BYTES = 8 << 20
"""Objects from this size on are passed on by those who get them."""

FRAME = struct.Struct("<BQ")
REQUEST = struct.Struct("<QQ")
WHOLE = b"\x01"


class Want(Struct, array_like=True):
    """An object that a node wants."""

    id: bytes
    size: int
    source: int
    """The node that is said to have it."""
    puller: int
    """The node that wants it."""
    direct: bool = False
    """From this node, and no other."""
    whole: bool = False
    """Only if it has all of it."""
    relay: bool = False
    """If it does not have it: get it from the source, and pass it on."""
    avoid: list[int] = field(default_factory=list)
    """Nodes that it cannot be had from."""

    @property
    def is_small(self) -> bool:
        """Whether the bytes come without being asked for."""
        return self.size < SHARE_BYTES and not self.direct


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Want).decode
