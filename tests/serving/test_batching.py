"""The queue: bounded, with deadlines, in batches; what does not fit is rejected before it is computed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from live_server import StartServer, photo, slow_photo
from PIL import Image
from sample_images import encode

from convscope.images.image_reader import read_image

COLOURS = ("red", "green", "blue")


def metric(client: httpx.Client, name: str) -> float:
    """A value of /metrics."""
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(name + " ")))


@contextmanager
def busy(client: httpx.Client, count: int = 1) -> Iterator[list[Future[httpx.Response]]]:
    """Keep the service busy with slow images; the block starts when they are queued."""
    slow = slow_photo()
    with ThreadPoolExecutor(count) as executor:
        before = metric(client, "convscope_waiting_images")
        futures = [executor.submit(client.post, "/predict", content=slow) for _ in range(count)]
        end = time.monotonic() + 30
        while metric(client, "convscope_waiting_images") < before + count:
            assert time.monotonic() < end
            time.sleep(0.005)
        yield futures


def test_concurrent_requests_are_batched(client: httpx.Client) -> None:
    """Each of 100 concurrent requests gets the prediction for its own image, and some share a batch."""
    expected = [COLOURS[index % 3] for index in range(100)]
    with ThreadPoolExecutor(20) as executor:
        responses = list(executor.map(lambda colour: client.post("/predict", content=photo(colour)), expected))
    assert [response.json()["predictions"][0]["label"] for response in responses] == expected
    assert metric(client, "convscope_batch_images_sum") > metric(client, "convscope_batch_images_count")


def test_full_queue_rejects(start_server: StartServer) -> None:
    """With room for one image a second one gets 503 with Retry-After, and so does /ready; the first is predicted."""
    client = start_server(queue=1)
    with busy(client) as (first,):
        for response in (client.post("/predict", content=photo("red")), client.get("/ready")):
            assert response.status_code == 503
            assert int(response.headers["Retry-After"]) >= 1
            assert "an overloaded service" in response.json()["error"]["found"]
        assert client.get("/health").status_code == 200
        assert first.result().status_code == 200
    assert client.get("/ready").status_code == 200
    assert client.post("/predict", content=photo("red")).status_code == 200


def test_images_of_one_request_count(start_server: StartServer) -> None:
    """Beside one queued image, a queue of four has room for three more, not for four."""
    client = start_server(queue=4)
    files = [("f", (f"{colour}.png", photo(colour))) for colour in (*COLOURS, "red")]
    with busy(client) as (first,):
        assert client.post("/predict", files=files).status_code == 503
        assert client.post("/predict", files=files[:3]).status_code == 200
        assert first.result().status_code == 200
    assert client.post("/predict", files=files).status_code == 200


def test_service_recovers_from_overload(start_server: StartServer) -> None:
    """More requests at once than the queue holds: each gets 200 or 503, with the right label, and the queue empties."""
    client = start_server(queue=8)
    slow = slow_photo()
    bodies = [slow if index % 10 == 0 else photo("green") for index in range(100)]
    with ThreadPoolExecutor(50) as executor:
        responses = list(executor.map(lambda body: client.post("/predict", content=body), bodies))
    statuses = {response.status_code for response in responses}
    assert statuses == {200, 503}
    for body, response in zip(bodies, responses, strict=True):
        if response.status_code == 200 and body != slow:
            assert response.json()["predictions"][0]["label"] == "green"
    assert metric(client, "convscope_waiting_images") == 0
    assert client.post("/predict", content=photo("green")).status_code == 200


def test_deadline_that_passes_is_504(client: httpx.Client) -> None:
    """The deadline of the request holds, although the image could be read."""
    started = time.monotonic()
    response = client.post("/predict", content=slow_photo(), headers={"X-Deadline-Ms": "20"})
    assert response.status_code == 504
    assert time.monotonic() - started < 10
    assert set(response.json()["error"]) == {"found", "expected", "fix"}


def test_deadline_of_the_service_is_the_longest(start_server: StartServer) -> None:
    """`deadline` holds for every request; a client cannot set a longer one."""
    client = start_server(deadline=0.02)
    response = client.post("/predict", content=slow_photo(), headers={"X-Deadline-Ms": "60000"})
    assert response.status_code == 504


def test_deadline_that_cannot_be_met_is_503(start_server: StartServer) -> None:
    """By the measured latency: the response comes at once, and the image is not computed."""
    client = start_server()
    for _ in range(2):
        assert client.post("/predict", content=slow_photo()).status_code == 200  # measure the latency
    with busy(client, 4) as futures:
        before = metric(client, "convscope_batch_images_sum")
        response = client.post("/predict", content=slow_photo(), headers={"X-Deadline-Ms": "50"})
        assert response.status_code == 503
        assert "an expected latency of" in response.json()["error"]["found"]
        assert [future.result().status_code for future in futures] == [200] * 4
    assert metric(client, "convscope_batch_images_sum") - before <= 4


def test_request_that_would_take_too_long_is_503(start_server: StartServer) -> None:
    """By the pixels in the image headers: a form of large images is rejected before any of them is decoded."""
    client = start_server()
    files = [("f", (f"{index}.png", slow_photo())) for index in range(8)]
    response = client.post("/predict", files=files, headers={"X-Deadline-Ms": "500"})
    assert response.status_code == 503
    assert "an expected latency of" in response.json()["error"]["found"]
    assert metric(client, "convscope_batch_images_count") == 0


@pytest.mark.parametrize(("count", "side"), [(6, 5000), (60, 1500)])
def test_queue_is_fair(start_server: StartServer, count: int, side: int) -> None:
    """During a form of few large images or of many normal ones, another client's photo is predicted before its end."""
    client = start_server(deadline=60)
    image = encode(Image.new("L", (side, side)), compress_level=1)
    files = [("f", (f"{index}.png", image)) for index in range(count)]
    with ThreadPoolExecutor(1) as executor:
        form = executor.submit(client.post, "/predict", files=files)
        end = time.monotonic() + 30
        while not metric(client, "convscope_waiting_images"):
            assert time.monotonic() < end
            time.sleep(0.005)
        assert client.post("/predict", content=photo("red")).status_code == 200
        assert not form.done()
        assert form.result().status_code == 200


