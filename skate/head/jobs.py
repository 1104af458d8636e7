"""The life of submitted jobs.

A job's entrypoint must not run twice, whatever dies. So a node first reserves what the job needs, and says so; only then the head
decides, once, that it begins there. Until then the job may go to another node. After that it ends with its node.

Pure: events in, a list of effects out; the shell writes each job that an effect is about before it tells anybody.

    pending --begin, started--> running --ended--> succeeded, failed, stopped
    pending --stopped, its node has died after it was to begin--> stopped, failed

INV-1: `living` has exactly the jobs that are not over.
INV-2: a job that has begun has a node; a running one has begun.
INV-3: a job that is over has the time of its end, and a message.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from ..wire.jobs import OVER, ROOM, RUNS, SETS_UP, BeginJob, DropJob, HostedJob, JobSpec, PlaceJob, StopJob, ToJobs

OVER_MAX = 10_000
"""So many jobs that are over are remembered, with their logs."""
LIVING_MAX = 10_000
"""So many jobs may be there that are not over."""

ID = re.compile(r"[A-Za-z0-9][\w.@+=-]{0,99}", re.ASCII)
"""What a job may be called: it names a folder, and is part of addresses."""
SPEC_BYTES_MAX = 1 << 20


class Status(StrEnum):
    """How far a job is, in Ray's words."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class Job(Struct, eq=False, array_like=True):
    """One job. Times are milliseconds of the wall clock, for people."""

    spec: JobSpec
    status: Status
    submitted_ms: int
    message: str = ""
    node: int = 0
    """The node that was chosen for it, by number; 0: none yet."""
    begun: bool = False
    """It was told to begin there, so it may have."""
    stop_wanted: bool = False
    pid: int = 0
    started_ms: int = 0
    ended_ms: int = 0
    exit_code: int | None = None
    driver: str = ""
    """The id of the first program of it that has attached to the cluster, as tasks and actors have it."""
    setup_failed: bool = False
    """It has failed as its runtime environment could not be set up."""
    doing: str = ""
    """What its node does before the entrypoint begins; the node says so again when it joins."""

    @property
    def over(self) -> bool:
        """Whether nothing happens to it any more."""
        return self.status not in (Status.PENDING, Status.RUNNING)


class Place(Struct, eq=False):
    """Find a node for the job, and call `place`."""

    job: Job


class Say(Struct, eq=False):
    """Tell a node something; one that is gone need not hear it."""

    node: int
    message: ToJobs


class Changed(Struct, eq=False):
    """The job is to be written."""

    job: Job


class Forget(Struct, eq=False):
    """The job is not remembered any more."""

    job: Job


Effect = Place | Say | Changed | Forget


