"""TensorFlow Serving's REST interface: the shapes that its clients send and expect."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest
from sample_images import VARIED
from served import photo

from convscope.bundle.bundle import open_bundle
from convscope.images.reading import read_image

PREDICT = "/v1/models/colours:predict"


def b64(data: bytes) -> dict[str, str]:
    """Bytes as TensorFlow Serving's JSON has them."""
    return {"b64": base64.b64encode(data).decode()}


@pytest.mark.parametrize("wrap", [lambda each: each, lambda each: {"image": each}, lambda each: {"image_bytes": each}])
def test_instances_are_predicted(client: httpx.Client, run_folder: Any, wrap: Any) -> None:
    """Rows of base64, alone or as the only input of a signature: a list of probabilities for each, in order."""
    said = {"instances": [wrap(b64(data)) for data in VARIED.values()]}
    answer = client.post(PREDICT, json=said)
    assert answer.status_code == 200
    assert set(answer.json()) == {"predictions"}
    expected = open_bundle(run_folder).predict(np.stack([read_image(data, size=8) for data in VARIED.values()]))
    np.testing.assert_allclose(answer.json()["predictions"], expected, atol=1e-6)


def test_signature_may_be_named(client: httpx.Client) -> None:
    """`signature_name` is understood, and makes no difference: there is one kind of question."""
    said = {"signature_name": "serving_default", "instances": [b64(photo("red"))]}
    (row,) = client.post(PREDICT, json=said).json()["predictions"]
    assert row[0] > 0.9
    assert sum(row) == pytest.approx(1)


def test_status_of_the_model(client: httpx.Client) -> None:
    """In the words of TensorFlow Serving."""
    state = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("/v1/models/colours", "/v1/models/colours/versions/1"):
        assert client.get(path).json() == {"model_version_status": [state]}
    assert client.get("/v1/models/colours/versions/2").status_code == 404


def test_version_may_be_named(client: httpx.Client) -> None:
    """There is one, `1`: the same answer with and without it."""
    said = {"instances": [b64(photo("red"))]}
    answers = [client.post(path, json=said) for path in (PREDICT, "/v1/models/colours/versions/1:predict")]
    assert answers[0].json() == answers[1].json()
    assert answers[1].status_code == 200
    assert client.post("/v1/models/colours/versions/2:predict", json=said).status_code == 404


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "JSON that cannot be read"),
        (b"{", "JSON that cannot be read"),
        (b"\xff\xfe\x00", "JSON that cannot be read"),
        (b"[" * 100_000, "JSON that cannot be read"),
        (b"1" * 10_000, ""),
        (b"[]", 'no list "instances"'),
        (b'{"instances": {}}', 'no list "instances"'),
        (b'{"instances": []}', 'no list "instances"'),
        (b'{"inputs": [1]}', 'no list "instances"'),
        (b'{"instances": [[[[1, 2]]]]}', 'instances[0] without "b64"'),
        (b'{"instances": [null]}', 'instances[0] without "b64"'),
        (b'{"instances": [{}]}', 'instances[0] without "b64"'),
        (b'{"instances": [{"b64": 1}]}', 'instances[0] without "b64"'),
        (b'{"instances": [{"a": {"b64": "="}}]}', "instances[0] whose base64 is damaged"),
        ('{"instances": [{"b64": "é"}]}'.encode(), "instances[0] whose base64 is damaged"),
        (b'{"instances": [{"b64": "aGVsbG8="}]}', "instances[0] is an image that cannot be used: not an image"),
        (b'{"instances": [{"b64": ""}]}', "instances[0] is an image that cannot be used: empty file"),
    ],
)
def test_what_is_wrong_is_400(client: httpx.Client, content: bytes, says: str) -> None:
    """Each with its reason, as a text in `error`."""
    answer = client.post(PREDICT, content=content)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert says in answer.json()["error"]


def test_too_many_instances(client: httpx.Client) -> None:
    """65 are 422."""
    answer = client.post(PREDICT, json={"instances": [b64(photo("red"))] * 65})
    assert answer.status_code == 422
    assert "65 images in one request" in answer.json()["error"]


def test_other_names_are_404(client: httpx.Client) -> None:
    """Another model's name is told which one is here."""
    answers = [client.post("/v1/models/other:predict", json={}), client.get("/v1/models/other")]
    for answer in (*answers, client.get("/v1/other")):
        assert answer.status_code == 404
        assert isinstance(answer.json()["error"], str)
    assert "the model here is 'colours'" in answers[0].json()["error"]
