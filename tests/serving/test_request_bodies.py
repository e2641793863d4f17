"""Bodies that are too large, too slow or endless are rejected, and their memory is released."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from live_server import body_bytes, connect, read_all, send_slowly

from convscope.serving import request_bodies

MAX_BYTES = 100_000


@pytest.fixture
def small_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is quickly reached."""
    monkeypatch.setattr(request_bodies, "MAX_BYTES", MAX_BYTES)
    monkeypatch.setattr(request_bodies, "DISCARDED_BYTES", MAX_BYTES)


def wait_until_released(client: httpx.Client) -> None:
    """The service notices a disconnected client a moment later."""
    end = time.monotonic() + 20
    while body_bytes(client) and time.monotonic() < end:
        time.sleep(0.01)
    assert body_bytes(client) == 0


@pytest.mark.usefixtures("small_bodies")
def test_bytes_are_counted(client: httpx.Client) -> None:
    """413 for a byte too many, with and without Content-Length; a body of exactly the limit is parsed."""

    def chunks(count: int) -> Iterator[bytes]:
        for _ in range(count // 1000):
            yield bytes(1000)

    for path in ("/predict", "/explain", "/v1/models/colours:predict"):
        assert client.post(path, content=bytes(MAX_BYTES + 1)).status_code == 413
        assert client.post(path, content=chunks(MAX_BYTES + 1000)).status_code == 413
        assert client.post(path, content=chunks(MAX_BYTES)).status_code in (400, 415)
    response = client.post("/predict", files={"file": ("a.png", bytes(MAX_BYTES))})
    assert response.status_code == 413
    assert set(response.json()["error"]) == {"found", "expected", "fix"}
    assert body_bytes(client) == 0


@pytest.mark.usefixtures("small_bodies")
def test_large_content_length_is_rejected_at_once(client: httpx.Client) -> None:
    """Nothing of a body of a terabyte is read, and the connection is closed."""
    with connect(client) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n")
        response = read_all(connection)
    assert response.startswith(b"HTTP/1.1 413 ")
    assert b"1,000,000,000,000 bytes" in response


@pytest.mark.usefixtures("small_bodies")
def test_endless_body_is_cut_off(client: httpx.Client) -> None:
    """A client that never stops sending gets 413, and its connection is closed while it still sends."""
    with connect(client) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall((b"2710\r\n" + bytes(10_000) + b"\r\n") * 10_000)
    assert body_bytes(client) == 0


def test_memory_of_all_bodies_is_limited(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body beyond the limit of all bodies together gets 503 with Retry-After, and its memory is released."""
    monkeypatch.setattr(request_bodies, "MAX_HELD_BYTES", 1000)
    response = client.post("/predict", content=bytes(5000))
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert body_bytes(client) == 0


def test_slow_body_is_408(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a body does not arrive in time, although its client keeps sending a byte now and then."""
    monkeypatch.setattr(request_bodies, "BODY_SECONDS", 0.2)
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
    with connect(client) as connection:
        connection.sendall(head)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_slowly(connection)
    wait_until_released(client)
    with connect(client) as connection:
        connection.sendall(head)
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")


def test_disconnected_client_leaves_nothing(client: httpx.Client) -> None:
    """The memory of a body that breaks off is released."""
    for _ in range(20):
        with connect(client) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + bytes(40_000))
    wait_until_released(client)
    assert client.get("/ready").status_code == 200