class Jobs:
    """All jobs of the cluster that were submitted."""

    def __init__(self) -> None:
        self.by_id: dict[str, Job] = {}
        self.living: dict[str, Job] = {}
        self._over: deque[Job] = deque()

    def restore(self, jobs: Iterable[Job]) -> None:
        """Know the jobs that the store has."""
        for job in sorted(jobs, key=lambda job: (job.ended_ms, job.submitted_ms)):
            self.by_id[job.spec.id] = job
            if job.over:
                self._over.append(job)
            else:
                self.living[job.spec.id] = job

    # ------------------------------------------------------------ users

    def submit(self, spec: JobSpec, now_ms: int) -> list[Effect]:
        """A job is submitted.

        Raises:
            ValueError: there is another of this id, or there are too many, or it cannot be called so.
        """
        if not ID.fullmatch(spec.id):
            raise ValueError(
                f"a job cannot be called {spec.id[:200]!r}: a submission_id has at most 100 characters, a letter or digit first, "
                "then letters, digits and any of . @ + = - _"
            )
        known = self.by_id.get(spec.id)
        if known is not None:
            if known.spec.nonce == spec.nonce:
                return []
            raise ValueError(f"there is a job {spec.id!r} already: choose another submission_id")
        if len(self.living) >= LIVING_MAX:
            raise ValueError(f"{LIVING_MAX} jobs are running or waiting: submit it when some of them are over")
        job = Job(spec, Status.PENDING, now_ms)
        self.by_id[spec.id] = self.living[spec.id] = job
        return [Changed(job), Place(job)]

    def stop(self, ident: str, now_ms: int) -> tuple[bool, list[Effect]]:
        """End a job; whether there was something to end.

        Raises:
            KeyError: there is no such job.
        """
        job = self.by_id[ident]
        if job.over:
            return False, []
        job.stop_wanted = True
        if job.begun:
            return True, [Changed(job), Say(job.node, StopJob(ident))]
        dropped = self._drop(job, job.node)
        job.node = 0
        return True, [*self._end(job, Status.STOPPED, "it was stopped before it had begun", None, now_ms), *dropped]

    def delete(self, ident: str) -> list[Effect]:
        """Forget a job that is over, and its log.

        Raises:
            KeyError: there is no such job.
            ValueError: it is not over.
        """
        job = self.by_id[ident]
        if not job.over:
            raise ValueError(f"job {ident} is {job.status}: stop it before it is deleted")
        self._over.remove(job)
        return self._forget(job)

    def driver_is(self, ident: str, driver: str) -> list[Effect]:
        """A program of a job has attached to the cluster.

        Raises:
            KeyError: there is no such job.
        """
        job = self.by_id[ident]
        if job.driver or job.over:
            return []
        job.driver = driver
        return [Changed(job)]

    # ------------------------------------------------------------ placement

    def waiting(self) -> list[Job]:
        """The jobs that may still go to another node."""
        return [job for job in self.living.values() if not job.begun]

    def place(self, ident: str, node: int) -> list[Effect]:
        """A node was chosen for a job that has not begun; 0: there is none now."""
        job = self.living[ident]
        assert not job.begun
        before, job.node = job.node, node
        if before == node:
            return []
        placed: list[Effect] = [Say(node, PlaceJob(job.spec))] if node else []
        return [Changed(job), *self._drop(job, before), *placed]

    # ------------------------------------------------------------ nodes

    def is_now(self, node: int, hosted: HostedJob, now_ms: int) -> list[Effect]:
        """A node says what has become of a job there."""
        job = self.by_id.get(hosted.id)
        if job is None or job.node != node:
            return [Say(node, DropJob(hosted.id))]
        if job.over:
            return [Say(node, StopJob(hosted.id))] if hosted.state != OVER else []
        if hosted.state == ROOM:
            job.begun = True
            return [Changed(job), Say(node, StopJob(hosted.id) if job.stop_wanted else BeginJob(hosted.id))]
        if hosted.state == SETS_UP:
            job.doing = hosted.message
            return []
        if hosted.state == RUNS and job.status is Status.PENDING:
            job.status, job.pid, job.started_ms = Status.RUNNING, hosted.pid, now_ms
            return [Changed(job)]
        if hosted.state == OVER:
            return self._ended(job, hosted, now_ms)
        return []

    def _ended(self, job: Job, hosted: HostedJob, now_ms: int) -> list[Effect]:
        status = Status.STOPPED if hosted.stopped else Status.SUCCEEDED if hosted.exit_code == 0 else Status.FAILED
        job.pid, job.setup_failed = hosted.pid, hosted.setup_failed
        return self._end(job, status, hosted.message, hosted.exit_code, now_ms)

    def node_has(self, node: int, hosted: Iterable[HostedJob], now_ms: int) -> list[Effect]:
        """A node is there, or is back after it or the head had lost the other, with these jobs and no others."""
        found = {each.id: each for each in hosted}
        effects: list[Effect] = []
        for job in [job for job in self.living.values() if job.node == node]:
            if job.spec.id in found:
                continue
            if job.begun:
                effects += self._end(job, Status.FAILED, f"node {node} does not know it any more", None, now_ms)
            else:
                effects.append(Say(node, PlaceJob(job.spec)))
        for each in found.values():
            known = self.by_id.get(each.id)
            effects += self.is_now(node, each, now_ms)
            if known is not None and known.node == node and known.stop_wanted and not known.over:
                effects.append(Say(node, StopJob(each.id)))
        return effects

    def node_died(self, node: int, reason: str, now_ms: int) -> list[Effect]:
        """A node is gone: what had begun there has ended with it, and what had not goes elsewhere."""
        effects: list[Effect] = []
        for job in [job for job in self.living.values() if job.node == node]:
            if job.begun:
                status = Status.STOPPED if job.stop_wanted else Status.FAILED
                effects += self._end(job, status, f"node {node}, on which it ran, is gone: {reason}", None, now_ms)
            else:
                job.node = 0
                effects += [Changed(job), Place(job)]
        return effects

    # ------------------------------------------------------------ ends

    def _end(self, job: Job, status: Status, message: str, exit_code: int | None, now_ms: int) -> list[Effect]:
        job.status, job.message, job.exit_code, job.ended_ms = status, message, exit_code, now_ms
        del self.living[job.spec.id]
        self._over.append(job)
        effects: list[Effect] = [Changed(job)]
        while len(self._over) > OVER_MAX:
            effects += self._forget(self._over.popleft())
        return effects

    def _forget(self, job: Job) -> list[Effect]:
        del self.by_id[job.spec.id]
        return [Forget(job), *self._drop(job, job.node)]

    @staticmethod
    def _drop(job: Job, node: int) -> list[Effect]:
        return [Say(node, DropJob(job.spec.id))] if node else []

    def validate(self) -> None:
        """Check the invariants; for tests and the simulator."""
        assert self.living == {ident: job for ident, job in self.by_id.items() if not job.over}
        assert {job.spec.id for job in self._over} == {ident for ident, job in self.by_id.items() if job.over}
        assert len(self._over) <= OVER_MAX
        for job in self.by_id.values():
            assert not job.begun or job.node
            assert job.begun or job.status is not Status.RUNNING
            assert job.over == bool(job.ended_ms) and (not job.over or job.message)
