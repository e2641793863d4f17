"""What every request passes on its way in and out: the key, the strict headers, the counters."""

from __future__ import annotations

import hmac
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convscope.serving.http_errors import Refusal, answer_refusal
from convscope.serving.metrics import Telemetry
from convscope.serving.uploads import Room

# load balancers ask the first two and have no key; the page holds no secret, and a browser sends no key for it
OPEN_PATHS = ("/health", "/ready", "/", "/page/")
STRICT = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Door:
    """ASGI middleware around the whole application.

    Args:
        app: the application.
        api_key: what clients have to send; None: nothing.
        telemetry: where requests are counted.
        room: knows whether the service ends; then every connection does, with its answer.
    """

    def __init__(self, app: ASGIApp, *, api_key: str | None, telemetry: Telemetry, room: Room) -> None:
        self.app = app
        self.api_key = api_key
        self.telemetry = telemetry
        self.room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or send it away."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def send_strictly(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(STRICT | ({"Connection": "close"} if self.room.ends else {}))
            await send(message)

        allowed = self.api_key is None or is_open(scope["path"]) or has_key(Headers(scope=scope), self.api_key)
        try:
            await (self.app if allowed else refuse_stranger)(scope, receive, send_strictly)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self.telemetry.count_request(path, status, time.perf_counter() - started)


def is_open(path: str) -> bool:
    """Whether a path needs no key."""
    return path in OPEN_PATHS or path.startswith("/page/")


def has_key(headers: Headers, api_key: str) -> bool:
    """Whether a request brings the key; takes as long for a wrong one as for the right one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    return hmac.compare_digest(given.encode(), api_key.encode())


async def refuse_stranger(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that has no key, or a wrong one."""
    refusal = Refusal(
        401,
        found="no API key, or a wrong one",
        expected="the header `Authorization: Bearer KEY` or `X-API-Key: KEY`",
        fix="ask whoever runs this service for its key",
    )
    await answer_refusal(scope["path"], refusal)(scope, receive, send)
