"""Submitted jobs of a cluster: handed in, looked at, stopped, their logs read.

The head knows the jobs, and the node that a job runs on has its log, so both are asked (`observing.py`). A log is read in
parts: whoever follows it says how far he is, and the node answers when there is more. So a log is followed through the death of
the head.

`ClusterJobs` answers in plain data with Ray's names: it is what stands behind `skate.job_submission`, and behind the REST routes
of `job_routes.py`. `job_http.py` is the other end of these routes, with the same methods.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import secrets
import string
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import to_builtins

from ..exceptions import UnsupportedError
from ..wire.environments import AT_ENTRYPOINT, INSTALLERS, encode, given_in
from ..wire.jobs import PACKAGE, JobSpec
from ..wire.labels import request_for
from .observing import Member, Observer, address_of

if TYPE_CHECKING:
    from .packages import Package

ID_LETTERS = string.ascii_letters + string.digits
ID_LENGTH = 16
PART_BYTES = 1 << 20
NO_JOB = "there is no job "
"""How the reason begins why a job cannot be had that does not exist."""
RAY_PACKAGE = "gcs://"
"""How Ray's client names what it has brought along."""
LOG_WAIT_S = 2.0
"""How long a node may wait until a job has printed more."""
PROGRAMS_MAX = 10_000
"""So many programs that were not submitted are listed."""
_NAMES = {"entrypoint_num_cpus": "CPU", "entrypoint_num_gpus": "GPU", "entrypoint_memory": "memory"}
REQUEST = {
    *("entrypoint", "submission_id", "job_id", "runtime_env", "metadata"),
    *("entrypoint_resources", "entrypoint_label_selector", *_NAMES),
}
"""What a request to submit a job may have."""


class JobsApi(Protocol):
    """The jobs of a cluster, as plain data.

    All methods raise ConnectionError when nobody answers, and ValueError when they cannot do what is wanted; the message says
    why.
    """

    def ping(self) -> None:
        """See whether anybody answers."""
        ...

    def where(self) -> str:
        """What `observing.observe` takes to look at the same cluster; "": nobody else can."""
        ...

    def submit(self, request: Mapping[str, Any]) -> str:
        """Hand in a job, with the fields of `REQUEST`; its id. It is written when this returns."""
        ...

    def has(self, package: str) -> bool:
        """Whether the cluster keeps a package, by its hash."""
        ...

    def bring(self, package: Package) -> None:
        """Have the cluster keep a package of files, for jobs that are submitted in a moment."""
        ...

    def listed(self) -> list[dict[str, Any]]:
        """All jobs, and programs that were not submitted, the oldest first."""
        ...

    def info(self, ident: str) -> dict[str, Any]:
        """A job."""
        ...

    def stop(self, ident: str) -> bool:
        """End a job; False: it was over."""
        ...

    def delete(self, ident: str) -> bool:
        """Forget a job that is over, and its log."""
        ...

    def log(self, ident: str, offset: int = 0, wait_s: float = 0.0) -> dict[str, Any]:
        """A part of a job's log: `{"logs": text, "offset": where the next begins, "over": whether there is none}`.

        It is empty when there is nothing new, after `wait_s` seconds or a few.
        """
        ...


def whole_log(api: JobsApi, ident: str, most: int | None = None) -> str:
    """What a job has printed so far, the last `most` characters of it at least. Raises as `JobsApi.log` does."""
    parts: deque[str] = deque()
    size = offset = cut = 0
    while True:
        part = api.log(ident, offset)
        parts.append(part["logs"])
        size += len(part["logs"])
        while most is not None and size - len(parts[0]) > most:
            cut += len(parts[0])
            size -= len(parts.popleft())
        if part["over"] or part["offset"] == offset:
            return (f"[the first {cut} characters are left out]\n" if cut else "") + "".join(parts)
        offset = part["offset"]


def hash_of(uri: str) -> str:
    """The hash that a package of Ray's client is kept by: it has named the package by what is in it."""
    return hashlib.sha256(uri.encode()).hexdigest()