def test_one_large_image_is_decoded_at_a_time(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many clients send one: the pixels of one are in memory, not of one per core."""
    large = slow_photo()
    decoding, maximum = [], 0

    def count_and_read(data: bytes, **options: Any) -> Any:
        nonlocal maximum
        decoding.append(data)
        maximum = max(maximum, decoding.count(large))
        try:
            return read_image(data, **options)
        finally:
            decoding.remove(data)

    monkeypatch.setattr("convscope.serving.batching.read_image", count_and_read)
    client = start_server()
    with ThreadPoolExecutor(4) as executor:
        futures = [executor.submit(client.post, "/predict", content=large) for _ in range(4)]
        assert [future.result().status_code for future in futures] == [200] * 4
    assert maximum == 1


def test_cancelled_image_is_not_computed(start_server: StartServer) -> None:
    """An image whose deadline passed in the queue is skipped."""
    client = start_server()
    late = {"content": slow_photo(), "headers": {"X-Deadline-Ms": "20"}}
    with busy(client, 6) as futures, ThreadPoolExecutor(8) as executor:
        late_futures = [executor.submit(client.post, "/predict", **late) for _ in range(8)]
        assert {future.result().status_code for future in late_futures} <= {503, 504}
        assert [future.result().status_code for future in futures] == [200] * 6
    end = time.monotonic() + 30
    while metric(client, "convscope_waiting_images") and time.monotonic() < end:
        time.sleep(0.01)
    assert metric(client, "convscope_waiting_images") == 0
    assert metric(client, "convscope_batch_images_sum") <= 8  # the six, and what a worker may just have started


def test_error_in_a_worker_fails_one_batch(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception while a batch is processed gives 500 in three parts, and the next image is predicted."""
    client = start_server()
    with monkeypatch.context() as patch:
        patch.setattr("convscope.serving.batching.read_image", None)
        response = client.post("/predict", content=photo("red"))
    assert response.status_code == 500
    assert set(response.json()["error"]) == {"found", "expected", "fix"}
    assert client.post("/predict", content=photo("red")).status_code == 200
