"""Actors, jobs and placement groups in the head's store: how they are written there, and read back.

What an actor is made of, which may be large, is a row of its own, written once; what becomes of it is a small one.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from ..wire.cluster import JobInfo
from ..wire.messages import CreateActor, CreateGroup, Death
from .actors import Actor, State
from .groups import Group
from .jobs import Job
from .store import Store


class Row(Struct, array_like=True):
    """What becomes of an actor."""

    job: str
    creator: bytes
    state: State
    restarts: int
    node: int
    worker: int
    pid: int
    error: bytes
    death: Death | None
    released: bool
    kill_wanted: bool
    ends: bool
    why_killed: str
    moving: bool = False
    moves: int = 0


class GroupRow(Struct, array_like=True):
    """What becomes of a placement group."""

    spec: CreateGroup
    job: str
    amounts: list[dict[str, int]]
    state: str
    nodes: list[int]
    attempt: int
    reason: str


_encode = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(Row).decode
_decode_group = msgspec.msgpack.Decoder(GroupRow).decode
_decode_spec = msgspec.msgpack.Decoder(CreateActor).decode
_decode_job = msgspec.msgpack.Decoder(JobInfo).decode
_decode_submitted = msgspec.msgpack.Decoder(Job).decode


class Rows:
    """The rows of actors, of the jobs that they are of, of placement groups, and of jobs that were submitted."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._written: set[bytes] = set()
        """Actors whose specification is in the store."""

    def keep(self, actor: Actor) -> None:
        """Write what has become of an actor."""
        store = self.store
        dead = actor.state is State.DEAD
        if actor.id not in self._written or dead:  # a dead one needs its arguments no more
            self._written.add(actor.id)
            store.put("spec", actor.id, _encode(actor.spec))
        row = Row(
            actor.job,
            actor.creator,
            actor.state,
            actor.restarts,
            actor.node,
            actor.worker,
            actor.pid,
            actor.error,
            actor.death,
            actor.released,
            actor.kill_wanted,
            actor.ends,
            actor.why_killed,
            actor.moving,
            actor.moves,
        )
        store.put("actor", actor.id, _encode(row))

    def forget(self, ident: bytes) -> None:
        """An actor is not remembered any more."""
        self._written.discard(ident)
        self.store.delete("actor", ident)
        self.store.delete("spec", ident)

    def load(self) -> Iterator[Actor]:
        """All actors."""
        specs = dict(self.store.load("spec"))
        for ident, data in self.store.load("actor"):
            row = _decode_row(data)
            self._written.add(ident)
            yield Actor(
                ident,
                _decode_spec(specs[ident]),
                row.job,
                row.creator,
                row.state,
                row.restarts,
                row.node,
                row.worker,
                row.pid,
                row.error,
                row.death,
                set(),
                row.released,
                row.kill_wanted,
                row.ends,
                row.why_killed,
                row.moving,
                row.moves,
            )

    def keep_job(self, info: JobInfo) -> None:
        """Write what workers of a job start with."""
        self.store.put("job", info.job.encode(), _encode(info))

    def forget_job(self, job: str) -> None:
        """Nothing of a job is left."""
        self.store.delete("job", job.encode())

    def keep_group(self, group: Group) -> None:
        """Write what has become of a placement group."""
        row = GroupRow(group.spec, group.job, group.amounts, group.state, group.nodes, group.attempt, group.reason)
        self.store.put("group", group.spec.id, _encode(row))

    def forget_group(self, ident: bytes) -> None:
        """A placement group is removed."""
        self.store.delete("group", ident)

    def load_groups(self) -> Iterator[Group]:
        """All placement groups."""
        for _, data in self.store.load("group"):
            row = _decode_group(data)
            yield Group(row.spec, row.job, row.amounts, row.state, row.nodes, attempt=row.attempt, reason=row.reason)

    def keep_submitted(self, job: Job) -> None:
        """Write what has become of a job that was submitted."""
        self.store.put("submitted", job.spec.id.encode(), _encode(job))

    def forget_submitted(self, job: Job) -> None:
        """Such a job is not remembered any more."""
        self.store.delete("submitted", job.spec.id.encode())

    def load_submitted(self) -> Iterator[Job]:
        """All jobs that were submitted."""
        for _, data in self.store.load("submitted"):
            yield _decode_submitted(data)

    def load_jobs(self) -> Iterator[tuple[str, JobInfo]]:
        """All jobs."""
        for key, data in self.store.load("job"):
            yield key.decode(), _decode_job(data)
