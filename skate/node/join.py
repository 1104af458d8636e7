"""A standalone node's way into its cluster: listen, become or find the head, and open the door for drivers of this machine."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ..version import __version__
from ..wire import cluster as c, heads
from ..wire.handshake import Client, HandshakeError
from .cluster import Cluster
from .gate import Gate
from .head_host import HeadHost
from .membership import Membership
from .resources import to_units
from .transfer import Transfers

if TYPE_CHECKING:
    from .service import Node

JOIN_TIMEOUT_S = 5.0


def serve_cluster(node: Node, membership: Membership) -> None:
    """Make a node a member of its cluster. Afterwards `node.cluster.info` has its number and port.

    Raises:
        OSError: the port cannot be had, or the head does not answer.
        ConnectionError: the head will not have this node; the message says why.
    """
    gate = node.gate = Gate(node, membership.token, __version__)
    port = gate.listen(membership.host, membership.port)
    hostname = socket.gethostname()
    node.labels.update(membership.labels)
    total = to_units(node.total)
    info = c.NodeInfo(
        0,
        node.node_id,
        membership.name or hostname,
        hostname,
        membership.host,
        port,
        total,
        dict(total),
        node.labels,
    )
    head = (membership.host, port) if membership.is_head else (membership.head_host, membership.head_port)
    cluster = node.cluster = Cluster(node, info, head, membership.patience_s)
    gate.services["client"] = node.abroad.on_client
    gate.services["data"] = node.abroad.on_data
    node.standalone = membership.daemon
    gate.services["moved"] = cluster.on_moved
    if membership.is_head:
        store = membership.store or str(node.session_dir / "head.db")
        settings = heads.HeadSettings(
            str(node.session_dir), store, membership.forget, membership.token, membership.host, port
        )
        host = cluster.host = HeadHost(node, settings)
        gate.services["node"] = gate.services["head"] = host.accept
        try:
            cluster.join(host.connect("node", b""), b"")
        except BaseException:
            host.close()
            raise
    else:
        cluster.join(*_connect(membership))
    node.node_no = info.no
    node.directory.number = info.no.to_bytes(4, "big")
    node.transfers = Transfers(node, gate)
    node.parts.append(cluster)
    gate.on_local = node.add_client
    gate.listen_unix(str(node.session_dir / "node.sock"))


def _connect(membership: Membership) -> tuple[socket.socket, bytes]:
    """A connection to the head, its handshake done."""
    where = f"{membership.head_host}:{membership.head_port}"
    try:
        sock = socket.create_connection((membership.head_host, membership.head_port), JOIN_TIMEOUT_S)
    except OSError as error:
        raise ConnectionError(f"there is no head at {where}: {error}") from None
    handshake = Client(membership.token, "node", b"", __version__)
    try:
        sock.sendall(handshake.feed(b""))
        while not handshake.done:
            data = sock.recv(4096)
            if not data:
                raise ConnectionError(f"the head at {where} has closed the connection: is it of skate {__version__}?")
            sock.sendall(handshake.feed(data))
    except HandshakeError as error:
        sock.close()
        raise ConnectionError(f"the head at {where} refuses: {error}") from None
    except OSError as error:
        sock.close()
        raise ConnectionError(f"the head at {where} does not answer as a head: {error}") from None
    return sock, handshake.rest
