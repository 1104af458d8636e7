"""Submitted jobs by HTTP: the client's end of Ray's REST routes, as a dashboard of skate serves them.

A dashboard of skate gives logs in parts (`offset` and `wait_s` in the query, `offset` and `over` in the answer); one of Ray gives
all of a log each time. The cluster's token goes to this machine, or over TLS, and never in the clear over a network: so this
machine is not asked by way of a proxy, and no redirection is followed.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import token
from .jobs import read_request

if TYPE_CHECKING:
    from .packages import Package

TIMEOUT_S = 15.0
POLL_S = 0.2
"""How often the whole log is asked for, where it comes in no parts."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ELSEWHERE = (301, 302, 303, 307, 308)


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirection is an error: urllib would send the headers there, too."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        return None


class HttpJobs:
    """The jobs of a cluster behind a dashboard. See `JobsApi`."""

    def __init__(
        self,
        address: str,
        headers: Mapping[str, str] | None = None,
        verify: bool | str = True,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """
        Args:
            address: of the dashboard, "http://HOST:PORT".
            headers: to send with every request.
            verify: of TLS: whether the certificate is checked, or the file of the CA to check it with.
            timeout_s: how long an answer may take.
        """
        self._timeout_s = timeout_s
        self.address = address.rstrip("/")
        self._headers = dict(headers or {})
        handlers: list[urllib.request.BaseHandler] = [_Stay()]
        parts = urllib.parse.urlsplit(address)
        if parts.scheme == "https":
            tls = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
            if verify is False:
                tls.check_hostname = False
                tls.verify_mode = ssl.CERT_NONE
            handlers.append(urllib.request.HTTPSHandler(context=tls))
        if parts.hostname in _LOOPBACK:
            handlers.append(urllib.request.ProxyHandler({}))
        self._open = urllib.request.build_opener(*handlers).open
        known = {name.lower() for name in self._headers}
        if "authorization" not in known and ((verify and parts.scheme == "https") or parts.hostname in _LOOPBACK):
            secret = token.find()
            if secret is not None:
                self._headers["Authorization"] = f"Bearer {secret}"

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request, and return the answer's JSON.

        Raises:
            ConnectionError: there is no answer.
            ValueError: it is an error; the message is that of the answer.
        """
        data = None if body is None else json.dumps(body).encode()
        answer = self._send(method, path, data, "application/json")
        try:
            return json.loads(answer)
        except json.JSONDecodeError as error:
            raise ConnectionError(f"what answers at {self.address} is no dashboard: {error}") from None

    def _send(self, method: str, path: str, data: bytes | None, kind: str) -> bytes:
        headers = {"Content-Type": kind, **self._headers}
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        try:
            with self._open(request, timeout=self._timeout_s) as answer:
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace").strip()
            error.close()
            if error.code in _ELSEWHERE:
                raise ValueError(
                    f"{self.address} refers to {error.headers.get('Location')}: use that address"
                ) from None
            raise ValueError(_reason(text) or f"{self.address} has answered with status {error.code}") from None
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionError(f"no dashboard answers at {self.address}: {str(error).strip()}") from None

    def ping(self) -> None:
        """See `JobsApi`."""
        self.request("GET", "/api/version")

    def where(self) -> str:
        """See `JobsApi`. A dashboard of Ray does not say."""
        found = self.request("GET", "/api/version")
        return str(found.get("address") or "") if isinstance(found, dict) else ""

    def submit(self, request: Mapping[str, Any]) -> str:
        """See `JobsApi`."""
        ident = read_request(request).id
        body = {**{name: value for name, value in request.items() if value is not None}, "submission_id": ident}
        found = self.request("POST", "/api/jobs/", body)
        return str(found.get("submission_id") or ident)

    def has(self, package: str) -> bool:
        """See `JobsApi`. A dashboard that does not know this question has to be brought it."""
        try:
            self.request("GET", f"/api/packages/skate/{package}.zip")
        except ValueError:
            return False
        return True

    def bring(self, package: Package) -> None:
        """See `JobsApi`."""
        if self.has(package.hash):
            return
        self._send("PUT", f"/api/packages/skate/{package.hash}.zip", package.data, "application/zip")

    def listed(self) -> list[dict[str, Any]]:
        """See `JobsApi`."""
        return list(self.request("GET", "/api/jobs/"))

    def info(self, ident: str) -> dict[str, Any]:
        """See `JobsApi`."""
        found: dict[str, Any] = self.request("GET", _path(ident))
        return found

    def stop(self, ident: str) -> bool:
        """See `JobsApi`."""
        return bool(self.request("POST", _path(ident) + "/stop")["stopped"])

    def delete(self, ident: str) -> bool:
        """See `JobsApi`."""
        return bool(self.request("DELETE", _path(ident))["deleted"])

    def log(self, ident: str, offset: int = 0, wait_s: float = 0.0) -> dict[str, Any]:
        """See `JobsApi`."""
        query = urllib.parse.urlencode({"offset": offset, "wait_s": wait_s})
        found: dict[str, Any] = self.request("GET", f"{_path(ident)}/logs?{query}")
        if "offset" in found:
            return found
        over = self.info(ident)["status"] not in ("PENDING", "RUNNING")
        if over:  # it may have printed since
            found = self.request("GET", f"{_path(ident)}/logs")
        text = found["logs"][offset:]
        if not text and not over and wait_s:
            time.sleep(min(wait_s, POLL_S))
        return {"logs": text, "offset": offset + len(text), "over": over}


def _path(ident: str) -> str:
    return "/api/jobs/" + urllib.parse.quote(ident, safe="")


def _reason(text: str) -> str:
    """What an answer that is an error says."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return text[:2000]
    if isinstance(found, dict):
        return str(found.get("error") or found.get("msg") or found.get("detail") or text)
    return str(found)
