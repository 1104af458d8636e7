"""Looking at a cluster: its nodes, and questions to any of them, from a driver, or from a process that is part of nothing.

Whoever looks asks each node itself, many at a time. A node that does not answer makes the answer incomplete, and is named in it;
it does not make it fail.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..exceptions import AuthenticationError, GetTimeoutError, NotRunningError, RaySystemError, UnsupportedError
from . import asking, current, sessions

if TYPE_CHECKING:
    from .runtime import ClientRuntime

ANSWER_S = 5.0
AT_ONCE = 16
"""So many nodes are asked at a time."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node that may be asked."""

    no: int
    """Its number in the cluster; 0: there is no cluster."""
    id: str
    name: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"node {self.no} ({self.name})"


@dataclass(frozen=True, slots=True)
class Word:
    """What one node has answered."""

    member: Member
    value: Any
    error: str = ""
    """Why there is no answer."""


class Observer(Protocol):
    """A way to ask the nodes of one cluster."""

    def nodes(self) -> list[dict[str, Any]]:
        """All nodes, dead ones too, in the words of `skate.nodes()`."""
        ...

    def ask(self, member: Member, what: str, argument: Any = None) -> Any:
        """Ask one node.

        Raises:
            ConnectionError: it does not answer.
            ValueError: it says that it cannot.
        """

    def ask_head(self, what: str, argument: Any = None) -> Any:
        """Ask the node that knows actors, placement groups and jobs. Raises as `ask` does."""


def members(observer: Observer) -> list[Member]:
    """The nodes that live."""
    return living(observer.nodes())


def living(nodes: Iterable[dict[str, Any]]) -> list[Member]:
    """Those of `Observer.nodes` that live."""
    return [
        Member(
            node.get("No", 0),
            node["NodeID"],
            node["NodeName"],
            node["NodeManagerAddress"],
            node.get("NodeManagerPort", 0),
        )
        for node in nodes
        if node["Alive"]
    ]


def ask_all(observer: Observer, what: str, argument: Any = None, nodes: Iterable[Member] | None = None) -> list[Word]:
    """Ask all nodes that live, or these."""
    asked = list(members(observer) if nodes is None else nodes)

    def one(member: Member) -> Word:
        try:
            return Word(member, observer.ask(member, what, argument))
        except (ConnectionError, ValueError, RaySystemError) as error:
            return Word(member, None, str(error))

    if len(asked) <= 1:
        return [one(member) for member in asked]
    with ThreadPoolExecutor(min(AT_ONCE, len(asked)), thread_name_prefix="skate-ask") as pool:
        return list(pool.map(one, asked))


def ask_each(
    observer: Observer, what: str, argument: Any, missing: list[str], nodes: Iterable[Member] | None = None
) -> list[tuple[Member, Any]]:
    """What all nodes that live have answered, or these; why some have not is added to `missing`."""
    words = ask_all(observer, what, argument, nodes)
    missing += [f"{word.member}: {word.error}" for word in words if word.error]
    return [(word.member, word.value) for word in words if not word.error]


def tell_all(
    observer: Observer, what: str, argument: Any = None, nodes: Iterable[Member] | None = None
) -> tuple[list[tuple[Member, dict[str, Any]]], list[str]]:
    """Ask the drivers and workers of all nodes; what each has said, with its node, and why some have not."""
    said: list[tuple[Member, dict[str, Any]]] = []
    silent: list[str] = []
    for member, tellings in ask_each(observer, "tell", {"what": what, "argument": argument}, silent, nodes):
        for telling in tellings:
            if telling["error"]:
                silent.append(f"process {telling['pid']} on node {member.no}: {telling['error']}")
            else:
                said.append((member, telling))
    return said, silent


# ------------------------------------------------------------ ways to ask


class _Own:
    """From a driver or a worker, over its links."""

    def __init__(self, runtime: ClientRuntime, answer_s: float) -> None:
        self.runtime = runtime
        self.answer_s = answer_s

    def nodes(self) -> list[dict[str, Any]]:
        return self.runtime.nodes()

    def ask(self, member: Member, what: str, argument: Any = None) -> Any:
        with self.runtime.lock:
            link = self.runtime.links.to(member.no)
        try:
            return link.ask(what, argument, self.answer_s)
        except GetTimeoutError as error:
            raise ConnectionError(str(error)) from None

    def ask_head(self, what: str, argument: Any = None) -> Any:
        with self.runtime.lock:
            link = self.runtime.links.head
        try:
            return link.ask(what, argument, self.answer_s)
        except GetTimeoutError as error:
            raise ConnectionError(f"the head has not answered: {error}") from None


class _Remote:
    """By TCP, with the token."""

    def __init__(self, host: str, port: int, answer_s: float) -> None:
        self.host, self.port, self.answer_s = host, port, answer_s
        where, _, number = str(asking.ask_at(host, port, "head", answer_s=answer_s)).rpartition(":")
        self.head = (where, int(number))

    def nodes(self) -> list[dict[str, Any]]:
        try:
            found = self.ask_head("nodes")
        except ConnectionError:
            found = asking.ask_at(self.host, self.port, "nodes", answer_s=self.answer_s)
        return list(found)

    def ask(self, member: Member, what: str, argument: Any = None) -> Any:
        return asking.ask_at(member.host, member.port, what, argument, answer_s=self.answer_s)

    def ask_head(self, what: str, argument: Any = None) -> Any:
        return asking.ask_at(*self.head, what, argument, of_head=True, answer_s=self.answer_s)


