"""Messages between a node and its zygote."""

from __future__ import annotations

import signal

import msgspec
from msgspec import Struct

STACK_SIGNAL = signal.SIGRTMIN + 9
"""A worker that gets this signal writes the stacks of its threads into a file that it shares with its node."""


class Fork(Struct, array_like=True, tag=0):
    """Fork a worker; its channel to the node comes along as a descriptor."""

    worker: int
    log_out: str
    log_err: str


class Kill(Struct, array_like=True, tag=1):
    pid: int
    signal: int


class Forked(Struct, array_like=True, tag=0):
    worker: int
    pid: int
    error: str = ""


class Reaped(Struct, array_like=True, tag=1):
    worker: int
    pid: int
    status: int
    memory_bytes: int


encode = msgspec.msgpack.Encoder().encode
decode_to_zygote = msgspec.msgpack.Decoder(Fork | Kill).decode
decode_from_zygote = msgspec.msgpack.Decoder(Forked | Reaped).decode
