"""Clients that are slow or send no HTTP; and each use of Uvicorn's internals, with what breaks when they change.

The graceful shutdown, which also uses them, is tested with real signals in test_serving.py.
"""

from __future__ import annotations

import inspect
import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from live_server import connect, photo, read_all, running_server, send_slowly
from uvicorn.protocols.http.h11_impl import H11Protocol

from convscope.images.image_reader import read_image
from convscope.serving import http_protocol
from convscope.serving.http_protocol import Server, TimeoutProtocol
from convscope.serving.service import open_service
from convscope.serving.settings import ServiceSettings

OVERRIDDEN = {  # what breaks if Uvicorn renames it or stops calling it
    (H11Protocol, TimeoutProtocol, "connection_made"): "a client that sends nothing is never disconnected",
    (H11Protocol, TimeoutProtocol, "data_received"): "a client that sends half a head is never disconnected",
    (H11Protocol, TimeoutProtocol, "connection_lost"): "timers of closed connections stay until they fire",
    (H11Protocol, TimeoutProtocol, "send_400_response"): "what is not HTTP gets text/plain instead of JSON",
    (uvicorn.Server, Server, "shutdown"): "SIGTERM resets connections that have just been made",
    (uvicorn.Server, Server, "handle_exit"): "the second Ctrl-C does not exit at once",
    (uvicorn.Server, Server, "capture_signals"): "SIGTERM ends the process with a signal instead of exit code 0",
}


@pytest.mark.parametrize(("library", "ours", "name"), OVERRIDDEN, ids=[name for _, _, name in OVERRIDDEN])
def test_overridden_method_exists(library: type, ours: type, name: str) -> None:
    """Each method that is overridden exists in Uvicorn, with the same parameters; else: see `OVERRIDDEN`."""
    assert name in vars(ours)
    parameters = list(inspect.signature(getattr(library, name)).parameters)
    assert list(inspect.signature(getattr(ours, name)).parameters) == parameters, OVERRIDDEN[library, ours, name]


def test_uvicorn_keeps_its_listeners_in_servers(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If `Server.servers` is renamed, or closed before `shutdown`, SIGTERM resets connections that have been made."""
    listening = []
    shutdown = Server.shutdown

    async def watch(server: Server, sockets: list[socket.socket] | None = None) -> None:
        listening.extend(listener.is_serving() for listener in server.servers)
        await shutdown(server, sockets)

    monkeypatch.setattr(Server, "shutdown", watch)
    with running_server(open_service(run_folder, ServiceSettings())) as client:
        assert client.get("/health").status_code == 200
    assert listening == [True]


@pytest.mark.parametrize("begin", [b"", b"POST /predict HTTP/1.1\r\nHost", b"GET /hea"])
def test_slow_head_is_disconnected(client: httpx.Client, monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    """A client that sends nothing, or half a head. Breaks if Uvicorn's `transport` or `loop` are renamed."""
    monkeypatch.setattr(http_protocol, "HEADER_READ_SECONDS", 0.2)
    with connect(client) as connection:
        connection.sendall(begin)
        started = time.monotonic()
        assert read_all(connection) == b""
        assert time.monotonic() - started < 20


def test_header_read_timeout_does_not_interrupt_a_request(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response may take longer. Breaks if Uvicorn's `cycle` or its `response_complete` change their meaning."""

    def read_slowly(data: bytes, **options: Any) -> Any:
        time.sleep(0.6)
        return read_image(data, **options)

    monkeypatch.setattr("convscope.serving.batching.read_image", read_slowly)
    monkeypatch.setattr(http_protocol, "HEADER_READ_SECONDS", 0.3)
    with httpx.Client(base_url=client.base_url, timeout=60) as other:
        assert other.post("/predict", content=photo("red")).status_code == 200


def test_rest_of_a_rejected_body_is_limited_in_time(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that got its response before its body was read is disconnected if it keeps sending."""
    monkeypatch.setattr(http_protocol, "HEADER_READ_SECONDS", 0.5)
    with connect(client) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nbegin")
        assert connection.recv(65536).startswith(b"HTTP/1.1 404 ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_slowly(connection)


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),  # the begin of a TLS handshake
        b"GET / HTTP/1.1\r\n\r\n",  # without Host
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnot a chunk\r\n\r\n",
    ],
    ids=range(8),
)
def test_invalid_http_is_400(client: httpx.Client, data: bytes) -> None:
    """In three parts, if the client still receives a response. Breaks if Uvicorn's `conn` is no h11 connection."""
    with connect(client) as connection:
        connection.sendall(data)
        response = read_all(connection)
    if response:
        assert response.startswith(b"HTTP/1.1 4")
        assert set(json.loads(response.partition(b"\r\n\r\n")[2])["error"]) == {"found", "expected", "fix"}
    assert client.get("/health").status_code == 200
