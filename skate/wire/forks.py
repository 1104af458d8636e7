"""Messages between a node and its zygote."""

from __future__ import annotations

import signal

import msgspec
from msgspec import Struct

STACK_SIGNAL = signal.SIGRTMIN + 9
"""A worker that gets this signal writes the stacks of its threads into a file that it shares with its node."""

FAREWELL_SIGNAL = signal.SIGRTMIN + 10
"""A worker that gets this signal tells its node what it knows, as it is about to be ended."""


class Fork(Struct, array_like=True, tag=0):
    """Fork a worker; its channel to the node comes along as a descriptor."""

    worker: int
    log_out: str
    log_err: str
    environment: str = ""
    """If there is one, what is forked is the zygote of this environment: it sets it up, and then reads its channel."""
    folder: str = ""
    """The session's: beside it is what this machine keeps of environments."""
    sys_path: list[str] = []
    """Where its job imports from."""


class Package(Struct, array_like=True, tag=2):
    """To the zygote of an environment: the package that it needs is here now, or cannot be had."""

    hash: str
    error: str = ""


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


class Need(Struct, array_like=True, tag=2):
    """The zygote of an environment needs a package that is not on this machine."""

    hash: str
    node: int
    """The number of the node that should have it."""


class Prepared(Struct, array_like=True, tag=4):
    """An environment is set up: its zygote forks workers from now on."""


class Failed(Struct, array_like=True, tag=3):
    """An environment could not be set up; its zygote ends."""

    error: str


encode = msgspec.msgpack.Encoder().encode
decode_to_zygote = msgspec.msgpack.Decoder(Fork | Kill | Package).decode
decode_from_zygote = msgspec.msgpack.Decoder(Forked | Reaped | Need | Failed | Prepared).decode
