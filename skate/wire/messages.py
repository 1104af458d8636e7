"""Every message between processes, as typed structs.

Two planes. The data plane is one hop: `Batch` from a caller to a worker, `Replies` back. The control plane is
between a process and its node: one union per direction, so that a message that does not belong there is refused by
the decoder. Values that users make travel as opaque bytes: only processes that run user code open them.

Ids are 16 bytes: the id of the client that made them (8) and a counter (8).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from .groups import (
    CreateGroup as CreateGroup,
    GroupChanged as GroupChanged,
    RemoveGroup as RemoveGroup,
    WatchGroup as WatchGroup,
)
from .history import Recorded as Recorded
from .inquiry import Farewell as Farewell, Question as Question, Reached as Reached, Talks as Talks, Told as Told
from .metrics import Counted as Counted
from .spill import Evict as Evict, Evicted as Evicted, Offer as Offer, Offered as Offered
from .tls import Tls
from .work import (
    CANCELLED as CANCELLED,
    DONE as DONE,
    DONE_VALUES as DONE_VALUES,
    END as END,
    ERROR as ERROR,
    FAILED as FAILED,
    INLINE as INLINE,
    ITEM as ITEM,
    LOST as LOST,
    MISSING as MISSING,
    NOT_STARTED as NOT_STARTED,
    SHARED as SHARED,
    Batch as Batch,
    Credit as Credit,
    Definition as Definition,
    Dependency as Dependency,
    Forget as Forget,
    Part as Part,
    Replies as Replies,
    Reply as Reply,
    Task as Task,
    Value as Value,
)

# ---------------------------------------------------------------- control plane: client -> node


class Hello(Struct, array_like=True, tag=0):
    """The first message of a driver. `version` is compared before anything else is believed."""

    version: str
    pid: int
    namespace: str
    job_name: str
    log_to_driver: bool
    sys_path: list[str]
    cwd: str
    alias_ray: bool
    main_path: str
    client: bytes = b""
    """A client of another node says who it is, and of which job."""
    job: str = ""
    is_driver: bool = True
    waits: bool = False
    """It will say what its workers run in (`Prepare`): none are started before."""
    submission: str = ""
    """The submitted job that it is a program of."""


class WantWorkers(Struct, array_like=True, tag=1):
    """How many workers the client could use now for requests of one shape: a level, not an increment."""

    shape: int
    count: int
    resources: dict[str, float] | None = None
    depth: int = 0
    node_id: str = ""
    """The node that they must be on, or with `node_soft` should be on; or "SPREAD"."""
    node_soft: bool = False
    prefers: int = 0
    """The node, by number, where the arguments are: for now the workers should be there, and nowhere else."""
    env: str = ""
    """The environment that they run in: see `environments.py`."""


class ReturnWorker(Struct, array_like=True, tag=2):
    worker: int


class Blocked(Struct, array_like=True, tag=3):
    """This worker waits in `get`: its CPU may be lent until it says otherwise."""

    blocked: bool


class CreateActor(Struct, array_like=True, tag=4):
    """Create an actor; the caller's end of its first channel comes along as a descriptor."""

    id: bytes
    definition: Definition
    body: Value
    dependencies: list[Dependency] | None
    meta: bytes
    name: str
    namespace: str
    class_name: str
    detached: bool
    resources: dict[str, float]
    placement: dict[str, float]
    max_restarts: int
    max_concurrency: int
    concurrency_groups: dict[str, int]
    is_async: bool
    get_if_exists: bool
    request: int
    depends: list[bytes] | None = None
    node_id: str = ""
    """The node that it must be on, or with `node_soft` should be on; or "SPREAD"."""
    node_soft: bool = False
    env: str = ""
    """The environment that it runs in."""


class ConnectActor(Struct, array_like=True, tag=5):
    """A channel to the actor; the actor's end of it comes along as a descriptor."""

    id: bytes


class KillActor(Struct, array_like=True, tag=6):
    id: bytes
    no_restart: bool


class FindActor(Struct, array_like=True, tag=7):
    request: int
    name: str
    namespace: str


class Interrupt(Struct, array_like=True, tag=8):
    """Interrupt task `seq` of this client on a worker; with `force`, kill the worker: at once, or if `seq` is 0 when it does not
    end by itself."""

    worker: int
    seq: int
    force: bool
    recursive: bool = True


class HeldUp(Struct, array_like=True, tag=26):
    """A worker of this client has been silent for a while: what it has not begun is to come back."""

    worker: int


class WantMemory(Struct, array_like=True, tag=9):
    request: int
    size: int
    patience_s: float
    """How long to wait for others to free some."""


class ReturnMemory(Struct, array_like=True, tag=10):
    ranges: list[tuple[int, int]]


class Register(Struct, array_like=True, tag=11):
    """The node answers for this object from now on; the sender holds it. `value` None: the sender will `Deliver`."""

    id: bytes
    value: Value | None
    holder: bytes = b""
    owner: bytes = b""
    """The client whose memory the block is, if not the sender."""
    site: str = ""
    """Where it was made, in the user's program."""


