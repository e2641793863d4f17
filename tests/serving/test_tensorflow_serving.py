"""The REST API of TensorFlow Serving: the formats that its clients send and expect."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest
from live_server import photo
from sample_images import VARIED

from convscope.bundle.bundle import open_bundle
from convscope.images.image_reader import read_image

PREDICT = "/v1/models/colours:predict"


def b64(data: bytes) -> dict[str, str]:
    """Bytes in the JSON format of TensorFlow Serving."""
    return {"b64": base64.b64encode(data).decode()}


@pytest.mark.parametrize("wrap", [lambda b: b, lambda b: {"image": b}, lambda b: {"image_bytes": b}])
def test_instances_are_predicted(client: httpx.Client, run_folder: Any, wrap: Any) -> None:
    """Rows of base64, alone or as the only input of a signature: a list of probabilities for each, in order."""
    body = {"instances": [wrap(b64(data)) for data in VARIED.values()]}
    response = client.post(PREDICT, json=body)
    assert response.status_code == 200
    assert set(response.json()) == {"predictions"}
    expected = open_bundle(run_folder).predict(np.stack([read_image(data, size=8) for data in VARIED.values()]))
    np.testing.assert_allclose(response.json()["predictions"], expected, atol=1e-6)


def test_signature_name_is_ignored(client: httpx.Client) -> None:
    """`signature_name` is accepted and makes no difference: there is one signature."""
    body = {"signature_name": "serving_default", "instances": [b64(photo("red"))]}
    (row,) = client.post(PREDICT, json=body).json()["predictions"]
    assert row[0] > 0.9
    assert sum(row) == pytest.approx(1)


def test_status_of_the_model(client: httpx.Client) -> None:
    """In the format of TensorFlow Serving."""
    status = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("/v1/models/colours", "/v1/models/colours/versions/1"):
        assert client.get(path).json() == {"model_version_status": [status]}
    assert client.get("/v1/models/colours/versions/2").status_code == 404


def test_version_is_optional(client: httpx.Client) -> None:
    """There is one, `1`: the response is the same with and without it."""
    body = {"instances": [b64(photo("red"))]}
    responses = [client.post(path, json=body) for path in (PREDICT, "/v1/models/colours/versions/1:predict")]
    assert responses[0].json() == responses[1].json()
    assert responses[1].status_code == 200
    assert client.post("/v1/models/colours/versions/2:predict", json=body).status_code == 404


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "invalid JSON"),
        (b"{", "invalid JSON"),
        (b"\xff\xfe\x00", "invalid JSON"),
        (b"[" * 100_000, "invalid JSON"),
        (b"1" * 10_000, ""),
        (b"[]", 'no list "instances"'),
        (b'{"instances": {}}', 'no list "instances"'),
        (b'{"instances": []}', 'no list "instances"'),
        (b'{"inputs": [1]}', 'no list "instances"'),
        (b'{"instances": [[[[1, 2]]]]}', 'instances[0] without "b64"'),
        (b'{"instances": [null]}', 'instances[0] without "b64"'),
        (b'{"instances": [{}]}', 'instances[0] without "b64"'),
        (b'{"instances": [{"b64": 1}]}', 'instances[0] without "b64"'),
        (b'{"instances": [{"a": {"b64": "="}}]}', "instances[0] with invalid base64"),
        ('{"instances": [{"b64": "é"}]}'.encode(), "instances[0] with invalid base64"),
        (b'{"instances": [{"b64": "aGVsbG8="}]}', "instances[0] is an image that cannot be used: not an image"),
        (b'{"instances": [{"b64": ""}]}', "instances[0] is an image that cannot be used: empty file"),
    ],
)
def test_invalid_request_is_400(client: httpx.Client, content: bytes, message: str) -> None:
    """With the reason, as a string in `error`."""
    response = client.post(PREDICT, content=content)
    assert response.status_code == 400
    assert set(response.json()) == {"error"}
    assert message in response.json()["error"]


def test_too_many_instances(client: httpx.Client) -> None:
    """65 are 422."""
    response = client.post(PREDICT, json={"instances": [b64(photo("red"))] * 65})
    assert response.status_code == 422
    assert "65 images in one request" in response.json()["error"]


def test_other_model_is_404(client: httpx.Client) -> None:
    """The error names the model that is served."""
    responses = [client.post("/v1/models/other:predict", json={}), client.get("/v1/models/other")]
    for response in (*responses, client.get("/v1/other")):
        assert response.status_code == 404
        assert isinstance(response.json()["error"], str)
    assert "the model here is 'colours'" in responses[0].json()["error"]
