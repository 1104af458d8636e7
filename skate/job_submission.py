"""Jobs: programs that run on the cluster without whoever has submitted them. Ray's names.

from skate.job_submission import JobSubmissionClient

client = JobSubmissionClient("10.0.0.5:6379")
ident = client.submit_job(entrypoint="python train.py")
print(client.get_job_status(ident))
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from .client import observing
from .exceptions import UnsupportedError
from .version import __version__

if TYPE_CHECKING:
    from .client.jobs import JobsApi

FOLLOW_S = 2.0
"""How long one question for more of a log may take to be answered."""
PENDING_POLL_S = 0.1
"""How often a job that has not begun is looked at by whoever follows its log."""
AWAY_S = 30.0
"""How long who follows a log goes on when nobody answers."""


class JobStatus(StrEnum):
    """How far a job is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    def is_terminal(self) -> bool:
        """Whether it stays so."""
        return self not in (JobStatus.PENDING, JobStatus.RUNNING)


class JobType(StrEnum):
    """Whether a job was submitted, or is a program that has called `init()`."""

    SUBMISSION = "SUBMISSION"
    DRIVER = "DRIVER"


class JobErrorType(StrEnum):
    """Why a job has failed, in those of Ray's words that apply.

    Its runtime environment could not be set up, it could not be started, has ended so, or its node has died.
    """

    RUNTIME_ENV_SETUP_FAILED = "RUNTIME_ENV_SETUP_FAILED"

    JOB_ENTRYPOINT_COMMAND_START_ERROR = "JOB_ENTRYPOINT_COMMAND_START_ERROR"
    JOB_ENTRYPOINT_COMMAND_ERROR = "JOB_ENTRYPOINT_COMMAND_ERROR"
    JOB_SUPERVISOR_ACTOR_DIED = "JOB_SUPERVISOR_ACTOR_DIED"


@dataclass(slots=True)
class DriverInfo:
    """The process of a job: the id of the job, the address of its node, and its process id."""

    id: str
    node_ip_address: str
    pid: str


@dataclass(slots=True, kw_only=True)
class JobDetails:
    """A job.

    Attributes:
        submission_id: its id; None: it was not submitted.
        job_id: of its program, as tasks and actors have it; None: it has not called `init()`.
        status, message: how far it is, and why; of a failed one with its last lines.
        start_time, end_time: in milliseconds since 1970; None: not yet.
        driver_exit_code: of its entrypoint, below 0 for a signal; None: not yet, or nobody has seen it.
        driver_node_id: the node that it runs on, or has.
    """

    submission_id: str | None
    status: JobStatus
    entrypoint: str
    type: JobType = JobType.SUBMISSION
    job_id: str | None = None
    message: str | None = None
    error_type: JobErrorType | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    runtime_env: dict[str, Any] = field(default_factory=dict)
    driver_info: DriverInfo | None = None
    driver_agent_http_address: str | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None
    entrypoint_resources: dict[str, float] = field(default_factory=dict)


JobInfo = JobDetails