class Deliver(Struct, array_like=True, tag=12):
    id: bytes
    value: Value


class Hold(Struct, array_like=True, tag=13):
    """Client `holder` (the sender if empty) holds the object once more (or once less: -1). 0: clients of other nodes hear
    of it now, and may soon hold it."""

    id: bytes
    change: int
    holder: bytes = b""


class Fetch(Struct, array_like=True, tag=14):
    """Send `Fetched` as soon as the object has a value."""

    id: bytes


class Ask(Struct, array_like=True, tag=15):
    """A question about state, by name; the answer is `Answer`."""

    request: int
    what: str
    argument: Any = None


class CallerGone(Struct, array_like=True, tag=16):
    """This worker has finished everything that a caller, now gone, has sent it."""

    caller: bytes


class ActorReady(Struct, array_like=True, tag=17):
    """The constructor has returned (`error` empty) or raised."""

    error: bytes = b""


class Leaving(Struct, array_like=True, tag=18):
    """This process ends on purpose. `reason` is for whoever asks why."""

    reason: str
    intended: bool = True


class Flushed(Struct, array_like=True, tag=19):
    """Answer once everything sent before it has been carried out, logs included."""

    request: int


class Ready(Struct, array_like=True, tag=20):
    """This worker has started."""


class Dial(Struct, array_like=True, tag=21):
    """Connect to another node, for this purpose; the answer is `Dialed` with the connection."""

    request: int
    node: int
    purpose: str
    payload: bytes = b""


class Pull(Struct, array_like=True, tag=22):
    """Bring the bytes of an object here from another node's arena; the answer is `Pulled`. `ahead`: nobody waits for them yet."""

    id: bytes
    node: int
    size: int
    ahead: bool = False


class Hurry(Struct, array_like=True, tag=24):
    """An object that was asked for ahead is waited for now."""

    id: bytes


class Prepare(Struct, array_like=True, tag=25):
    """Tasks of this driver will run in this environment: set it up, and start workers in it."""

    env: str


class Lost(Struct, array_like=True, tag=23):
    """To an object's home: the bytes of its value, block `block`, cannot be had. Whoever has not submitted its task waits for
    the next value; the answer is `Fetched`."""

    id: bytes
    block: bytes


ToNode = (
    Hello
    | WantWorkers
    | ReturnWorker
    | Blocked
    | CreateActor
    | ConnectActor
    | KillActor
    | FindActor
    | Interrupt
    | HeldUp
    | WantMemory
    | ReturnMemory
    | Register
    | Deliver
    | Hold
    | Fetch
    | Ask
    | CallerGone
    | ActorReady
    | Leaving
    | Flushed
    | Ready
    | Dial
    | Pull
    | Hurry
    | Lost
    | Prepare
    | CreateGroup
    | RemoveGroup
    | WatchGroup
    | Evicted
    | Offered
    | Told
    | Talks
    | Counted
    | Recorded
    | Farewell
)

# ---------------------------------------------------------------- control plane: node -> client


class Welcome(Struct, array_like=True, tag=0):
    """The first answer. With it come the arena's descriptor and, in a worker's case, none."""

    client: bytes
    job: str
    node: str
    session: str
    session_dir: str
    arena_bytes: int
    total: dict[str, float]
    worker: int = 0
    node_no: int = 0
    """The number of this node in its cluster; 0: it is in none."""
    heirs: dict[int, int] = {}
    """Nodes that are gone, and those that answer for their objects."""
    tls: Tls | None = None
    """What it uses towards other machines."""
    history: bool = False
    """The node wants to hear of tasks that have ended."""
    sites: bool = False
    """It is to be recorded where tasks are called and values are put."""


class Refused(Struct, array_like=True, tag=1):
    """The node will not have this client, or, later, ends itself."""

    reason: str


class Leased(Struct, array_like=True, tag=2):
    """A worker for requests of this shape. With it come the caller's end and a duplicate of the worker's end."""

    shape: int
    worker: int
    pid: int
    key: bytes = b""
    """To a client of another node, in place of the descriptors: what to dial the worker with."""


class Death(Struct, array_like=True):
    """How a process ended: the kernel's word, the process's own, and what it printed last."""

    reason: str
    signal: int = 0
    exit_code: int | None = None
    memory_bytes: int = 0
    last_lines: list[str] = []
    intended: bool = False
    pid: int = 0
    out_of_memory: bool = False
    oom_retries: int = -1
    """If so, how often a task may be run again for that reason; -1: without end."""


class WorkerDied(Struct, array_like=True, tag=3):
    worker: int
    death: Death
    running: int = 0
    """The task that it was running, if it had several."""


class GiveBack(Struct, array_like=True, tag=4):
    """Others wait for workers: return those that are idle at once, and when they finish `busy` more (a level)."""

    busy: int = 0
    shape: int = -1
    """If not negative: `busy` are of this shape, and it is another shape of the same client that waits."""


