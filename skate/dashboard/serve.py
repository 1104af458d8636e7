"""The dashboard's process: finds the cluster, listens, says where, and ends with those whom it watches."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import msgspec
import uvicorn

from ..client import observing, token
from ..client.dashboards import PORT, PORTS_TRIED, Settings
from ..client.jobs import ClusterJobs
from ..exceptions import AuthenticationError, RayError
from .app import Dashboard
from .guard import Guard
from .peers import is_own
from .source import ClusterSource

BACKLOG = 128
CONNECTIONS_MAX = 256
GRACE_S = 1
"""How long requests may take that are served when it ends."""


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until a signal comes, or one of the watched processes ends.

    Args:
        settings: what is shown, and where.
        say: is told the address when it answers.

    Raises:
        ConnectionError: there is no cluster.
        AuthenticationError: a token is needed and there is none.
        OSError: the port cannot be had.
        ValueError: the settings make no sense.
    """
    guard = guard_for(settings)
    said = observing.environment_address() or ""
    # http://... in the environment is where this dashboard is going to be, for who submits jobs there
    address = settings.address or ("local" if observing.is_dashboard(said) else None)
    observer = observing.observe(address, settings.temp_dir)
    secure = bool(settings.tls_cert)
    dashboard = Dashboard(ClusterSource(observer), ClusterJobs(observer), guard, secure=secure)
    listener = listen(settings.host, settings.port)
    config: Any = uvicorn.Config(
        dashboard.app(lambda scope: is_own(scope["client"][1], scope["server"][1])),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
    )
    server = Server(config, dashboard, list(settings.watch), lambda: say(_url(settings, listener)))
    with listener:
        asyncio.run(server.serve(sockets=[listener]))


class Server(uvicorn.Server):
    """Says when it answers, and ends with those whom it watches."""

    def __init__(self, config: Any, dashboard: Dashboard, watch: list[int], ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.dashboard = dashboard
        self.watch = watch
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        for pid in self.watch:
            try:
                loop.add_reader(os.pidfd_open(pid), self._ended)
            except ProcessLookupError:
                self._ended()
        self.ready()

    def _ended(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.dashboard.end_streams()
        await super().shutdown(sockets)


def guard_for(settings: Settings) -> Guard:
    """Who may ask: off loopback, only who knows the token.

    Raises:
        AuthenticationError: there is no token to ask for.
        ValueError: the host is no address.
    """
    try:
        address = ip_address("127.0.0.1" if settings.host == "localhost" else settings.host)
    except ValueError:
        raise ValueError(f"--host {settings.host!r}: say an IP address of this machine, or 0.0.0.0") from None
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise ValueError("TLS needs both --tls-cert and --tls-key")
    needed = settings.require_token or not address.is_loopback
    secret = _token(needed)
    if needed and not secret:
        raise AuthenticationError(
            f"a dashboard at {settings.host} asks for the cluster's token, and there is none here: copy "
            f"{token.default_path()} from the head's machine, or set SKATE_TOKEN"
        )
    names = {name.lower() for name in settings.allow_hosts}
    if not address.is_loopback:
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return Guard(frozenset(names), secret if needed else "", token.reading_token(secret) if secret else "")


def _token(needed: bool) -> str:
    """The cluster's token; "": there is none."""
    try:
        return token.find() or ""
    except AuthenticationError:
        if needed:
            raise
        return ""  # nobody is asked for it; another user's Prometheus is refused, as if there were none


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens; where no port was said, on the first that is free.

    Raises:
        OSError: the port cannot be had.
    """
    tries = [port] if port is not None else [*range(PORT, PORT + PORTS_TRIED), 0]
    for each in tries:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, each))
            sock.listen(BACKLOG)
            return sock
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE or each == tries[-1]:
                raise OSError(error.errno, f"port {each} of {host}: {os.strerror(error.errno or 0)}") from None
    raise AssertionError("one of the ports was tried last")


def _url(settings: Settings, listener: socket.socket) -> str:
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    shown = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):
        shown = socket.gethostname()
    return f"{'https' if settings.tls_cert else 'http'}://{shown}:{listener.getsockname()[1]}"


def main() -> None:
    """Beside a node or program: settings and the descriptor of a pipe are on the command line (see `client/dashboards.py`)."""
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    fd = int(sys.argv[3])

    def say(text: str) -> None:
        nonlocal fd
        if fd >= 0:
            os.write(fd, text.encode())
            os.close(fd)
            fd = -1

    try:
        serve(settings, say)
    except (RayError, AuthenticationError, OSError, ValueError) as error:
        say(str(error))
        sys.exit(1)