def new_id() -> str:
    """An id for a job that was given none."""
    return "skatesubmit_" + "".join(secrets.choice(ID_LETTERS) for _ in range(ID_LENGTH))


def read_request(request: Mapping[str, Any]) -> JobSpec:
    """The job that is asked for.

    Raises:
        ValueError: there is something wrong with the request.
    """
    unknown = sorted(set(request) - REQUEST)
    if unknown:
        raise ValueError(f"a job has no {', '.join(unknown)}; it may have {', '.join(sorted(REQUEST))}")
    entrypoint = request.get("entrypoint")
    if not isinstance(entrypoint, str) or not entrypoint.strip():
        raise ValueError(f"the entrypoint of a job is a command for the shell, not {entrypoint!r}")
    runtime_env = _runtime_env(request.get("runtime_env") or {})
    return JobSpec(
        _ident(request),
        entrypoint,
        secrets.token_hex(8),
        runtime_env,
        _metadata(request.get("metadata") or {}),
        _resources(request),
        _environment(runtime_env),
    )


def _ident(request: Mapping[str, Any]) -> str:
    ident = request.get("submission_id") or request.get("job_id") or new_id()
    if not isinstance(ident, str):
        raise ValueError(f"a submission_id is a string, not {ident!r}")
    return ident


def _metadata(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, Mapping) or not all(isinstance(x, str) for pair in metadata.items() for x in pair):
        raise ValueError(f"the metadata of a job are strings by name, not {metadata!r}")
    return dict(metadata)


def _runtime_env(runtime_env: Any) -> dict[str, Any]:
    if not isinstance(runtime_env, Mapping):
        raise ValueError(f"a runtime_env is a mapping, not {runtime_env!r}")
    try:
        json.dumps(runtime_env)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the runtime_env of a job is plain data: {error}") from None
    modules = _list_of("py_modules", runtime_env.get("py_modules"), "paths and URIs")
    if any(each.startswith(RAY_PACKAGE) for each in modules):
        raise ValueError(
            "py_modules of Ray's own client are not supported: put them into working_dir, or use skate's client"
        )
    working_dir = runtime_env.get("working_dir")
    if isinstance(working_dir, str) and working_dir.startswith(RAY_PACKAGE):
        runtime_env = {**runtime_env, "working_dir": PACKAGE + hash_of(working_dir)}
    for name in (runtime_env.get("working_dir"), *modules):
        if name is not None and "://" not in str(name):
            raise ValueError(f"{name!r} is no package of the cluster, and no URI")
    for name in INSTALLERS:
        wanted = runtime_env.get(name)
        if isinstance(wanted, str) or (isinstance(wanted, Mapping) and isinstance(wanted.get("packages"), str)):
            raise ValueError(f"{name} of a job is a list here: its requirements file is on another machine")
    return dict(runtime_env)


def _environment(runtime_env: dict[str, Any]) -> str:
    """The text of what a node sets up before the entrypoint begins; "": nothing. What is wrong with any of it is found here."""
    from ..api.environments import read_environment

    fetched = dict(runtime_env)
    if str(fetched.get("working_dir")).startswith(PACKAGE):
        del fetched["working_dir"]
    modules = fetched.get("py_modules") or []
    fetched["py_modules"] = [each for each in modules if not str(each).startswith(PACKAGE)]
    try:
        given = given_in(read_environment(fetched))
    except (TypeError, UnsupportedError) as error:
        raise ValueError(str(error)) from None
    wanted = {name: value for name, value in given.items() if name in AT_ENTRYPOINT}
    if not wanted:
        return ""
    return encode({**wanted, "timeout_s": given.get("timeout_s")})


def pack_folders(api: JobsApi, runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """The runtime environment of a job, with packages on the cluster in place of folders of this machine.

    Raises:
        ValueError: something of it is not here, or is too large.
    """
    given = dict(runtime_env)
    modules = _list_of("py_modules", given.get("py_modules"), "paths and URIs")
    excludes = tuple(_list_of("excludes", given.pop("excludes", None), "patterns"))
    if given.get("working_dir"):
        given["working_dir"] = _bring(api, given["working_dir"], excludes, "working_dir")
    if modules:
        given["py_modules"] = [_bring(api, each, excludes, "py_modules") for each in modules]
    for name in INSTALLERS:
        given |= _without_file(name, given.get(name))
    return given


def _list_of(name: str, value: Any, what: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, (str, os.PathLike)) for each in value):
        raise ValueError(f"{name} of a job is a list of {what}, not {value!r}")
    return [os.fspath(each) for each in value]