class ActorChanged(Struct, array_like=True, tag=5):
    """The actor's state: pending, alive, restarting or dead; `restarts` counts its incarnations."""

    id: bytes
    state: str
    restarts: int
    pid: int = 0
    error: bytes = b""
    death: Death | None = None
    node: int = 0
    """The node that it lives on, by number, in a cluster."""


class FoundActor(Struct, array_like=True, tag=6):
    request: int
    id: bytes
    meta: bytes
    error: str = ""
    created: bool = False


class Memory(Struct, array_like=True, tag=7):
    """A range of the arena; size 0: there is none, and `reason` says why."""

    request: int
    offset: int
    size: int
    reason: str = ""
    disk_full: bool = False
    """Objects could leave memory if there were room on the disk."""


class Freed(Struct, array_like=True, tag=8):
    """Nobody holds these blocks any more: their memory is the receiver's again."""

    ids: list[bytes]


class Fetched(Struct, array_like=True, tag=9):
    id: bytes
    value: Value


class Answer(Struct, array_like=True, tag=10):
    request: int
    value: Any = None
    error: str = ""


class Output(Struct, array_like=True, tag=11):
    """Lines that workers have printed."""

    source: str
    is_error: bool
    lines: list[str]


class GiveBackMemory(Struct, array_like=True, tag=12):
    """Others wait for memory: return what is free."""


class Serve(Struct, array_like=True, tag=13):
    """To a worker: a caller's channel (the descriptor that comes along). Tasks of this client arrive on it."""

    caller: bytes
    resources: dict[str, float] | None = None
    gpus: list[int] | None = None
    depth: int = 0
    stream: bool = False
    """The caller is on another node: the channel is a TCP connection. `rest` was read from it already."""
    rest: bytes = b""


class BeActor(Struct, array_like=True, tag=14):
    """To a worker: be this actor from now on."""

    spec: CreateActor
    restarts: int
    gpus: list[int] | None = None


class Cancel(Struct, array_like=True, tag=15):
    """To a worker: interrupt this task if it runs now, and cancel what it has started."""

    caller: bytes
    seq: int
    recursive: bool = True


class LetGo(Struct, array_like=True, tag=29):
    """To a worker that runs one task: give back what its callers have sent and it has not begun."""


class Stop(Struct, array_like=True, tag=16):
    """To a worker: end; with `drain`, after what has been sent to it."""

    drain: bool = False
    reason: str = ""


class Begin(Struct, array_like=True, tag=17):
    """To a fresh worker: whose it is."""

    welcome: Welcome
    namespace: str
    sys_path: list[str]
    cwd: str
    alias_ray: bool
    main_path: str


class CannotStart(Struct, array_like=True, tag=18):
    """No worker can be started in this environment: what waits for one fails."""

    reason: str
    env: str = ""
    error: bytes = b""
    """What it fails with, if that is not that the worker crashed."""


class Elsewhere(Struct, array_like=True, tag=19):
    """Another node has room for `count` more workers of this shape; if that is not enough, `share` in all may wait there."""

    shape: int
    node: int
    count: int
    share: int = 0


class Unschedulable(Struct, array_like=True, tag=28):
    """No task of this shape can run any more."""

    shape: int
    reason: str


class Dialed(Struct, array_like=True, tag=20):
    """The connection comes along as a descriptor, unless there is an error. `rest` was read from it already."""

    request: int
    error: str = ""
    rest: bytes = b""


class Pulled(Struct, array_like=True, tag=21):
    """An object's bytes are here, held for the receiver; or the error why not."""

    id: bytes
    value: Value


class NodeDied(Struct, array_like=True, tag=22):
    """A node of the cluster is gone, with all that was on it; or without, if another answers for its objects."""

    node: int
    reason: str
    heir: int = 0


class Rebuild(Struct, array_like=True, tag=23):
    """To whoever has submitted an object's task: its bytes, which were on `node`, are lost, and somebody wants them."""

    id: bytes
    node: int


FromNode = (
    Welcome
    | Refused
    | Leased
    | WorkerDied
    | GiveBack
    | ActorChanged
    | FoundActor
    | Memory
    | Freed
    | Fetched
    | Answer
    | Output
    | GiveBackMemory
    | Serve
    | BeActor
    | Cancel
    | LetGo
    | Stop
    | Begin
    | CannotStart
    | Elsewhere
    | Unschedulable
    | Dialed
    | Pulled
    | NodeDied
    | Rebuild
    | GroupChanged
    | Evict
    | Offer
    | Question
    | Reached
)

encode = msgspec.msgpack.Encoder().encode
decode_batch = msgspec.msgpack.Decoder(Batch | Credit | Forget | Part).decode
decode_replies = msgspec.msgpack.Decoder(Replies).decode
decode_to_node = msgspec.msgpack.Decoder(ToNode).decode
decode_from_node = msgspec.msgpack.Decoder(FromNode).decode
