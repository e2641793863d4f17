"""What clients send: too much, too slowly, damaged, hostile. It is refused, nothing of it stays, the service lives."""

from __future__ import annotations

import base64
import json
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sample_images import VARIED, bomb, refused_files
from served import Served, photo, read_all

from convscope.serving import http_protocol as patience
from convscope.serving import uploads as bodies

CAP = 100_000


@pytest.fixture
def small_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cap that is quickly reached."""
    monkeypatch.setattr(bodies, "MAX_BYTES", CAP)
    monkeypatch.setattr(bodies, "IGNORED_BYTES", CAP)


def connect(client: httpx.Client) -> socket.socket:
    """A connection for what no HTTP library would send."""
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)


def say(client: httpx.Client, *pieces: bytes) -> bytes:
    """Send pieces and read until the other side closes."""
    with connect(client) as line:
        for piece in pieces:
            line.sendall(piece)
        return read_all(line)


def drip(line: socket.socket) -> None:
    """Send a byte now and then, far longer than anybody may, though not as many as were announced."""
    for _ in range(900):
        line.sendall(b"x")
        time.sleep(0.02)


def held(client: httpx.Client) -> float:
    """Bytes of bodies that the service holds."""
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("convscope_body_bytes ")))


def wait_until_nothing_is_held(client: httpx.Client) -> None:
    """A client that leaves is noticed a moment later."""
    until = time.monotonic() + 20
    while held(client) and time.monotonic() < until:
        time.sleep(0.05)
    assert held(client) == 0


@pytest.mark.usefixtures("small_bodies")
def test_size_is_counted(client: httpx.Client) -> None:
    """413 for a byte too many, with and without a length in the header; at the cap the image is looked at."""

    def in_chunks(count: int) -> Iterator[bytes]:
        for _ in range(count // 1000):
            yield bytes(1000)

    for path in ("/predict", "/explain", "/v1/models/colours:predict"):
        assert client.post(path, content=bytes(CAP + 1)).status_code == 413
        assert client.post(path, content=in_chunks(CAP + 1000)).status_code == 413
        assert client.post(path, content=in_chunks(CAP)).status_code in (400, 415)
    answer = client.post("/predict", files={"file": ("a.png", bytes(CAP))})
    assert answer.status_code == 413
    assert set(answer.json()["error"]) == {"found", "expected", "fix"}
    assert held(client) == 0


@pytest.mark.usefixtures("small_bodies")
def test_header_that_claims_too_much_is_refused_at_once(client: httpx.Client) -> None:
    """Nothing of a body of a terabyte is waited for, and the connection ends."""
    answer = say(client, b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"1,000,000,000,000 bytes" in answer


@pytest.mark.usefixtures("small_bodies")
def test_endless_body_is_cut_off(client: httpx.Client) -> None:
    """A client that never stops sending is answered 413 and left, whatever it goes on to send."""
    with connect(client) as line:
        line.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            line.sendall((b"2710\r\n" + bytes(10_000) + b"\r\n") * 10_000)
    assert held(client) == 0


def test_memory_for_bodies_has_an_end(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all bodies together are too much, a further one is 503 with Retry-After, and all is given back."""
    monkeypatch.setattr(bodies, "MAX_HELD_BYTES", 1000)
    answer = client.post("/predict", content=bytes(5000))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert held(client) == 0


def test_slow_body_is_refused(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """408 where a body does not arrive in time, although its client goes on dripping."""
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.5)
    with connect(client) as line:
        line.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            drip(line)
    wait_until_nothing_is_held(client)
    with connect(client) as line:
        line.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        assert read_all(line).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("said", [b"", b"POST /predict HTTP/1.1\r\nHost", b"GET /hea"])
