"""The verb `serve`: a model behind HTTP, in one process, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from convscope.errors import ConvscopeError
from convscope.serving.app import make_app
from convscope.serving.http_protocol import PatientProtocol
from convscope.serving.service import Service, ServiceSettings, open_service
from convscope.serving.uploads import LAST_SECONDS

logger = logging.getLogger(__name__)

KEY_VARIABLE = "CONVSCOPE_API_KEY"
BACKLOG = 2048  # connections that the system keeps until they are accepted
KEEP_ALIVE_SECONDS = 5
LINGER_SECONDS = 0.3  # at the end, for who has just connected to say what it wants
SPARE_SECONDS = 5  # beyond the deadline, for a client to take its answer while the service ends


def serve(model: Path, *, host: str = "127.0.0.1", port: int = 8000, settings: ServiceSettings | None = None) -> None:
    """Serve a model over HTTP; comes back when SIGTERM came and all that was asked for is answered.

    Args:
        model: a run folder or a .onnx file.
        host: the address to listen at. Whoever reaches it may use the model; there is no encryption.
        port: 0 takes any that is free.
        settings: queue, deadline, key, origin; None: the usual ones, without a key.

    Raises:
        BundleError: the model cannot be used.
        ConvscopeError: the address cannot be listened at.
        KeyboardInterrupt: Ctrl-C, after the same end.
    """
    service = open_service(model, settings or ServiceSettings())
    server = Server(service)
    with listen(host, port) as listener, ended_by_signals(server):
        shown_host = f"[{host}]" if ":" in host else host
        logger.info(
            f"serving {service.name} ({len(service.bundle.classes)} classes, {service.bundle.square.size} px)"
            f" at http://{shown_host}:{listener.getsockname()[1]}"
        )
        server.run(sockets=[listener])


class Server(uvicorn.Server):
    """Uvicorn around a service, ending in an order that leaves nobody without an answer."""

    def __init__(self, service: Service) -> None:
        self.room = service.room
        self.interrupted = False
        super().__init__(
            uvicorn.Config(
                make_app(service),
                http=PatientProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=math.ceil(service.settings.deadline + LAST_SECONDS) + SPARE_SECONDS,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let in who already waits, then nobody; give them a moment for their request, then let Uvicorn drain."""
        self.room.end()
        for _ in range(2):  # turns of the loop: in the first it sees who waits, and lets them in
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        await asyncio.sleep(LINGER_SECONDS)  # to close a connection that has something unread is to reset it
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Drain; at a second Ctrl-C leave at once, since nothing that is here has to be kept."""
        if self.interrupted and sig == signal.SIGINT:
            logger.info("stopped")
            os._exit(128 + signal.SIGINT)
        self.interrupted |= sig == signal.SIGINT
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: `ended_by_signals` has them."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A socket that clients can connect to from now on.

    Raises:
        ConvscopeError: the address is taken, or not one of this machine.
    """
    try:
        if not host:  # which would be every address of the machine
            raise OSError("an address that is empty")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConvscopeError(
            found=f"{host}:{port} cannot be listened at: {getattr(error, 'strerror', None) or error}",
            expected="a free port, 0 to 65535, of an address of this machine",
            fix="choose another --port, or 0 for any that is free; end what has it; give --host an address",
        ) from None
    # else the body of an answer waits 40 ms for the client to confirm its head: asyncio sets this on a socket only if
    # that was made with an explicit protocol number; on Linux what is accepted has it from its listener
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextmanager
def ended_by_signals(server: Server) -> Iterator[None]:
    """Inside the block SIGTERM and Ctrl-C make a server drain and come back, from before it has started.

    Raises:
        KeyboardInterrupt: at the end, where it was Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield
        return
    before = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if server.interrupted:
        raise KeyboardInterrupt


def read_key(file: Path | None) -> str | None:
    """The key that clients have to send: from a file, or from the environment; None: there is none.

    Raises:
        ConvscopeError: the file or the variable is there, but empty or not readable.
    """
    try:
        key = os.environ.get(KEY_VARIABLE) if file is None else file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong_key(f"{file}, which cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if key is not None and not (key.isascii() and key.isprintable() and key.strip()):
        raise _wrong_key(f"{file or KEY_VARIABLE} with no key that a header can hold")
    return key


def _wrong_key(found: str) -> ConvscopeError:
    return ConvscopeError(
        found=found,
        expected="one line of printable ASCII characters",
        fix="write one, for example with `openssl rand -hex 32`",
    )
