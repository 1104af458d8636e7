"""A connection to a node by TCP, made by somebody who waits for it: a node that starts, or a command."""

from __future__ import annotations

import socket

from .channel import ChannelClosed
from .handshake import Client, HandshakeError
from .tls import CLOSED, Tls

DIAL_TIMEOUT_S = 5.0


def dial(
    host: str,
    port: int,
    token: str,
    purpose: str,
    version: str,
    what: str,
    tls: Tls | None = None,
    timeout_s: float = DIAL_TIMEOUT_S,
) -> tuple[socket.socket, bytes]:
    """Connect and shake hands. Who is there does not speak first.

    Args:
        host, port: where.
        token: the secret of the cluster.
        purpose: what the connection is for.
        version: of this skate.
        what: what should be there, for errors: "head".
        tls: the files of TLS, if the cluster has it.
        timeout_s: how long each step may take.

    Returns:
        The socket, and what came after the handshake already.

    Raises:
        ConnectionError: there is nothing, or it refuses; the message says why.
        ChannelClosed: whoever the connection was for has ended before it had TLS.
    """
    where = f"{host}:{port}"
    try:
        sock = socket.create_connection((host, port), timeout_s)
    except OSError as error:
        raise ConnectionError(f"there is no {what} at {where}: {error}") from None
    handshake = Client(token, purpose, b"", version, tls is not None)
    try:
        sock.sendall(handshake.feed(b""))
        while not handshake.done:
            data = sock.recv(4096)
            if not data:
                sock.close()
                raise ConnectionError(f"the {what} at {where} has closed the connection: is it of skate {version}?")
            sock.sendall(handshake.feed(data))
    except HandshakeError as error:
        sock.close()
        raise ConnectionError(f"the {what} at {where} refuses: {error}") from None
    except ConnectionResetError:
        sock.close()
        raise ConnectionError(f"the {what} at {where} has closed the connection: is it of skate {version}?") from None
    except TimeoutError:
        sock.close()
        hint = "; a dashboard's address begins with http://" if purpose == "client" else ""
        raise ConnectionError(f"the {what} at {where} does not answer as one of skate{hint}") from None
    if tls is None:
        return sock, handshake.rest
    from .tls_socket import TlsError, wrap_now

    try:
        return wrap_now(sock, tls, handshake.rest, timeout_s), b""
    except TlsError as error:
        kind = ChannelClosed if str(error).endswith(CLOSED) else ConnectionError
        raise kind(f"the {what} at {where}: {error}") from None
