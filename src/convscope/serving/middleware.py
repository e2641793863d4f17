"""ASGI middleware around every request: API key, security headers, request metrics."""

from __future__ import annotations

import hmac
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convscope.serving.http_errors import HTTPError, error_response
from convscope.serving.metrics import ServiceMetrics
from convscope.serving.request_bodies import RequestBodies

# load balancers request the first two and have no key; the page holds no secret, and a browser sends no key for it
PUBLIC_PATHS = ("/health", "/ready", "/")
PUBLIC_PREFIX = "/page/"
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class ServiceMiddleware:
    """ASGI middleware around the application.

    Args:
        app: the application.
        api_key: what clients have to send; None: nothing.
        metrics: where requests are counted.
        bodies: knows whether the service is shutting down; then each connection is closed after its response.
    """

    def __init__(self, app: ASGIApp, *, api_key: str | None, metrics: ServiceMetrics, bodies: RequestBodies) -> None:
        self.app = app
        self.api_key = api_key
        self.metrics = metrics
        self.bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or respond with 401."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                closing = {"Connection": "close"} if self.bodies.shutting_down else {}
                MutableHeaders(scope=message).update(SECURITY_HEADERS | closing)
            await send(message)

        is_allowed = self.api_key is None or is_public(scope["path"]) or has_key(Headers(scope=scope), self.api_key)
        try:
            await (self.app if is_allowed else reject_unauthorized)(scope, receive, send_with_headers)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self.metrics.count_request(path, status, time.perf_counter() - started)


def is_public(path: str) -> bool:
    """Whether a path needs no key."""
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIX)


def has_key(headers: Headers, api_key: str) -> bool:
    """Whether a request has the key; the comparison takes the same time for a wrong key as for the right one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    sent_key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    return hmac.compare_digest(sent_key.encode(), api_key.encode())


async def reject_unauthorized(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application that responds with 401: no API key, or a wrong one."""
    error = HTTPError(
        401,
        found="no API key, or a wrong one",
        expected="the header `Authorization: Bearer KEY` or `X-API-Key: KEY`",
        fix="ask the operator of this service for its key",
    )
    await error_response(scope["path"], error)(scope, receive, send)
