"""Questions to nodes that run already, from a process that is a driver of none: over a node's socket, or by TCP."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from ..exceptions import AuthenticationError
from ..version import __version__
from ..wire import messages as m
from ..wire.channel import Channel, ChannelClosed, wait_readable
from ..wire.dial import DIAL_TIMEOUT_S, dial
from ..wire.paths import short
from ..wire.stream import StreamChannel
from . import tls_files, token
from .sessions import Session

ANSWER_S = 5.0
ASK_AGAIN_S = 0.05


def connect(session: Session) -> socket.socket:
    """A channel to a node's socket.

    Raises:
        ConnectionError: it does not answer.
    """
    return _connect(session.folder, f"node {session.node_id[:8]} of {session.address}")


def _connect(folder: str, who: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        with short(os.path.join(folder, "node.sock")) as path:
            sock.connect(path)
    except OSError as error:
        sock.close()
        raise ConnectionError(f"{who} does not answer: {error}") from None
    return sock


def ask_in(folder: str, what: str, argument: Any = None, answer_s: float = ANSWER_S) -> Any:
    """Ask the node whose session has this folder.

    Raises:
        ConnectionError: it does not answer.
        ValueError: it knows the question, and says that it cannot be done.
    """
    who = f"the node of process {os.path.basename(folder).split('-')[1]}"
    return _ask(Channel(_connect(folder, who)), who, what, argument, answer_s)


def ask(session: Session, what: str) -> Any:
    """Ask a node a question about state.

    Raises:
        ConnectionError: it does not answer.
    """
    return _ask(Channel(connect(session)), f"node {session.node_id[:8]}", what, None)


def ask_at(
    host: str, port: int, what: str, argument: Any = None, of_head: bool = False, answer_s: float = ANSWER_S
) -> Any:
    """Ask a node by TCP, or the head that is reached there. No node has to run on this machine, but the token has to be known.

    Raises:
        ConnectionError: it does not answer.
        AuthenticationError: there is no token here.
        ValueError: it knows the question, and says that it cannot be done.
    """
    secret = token.find()
    if secret is None:
        raise AuthenticationError(
            f"there is no token to ask the cluster at {host}:{port} with: copy {token.default_path()} from the head's machine, "
            "or set SKATE_TOKEN"
        )
    tls = tls_files.find()
    purpose, name = ("head", "head") if of_head else ("client", "node")
    until = time.monotonic() + answer_s
    while True:
        try:
            sock, rest = dial(host, port, secret, purpose, __version__, name, tls, min(answer_s, DIAL_TIMEOUT_S))
            sock.setblocking(False)
            return _ask(StreamChannel(sock, rest), f"the {name} at {host}:{port}", what, argument, answer_s)
        except ChannelClosed:  # a head that is killed is back soon, and whoever asked asks again
            if time.monotonic() > until:
                raise
            time.sleep(ASK_AGAIN_S)


def _ask(channel: Channel | StreamChannel, who: str, what: str, argument: Any, answer_s: float = ANSWER_S) -> Any:
    until = time.monotonic() + answer_s
    try:
        channel.send(m.encode(m.Ask(1, what, argument)))
        while (received := channel.receive()) is None:
            if not wait_readable(channel.fd, max(0.0, until - time.monotonic())):
                raise ConnectionError(f"{who} has not answered in {answer_s:g} s")
        answer = m.decode_from_node(received[0])
        assert isinstance(answer, m.Answer)
    except ChannelClosed as error:
        raise ChannelClosed(f"{who} has not answered: {error}") from None
    finally:
        channel.close()
    if answer.error:
        raise ValueError(answer.error)
    return answer.value