def _without_file(name: str, wanted: Any) -> dict[str, Any]:
    """What is to be installed, with the lines of a requirements file of this machine in place of its path."""
    from ..api.environments import requirements_in

    file = wanted.get("packages") if isinstance(wanted, Mapping) else wanted
    if not isinstance(file, str):
        return {}
    try:
        packages = requirements_in(name, file)
    except UnsupportedError as error:
        raise ValueError(str(error)) from None
    return {name: {**wanted, "packages": packages} if isinstance(wanted, Mapping) else packages}


def _bring(api: JobsApi, location: Any, excludes: tuple[str, ...], what: str) -> str:
    from .packages import from_zip, pack

    if not isinstance(location, (str, os.PathLike)):
        raise ValueError(f"{what} is a path, not {location!r}")
    path = os.fspath(location)
    if "://" in path:
        return path
    path = os.path.abspath(os.path.expanduser(path))
    if what == "py_modules":
        if os.path.isfile(path) and not path.endswith(".py"):
            raise ValueError(f"py_modules of a job are folders and .py files, not {path}")
        module = os.path.basename(path)
        package = pack(path, excludes, module if os.path.isdir(path) else "")
        api.bring(package)
        return f"{PACKAGE}{package.hash}/{module}"
    package = from_zip(path) if path.endswith(".zip") else pack(path, excludes)
    api.bring(package)
    return PACKAGE + package.hash


def _resources(request: Mapping[str, Any]) -> dict[str, float]:
    found = {name: request[field] for field, name in _NAMES.items() if request.get(field)}
    own = request.get("entrypoint_resources") or {}
    if not isinstance(own, Mapping) or {"CPU", "GPU", "memory"} & set(own):
        raise ValueError("entrypoint_resources are amounts by name: CPUs, GPUs and memory have arguments of their own")
    found.update(own)
    for name, amount in found.items():
        if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount < float("inf"):
            raise ValueError(f"an entrypoint cannot have {amount!r} of {name!r}")
        if name == "memory" and amount != int(amount):
            raise ValueError(f"entrypoint_memory is a whole number of bytes, not {amount!r}")
    amounts = {name: float(amount) for name, amount in found.items() if amount}
    selector = request.get("entrypoint_label_selector")
    if selector:
        from ..api.labels import parse_selector

        try:
            amounts |= request_for([parse_selector("entrypoint_label_selector", selector)])
        except TypeError as error:
            raise ValueError(str(error)) from None
    return amounts


