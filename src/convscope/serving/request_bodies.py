"""Request bodies, read within limits of size, memory and time: bytes are counted as they arrive."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from starlette.requests import Request

from convscope.serving.http_errors import HTTPError

MAX_BYTES = 64 * 1024**2  # of one body
MAX_HELD_BYTES = 4 * MAX_BYTES  # of all bodies together
DISCARDED_BYTES = 8 * 1024**2  # read beyond the limit and discarded, so that most clients receive the response
BODY_SECONDS = 30.0  # for a body to arrive
SHUTDOWN_BODY_SECONDS = 2.0  # the same, while the service is shutting down


class RequestBodies:
    """Reads the bodies of all requests, within the limits of size, memory and time."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self.shutting_down = False
        self._timeouts: set[asyncio.Timeout] = set()

    def shut_down(self) -> None:
        """Reject new bodies, and wait at most `SHUTDOWN_BODY_SECONDS` for those that are arriving."""
        self.shutting_down = True
        end = asyncio.get_running_loop().time() + SHUTDOWN_BODY_SECONDS
        for timeout in self._timeouts:
            if not timeout.expired():
                timeout.reschedule(min(timeout.when() or math.inf, end))

    def check_accepting(self) -> None:
        """Check that the service is not shutting down.

        Raises:
            HTTPError: 503, it is.
        """
        if self.shutting_down:
            raise _shutting_down()

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, which counts as held until the block ends.

        Raises:
            HTTPError: 413 too large, 408 too slow, 503 no memory left or shutting down.
        """
        claimed = request.headers.get("content-length", "0")
        if claimed.isdecimal() and int(claimed) > MAX_BYTES + DISCARDED_BYTES:
            raise _too_large(f"a body of {int(claimed):,} bytes")
        chunks: list[bytes] = []
        held = 0
        try:
            async with self._timeout(), aclosing(_limited_stream(request)) as stream:
                async for chunk in stream:
                    held += len(chunk)
                    self.held_bytes += len(chunk)
                    if self.held_bytes > MAX_HELD_BYTES:
                        raise _no_memory()
                    chunks.append(chunk)
            data = b"".join(chunks)
            chunks.clear()
            yield data
        finally:
            self.held_bytes -= held

    @asynccontextmanager
    async def _timeout(self) -> AsyncIterator[None]:
        """The time in which a body has to arrive."""
        try:
            async with asyncio.timeout(SHUTDOWN_BODY_SECONDS if self.shutting_down else BODY_SECONDS) as timeout:
                self._timeouts.add(timeout)
                try:
                    yield
                finally:
                    self._timeouts.discard(timeout)
        except TimeoutError:
            raise (_shutting_down() if self.shutting_down else _too_slow()) from None


async def _limited_stream(request: Request) -> AsyncGenerator[bytes]:
    """The chunks of a body, up to `MAX_BYTES` in all."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BYTES:
            yield chunk
        elif size > MAX_BYTES + DISCARDED_BYTES:
            break
    if size > MAX_BYTES:
        raise _too_large(f"a body of over {MAX_BYTES:,} bytes")


def _too_large(found: str) -> HTTPError:
    return HTTPError(
        413, found=found, expected=f"at most {MAX_BYTES:,}", fix="send fewer or smaller images at once", close=True
    )


def _too_slow() -> HTTPError:
    return HTTPError(
        408,
        found=f"a body that did not arrive within {BODY_SECONDS:g} s",
        expected="the complete body within that time",
        fix="send fewer or smaller images at once, or use a faster connection",
        close=True,
    )


def _shutting_down() -> HTTPError:
    return HTTPError(
        503,
        found="a service that is shutting down",
        expected="a request whose body arrived before",
        fix="retry after the time in Retry-After: another instance may be running then",
        retry_seconds=1.0,
        close=True,
    )


def _no_memory() -> HTTPError:
    return HTTPError(
        503,
        found="no memory left for request bodies",
        expected=f"at most {MAX_HELD_BYTES:,} bytes of all requests together",
        fix="retry after the time in Retry-After",
        retry_seconds=1.0,
        close=True,
    )