def test_slow_head_is_left(client: httpx.Client, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    """A client that connects and says nothing, or half a head, drop by drop, is left after a while."""
    monkeypatch.setattr(patience, "HEAD_SECONDS", 0.5)
    with connect(client) as line:
        line.sendall(said)
        started = time.monotonic()
        assert read_all(line) == b""
        assert time.monotonic() - started < 20


def test_rest_of_a_refused_body_is_not_read_for_ever(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that got its answer before its body was read has only so long to finish it."""
    monkeypatch.setattr(patience, "HEAD_SECONDS", 0.5)
    with connect(client) as line:
        line.sendall(b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nbegin")
        assert line.recv(65536).startswith(b"HTTP/1.1 404 ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            drip(line)


def test_client_that_leaves_is_forgotten(client: httpx.Client) -> None:
    """A body that breaks off costs nothing that stays."""
    for _ in range(20):
        with connect(client) as line:
            line.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + bytes(40_000))
    wait_until_nothing_is_held(client)
    assert client.get("/ready").status_code == 200


@pytest.mark.parametrize(
    "nonsense",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),  # what a client of https says first
        b"GET / HTTP/1.1\r\n\r\n",  # without a host
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnot a chunk\r\n\r\n",
    ],
    ids=range(8),
)
def test_what_is_not_http_is_400(client: httpx.Client, nonsense: bytes) -> None:
    """It is answered in the three parts, or the line is cut where it sends on; the service lives on."""
    answer = say(client, nonsense)
    if answer:
        assert answer.startswith(b"HTTP/1.1 4")
        assert set(json.loads(answer.partition(b"\r\n\r\n")[2])["error"]) == {"found", "expected", "fix"}
    assert client.get("/health").status_code == 200


def damaged(seed: int, count: int) -> Iterator[bytes]:
    """Images that were cut, or had bytes changed, thrown in, or taken from another file; and plain noise."""
    random_ = random.Random(seed)
    whole = list(VARIED.values())
    for _ in range(count):
        data = bytearray(random_.choice(whole))
        kind = random_.randrange(5)
        if kind == 0:
            del data[random_.randrange(len(data)) :]
        elif kind == 1:
            for _ in range(random_.randrange(1, 20)):
                data[random_.randrange(len(data))] = random_.randrange(256)
        elif kind == 2:
            place = random_.randrange(len(data))
            data[place:place] = random_.randbytes(random_.randrange(1, 50))
        elif kind == 3:
            data[random_.randrange(len(data)) :] = random_.choice(whole)[random_.randrange(100) :]
        else:
            data = bytearray(random_.randbytes(random_.randrange(300)))
        yield bytes(data)


def test_damaged_images_are_refused_or_read(client: httpx.Client) -> None:
    """500 of them, as bodies, in forms, as base64: an answer or a refusal, and the service lives on."""
    for place, data in enumerate(damaged(1, 500)):
        if place % 3 == 0:
            answer = client.post("/explain" if place % 2 else "/predict", content=data)
        elif place % 3 == 1:
            answer = client.post("/predict", files=[("f", ("a", data)), ("f", ("b", photo("red")))])
            assert answer.json()["predictions"][1]["label"] == "red"
        else:
            said = {"instances": [{"b64": base64.b64encode(data).decode()}]}
            answer = client.post("/v1/models/colours:predict", json=said)
        assert answer.status_code in (200, 400, 415), answer.text
    assert client.get("/ready").status_code == 200
    assert held(client) == 0


def test_damaged_forms_are_refused_or_read(client: httpx.Client) -> None:
    """Forms that are cut, changed, without end, without boundary, with too large heads: no error of the service."""
    random_ = random.Random(2)
    request = client.build_request("POST", "/predict", files={"f": ("a.png", photo("red")), "g": ("b.png", b"x")})
    whole, kind = request.read(), request.headers["Content-Type"]
    forms = [(whole[: random_.randrange(len(whole))], kind) for _ in range(60)]
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(random_.randrange(1, 6)):
            data[random_.randrange(150)] = random_.randrange(256)  # among the heads
        forms.append((bytes(data), kind))
    kinds = ("multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=x", "multipart/")
    forms += [(whole, kind) for kind in (*kinds, "multipart/form-data; boundary=" + "x" * 5000)]
    forms += [
        (content, "multipart/form-data; boundary=b") for content in (b"", b"--b", b"--b--", b"--b\r\n", b"\r" * 99)
    ]
    forms += [(b"--b\r\n" + b"a: b\r\n" * 10_000 + b"\r\nx\r\n--b--", "multipart/form-data; boundary=b")]
    forms += [(b"--b\r\n\r\n" * 20_000 + b"--b--", "multipart/form-data; boundary=b")]
    for content, said in forms:
        answer = client.post("/predict", content=content, headers={"Content-Type": said})
        assert answer.status_code in (200, 400, 415, 422), answer.text
        if answer.status_code != 200:
            assert set(answer.json()["error"]) == {"found", "expected", "fix"}
    assert client.get("/ready").status_code == 200


def test_form_that_breaks_off_is_400(client: httpx.Client) -> None:
    """A file whose end is missing is not half read."""
    request = client.build_request("POST", "/predict", files={"f": ("a.png", photo("red"))})
    answer = client.post(
        "/predict", content=request.read()[:-20], headers={"Content-Type": request.headers["Content-Type"]}
    )
    assert answer.status_code == 400
    assert "a form that cannot be read" in answer.json()["error"]["found"]


def test_bombs_are_refused(served: Served) -> None:
    """Few bytes that stand for billions of pixels are 415, at once and in any number."""
    client = served()
    bombs = [bomb(50_000, 50_000), bomb(2**31 - 1, 2**31 - 1), bomb(1, 2**31 - 1), refused_files()["bomb.png"][0]]
    for data in bombs * 10:
        started = time.monotonic()
        assert client.post("/predict", content=data).status_code == 415
        assert time.monotonic() - started < 10
    assert client.get("/ready").status_code == 200


def test_no_file_is_written(client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A form of some megabytes goes through memory alone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    answer = client.post("/predict", files=[("f", ("a.bin", bytes(3_000_000))), ("f", ("b.png", photo("blue")))])
    assert [each["status"] for each in answer.json()["predictions"]] == ["unreadable", "ok"]
