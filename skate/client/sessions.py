"""Standalone nodes of this user on this machine: started, found, attached to, and stopped.

Each has a session folder, which only the user can enter, with `node.json` (who it is) and `node.sock` (where drivers attach).
The secret of the cluster goes to the node through a socket pair, never through a command line or a file of the session.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from ..exceptions import RaySystemError
from ..store.arena import HEADER_BYTES
from ..wire.tls import Tls
from . import tls_files, token
from .init_options import InitOptions
from .machine import (
    BOOT,
    START_TIMEOUT_S,
    allow_files,
    began as began,
    make_session_dir,
    open_log,
    own_labels,
    resources,
    without_secrets,
)

STOP_AFTER_S = 5.0
"""How long a node may take to end when it is asked to."""
KILLED_S = 10.0
"""How long the kernel may take to end a node that is killed: it may wait for a disk."""


class Session(msgspec.Struct):
    """A standalone node."""

    pid: int
    began: str
    """When its process began, in the kernel's ticks: a pid alone may be another's by now."""
    node_id: str
    node_no: int
    name: str
    host: str
    port: int
    head_host: str
    head_port: int
    is_head: bool
    folder: str

    @property
    def address(self) -> str:
        """Where the head of its cluster is."""
        return f"{self.head_host}:{self.head_port}"


class Wish(msgspec.Struct):
    """What a node is to be in its cluster."""

    is_head: bool
    host: str
    port: int = 0
    head_host: str = ""
    head_port: int = 0
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    daemon: bool = True
    """It outlives the process that starts it, and its drivers."""
    store: str = ""
    """Where a head keeps its state: a path, or redis://...; by default a file that goes on a head that was killed on the same
    port, and is removed when the cluster is stopped."""
    forget: bool = True
    """Whether the head's state is removed when the cluster is stopped."""
    patience_s: float = msgspec.field(default_factory=lambda: float(os.environ.get("SKATE_HEAD_PATIENCE_S", "60")))
    """How long a node goes on without a head, in seconds."""
    listen: str = ""
    """The address to listen on, if it is another than `host`, where the others find this node."""
    tls: Tls | None = None
    """The files of TLS, if the cluster has it; None: what the environment says."""
    metrics_port: int = 0
    """A port for the metrics alone; 0: they are only served on the node's own port."""
    token_file: str = ""
    """Where the secret of the cluster is, or, of a head, is to be; "": what the environment says, or the user's own."""


def folder_of_all(temp_dir: str | None = None) -> Path:
    """Where the folders of this user's sessions are on this machine."""
    return Path(temp_dir or os.environ.get("SKATE_TEMP_DIR") or tempfile.gettempdir(), f"skate-{os.getuid()}")


def running(temp_dir: str | None = None) -> list[Session]:
    """The standalone nodes of this user on this machine, heads first, then the newest."""
    found = []
    for path in folder_of_all(temp_dir).glob("session-*/node.json"):
        try:
            session = msgspec.json.decode(path.read_bytes(), type=Session)
        except (OSError, msgspec.DecodeError):
            continue  # it is being written, or removed
        if session.began and began(session.pid) == session.began:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found.append((not session.is_head, -path.stat().st_mtime, session))
    return [session for _, _, session in sorted(found, key=lambda entry: entry[:2])]


