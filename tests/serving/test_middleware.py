"""API key, CORS, security headers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live_server import StartServer, photo, running_server

from convscope.serving.middleware import SECURITY_HEADERS
from convscope.serving.service import open_service
from convscope.serving.settings import ServiceSettings

KEY = "correct horse"
PROTECTED = ("/info", "/metrics", "/filters", "/openapi.json", "/docs", "/v1/models/colours", "/nothing")


@pytest.fixture(scope="module")
def keyed(run_folder: Path) -> Iterator[httpx.Client]:
    """A client, without a key, of a server that requires one."""
    with running_server(open_service(run_folder, ServiceSettings(api_key=KEY))) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, {"X-API-Key": KEY}],
)
def test_key_is_accepted(keyed: httpx.Client, headers: dict[str, str]) -> None:
    """In either header."""
    assert keyed.post("/predict", content=photo("red"), headers=headers).status_code == 200
    assert keyed.get("/info", headers=headers).status_code == 200


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
def test_wrong_key_is_401(keyed: httpx.Client, headers: dict[str, str]) -> None:
    """In three parts, before anything else is checked; the paths that load balancers request need no key."""
    responses = [keyed.get(path, headers=headers) for path in PROTECTED]
    responses += [keyed.post(path, content=photo("red"), headers=headers) for path in ("/predict", "/explain")]
    for response in responses:
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert KEY not in response.text
    for path in ("/health", "/ready"):
        assert keyed.get(path, headers=headers).json() == {"status": "ok"}
    assert keyed.get("/", headers=headers).status_code != 401


def test_cors_origin_is_allowed(start_server: StartServer) -> None:
    """A page of the configured origin may send requests, also with a key, which its preflight request lacks."""
    origin = "https://example.org"
    client = start_server(cors_origin=origin, api_key=KEY)
    preflight = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "X-API-Key",
    }
    response = client.options("/predict", headers=preflight)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert "X-API-Key" in response.headers["Access-Control-Allow-Headers"]
    response = client.post("/predict", content=photo("red"), headers={"Origin": origin, "X-API-Key": KEY})
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert client.get("/info", headers={"Origin": origin}).headers["Access-Control-Allow-Origin"] == origin


def test_other_origins_are_not_allowed(start_server: StartServer, client: httpx.Client) -> None:
    """Neither if another origin is configured nor if none is."""
    for service in (start_server(cors_origin="https://example.org"), client):
        response = service.get("/info", headers={"Origin": "https://example.com"})
        assert "Access-Control-Allow-Origin" not in response.headers


def test_every_response_has_security_headers(client: httpx.Client) -> None:
    """A browser may load nothing from other hosts, show no response in a frame, and guess no content type."""
    for path in ("/", "/info", "/docs", "/nothing", "/health"):
        response = client.get(path)
        for name, value in SECURITY_HEADERS.items():
            assert response.headers[name] == value
        assert "server" not in response.headers
    assert "default-src 'self'" in SECURITY_HEADERS["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in SECURITY_HEADERS["Content-Security-Policy"]
