"""Messages in words, for the trace: which decoder reads what arrives at which end of a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ...wire import cluster as c, messages as m
from .sockets import End

CONTROL = "client"
DATA = "data"
WORDS_MAX = 220

_DECODERS: dict[str, tuple[Callable[[bytes], Any], Callable[[bytes], Any]]] = {
    "node": (c.decode_from_head, c.decode_to_head),
    "client": (m.decode_from_node, m.decode_to_node),
    "head": (m.decode_from_node, m.decode_to_node),
    "data": (m.decode_batch, m.decode_replies),
}
"""By purpose: what is said to whoever has dialled, and what that one says. Of data it is the other way round."""


def explain(end: End, purpose: str) -> None:
    """Have what arrives at both ends of a connection read; `end` is the client's, or of data the worker's."""
    decoders = _DECODERS.get(purpose)
    if decoders is None:
        return
    framed = not end.packets
    end.says = _reader(decoders[0], framed)
    end.peer.says = _reader(decoders[1], framed)


def _reader(decode: Callable[[bytes], Any], framed: bool) -> Callable[[bytes], str]:
    def words(data: bytes) -> str:
        try:
            message = decode(data[4:] if framed else data[1:])
        except msgspec.MsgspecError:
            return f"{len(data)} bytes"
        text = repr(message)
        return text if len(text) <= WORDS_MAX else text[:WORDS_MAX] + "..."

    return words
