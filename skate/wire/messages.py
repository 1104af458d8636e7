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

# ---------------------------------------------------------------- values

INLINE = 0
"""`data` is the packed value."""
SHARED = 1
"""The packed value lies in the arena at `offset`, `size` bytes; `id` names the block."""
ERROR = 2
"""`data` is a packed error."""


class Value(Struct, array_like=True, gc=False):
    """Where a value is. `refs` are the ids of the references inside it, in the order in which it names them."""

    kind: int
    data: bytes = b""
    id: bytes = b""
    offset: int = 0
    size: int = 0
    refs: list[bytes] | None = None
    node: int = 0
    """The node in whose arena the bytes lie, by number; 0: the one that everybody who sees this message is on."""


# ---------------------------------------------------------------- data plane: caller -> worker


class Definition(Struct, array_like=True, gc=False):
    """What the small number `no` stands for on this channel from now on: a function or a method, with its options."""

    no: int
    hash: bytes
    code: Value | None
    name: str
    num_returns: int
    max_calls: int = 0
    backpressure: int = 0
    group: str = ""
    resources: dict[str, float] | None = None
    at_most_once: bool = False
    """Every answer is sent at once: a later task's crash must not make it look as if this one had not run."""


class Dependency(Struct, array_like=True, gc=False):
    """The value of an argument that was passed as a reference: a position, or a keyword."""

    where: int | str
    value: Value


class Task(Struct, array_like=True, gc=False):
    """One task or one method call. `body` packs `(args, kwargs)`; dependencies fill the gaps in it."""

    seq: int
    no: int
    body: bytes
    dependencies: list[Dependency] | None = None
    shared: Value | None = None
    refs: list[bytes] | None = None
    attempt: int = 0
    parts: int = 0
    """How many `Part`s with further dependencies came before."""


class Batch(Struct, array_like=True, tag=0, gc=False):
    """Tasks, to be run one after the other, and the definitions that they are the first to need."""

    tasks: list[Task]
    definitions: list[Definition] | None = None


class Credit(Struct, array_like=True, tag=1, gc=False):
    """The consumer of a stream has taken `taken` items in all: the producer may go on."""

    seq: int
    taken: int


class Part(Struct, array_like=True, tag=3, gc=False):
    """Dependencies of a task that has too many for one packet; the task itself comes after its parts."""

    seq: int
    at: int
    dependencies: list[Dependency]
    refs: list[bytes]


class Forget(Struct, array_like=True, tag=2, gc=False):
    """A call that was cancelled before it ran, or should end: actors read it between calls."""

    seq: int


# ---------------------------------------------------------------- data plane: worker -> caller

DONE = 0
"""`data` is the value."""
FAILED = 1
"""`data` is the packed error."""
DONE_VALUES = 2
"""`values` are all the values, or the one value that is not inline."""
NOT_STARTED = 3
"""The worker gives the task back."""
ITEM = 4
"""`values[0]` is item number `at` of a stream."""
END = 5
"""The stream has `at` items."""
CANCELLED = 6
RETRY = 7
"""The task failed with an exception that the caller may want retried; `data` is the packed error, `at` the index
of the class in `retry_exceptions`."""


class Reply(Struct, array_like=True, gc=False):
    seq: int
    kind: int
    data: bytes = b""
    values: list[Value] | None = None
    at: int = 0


class Replies(Struct, array_like=True, gc=False):
    """Answers, in the order in which they were made. `spent_us` is the time the tasks took, for `ran` of them."""

    replies: list[Reply]
    spent_us: int = 0
    ran: int = 0
    kept: list[bytes] | None = None
    """Blocks of the caller that this process goes on reading after the call."""


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


class WantWorkers(Struct, array_like=True, tag=1):
    """How many workers the client could use now for requests of one shape: a level, not an increment."""

    shape: int
    count: int
    resources: dict[str, float] | None = None
    depth: int = 0
    node_id: str = ""


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
    """Interrupt task `seq` of this client on a worker; with `force`, kill the worker."""

    worker: int
    seq: int
    force: bool
    recursive: bool = True


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
    """Bring the bytes of an object here from another node's arena; the answer is `Pulled`."""

    id: bytes
    node: int
    size: int


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


class Refused(Struct, array_like=True, tag=1):
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


class WorkerDied(Struct, array_like=True, tag=3):
    worker: int
    death: Death
    running: int = 0
    """The task that it was running, if it had several."""


class GiveBack(Struct, array_like=True, tag=4):
    """Others wait for workers: return those that are idle at once, and `busy` more when they finish."""

    busy: int = 0


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


class Stop(Struct, array_like=True, tag=16):
    """To a worker: end; with `drain`, after what has been sent to it."""

    drain: bool = False


class Begin(Struct, array_like=True, tag=17):
    """To a fresh worker: whose it is."""

    welcome: Welcome
    namespace: str
    sys_path: list[str]
    cwd: str
    alias_ray: bool
    main_path: str


class CannotStart(Struct, array_like=True, tag=18):
    """No worker can be started: what waits for one fails."""

    reason: str


class Elsewhere(Struct, array_like=True, tag=19):
    """Another node has room for so many workers of this shape (a level): ask it for them."""

    shape: int
    node: int
    count: int


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
    """A node of the cluster is gone, with all that was on it."""

    node: int
    reason: str


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
    | Stop
    | Begin
    | CannotStart
    | Elsewhere
    | Dialed
    | Pulled
    | NodeDied
)

encode = msgspec.msgpack.Encoder().encode
decode_batch = msgspec.msgpack.Decoder(Batch | Credit | Forget | Part).decode
decode_replies = msgspec.msgpack.Decoder(Replies).decode
decode_to_node = msgspec.msgpack.Decoder(ToNode).decode
decode_from_node = msgspec.msgpack.Decoder(FromNode).decode