class JobSubmissionClient:
    """Hands jobs to a cluster, and looks after them.

    Args:
        address: "HOST:PORT" of any node of the cluster, whose token has to be known here; "http://HOST:PORT" of a dashboard;
            "auto" or None: SKATE_ADDRESS or RAY_ADDRESS, else the cluster on this machine.
        create_cluster_if_needed, cookies: known from Ray; they raise `UnsupportedError`.
        metadata: for each job that is submitted here, under what `submit_job` says.
        headers, verify: of a dashboard: to be sent with each request; whether its certificate is checked, or a file of a CA.

    All methods raise RuntimeError when they cannot do what is wanted, as for a job that does not exist; the message says why.

    Raises:
        ConnectionError: nobody answers there.
        ValueError: the address is none, or headers or verify are given and it is not that of a dashboard.
        TypeError: the address is no string, or metadata or headers are no dict.
    """

    def __init__(
        self,
        address: str | None = None,
        create_cluster_if_needed: bool = False,
        cookies: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool | str = True,
    ) -> None:
        if create_cluster_if_needed or cookies:
            raise UnsupportedError("create_cluster_if_needed and cookies are not supported: leave them out.")
        if address is None:
            address = observing.environment_address()
        if address is not None and not isinstance(address, str):
            raise TypeError(f"the address of a cluster is a string, such as 'HOST:PORT', not {address!r}")
        self._metadata = _dict_of("metadata", metadata)
        self._jobs: JobsApi
        if address is not None and observing.is_dashboard(address):
            from .client.job_http import HttpJobs

            self._jobs = HttpJobs(address, _dict_of("headers", headers), verify)
        else:
            if address is not None:
                _check_address(address)
            if headers or verify is not True:
                raise ValueError(
                    "headers and verify are for a dashboard: say http://HOST:PORT or https://HOST:PORT of one"
                )
            from .client.jobs import ClusterJobs

            self._jobs = ClusterJobs(observing.observe(address))
        self._do(self._jobs.ping)

    @staticmethod
    def _do(method: Any, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except ValueError as error:
            raise RuntimeError(str(error)) from None

    def get_version(self) -> str:
        """The version of skate here."""
        return __version__

    def submit_job(
        self,
        *,
        entrypoint: str,
        job_id: str | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        submission_id: str | None = None,
        entrypoint_num_cpus: float | None = None,
        entrypoint_num_gpus: float | None = None,
        entrypoint_memory: int | None = None,
        entrypoint_resources: Mapping[str, float] | None = None,
        entrypoint_label_selector: Mapping[str, str] | None = None,
    ) -> str:
        """Submit a job. When this returns it is accepted, and is run whatever happens to this process and to the head.

        Args:
            entrypoint: a command for the shell. `skate.init()` in it attaches to the cluster.
            runtime_env: what the entrypoint runs in, and its tasks and actors: `env_vars`, `working_dir` and `py_modules` of this
                machine or as URIs, `excludes`, `pip` or `uv`, `py_executable`, `config`. See docs/jobs.md.
            metadata: strings of your own, by name, for whoever looks.
            submission_id: its id; by default a new one. `job_id` is the old name of it.
            entrypoint_num_cpus, entrypoint_num_gpus, entrypoint_memory, entrypoint_resources: what the entrypoint needs by
                itself. It then runs on a node that has that, and else on the head's machine.
            entrypoint_label_selector: the labels of the node that it runs on, as for tasks.

        Returns:
            Its id.

        Raises:
            RuntimeError: there is such a job already, or there is something wrong with this one.
            TypeError: runtime_env or metadata is no dict.
        """
        from .client.jobs import pack_folders

        ident: str = self._do(
            self._jobs.submit,
            {
                "entrypoint": entrypoint,
                "submission_id": submission_id or job_id,
                "runtime_env": self._do(pack_folders, self._jobs, _dict_of("runtime_env", runtime_env)),
                "metadata": {**self._metadata, **_dict_of("metadata", metadata)},
                "entrypoint_num_cpus": entrypoint_num_cpus,
                "entrypoint_num_gpus": entrypoint_num_gpus,
                "entrypoint_memory": entrypoint_memory,
                "entrypoint_resources": entrypoint_resources,
                "entrypoint_label_selector": entrypoint_label_selector,
            },
        )
        return ident

    def stop_job(self, job_id: str) -> bool:
        """Ask a job to end: SIGTERM to its processes, and SIGKILL after 3 s.

        Returns:
            Whether there was something to end. It may take its time: see `get_job_status`.
        """
        return bool(self._do(self._jobs.stop, job_id))

    def delete_job(self, job_id: str) -> bool:
        """Forget a job that is over, and remove its log.

        Raises:
            RuntimeError: there is no such job, or it is not over.
        """
        return bool(self._do(self._jobs.delete, job_id))

    def get_job_info(self, job_id: str) -> JobDetails:
        """A job."""
        return _details(self._do(self._jobs.info, job_id))

    def get_job_status(self, job_id: str) -> JobStatus:
        """How far a job is."""
        return self.get_job_info(job_id).status

    def list_jobs(self) -> list[JobDetails]:
        """All jobs that were submitted and not deleted, and programs that were not submitted (`type` DRIVER), the oldest first.

        Of a program that has ended nobody knows how: it is `SUCCEEDED`, as with Ray.
        """
        return [_details(each) for each in self._do(self._jobs.listed)]

    def get_job_logs(self, job_id: str) -> str:
        """What a job has printed so far."""
        from .client.jobs import whole_log

        return str(self._do(whole_log, self._jobs, job_id))

    def follow_job_logs(self, job_id: str) -> Iterator[str]:
        """What a job prints, as it does, until it is over. It goes on when the head is killed and started again."""
        offset = 0
        until = 0.0
        while True:
            try:
                part = self._do(self._jobs.log, job_id, offset, FOLLOW_S)
            except ConnectionError:
                until = until or time.monotonic() + AWAY_S
                if time.monotonic() > until:
                    raise
                time.sleep(PENDING_POLL_S)
                continue
            except RuntimeError:
                if offset and self.get_job_status(job_id).is_terminal():
                    return  # its node is gone, and what is left of the log with it
                raise
            until = 0.0
            if part["logs"]:
                yield part["logs"]
            if part["over"]:
                return
            if part["offset"] == offset:
                time.sleep(PENDING_POLL_S)
            offset = part["offset"]

    def wait_for_job(self, job_id: str, timeout_s: float | None = None) -> JobDetails:
        """Wait until a job is over.

        Raises:
            TimeoutError: it is not, after `timeout_s` seconds.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not (info := self.get_job_info(job_id)).status.is_terminal():
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"job {job_id} is not over in {timeout_s:g} s: {info.message}")
            time.sleep(PENDING_POLL_S)
        return info

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """`follow_job_logs` for asyncio."""
        from asyncio import to_thread

        parts = self.follow_job_logs(job_id)
        while (part := await to_thread(next, parts, None)) is not None:
            yield part


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if address.startswith("ray://"):
        raise ValueError(f"{address!r}: there are no ray:// addresses, as any node will do: say its HOST:PORT")
    if address != "auto" and not (host and port.isdigit() and "/" not in host):
        raise ValueError(f"{address!r} is neither HOST:PORT of a node, nor http://HOST:PORT of a dashboard")


def _dict_of(name: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"{name} is a dict, not {value!r}")
    return dict(value or {})


def _details(info: Mapping[str, Any]) -> JobDetails:
    known = {each.name for each in fields(JobDetails)}
    found = {name: value for name, value in info.items() if name in known}
    found["status"] = JobStatus(found["status"])
    found["type"] = JobType(found.get("type") or "SUBMISSION")
    found["error_type"] = _error_type(found.get("error_type"))
    found["metadata"] = found.get("metadata") or {}
    found["runtime_env"] = found.get("runtime_env") or {}
    driver = found.get("driver_info")
    found["driver_info"] = DriverInfo(driver["id"], driver["node_ip_address"], str(driver["pid"])) if driver else None
    return JobDetails(**found)


def _error_type(name: Any) -> JobErrorType | None:
    return JobErrorType(name) if name in list(JobErrorType) else None


__all__ = ["DriverInfo", "JobDetails", "JobErrorType", "JobInfo", "JobStatus", "JobSubmissionClient", "JobType"]
