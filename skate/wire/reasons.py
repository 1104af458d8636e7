"""What clients and nodes say when they are asked why something is not done."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Known(Struct):
    """What the process that has submitted a task, or has made an object, knows of it."""

    text: str
    """In words."""
    name: str = ""
    task_id: str = ""
    """In hexadecimal, of its present attempt."""
    done: bool = False
    waits: list[str] = []
    """The objects that it waits for, by their ids in hexadecimal."""
    needs: dict[str, float] = {}
    """The resources that it waits for."""
    crew: str = ""
    """Whose workers are to run it, if it waits for resources: those of a job, or of its tasks in one environment."""
    actor: str = ""
    """Of a call: the id of its actor."""
    sent: bool = False
    """Of a call: it is in the actor's hands."""
    pid: int = 0
    """The worker process that has it, or the actor's."""
    node: int = 0
    """Where that is; 0: the only node."""
    how: str = ""
    """The words in `text` for what it does there: its process may know better."""
    seconds: float = 0.0
    """Since when it has run; 0: that is not known."""


class Doing(Struct):
    """What one task or call that runs in a process does."""

    task_id: str
    name: str
    seconds: float = 0.0
    """Since when it has run; 0: that is not known."""
    waits: list[str] = []
    """The objects that it waits for now."""
    enough: int = 0
    """How many of them are enough; 0: all."""
    gives_up: bool = False
    """It waits no longer than for a time that was given."""


class Process(Struct):
    """What a node knows of one of its workers."""

    pid: int
    worker: int
    client: str
    """The worker's id as a client, in hexadecimal."""
    state: str
    """idle, leased, actor."""
    heard: bool
    """It can be asked itself: it reads messages while it works, or waits."""
    seconds: float = 0.0
    """How long it has had its lease."""
    lessee: str = ""
    """The client that it is leased to, in hexadecimal."""
    actor: str = ""
    """Who lives in it: the actor's id in hexadecimal, class and name."""
    class_name: str = ""
    name: str = ""
    amounts: dict[str, float] = {}
    """What it has of the node's resources. A CPU that it lends is not among them."""


class Holders(Struct):
    """Who has what a request lacks on one node."""

    free: bool
    """Nothing is short here."""
    names: list[str] = []
    """The resources that are short."""
    processes: list[Process] = []
    """At most `HOLDERS_MAX` of those who have them."""
    count: int = 0
    """How many they are."""


HOLDERS_MAX = 8


def told(value: Struct) -> Any:
    """As plain data, for an answer."""
    from msgspec import to_builtins

    return to_builtins(value)
