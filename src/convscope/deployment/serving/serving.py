"""The verb `serve`: a model behind HTTP, in one process, until it is told to stop."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from convscope.deployment.serving.app import make_app
from convscope.deployment.serving.patience import PatientProtocol
from convscope.deployment.serving.service import Service, ServiceSettings, open_service
from convscope.errors import ConvscopeError
from convscope.terminal import remarks

KEY_VARIABLE = "CONVSCOPE_API_KEY"
BACKLOG = 2048  # connections that the system keeps until they are accepted
KEEP_ALIVE_SECONDS = 5
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
    server = make_server(service)
    with listen(host, port) as listener, ended_by_sigterm(server):
        shown_host = f"[{host}]" if ":" in host else host
        remarks().print(
            f"serving {service.name} ({len(service.bundle.classes)} classes, {service.bundle.square.size} px)"
            f" at http://{shown_host}:{listener.getsockname()[1]}",
            markup=False,
        )
        server.run(sockets=[listener])


def make_server(service: Service) -> uvicorn.Server:
    """Uvicorn around a service."""
    return uvicorn.Server(
        uvicorn.Config(
            make_app(service),
            http=PatientProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=round(service.settings.deadline) + SPARE_SECONDS,
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that clients can connect to from now on.

    Raises:
        ConvscopeError: the address is taken, or not one of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConvscopeError(
            found=f"{host}:{port} cannot be listened at: {getattr(error, 'strerror', None) or error}",
            expected="a free port, 0 to 65535, of an address of this machine",
            fix="choose another --port, or 0 for any that is free; end what has it",
        ) from None
    # else the body of an answer waits 40 ms for the client to confirm its head: asyncio sets this on a socket only if
    # that was made with an explicit protocol number; on Linux what is accepted has it from its listener
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextmanager
def ended_by_sigterm(server: uvicorn.Server) -> Iterator[None]:
    """Inside the block SIGTERM makes a server drain and come back.

    Uvicorn hears it too, while it runs; at its end it raises it once more for whoever was there before, which without
    this would be the system, and the exit code that of a process that was killed.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
