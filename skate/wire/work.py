"""The data plane: values, and what callers and workers tell each other, one hop, without the node.

`messages.py` has the control plane, the codecs of both, and all these names, too.
"""

from __future__ import annotations

from msgspec import Struct

# ---------------------------------------------------------------- values

INLINE = 0
"""`data` is the packed value."""
SHARED = 1
"""The packed value lies in the arena at `offset`, `size` bytes; `id` names the block."""
ERROR = 2
"""`data` is a packed error."""
LOST = 3
"""The bytes of a `SHARED` value cannot be had; `data` is the packed error that says why."""


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
    lends: bool = False
    """A stream that waits for its consumer lends its CPU."""


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
    trace: dict[str, str] | None = None
    """Where its spans belong, in the words of OpenTelemetry, and what sets that up; None: it has none."""
    site: str = ""
    """Where it was called, if that is recorded."""


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
MISSING = 7
"""The task was not begun: the bytes of arguments cannot be had. `values` has their ids, `data` a packed error."""


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
    ended: float = 0.0
    """When the last of them ended, in seconds since 1970; 0.0: not said."""