class ClusterJobs:
    """The jobs of a cluster that can be asked itself. See `JobsApi`."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def ping(self) -> None:
        """See `JobsApi`."""
        self.observer.ask_head("job_package", "")  # no package is called so: whoever can say that has jobs

    def where(self) -> str:
        """See `JobsApi`."""
        return address_of(self.observer) or ""

    def submit(self, request: Mapping[str, Any]) -> str:
        """See `JobsApi`."""
        spec = read_request(request)
        found: dict[str, Any] = self.observer.ask_head("job_submit", to_builtins(spec))
        return str(found["submission_id"])

    def has(self, package: str) -> bool:
        """See `JobsApi`."""
        return bool(self.observer.ask_head("job_package", package))

    def bring(self, package: Package) -> None:
        """See `JobsApi`."""
        if self.has(package.hash):
            return
        count = max(1, -(-len(package.data) // PART_BYTES))
        for number in range(count):
            part = package.data[number * PART_BYTES : (number + 1) * PART_BYTES]
            said = {"hash": package.hash, "number": number, "data": part, "last": number + 1 == count}
            self.observer.ask_head("job_package", said)

    def listed(self) -> list[dict[str, Any]]:
        """See `JobsApi`. Programs of nodes that do not answer are left out."""
        found = list(self.observer.ask_head("jobs"))
        hosts = {node["NodeID"]: node["NodeManagerAddress"] for node in self.observer.nodes()}
        found += [_program(row, hosts.get(row["node_id"], "")) for row in self._programs()]
        return sorted(found, key=lambda job: job["start_time"] or 0)

    def _programs(self) -> list[dict[str, Any]]:
        """Those that were not submitted."""
        from .state import listing

        return listing(self.observer, "jobs", [("type", "=", "DRIVER")], PROGRAMS_MAX, detail=True).rows

    def _of_job(self, what: str, ident: str) -> Any:
        """What the head says of a job.

        Raises:
            ValueError: it cannot do that, or there is no such job.
        """
        try:
            return self.observer.ask_head(what, ident)
        except ValueError as error:
            if not str(error).startswith(NO_JOB) or ident not in (row["job_id"] for row in self._programs()):
                raise
        raise ValueError(
            f"{ident} was not submitted: it is a program of its own; `skate logs --job {ident}` has what its workers have printed"
        )

    def info(self, ident: str) -> dict[str, Any]:
        """See `JobsApi`."""
        found: dict[str, Any] = self._of_job("job", ident)
        return found

    def stop(self, ident: str) -> bool:
        """See `JobsApi`."""
        return bool(self._of_job("job_stop", ident))

    def delete(self, ident: str) -> bool:
        """See `JobsApi`."""
        return bool(self._of_job("job_delete", ident))

    def log(self, ident: str, offset: int = 0, wait_s: float = 0.0) -> dict[str, Any]:
        """See `JobsApi`. The log of a job ends with its node."""
        info = self.info(ident)
        node = info["node"]
        over = info["status"] not in ("PENDING", "RUNNING")
        if info["driver_node_id"] is None or node is None:
            return {"logs": "", "offset": offset, "over": over}
        if not info["node_alive"]:
            raise ValueError(f"the log of job {ident!r} is gone: {info['message']}")
        member = Member(node["no"], node["id"], node["name"], node["host"], node["port"])
        wanted = {"id": ident, "offset": offset, "wait_s": wait_s}
        return _text(self.observer.ask(member, "job_log", wanted))


def job_lines(observer: Observer, ident: str, follow: bool, tail: int | None) -> Iterator[str]:
    """What a submitted job has printed, line by line: all, or the last so many; `follow`: and what comes, until it is over.

    Raises as `JobsApi.log` does.
    """
    jobs, offset, rest = ClusterJobs(observer), 0, ""
    kept: deque[str] | None = None if tail is None else deque(maxlen=tail)
    while True:
        part = jobs.log(ident, offset, LOG_WAIT_S if follow and kept is None else 0.0)
        offset = part["offset"]
        *lines, rest = (rest + part["logs"]).split("\n")
        if kept is None:
            yield from (f"{line}\n" for line in lines)
        else:
            kept.extend(lines)
        if part["logs"] and not part["over"]:
            continue  # there may be more at once
        yield from (f"{line}\n" for line in kept or ())
        kept = None
        if part["over"] or not follow:
            yield from [rest] if rest else []
            return


def _program(row: dict[str, Any], host: str) -> dict[str, Any]:
    """A program that was not submitted, as the head shows jobs."""
    return {
        "type": "DRIVER",
        "job_id": row["job_id"],
        "submission_id": None,
        "status": row["status"],
        "message": row["message"],
        "entrypoint": row["entrypoint"] or "",
        "start_time": row["start_time_ms"],
        "end_time": row["end_time_ms"],
        "driver_node_id": row["node_id"],
        "driver_info": {"id": row["job_id"], "node_ip_address": host, "pid": str(row["driver_pid"])},
    }


def _text(part: dict[str, Any]) -> dict[str, Any]:
    """A part of a log as text. A character that is not all there comes with the next part."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(part["data"], final=part["over"])
    rest, _ = decoder.getstate()
    return {"logs": text, "offset": part["offset"] - len(rest), "over": part["over"]}
