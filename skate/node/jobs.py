"""Submitted jobs, as the head sees them: the shell around `head/jobs.py`.

What the head decides about a job is in its store before anybody is told. What a job needs is reserved, and its entrypoint run, by
the node that the head chooses (`job_host.py`): the one on its own machine, unless the entrypoint needs something.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from ..head import policy
from ..head.jobs import SPEC_BYTES_MAX, Changed, Effect, Forget, Job, Jobs, Place, Say, Status
from ..wire import jobs as j
from ..wire.cluster import AWAY, NodeInfo
from ..wire.labels import describe, without
from .history import ERROR, INFO
from .job_packages import Packages
from .resources import from_units, to_units

if TYPE_CHECKING:
    from ..head.store import Store
    from .head_process import HeadProcess


class JobShell:
    """The jobs of a cluster."""

    def __init__(self, head: HeadProcess, store: Store) -> None:
        self.head = head
        self.table = Jobs()
        self.packages = Packages(head, store)
        self._told: dict[str, tuple[Status, str]] = {}
        """By id: the state, and the program, that the history has heard of."""

    def restore(self, now: float) -> None:
        """Know what the store has."""
        self.table.restore(self.head.rows.load_submitted())
        self._told = {ident: (job.status, job.driver) for ident, job in self.table.by_id.items()}
        self.packages.restore(now)

    # ------------------------------------------------------------ nodes

    def from_node(self, number: int, message: j.JobIs | j.WantPackage) -> None:
        """A node says what has become of a job, or asks for what one brings along."""
        if isinstance(message, j.WantPackage):
            self.head.send_to(number, self.packages.part(message))
            return
        self.apply(self.table.is_now(number, message.job, _now_ms()))

    def node_joined(self, number: int, hosted: list[j.HostedJob]) -> None:
        """A node is there, or is back, with these jobs."""
        self.apply(self.table.node_has(number, hosted, _now_ms()))

    def node_died(self, number: int, reason: str) -> None:
        """A node is gone."""
        self.apply(self.table.node_died(number, reason, _now_ms()))

    def look(self) -> None:
        """Nodes have changed: a job that waits may have room elsewhere."""
        hopeless: set[tuple[object, ...]] = set()
        for job in self.table.waiting():
            request = _request(job)
            wish = job.node, *sorted(request.items())
            if wish in hopeless:
                continue
            here = self.head.view.get(job.node)
            if here is not None and (here.state == AWAY or policy.room_now(here, request)):
                continue
            number = self._choose(job)
            if number and number != job.node and (here is None or policy.room_now(self.head.view[number], request)):
                self.apply(self.table.place(job.spec.id, number))
            else:
                hopeless.add(wish)

    def apply(self, effects: Iterable[Effect]) -> None:
        """Carry out what was decided."""
        rows = self.head.rows
        for effect in effects:
            if isinstance(effect, Changed):
                rows.keep_submitted(effect.job)
                self._tell(effect.job)
            elif isinstance(effect, Forget):
                rows.forget_submitted(effect.job)
                self._told.pop(effect.job.spec.id, None)
                gone = {"submission_id": effect.job.spec.id, "deleted": True}
                self.head.node.history.event(INFO, "JOB", f"job {effect.job.spec.id} is forgotten", submitted=gone)
            elif isinstance(effect, Say):
                self.head.send_to(effect.node, effect.message)
            else:
                self._place(effect)

    def _tell(self, job: Job) -> None:
        """Have the history know how far a job is, with all that is shown of it when the cluster is gone."""
        ident, now = job.spec.id, (job.status, job.driver)
        before = self._told.get(ident)
        if before == now:
            return
        self._told[ident] = now
        severity = ERROR if job.status is Status.FAILED else INFO
        if before is None or before[0] is not job.status:
            first = job.message.partition("\n")[0]
            text = f"job {ident} {_IS[job.status]}{': ' * bool(first)}{first}"
        else:
            text = f"job {ident} has attached to the cluster, as job {job.driver}"
        shown = {name: value for name, value in self.show(job).items() if name in KEPT_OF_JOB}
        shown |= {name: shown[name][:KEPT_CHARS] for name in ("entrypoint", "message")}
        if len(str(shown["metadata"])) > KEPT_CHARS:
            shown["metadata"] = {"": f"more than {KEPT_CHARS} characters"}
        self.head.node.history.event(severity, "JOB", text, job.driver, submitted=shown)

    def _place(self, effect: Place) -> None:
        self.apply(self.table.place(effect.job.spec.id, self._choose(effect.job)))

    def _choose(self, job: Job) -> int:
        """The number of the node for a job; 0: there is none now."""
        own = self._own()
        request = _request(job)
        if not request:
            return own.no if own is not None and policy.feasible(own, request) else 0
        return policy.place(policy.lasting(self.head.view), own.no if own is not None else 0, request) or 0

    def _own(self) -> NodeInfo | None:
        """The node on the head's machine."""
        settings = self.head.settings
        places = (info for info in self.head.view.values() if (info.host, info.port) == (settings.host, settings.port))
        return max(places, key=lambda info: info.no, default=None)

    # ------------------------------------------------------------ questions

    def waiting(self) -> list[dict[str, int]]:
        """What jobs need for which there is not even a node to wait on."""
        return [_request(job) for job in self.table.waiting() if not job.node and job.spec.resources]

    def submit(self, argument: Any) -> dict[str, Any]:
        """Accept a job: it is written.

        Raises:
            ValueError: it cannot be accepted; the message says why.
        """
        try:
            spec = msgspec.convert(argument, j.JobSpec)
        except msgspec.ValidationError as error:
            raise ValueError(f"this is no job: {error}") from None
        size = len(msgspec.msgpack.encode(spec))
        if size > SPEC_BYTES_MAX:
            raise ValueError(f"what is said of the job has {size} bytes; the most is {SPEC_BYTES_MAX}")
        if not all(self.packages.has(name) for name in j.packages_of(spec.runtime_env)):
            raise ValueError("its files are not here: submit it again, with the folder that they are in")
        self.apply(self.table.submit(spec, _now_ms()))
        return self.show(self.table.by_id[spec.id])

    def find(self, ident: str) -> Job:
        """A job.

        Raises:
            ValueError: there is none of this id.
        """
        job = self.table.by_id.get(ident)
        if job is None:
            raise ValueError(f"there is no job {ident!r}: see `skate job list`")
        return job

    def stop(self, ident: str) -> bool:
        """End a job; whether it was not over. Raises as `find` does."""
        self.find(ident)
        found, effects = self.table.stop(ident, _now_ms())
        self.apply(effects)
        return found

    def delete(self, ident: str) -> bool:
        """Forget a job that is over.

        Raises:
            ValueError: there is none of this id, or it is not over.
        """
        self.find(ident)
        self.apply(self.table.delete(ident))
        return True

    def driver_is(self, ident: str, driver: str) -> bool:
        """A program of a job has attached to the cluster. Raises as `find` does."""
        self.find(ident)
        self.apply(self.table.driver_is(ident, driver))
        return True

    def show(self, job: Job) -> dict[str, Any]:
        """A job as plain data, with Ray's names and some more."""
        info = self.head.view.get(job.node)
        spec = job.spec
        return {
            "type": "SUBMISSION",
            "job_id": job.driver or None,
            "submission_id": spec.id,
            "status": str(job.status),
            "entrypoint": spec.entrypoint,
            "message": job.message or self._why(job),
            "error_type": _error_type(job),
            "start_time": job.started_ms or job.submitted_ms,
            "end_time": job.ended_ms or None,
            "metadata": spec.metadata,
            "runtime_env": spec.runtime_env,
            "driver_agent_http_address": None,
            "driver_node_id": info.id if info is not None and job.begun else None,
            "driver_exit_code": job.exit_code,
            "driver_info": {"id": spec.id, "node_ip_address": info.host, "pid": str(job.pid)}
            if info is not None and job.pid
            else None,
            "entrypoint_resources": without(spec.resources),
            "node": {"no": info.no, "id": info.id, "name": info.name, "host": info.host, "port": info.port}
            if info is not None
            else None,
            "node_alive": info is not None and info.state != "dead",
        }

    def _why(self, job: Job) -> str:
        """What a job does that is not over."""
        from .status import why_waiting

        if job.status is Status.RUNNING:
            return "it is running" if not job.stop_wanted else "it is being stopped"
        if job.begun:
            return job.doing or "it is being started"
        request = _request(job)
        if not request:
            return "waits for the node on the head's machine"
        return f"waits for {describe(from_units(request))}: {why_waiting(self.head.node, request, lasts=True)}"


_IS = {
    Status.PENDING: "was submitted",
    Status.RUNNING: "runs",
    Status.SUCCEEDED: "has succeeded",
    Status.FAILED: "has failed",
    Status.STOPPED: "has ended",
}
KEPT_OF_JOB = (
    *("type", "submission_id", "job_id", "status", "entrypoint", "message", "metadata", "start_time", "end_time"),
    *("driver_node_id", "driver_exit_code"),
)
"""What of a job is written into the history: not its environment, whose variables may be secrets."""
KEPT_CHARS = 4096
"""Of each of them, at the most: a history has 100,000 events."""


def _error_type(job: Job) -> str | None:
    """In Ray's words."""
    if job.status is not Status.FAILED:
        return None
    if job.setup_failed:
        return "RUNTIME_ENV_SETUP_FAILED"
    if job.exit_code is not None:
        return "JOB_ENTRYPOINT_COMMAND_ERROR"
    return "JOB_SUPERVISOR_ACTOR_DIED" if job.pid else "JOB_ENTRYPOINT_COMMAND_START_ERROR"


def _request(job: Job) -> dict[str, int]:
    return to_units(job.spec.resources)


def _now_ms() -> int:
    return int(time.time() * 1000)
