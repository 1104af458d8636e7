"""Who may make a request: the decisions about Host, Origin, token and cookie, for every route and method.

A page of any website can send requests to an address of the reader's machine, and a name of the attacker's may be made to point
there (DNS rebinding). So:

INV-1: the Host is an IP address, localhost, or a name that was allowed: never a name that others can give to this machine.
INV-2: an Origin, where there is one, is that of the dashboard itself. A browser sends it with everything that changes something.
INV-3: what another site makes a browser fetch is refused, except for following a link to a page.
INV-4: off loopback nothing but the login page and `/healthz` answers without the token.

Pure: headers in, a refusal or None out.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address

COOKIE = "skate_session"
SAFE = ("GET", "HEAD")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
OPEN_PATHS = ("/healthz", "/login", "/static/app.css", "/static/login.js", "/static/icon.svg")
"""What needs no token: who has none must be able to say so."""
PAGES = ("/", "/login")
METRICS = "/metrics"
"""What may also be read with the reading token."""
SESSIONS_MAX = 64
SESSION_S = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served."""

    status: int
    reason: str


@dataclass
class Guard:
    """Decides about requests.

    Args:
        hosts: names that this dashboard may be called by, besides IP addresses and localhost.
        token: what has to be known; "": nothing, as on loopback.
        reading: the token with which metrics may be read, and nothing else; "": there is none.
    """

    hosts: frozenset[str] = frozenset()
    token: str = ""
    reading: str = ""
    _sessions: dict[str, float] = field(default_factory=dict)
    """Until when each cookie is good."""

    def refuse(self, method: str, path: str, headers: Mapping[str, str], now: float) -> Refusal | None:
        """Why a request is refused; None: it is served. Names of headers are in lower case."""
        if method not in METHODS:
            return Refusal(405, f"the method {method} is not known here")
        host = headers.get("host", "")
        if not self.knows(host):
            return Refusal(403, f"the host {host!r} is not this dashboard: use its address, or --allow-host")
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return Refusal(403, "another site may not ask this dashboard")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            follows = method in SAFE and headers.get("sec-fetch-mode") == "navigate" and path in PAGES
            if not follows:
                return Refusal(403, "another site may not ask this dashboard")
        if self.token and path not in OPEN_PATHS and not self.is_known(headers, now) and not self.reads(path, headers):
            return Refusal(401, "the cluster's token is needed: Authorization: Bearer TOKEN, or log in")
        return None

    def knows(self, host: str) -> bool:
        """Whether a Host is this dashboard.

        Example:
            >>> [Guard().knows(host) for host in ("localhost:8265", "[::1]:8265", "10.0.0.1", "evil.example", "")]
            [True, True, True, False, False]
        """
        name = _name(host)
        if name == "localhost" or name in self.hosts:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True

    # ------------------------------------------------------------ who is known

    def is_known(self, headers: Mapping[str, str], now: float) -> bool:
        """Whether a request has the token, or a cookie that was given for it."""
        if self.is_token(_bearer(headers)):
            return True
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return morsel is not None and self._sessions.get(morsel.value, 0.0) > now

    def is_token(self, given: str) -> bool:
        """Whether it is the token; it takes as long, however much of it is right."""
        return bool(self.token) and hmac.compare_digest(given.encode(), self.token.encode())

    def reads(self, path: str, headers: Mapping[str, str]) -> bool:
        """Whether a request only reads metrics, and has the token for that."""
        given = _bearer(headers)
        return path == METRICS and bool(self.reading) and hmac.compare_digest(given.encode(), self.reading.encode())

    def let_in(self, secret: str, now: float) -> None:
        """A cookie with this secret is good from now on. The oldest ends when there are too many."""
        self._sessions = {each: until for each, until in self._sessions.items() if until > now}
        while len(self._sessions) >= SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[secret] = now + SESSION_S

    def let_out(self, headers: Mapping[str, str]) -> None:
        """The cookie of a request is good no more."""
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return
        if morsel is not None:
            self._sessions.pop(morsel.value, None)


def _bearer(headers: Mapping[str, str]) -> str:
    """The token that a request gives."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" else ""


def _name(host: str) -> str:
    """The name of a host without its port, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host