class _Folder:
    """By the socket in a session's folder: a program that has started a node of its own."""

    def __init__(self, folder: Path, answer_s: float) -> None:
        self.folder, self.answer_s = folder, answer_s

    def nodes(self) -> list[dict[str, Any]]:
        return list(self.ask_head("nodes"))

    def ask(self, member: Member, what: str, argument: Any = None) -> Any:
        return asking.ask_in(str(self.folder), what, argument, self.answer_s)

    def ask_head(self, what: str, argument: Any = None) -> Any:
        return asking.ask_in(str(self.folder), what, argument, self.answer_s)


def environment_address() -> str | None:
    """The cluster that the environment says is meant."""
    return os.environ.get("SKATE_ADDRESS") or os.environ.get("RAY_ADDRESS") or None


def is_dashboard(address: str) -> bool:
    """Whether it is the address of a dashboard, as Ray has them for whoever looks and for who submits jobs."""
    return address.startswith(("http://", "https://"))


def shown_by(address: str, answer_s: float = ANSWER_S) -> str:
    """The address of the cluster that a dashboard shows, if it says so in time; any other address is returned as it is.

    Raises:
        ConnectionError: no dashboard of skate answers there, or it does not say.
    """
    if not is_dashboard(address):
        return address
    from .job_http import HttpJobs

    other = "HOST:PORT of a node is an address, too"
    try:
        found = HttpJobs(address, timeout_s=answer_s).where()
    except ConnectionError as error:
        raise ConnectionError(f"{error}; {other}") from None
    except (ValueError, AuthenticationError) as error:
        raise ConnectionError(f"{address} does not say which cluster it shows: {error}; {other}") from None
    if not found or is_dashboard(found):
        raise ConnectionError(f"what answers at {address} does not say which cluster it shows; {other}")
    return found


def observe(address: str | None = None, temp_dir: str | None = None, answer_s: float = ANSWER_S) -> Observer:
    """What there is to look at: the cluster of this process, or at an address, or on this machine.

    Args:
        address: "host:port" of any node, or the process id of a program that has called `init()` without a cluster, or
            "http://host:port" of a dashboard, which is asked what it shows; by default the cluster that this process is part
            of, else SKATE_ADDRESS or RAY_ADDRESS, else a node that was started here, else the program that was started last.
        temp_dir: where sessions are looked for, if not in the default place.
        answer_s: how long each node may take to answer.

    Raises:
        ConnectionError: there is nothing, or it does not answer.
        ValueError: the address is none.
    """
    address = None if address == "auto" else address
    runtime = current.runtime
    if address is None and runtime is not None:
        if not hasattr(runtime, "links"):
            raise UnsupportedError('mode="inline" has no processes to look at, and keeps no history')
        return _Own(runtime, answer_s)  # type: ignore[arg-type]
    address = shown_by(address or environment_address() or "auto", answer_s)
    if address.isdigit():
        found = [folder for folder in programs(temp_dir) if folder.name.split("-")[1] == address]
        if not found:
            raise ConnectionError(f"process {address} is no skate program of yours that runs here")
        return _Folder(found[0], answer_s)
    if address not in ("auto", "local"):
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"{address!r} is not HOST:PORT, nor a process id, nor http://HOST:PORT of a dashboard")
        return _Remote(host.strip("[]"), int(port), answer_s)
    standing = sessions.running(temp_dir)
    if standing:
        return _Remote(standing[0].host, standing[0].port, answer_s)
    folders = programs(temp_dir)
    if not folders:
        raise ConnectionError("no skate program and no node of yours runs here: start one, or say --address HOST:PORT")
    return _Folder(folders[0], answer_s)


def address_of(observer: Observer) -> str | None:
    """What to give `observe`, perhaps in another process, to look at the same; None: only this process can."""
    if isinstance(observer, _Remote):
        host = f"[{observer.host}]" if ":" in observer.host else observer.host
        return f"{host}:{observer.port}"
    return observer.folder.name.split("-")[1] if isinstance(observer, _Folder) else None


def programs(temp_dir: str | None = None) -> list[Path]:
    """The session folders of programs of this user that have started nodes of their own, the newest first."""
    found = []
    for path in sessions.folder_of_all(temp_dir).glob("session-*/node.sock"):
        folder = path.parent
        if not (folder / "pid").exists() and os.path.exists(f"/proc/{folder.name.split('-')[1]}"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found.append((-folder.stat().st_ctime, folder))
    return [folder for _, folder in sorted(found)]


def require() -> Observer:
    """The cluster of this process.

    Raises:
        NotRunningError: skate does not run here.
    """
    if current.runtime is None:
        raise NotRunningError("skate is not running here: call skate.init()")
    return observe()
