"""TLS between machines, if the cluster has it: who uses it, and for which connections.

Both ends of a connection show a certificate that the cluster's CA has signed, and check the other's. The CA is the cluster's
own: whoever has a certificate of it, and the token, is a member, at any address; so all machines may share one certificate. TLS
begins after the handshake of `handshake.py`, in the process that the connection is for, because its state cannot be handed over
as the connection can. What does not leave the machine, over Unix sockets, has none.

Here is what every process knows; `tls_socket.py` does it, and is imported when it is needed, as `ssl` takes 7 ms and 1 MB.
"""

from __future__ import annotations

import socket

from msgspec import Struct

SAID = "TLS: "
"""What every error of this kind begins with."""
CLOSED = "the other end has closed the connection"


class Tls(Struct, array_like=True, frozen=True):
    """The files, by absolute path. They are read for each process anew, and when they have changed for new connections."""

    cert: str
    key: str
    ca: str


def begins(sock: socket.socket, tls: Tls | None) -> bool:
    """Whether TLS is next on a connection whose handshake is done."""
    return tls is not None and sock.family != socket.AF_UNIX


def hidden(sock: socket.socket) -> bool:
    """Whether something has come that the kernel knows nothing of any more: no event will tell of it."""
    return bool(getattr(sock, "hidden", False))
