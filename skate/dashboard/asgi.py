"""What surrounds every route: the guard, the limit of a body, and the headers of an answer.

Plain ASGI, so that nothing gets past it.

INV-1: no route is reached without `Guard.refuse` having been asked.
INV-2: no body larger than its limit is kept, whatever its length is said to be.
INV-3: a body of which nothing comes for `STALL_S` is not waited for.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from .guard import Guard, Refusal

BODY_BYTES_MAX = 1 << 20
STALL_S = 30.0
"""So long the next part of a body may take: whoever comes with another package waits for it meanwhile."""
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
_RAW = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guarded:
    """An application behind the guard.

    Args:
        app: what is guarded.
        guard: who decides.
        larger: how many bytes a body may have, by the beginning of the path, where that is more than `BODY_BYTES_MAX`.
        is_own: whether the process at the other end may ask without a token.
    """

    def __init__(
        self,
        app: App,
        guard: Guard,
        larger: dict[str, int] | None = None,
        is_own: Callable[[Scope], bool] = lambda _: True,
    ) -> None:
        self.is_own = is_own
        self.app = app
        self.guard = guard
        self.larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"the dashboard does not speak {scope['type']}")
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            text = value.decode("latin-1")
            headers[key] = f"{headers[key]}\n{text}" if key in headers else text  # two hosts are none that is known
        path: str = scope["path"]
        refusal = self.guard.refuse(scope["method"], path, headers, time.monotonic())
        limit = next((size for start, size in self.larger.items() if path.startswith(start)), BODY_BYTES_MAX)
        refusal = refusal or _too_large(headers, limit)
        known = self.guard.token or self.guard.reads(path, headers)
        if refusal is None and not known and not self.is_own(scope):
            refusal = Refusal(403, "another user's process may not ask this dashboard: start it with --require-token")
        if refusal is not None:
            await _say(refusal, path, headers, send)
            return
        sent = 0
        whole = False

        async def bounded() -> Message:
            nonlocal sent, whole
            try:
                async with asyncio.timeout(None if whole else STALL_S):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"nothing of the body has come for {STALL_S:g} s") from None
            whole = not message.get("more_body", False)
            sent += len(message.get("body", b""))
            if sent > limit:
                raise HTTPException(413, f"the body is larger than {limit} bytes")
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message.get("headers", ())}
                more = [(name, value) for name, value in _RAW if name not in given]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        await self.app(scope, bounded, with_headers)


def _too_large(headers: dict[str, str], limit: int) -> Refusal | None:
    length = headers.get("content-length", "0")
    if not length.isdigit():
        return Refusal(400, "the length of the body is no number")
    return Refusal(413, f"the body is larger than {limit} bytes") if int(length) > limit else None


async def _say(refusal: Refusal, path: str, headers: dict[str, str], send: Send) -> None:
    """Answer with a refusal; who opens the page itself without being known is led to the login."""
    to_login = refusal.status == 401 and path == "/" and "text/html" in headers.get("accept", "")
    body = json.dumps({"error": refusal.reason}).encode()
    more = [(b"location", b"/login")] if to_login else [(b"www-authenticate", b"Bearer")] * (refusal.status == 401)
    start = {
        "type": "http.response.start",
        "status": 303 if to_login else refusal.status,
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *more, *_RAW],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
