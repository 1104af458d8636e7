"""What the head and the nodes tell each other of submitted jobs.

A node says what it has of a job, all of it, each time that this changes and when it joins; so nothing is lost when it is not
heard.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

WAITING = "waiting"
"""The node has the job, and no room for it yet."""
ROOM = "room"
"""What it needs is reserved, and it may begin."""
SETS_UP = "sets up"
"""Its runtime environment is being set up, and then it runs."""
RUNS = "runs"
OVER = "over"


PACKAGE = "package://"
"""How what names a package in a runtime environment begins; its hash follows, and of a module a slash and what it is called."""


class JobSpec(Struct, array_like=True):
    """A job, as it was submitted."""

    id: str
    entrypoint: str
    """A command for the shell."""
    nonce: str
    """Of whoever submitted it: who has not heard that it is accepted says it again, and it is no other job."""
    runtime_env: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    resources: dict[str, float] = field(default_factory=dict)
    """What the entrypoint needs by itself, as a request of the scheduler; nothing: it runs on the head's machine."""
    environment: str = ""
    """What of its runtime environment its node sets up before the entrypoint begins, as a text; "": nothing."""


class HostedJob(Struct, array_like=True):
    """A job that a node was given, and how far it has come there."""

    id: str
    state: str = WAITING
    pid: int = 0
    exit_code: int | None = None
    """Of one that is over: of its entrypoint, negative for a signal; None: it was not seen, and `message` says why."""
    message: str = ""
    """Of one that is over, or sets up, for people."""
    stopped: bool = False
    """It is over because it was to be stopped."""
    setup_failed: bool = False
    """It is over because its runtime environment could not be set up."""


class SetUp(Struct):
    """What the process is given that sets the environment of an entrypoint up, and then becomes its guard."""

    environment: str
    session_dir: str
    folder: str
    """Of the job; it may make others in there."""
    files: str
    """Where a working directory is to be that it has brought."""
    variables: dict[str, str]
    """What the entrypoint starts with, but for what comes of the environment."""
    guard: list[str]
    """The guard's command."""


# ---------------------------------------------------------------- node -> head


class JobIs(Struct, array_like=True, tag=80):
    """What has become of a job."""

    job: HostedJob


class WantPackage(Struct, array_like=True, tag=81):
    """A node asks for a part of what a job brings along."""

    job: str
    hash: str
    number: int


# ---------------------------------------------------------------- head -> node


class PlaceJob(Struct, array_like=True, tag=80):
    """Reserve what a job needs, when there is room, and say so."""

    spec: JobSpec


class BeginJob(Struct, array_like=True, tag=81):
    """Start its entrypoint: no other node does."""

    id: str


class StopJob(Struct, array_like=True, tag=82):
    """End it, if it runs, and say so."""

    id: str


class DropJob(Struct, array_like=True, tag=83):
    """It is not wanted there, or not any more: end it, and remove all that there is of it."""

    id: str


class PackagePart(Struct, array_like=True, tag=84):
    """The answer; `error` if there is none."""

    job: str
    hash: str
    number: int
    data: bytes = b""
    last: bool = False
    error: str = ""


ToJobs = PlaceJob | BeginJob | StopJob | DropJob | PackagePart


def packages_of(runtime_env: dict[str, Any]) -> list[str]:
    """The packages that a job's runtime environment names, by their hashes."""
    named = [runtime_env.get("working_dir"), *(runtime_env.get("py_modules") or ())]
    found = [name.removeprefix(PACKAGE) for name in named if isinstance(name, str) and name.startswith(PACKAGE)]
    return [name.partition("/")[0] for name in found]
