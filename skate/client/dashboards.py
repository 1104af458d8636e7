"""Starting a dashboard beside a node or a program: a process of its own, that ends when those end whom it watches.

It says on a pipe where it can be found, or why it cannot start. Secrets go to it in the environment, never on its command line.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ..exceptions import RaySystemError, UnsupportedError
from ..wire.channel import wait_readable
from .machine import began

PORT = 8265
PORTS_TRIED = 10
"""So many ports are looked at, from `PORT` on, when none was said."""
START_S = 30.0
STOP_S = 3.0
FILE = "dashboard.json"
_BOOT = "import sys; sys.path[:] = sys.argv[2].split('\\n'); from skate.dashboard.serve import main; main()"


class Settings(msgspec.Struct):
    """What a dashboard is told on its command line."""

    address: str
    """Of which cluster: host:port of a node, or the process id of a program; "": the one that runs here."""
    host: str = "127.0.0.1"
    port: int | None = None
    """None: `PORT`, or one of the next that is free; 0: any that is free."""
    allow_hosts: tuple[str, ...] = ()
    require_token: bool = False
    """Also on loopback."""
    tls_cert: str = ""
    tls_key: str = ""
    temp_dir: str | None = None
    watch: tuple[int, ...] = ()
    """Processes: it ends when one of them does."""


class Found(msgspec.Struct):
    """A dashboard that runs."""

    url: str
    pid: int
    began: str
    """When its process began: a pid alone may be another's by now."""


def check_installed() -> None:
    """See whether there is what a dashboard needs.

    Raises:
        UnsupportedError: there is not.
    """
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise UnsupportedError(f"the dashboard needs {' and '.join(missing)}: pip install 'skate[dashboard]'")


def launch(
    settings: Settings, folder: str, environment: Mapping[str, str] | None = None
) -> tuple[Found, subprocess.Popen[bytes]]:
    """Start a dashboard; it answers when this returns.

    Args:
        settings: what it shows, and where.
        folder: of the session; its log goes there.
        environment: more for it than this process has.

    Raises:
        UnsupportedError: it is not installed.
        RaySystemError: it did not start; the message says why.
    """
    check_installed()
    path = "\n".join(entry or os.getcwd() for entry in sys.path)
    reading, writing = os.pipe()
    log = Path(folder, "logs", "dashboard.log")
    try:
        with open(log, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
            process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, msgspec.json.encode(settings).decode(), path, str(writing)],
                pass_fds=[writing],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        said = _hear(reading)
    except BaseException:  # Ctrl-C does not reach it
        process.kill()
        process.wait()
        raise
    finally:
        os.close(reading)
    if not said.startswith("http"):
        process.kill()
        process.wait()
        raise RaySystemError(f"the dashboard did not start: {said or f'see {log}'}")
    return Found(said, process.pid, began(process.pid)), process


def _hear(fd: int) -> str:
    if not wait_readable(fd, START_S):
        return f"it has not answered in {START_S:g} s"
    said = b""
    while part := os.read(fd, 65536):
        said += part
    return said.decode().strip()


def end(process: subprocess.Popen[bytes]) -> None:
    """End a dashboard that this process has started."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def note(folder: str, found: Found) -> None:
    """Write into a session's folder which dashboard shows it."""
    with open(os.path.join(folder, FILE), "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(msgspec.json.encode(found))


def noted(folder: str) -> str:
    """The address of the dashboard of a session, if one runs; else ""."""
    try:
        found = msgspec.json.decode(Path(folder, FILE).read_bytes(), type=Found)
    except (OSError, msgspec.DecodeError):
        return ""
    return found.url if found.began and began(found.pid) == found.began else ""
