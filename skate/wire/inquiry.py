"""Questions of a node to its clients: what they run, hold and wait for. Only they know, as their work does not pass the node."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Question(Struct, array_like=True, tag=70):
    """To a client: answer with `Told`."""

    request: int
    what: str
    argument: Any = None


class Reached(Struct, array_like=True, tag=71):
    """To a driver: a worker of its job has connected to this node, and may have work done there. What that prints comes to who is
    connected."""

    node: int


class Told(Struct, array_like=True, tag=70):
    """To the node: the answer to a `Question`; `error` if there is none."""

    request: int
    value: Any = None
    error: str = ""


class Talks(Struct, array_like=True, tag=71):
    """To the node: this worker reads messages while it works, from now on. Before, it has nothing to tell."""


class Farewell(Struct, array_like=True, tag=73):
    """To the node: this worker has said all that it knows, and runs these tasks: of each the id, the name, and for how many
    seconds (0: that is not known)."""

    running: list[tuple[str, str, float]]


class Telling(Struct):
    """What one client said, for whoever asked."""

    client: str
    """Its id in hexadecimal."""
    pid: int
    worker: int
    """The number of the worker that it is; 0: a driver."""
    job: str
    value: Any = None
    error: str = ""
    """Why there is no answer."""