def start_node(options: InitOptions, wish: Wish, secret: str | None = None) -> Session:
    """Start a standalone node, and wait until it is a member of its cluster.

    Raises:
        RaySystemError: it did not come up; the message says why.
        AuthenticationError: there is no token to join with.
    """
    allow_files()
    secret = secret or token.of_node(wish.is_head, wish.token_file)
    wish.tls = wish.tls or tls_files.find()
    total, store = resources(options)
    total.pop("node:127.0.0.1")
    total[f"node:{wish.host}"] = 1.0
    folder = make_session_dir(options.temp_dir)
    if wish.is_head:
        redis = os.environ.get("RAY_REDIS_ADDRESS", "")
        wish.store = wish.store or os.environ.get("SKATE_STORAGE") or (redis and f"redis://{redis}")
        wish.forget = not wish.store
        wish.store = wish.store or (str(_default_store(folder, wish.host, wish.port)) if wish.port else "")
    settings: dict[str, Any] = {
        "total": total,
        "arena_bytes": store + HEADER_BYTES,
        "session_dir": folder,
        "system": msgspec.to_builtins(options.system),
        "membership": {
            **msgspec.to_builtins(wish),
            "token": secret,
            "name": options.node_name,
            "labels": {**own_labels(options), **wish.labels},
        },
    }
    mine, theirs = socket.socketpair()
    path = "\n".join(entry or os.getcwd() for entry in sys.path)
    with open_log(folder) as log:
        process = subprocess.Popen(
            [sys.executable, "-c", BOOT, str(theirs.fileno()), "-", path, folder],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=without_secrets(),
        )
    theirs.close()
    Path(folder, "pid").write_text(str(process.pid))
    try:
        ready = _hand_over(mine, settings)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        mine.close()
    if "error" in ready:
        process.wait()
        _remove(folder)
        raise RaySystemError(ready["error"])
    session = Session(
        process.pid,
        began(process.pid),
        ready["node_id"],
        ready["node_no"],
        ready["name"],
        wish.host,
        ready["port"],
        wish.head_host or wish.host,
        wish.head_port or ready["port"],
        wish.is_head,
        folder,
    )
    fd = os.open(os.path.join(folder, "node.json"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.encode(session))
    process.returncode = 0  # it is not this process's business any more: no warning when the object goes
    return session


def own_address(towards: str) -> str:
    """The address under which other machines see this one; loopback if there is no network."""
    if towards.startswith("127."):
        return towards
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # nothing is sent
        try:
            probe.connect((towards or "192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        found: str = probe.getsockname()[0]
        return found


def _default_store(folder: str, host: str, port: int) -> Path:
    """Where a head keeps its state that was not told where: found again by the next head on this port."""
    return Path(folder).parent / f"head-{host}-{port}.db"


def _hand_over(mine: socket.socket, settings: dict[str, Any]) -> dict[str, Any]:
    mine.settimeout(START_TIMEOUT_S)
    mine.sendall(msgspec.json.encode(settings) + b"\n")
    said = b""
    while not said.endswith(b"\n"):
        try:
            part = mine.recv(65536)
        except TimeoutError:
            raise RaySystemError(f"the node did not come up in {START_TIMEOUT_S:.0f} s") from None
        if not part:
            log = Path(settings["session_dir"], "logs", "node.log")
            raise RaySystemError(f"the node ended while it started:\n{log.read_text()[-2000:]}")
        said += part
    found: dict[str, Any] = msgspec.json.decode(said)
    return found


def stop(sessions: list[Session], force: bool = False, grace_s: float = STOP_AFTER_S) -> list[Session]:
    """End nodes, heads last; returns those that had to be killed."""
    ordered = sorted(sessions, key=lambda session: session.is_head)
    for session in ordered:
        _signal(session, signal.SIGKILL if force else signal.SIGTERM)
    until = time.monotonic() + grace_s
    killed = []
    for session in ordered:
        while began(session.pid) == session.began and time.monotonic() < until:
            time.sleep(0.01)
        if began(session.pid) == session.began:
            _signal(session, signal.SIGKILL)
            killed.append(session)
            until_ended = time.monotonic() + KILLED_S
            while began(session.pid) == session.began and time.monotonic() < until_ended:
                time.sleep(0.01)
        _collect(session.pid)
        _remove(session.folder)
        if session.is_head and (force or session in killed):  # else it has seen to that itself
            store = _default_store(session.folder, session.host, session.port)
            for path in store.parent.glob(f"{store.name}*"):
                path.unlink(missing_ok=True)
    return killed


def _collect(pid: int) -> None:
    """Take note of the end of a node that this process has started itself."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # another has started it


def _remove(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _signal(session: Session, signo: int) -> None:
    if began(session.pid) == session.began:
        try:
            os.kill(session.pid, signo)
        except ProcessLookupError:
            return  # it has ended a moment ago
