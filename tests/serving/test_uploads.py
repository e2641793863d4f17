"""Damaged images, forms and JSON: each gets a prediction or an error, and the service keeps running."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live_server import body_bytes, photo
from sample_images import VARIED, bomb, refused_files


def damaged(seed: int, count: int) -> Iterator[bytes]:
    """Images that were truncated, or had bytes changed, inserted, or taken from another file; and noise."""
    random_ = random.Random(seed)
    intact = list(VARIED.values())
    for _ in range(count):
        data = bytearray(random_.choice(intact))
        kind = random_.randrange(5)
        if kind == 0:
            del data[random_.randrange(len(data)) :]
        elif kind == 1:
            for _ in range(random_.randrange(1, 20)):
                data[random_.randrange(len(data))] = random_.randrange(256)
        elif kind == 2:
            index = random_.randrange(len(data))
            data[index:index] = random_.randbytes(random_.randrange(1, 50))
        elif kind == 3:
            data[random_.randrange(len(data)) :] = random_.choice(intact)[random_.randrange(100) :]
        else:
            data = bytearray(random_.randbytes(random_.randrange(300)))
        yield bytes(data)


def test_damaged_images_never_fail_the_service(client: httpx.Client) -> None:
    """500 of them, as bodies, in forms, as base64: a prediction or an error, and the service keeps running."""
    for index, data in enumerate(damaged(1, 500)):
        if index % 3 == 0:
            response = client.post("/explain" if index % 2 else "/predict", content=data)
        elif index % 3 == 1:
            response = client.post("/predict", files=[("f", ("a", data)), ("f", ("b", photo("red")))])
            assert response.json()["predictions"][1]["label"] == "red"
        else:
            body = {"instances": [{"b64": base64.b64encode(data).decode()}]}
            response = client.post("/v1/models/colours:predict", json=body)
        assert response.status_code in (200, 400, 415), response.text
    assert client.get("/ready").status_code == 200
    assert body_bytes(client) == 0


def test_damaged_forms_never_fail_the_service(client: httpx.Client) -> None:
    """Truncated, changed, without end, without boundary, with too large headers: never an internal error."""
    random_ = random.Random(2)
    request = client.build_request("POST", "/predict", files={"f": ("a.png", photo("red")), "g": ("b.png", b"x")})
    form, content_type = request.read(), request.headers["Content-Type"]
    forms = [(form[: random_.randrange(len(form))], content_type) for _ in range(60)]
    for _ in range(100):
        data = bytearray(form)
        for _ in range(random_.randrange(1, 6)):
            data[random_.randrange(150)] = random_.randrange(256)  # among the headers
        forms.append((bytes(data), content_type))
    invalid_types = (
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=x",
        "multipart/",
    )
    long_boundary = "multipart/form-data; boundary=" + "x" * 5000
    forms += [(form, content_type) for content_type in (*invalid_types, long_boundary)]
    forms += [
        (content, "multipart/form-data; boundary=b") for content in (b"", b"--b", b"--b--", b"--b\r\n", b"\r" * 99)
    ]
    forms += [(b"--b\r\n" + b"a: b\r\n" * 10_000 + b"\r\nx\r\n--b--", "multipart/form-data; boundary=b")]
    forms += [(b"--b\r\n\r\n" * 20_000 + b"--b--", "multipart/form-data; boundary=b")]
    for content, content_type in forms:
        response = client.post("/predict", content=content, headers={"Content-Type": content_type})
        assert response.status_code in (200, 400, 415, 422), response.text
        if response.status_code != 200:
            assert set(response.json()["error"]) == {"found", "expected", "fix"}
    assert client.get("/ready").status_code == 200


def test_truncated_form_is_400(client: httpx.Client) -> None:
    """A file whose end is missing is not left out, nor half read."""
    files = [("f", ("a.png", photo("red"))), ("f", ("b.png", photo("blue")))]
    request = client.build_request("POST", "/predict", files=files)
    response = client.post(
        "/predict", content=request.read()[:-20], headers={"Content-Type": request.headers["Content-Type"]}
    )
    assert response.status_code == 400
    assert "an invalid form" in response.json()["error"]["found"]


def test_decompression_bombs_are_415(client: httpx.Client) -> None:
    """Files of few bytes with billions of pixels are rejected at once, however many are sent."""
    bombs = [bomb(50_000, 50_000), bomb(2**31 - 1, 2**31 - 1), bomb(1, 2**31 - 1), refused_files()["bomb.png"][0]]
    for data in bombs * 10:
        started = time.monotonic()
        assert client.post("/predict", content=data).status_code == 415
        assert time.monotonic() - started < 10
    assert client.get("/ready").status_code == 200


def test_no_file_is_written(client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A form of some megabytes stays in memory."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    response = client.post("/predict", files=[("f", ("a.bin", bytes(3_000_000))), ("f", ("b.png", photo("blue")))])
    assert [prediction["status"] for prediction in response.json()["predictions"]] == ["unreadable", "ok"]
