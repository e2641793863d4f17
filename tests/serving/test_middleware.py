"""The key, the origin, the strict headers."""

from __future__ import annotations

import httpx
import pytest
from served import Served, photo

from convscope.serving.middleware import STRICT

KEY = "correct horse"
KEYED = ("/info", "/metrics", "/filters", "/openapi.json", "/docs", "/v1/models/colours", "/nothing")


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, {"X-API-Key": KEY}],
)
def test_key_opens(served: Served, headers: dict[str, str]) -> None:
    """In either header."""
    client = served(api_key=KEY)
    assert client.post("/predict", content=photo("red"), headers=headers).status_code == 200
    assert client.get("/info", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": KEY + "x"},
        {"X-API-Key": KEY[:-1]},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong", "X-API-Key": KEY},
        {"X-API-Key": b"\xff\xfe"},
    ],
)
def test_no_key_opens_nothing(served: Served, headers: dict[str, str]) -> None:
    """401 in three parts, before anything else is looked at; what load balancers ask stays open."""
    client = served(api_key=KEY)
    answers = [client.get(path, headers=headers) for path in KEYED]
    answers += [client.post(path, content=photo("red"), headers=headers) for path in ("/predict", "/explain")]
    for answer in answers:
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert KEY not in answer.text
    for path in ("/health", "/ready"):
        assert client.get(path, headers=headers).json() == {"status": "ok"}
    assert client.get("/", headers=headers).status_code != 401


def test_origin_may_ask(served: Served) -> None:
    """A page of the origin that was named may ask, also with a key, which the browser's question beforehand lacks."""
    origin = "https://example.org"
    client = served(cors_origin=origin, api_key=KEY)
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"}
    answer = client.options("/predict", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert "X-API-Key" in answer.headers["Access-Control-Allow-Headers"]
    answer = client.post("/predict", content=photo("red"), headers={"Origin": origin, "X-API-Key": KEY})
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert client.get("/info", headers={"Origin": origin}).headers["Access-Control-Allow-Origin"] == origin


def test_other_origins_may_not(served: Served, client: httpx.Client) -> None:
    """Neither where another is named nor where none is."""
    for one in (served(cors_origin="https://example.org"), client):
        answer = one.get("/info", headers={"Origin": "https://example.com"})
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_every_answer_is_strict(client: httpx.Client) -> None:
    """Whatever is answered, a browser may load nothing from elsewhere, show it in no frame, and guess no type."""
    for path in ("/", "/info", "/docs", "/nothing", "/health"):
        answer = client.get(path)
        for name, value in STRICT.items():
            assert answer.headers[name] == value
        assert "server" not in answer.headers
    assert "default-src 'self'" in STRICT["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in STRICT["Content-Security-Policy"]
