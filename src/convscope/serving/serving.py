"""The verb `serve`: a model behind HTTP, in one process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

from convscope.errors import ConvscopeError, MissingExtra
from convscope.serving.settings import ServiceSettings

logger = logging.getLogger(__name__)

API_KEY_VARIABLE = "CONVSCOPE_API_KEY"
BACKLOG = 2048  # connections that the system keeps until they are accepted


def serve(model: Path, *, host: str = "127.0.0.1", port: int = 8000, settings: ServiceSettings | None = None) -> None:
    """Serve a model over HTTP; returns after SIGTERM, once all accepted requests have their responses.

    Args:
        model: a run folder or a .onnx file.
        host: the address to bind to. Every client that reaches it may use the model; there is no encryption.
        port: 0 takes any free port.
        settings: queue, deadline, API key, CORS origin; None: the defaults, without a key.

    Raises:
        MissingExtra: the extra [serve] is not installed.
        BundleError: the model cannot be used.
        ConvscopeError: the service cannot bind to the address.
        KeyboardInterrupt: Ctrl-C, after the same graceful shutdown.
    """
    try:
        from convscope.serving.http_protocol import Server, shutdown_on_signals
        from convscope.serving.service import open_service
    except ModuleNotFoundError as error:
        raise MissingExtra(command="convscope serve", module=str(error.name), extra="serve") from None
    service = open_service(model, settings or ServiceSettings())
    server = Server(service)
    with bind_socket(host, port) as listener, shutdown_on_signals(server):
        url_host = f"[{host}]" if ":" in host else host
        logger.info(
            f"serving {service.name} ({len(service.bundle.classes)} classes, {service.bundle.square.size} px)"
            f" at http://{url_host}:{listener.getsockname()[1]}"
        )
        server.run(sockets=[listener])


def bind_socket(host: str, port: int) -> socket.socket:
    """A listening socket: clients can connect from now on.

    Raises:
        ConvscopeError: the address is in use, or not one of this machine.
    """
    try:
        if not host:  # which would bind to every address of the machine
            raise OSError("the address is empty")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConvscopeError(
            found=f"cannot bind to {host}:{port}: {getattr(error, 'strerror', None) or error}",
            expected="a free port, 0 to 65535, of an address of this machine",
            fix="choose another `port`, or `port=0` for any free one; stop the process that uses it; check `host`",
        ) from None
    # without TCP_NODELAY the body of a response waits 40 ms until the client acknowledges the head; asyncio sets it
    # only on sockets with an explicit protocol number; on Linux accepted connections inherit it from the listener
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def read_api_key(file: Path | None) -> str | None:
    """The key that clients have to send: from a file, or from $CONVSCOPE_API_KEY; None: there is none.

    Raises:
        ConvscopeError: the file is unreadable, or the key cannot stand in a header.
    """
    try:
        key = os.environ.get(API_KEY_VARIABLE) if file is None else file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid_key(f"{file}, which cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if key is not None and not (key.isascii() and key.isprintable() and key.strip()):
        raise _invalid_key(f"{file or API_KEY_VARIABLE} without a key that a header can hold")
    return key


def _invalid_key(found: str) -> ConvscopeError:
    return ConvscopeError(
        found=found,
        expected="one line of printable ASCII characters",
        fix="write one, for example with `openssl rand -hex 32`",
    )
