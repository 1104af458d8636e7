"""Messages between the head and the nodes.

They travel on connections whose peer has proved to know the secret of the cluster, and are typed and size-limited all the same.
What clients say to nodes, on this machine or on another, is in `messages.py`.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from .groups import BundlesReserved as BundlesReserved, CommitBundles, ReserveBundles, ReturnBundles
from .jobs import BeginJob, DropJob, HostedJob, JobIs, PackagePart, PlaceJob, StopJob, ToJobs as ToJobs, WantPackage
from .messages import CreateActor, Death

HEAD = 0xFFFF_FFFF
"""The head, where nodes have their numbers: the home of all actors' ids. Members count from 1."""

ALIVE = "alive"
DRAINING = "draining"
DEAD = "dead"
AWAY = "away"
"""The head was started again, and the node has not come back yet."""

MOVED = "its node is drained, and it goes on elsewhere"
"""Why an actor's process ends that is started again on another node."""


class DrainOrder(Struct, array_like=True):
    """A node is to take nothing new, and to end when nothing is left on it."""

    reason: str
    deadline_s: float = 0.0
    """When it ends all the same, counted from when it hears of this; 0: never."""


class NodeInfo(Struct, array_like=True):
    """One node, as all of them know it. Amounts are in units of the scheduler."""

    no: int
    id: str
    name: str
    hostname: str
    host: str
    port: int
    total: dict[str, int]
    free: dict[str, int]
    labels: dict[str, str] = field(default_factory=dict)
    demand: list[tuple[dict[str, int], int]] = field(default_factory=list)
    """What waits there: a request, and how many times."""
    state: str = ALIVE
    reason: str = ""
    drain: DrainOrder | None = None
    drained: bool = False
    """Of a dead node: it was empty when it ended."""
    heir: int = 0
    """Of such a node: which node answers for its objects."""
    brought: bool = False
    """A program has brought it along, and it ends with that."""


class JobInfo(Struct, array_like=True):
    """What workers of a job start with."""

    job: str
    namespace: str
    sys_path: list[str]
    cwd: str
    alias_ray: bool
    main_path: str
    log_to_driver: bool


# ---------------------------------------------------------------- node -> head


class HostedActor(Struct, array_like=True):
    """An actor that a node was given, and how far it has come there."""

    id: bytes
    restarts: int
    worker: int = 0
    pid: int = 0
    ready: bool = False
    error: bytes = b""


class Report(Struct, array_like=True, tag=1):
    """What is free on a node now, and what waits there."""

    free: dict[str, int]
    demand: list[tuple[dict[str, int], int]]
    total: dict[str, int] | None = None
    """What the node has, if that has changed: bundles of placement groups are resources, too."""


class Beat(Struct, array_like=True, tag=2):
    """The node lives, and has sent this at `at` by its own clock; the head sends it back. So a node knows until when the head
    cannot have given it up."""

    at: float
    fresh: bool = False
    """Before the head sends it back, it tells this node all that it has not told yet."""


class Leave(Struct, array_like=True, tag=3):
    """The node ends on purpose."""

    reason: str
    drained: bool = False
    """It was told to be drained, and is empty."""
    heir: int = 0
    """The node that answers for its objects; 0: it had none."""


class Load(Struct, array_like=True, tag=20):
    """What only `skate status` asks for; the head does not spread it."""

    store_used: int = 0
    store_total: int = 0
    spilled: int = 0
    """Bytes on the disk."""
    waits: list[str] = field(default_factory=list)
    """What a node that is being drained waits for."""


class WorkerLost(Struct, array_like=True, tag=21):
    """A worker has died that should not have."""

    pid: int
    what: str
    reason: str


class ActorPlaced(Struct, array_like=True, tag=4):
    """An actor has a process."""

    id: bytes
    restarts: int
    worker: int
    pid: int


class ActorIsReady(Struct, array_like=True, tag=5):
    """Its constructor has returned (`error` empty) or raised."""

    id: bytes
    restarts: int
    error: bytes


class ActorDied(Struct, array_like=True, tag=6):
    """Its process has ended."""

    id: bytes
    restarts: int
    death: Death


class CannotPlace(Struct, array_like=True, tag=7):
    """No process can be started for it."""

    id: bytes
    restarts: int
    reason: str
    error: bytes = b""
    """What its calls fail with, if not by that reason."""


class JobEnded(Struct, array_like=True, tag=8):
    """A driver on this node has gone."""

    job: str
    told: bool = False
    """In order: it has said itself what of its tasks has not ended."""


class Join(Struct, array_like=True, tag=0):
    """A node wants to be of the cluster; or (its number is not 0) it is, and has lost the head for a moment."""

    info: NodeInfo
    pid: int
    actors: list[HostedActor] = field(default_factory=list)
    bundles: list[tuple[bytes, int]] = field(default_factory=list)
    """(placement group, number of the bundle) that are reserved there."""
    ends: list[ActorDied | CannotPlace | JobEnded] = field(default_factory=list)
    """What has ended there, and the head has not confirmed to have heard."""
    jobs: list[HostedJob] = field(default_factory=list)


# ---------------------------------------------------------------- head -> node


class Joined(Struct, array_like=True, tag=10):
    """The node is of the cluster, under this number, which no other node ever gets."""

    no: int


class View(Struct, array_like=True, tag=11):
    """Nodes that are new, or have changed."""

    nodes: list[NodeInfo]


class Fenced(Struct, array_like=True, tag=12):
    """The head has declared the node dead, or will not have it: it must end. `again`: its machine may join anew."""

    reason: str
    again: bool = False


class PlaceActor(Struct, array_like=True, tag=13):
    """Start this actor when there is room."""

    spec: CreateActor
    restarts: int
    job: JobInfo
    may_restart: bool = False


class UnplaceActor(Struct, array_like=True, tag=14):
    """It is not wanted any more, if it has no process yet."""

    id: bytes


class EndActor(Struct, array_like=True, tag=15):
    """End its process: at once, or after what has been sent to it."""

    id: bytes
    drain: bool
    reason: str = ""


NodeToHead = (
    Join
    | Report
    | Beat
    | Leave
    | Load
    | WorkerLost
    | ActorPlaced
    | ActorIsReady
    | ActorDied
    | CannotPlace
    | JobEnded
    | BundlesReserved
    | JobIs
    | WantPackage
)
ToGroups = ReserveBundles | CommitBundles | ReturnBundles
HeadToNode = (
    Joined
    | View
    | Fenced
    | PlaceActor
    | UnplaceActor
    | EndActor
    | Beat
    | ToGroups
    | PlaceJob
    | BeginJob
    | StopJob
    | DropJob
    | PackagePart
)

encode = msgspec.msgpack.Encoder().encode
decode_to_head = msgspec.msgpack.Decoder(NodeToHead).decode
decode_from_head = msgspec.msgpack.Decoder(HeadToNode).decode
