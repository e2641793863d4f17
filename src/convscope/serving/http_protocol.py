"""Uvicorn's HTTP protocol and server with a header read timeout, JSON errors, and a shutdown that drains.

The only module that uses parts of Uvicorn which its documentation does not promise; each has a test in
tests/serving/test_http_protocol.py: of `H11Protocol` its methods, `conn`, `cycle`, `transport` and `loop`; of `Server`
`servers`, `shutdown`, `handle_exit` and `capture_signals`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from convscope.serving.app import make_app
from convscope.serving.http_errors import HTTPError
from convscope.serving.request_bodies import SHUTDOWN_BODY_SECONDS
from convscope.serving.service import Service

logger = logging.getLogger(__name__)

HEADER_READ_SECONDS = 10.0  # for the head of a request, or for the rest of a body that was rejected
KEEP_ALIVE_SECONDS = 5
SHUTDOWN_GRACE_SECONDS = 0.3  # for the request of a client that has just connected
DRAIN_SECONDS = 5  # beyond the deadline: for clients to receive their responses during shutdown


class TimeoutProtocol(H11Protocol):
    """One connection. Uvicorn has no header read timeout; here it is `HEADER_READ_SECONDS`."""

    read_timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout when a client connects."""
        super().connection_made(transport)
        self._update_timeout()

    def data_received(self, data: bytes) -> None:
        """Stop the timeout once a request is complete, start it for the next one."""
        super().data_received(data)
        self._update_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout when the connection is closed."""
        super().connection_lost(exc)
        self._stop_timeout()

    def send_400_response(self, msg: str) -> None:
        """Respond to what is not HTTP, if a response can still be sent."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            error = HTTPError(
                400, found=msg.rstrip("."), expected="a request in HTTP/1.1", fix="send it with an HTTP library"
            )
            body = json.dumps(error.to_json()).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _update_timeout(self) -> None:
        """Stop the timeout while a request is processed; else start it, once, however slowly bytes arrive."""
        is_processing = bool(self.cycle) and not self.cycle.response_complete  # None before the first request
        if is_processing:
            self._stop_timeout()
        elif self.read_timeout is None:
            self.read_timeout = self.loop.call_later(HEADER_READ_SECONDS, self.transport.abort)

    def _stop_timeout(self) -> None:
        if self.read_timeout is not None:
            self.read_timeout.cancel()
            self.read_timeout = None


class Server(uvicorn.Server):
    """Uvicorn around a service, with a graceful shutdown: every accepted connection gets its response."""

    def __init__(self, service: Service) -> None:
        self.bodies = service.bodies
        self.interrupted = False
        super().__init__(
            uvicorn.Config(
                make_app(service),
                http=TimeoutProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=math.ceil(service.settings.deadline + SHUTDOWN_BODY_SECONDS) + DRAIN_SECONDS,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the connections of the backlog, then close the listener, wait for their requests, and drain."""
        self.bodies.shut_down()
        for _ in range(2):  # iterations of the event loop: the first polls the listener, the second accepts
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        await asyncio.sleep(SHUTDOWN_GRACE_SECONDS)  # closing a connection with unread data would reset it
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Shut down gracefully; at a second Ctrl-C exit at once: the service has no state to save."""
        if self.interrupted and sig == signal.SIGINT:
            logger.info("stopped")
            os._exit(128 + signal.SIGINT)
        self.interrupted |= sig == signal.SIGINT
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: `shutdown_on_signals` installs the handlers, earlier than Uvicorn would."""
        yield


@contextmanager
def shutdown_on_signals(server: Server) -> Iterator[None]:
    """Within the block SIGTERM and Ctrl-C shut a server down gracefully, also before it has started.

    Raises:
        KeyboardInterrupt: at the end of the block, if the signal was Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():  # Python delivers signals to the main thread only
        yield
        return
    previous = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if server.interrupted:
        raise KeyboardInterrupt
