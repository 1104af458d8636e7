"""A standalone node's way into its cluster: listen, become or find the head, and open the door for drivers of this machine."""

from __future__ import annotations

import errno
import socket
import time
from typing import TYPE_CHECKING

from ..version import __version__
from ..wire import cluster as c, heads
from ..wire.channel import ChannelClosed
from ..wire.dial import dial
from .cluster import Cluster
from .discovery import Discovery
from .exporter import Exporter
from .gate import Gate
from .head_host import HeadHost
from .head_spawn import Spawned
from .listening import open_door
from .membership import Membership
from .packages import Packages
from .resources import to_units
from .transfer import Transfers

if TYPE_CHECKING:
    from .service import Node

REJOIN_EVERY_S = 0.25
NEXT_HEAD_S = 5.0
"""How long a new node looks for the head that comes after one that has died before it had answered."""


def serve_cluster(node: Node, membership: Membership, spawned: Spawned | None) -> None:
    """Make a node a member of its cluster. Afterwards `node.cluster.info` has its number and port.

    Args:
        node: it is new.
        membership: what it is to be.
        spawned: of a node with a head, the process for it.

    Raises:
        OSError: the port cannot be had, or the head does not answer.
        ConnectionError: the head will not have this node; the message says why.
    """
    gate = node.gate = Gate(node, membership.token, __version__, membership.tls)
    port = _listen(gate, membership)
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
        brought=not membership.daemon,
    )
    head = (membership.host, port) if membership.is_head else (membership.head_host, membership.head_port)
    cluster = node.cluster = Cluster(node, info, head, membership.patience_s)
    gate.services["client"] = node.abroad.on_client
    gate.services["data"] = node.abroad.on_data
    gate.services["alive"] = lambda purpose, payload, sock, rest, address: sock.close()
    gate.handed_over = {"data", "node", "head"}
    exporter = Exporter(node, membership.token)
    gate.http = exporter.accept
    if membership.metrics_port:
        exporter.listen(membership.listen or membership.host, membership.metrics_port)
    node.standalone = membership.daemon
    gate.services["moved"] = cluster.on_moved
    gate.services["heir"] = node.heirs.on_connected
    if membership.is_head:
        store = membership.store or str(node.session_dir / "head.db")
        settings = heads.HeadSettings(
            str(node.session_dir),
            store,
            membership.forget,
            membership.token,
            membership.host,
            port,
            membership.tls,
            node.history.config,
        )
        cluster.discovery = Discovery(node.session_dir)
        host = cluster.host = HeadHost(node, settings, spawned)
        gate.services["node"] = gate.services["head"] = host.accept
        try:
            cluster.join(host.connect("node", b""), b"")
        except BaseException:
            host.close()
            raise
    else:
        _join(cluster, membership)
    node.node_no = info.no
    node.directory.number = info.no.to_bytes(4, "big")
    node.transfers = Transfers(node, gate)
    node.environments.packages = Packages(node, gate)
    node.parts.append(cluster)
    open_door(node)


def _join(cluster: Cluster, membership: Membership) -> None:
    to = membership
    began = time.monotonic()
    patience_s = to.patience_s if to.again else 0.0
    while True:
        try:
            cluster.join(*dial(to.head_host, to.head_port, to.token, "node", __version__, "head", to.tls))
            return
        except ConnectionError as error:
            died = isinstance(error, ChannelClosed)  # the head has, and is started again
            if time.monotonic() >= began + (max(patience_s, NEXT_HEAD_S) if died else patience_s):
                raise
            time.sleep(REJOIN_EVERY_S)


def _listen(gate: Gate, membership: Membership) -> int:
    host, port = membership.listen or membership.host, membership.port
    try:
        return gate.listen(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConnectionError(
                f"port {port} of {host} is in use already: stop what runs there, or choose another"
            ) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConnectionError(
                f"this machine has no address {host} to listen on: if others reach this node there all the same, as through a "
                "published port of a container, add --listen-address 0.0.0.0"
            ) from None
        raise ConnectionError(f"cannot listen on {host}:{port}: {error.strerror}") from None
