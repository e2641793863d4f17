"""The queue: bounded, in time, in batches; what does not fit is refused before it is computed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from PIL import Image
from sample_images import encode
from served import Served, photo, slow_photo

from convscope.images.reading import read_image

COLOURS = ("red", "green", "blue")


def metric(client: httpx.Client, name: str) -> float:
    """A figure of /metrics."""
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(name + " ")))


@contextmanager
def busy(client: httpx.Client, count: int = 1) -> Iterator[list[Future[httpx.Response]]]:
    """Keep the service busy with images that take long, from when they are queued."""
    slow = slow_photo()
    with ThreadPoolExecutor(count) as crew:
        before = metric(client, "convscope_waiting_images")
        answers = [crew.submit(client.post, "/predict", content=slow) for _ in range(count)]
        until = time.monotonic() + 30
        while metric(client, "convscope_waiting_images") < before + count:
            assert time.monotonic() < until
            time.sleep(0.005)
        yield answers


def test_many_at_once_are_all_answered(client: httpx.Client) -> None:
    """100 requests at the same time get each the answer to their own image, and some were answered together."""
    wanted = [COLOURS[place % 3] for place in range(100)]
    with ThreadPoolExecutor(20) as crew:
        answers = list(crew.map(lambda colour: client.post("/predict", content=photo(colour)), wanted))
    assert [answer.json()["predictions"][0]["label"] for answer in answers] == wanted
    assert metric(client, "convscope_batch_images_sum") > metric(client, "convscope_batch_images_count")


def test_full_queue_refuses(served: Served) -> None:
    """With room for one image a second is 503 with Retry-After; /ready says so too; the first is answered."""
    client = served(queue=1)
    with busy(client) as (first,):
        for answer in (client.post("/predict", content=photo("red")), client.get("/ready")):
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert "too much to do" in answer.json()["error"]["found"]
        assert client.get("/health").status_code == 200
        assert first.result().status_code == 200
    assert client.get("/ready").status_code == 200
    assert client.post("/predict", content=photo("red")).status_code == 200


def test_images_of_one_request_count(served: Served) -> None:
    """Four images do not fit beside one where four may wait; three do."""
    client = served(queue=4)
    files = [("f", (f"{colour}.png", photo(colour))) for colour in (*COLOURS, "red")]
    with busy(client) as (first,):
        assert client.post("/predict", files=files).status_code == 503
        assert client.post("/predict", files=files[:3]).status_code == 200
        assert first.result().status_code == 200
    assert client.post("/predict", files=files).status_code == 200


def test_overload_is_refused_and_passes(served: Served) -> None:
    """More at once than the queue holds: 200 or 503 for each, the accepted right, and none left over."""
    client = served(queue=8)
    slow = slow_photo()
    bodies = [slow if place % 10 == 0 else photo("green") for place in range(100)]
    with ThreadPoolExecutor(50) as crew:
        answers = list(crew.map(lambda body: client.post("/predict", content=body), bodies))
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 503}
    for body, answer in zip(bodies, answers, strict=True):
        if answer.status_code == 200 and body != slow:
            assert answer.json()["predictions"][0]["label"] == "green"
    assert metric(client, "convscope_waiting_images") == 0
    assert client.post("/predict", content=photo("green")).status_code == 200


def test_deadline_that_passes_is_504(client: httpx.Client) -> None:
    """The client's own deadline is kept, although the image would be readable."""
    started = time.monotonic()
    answer = client.post("/predict", content=slow_photo(), headers={"X-Deadline-Ms": "20"})
    assert answer.status_code == 504
    assert time.monotonic() - started < 10
    assert set(answer.json()["error"]) == {"found", "expected", "fix"}


def test_deadline_of_the_service_is_kept(served: Served) -> None:
    """--deadline holds for everybody; a client cannot ask for more."""
    client = served(deadline=0.02)
    answer = client.post("/predict", content=slow_photo(), headers={"X-Deadline-Ms": "60000"})
    assert answer.status_code == 504


def test_deadline_that_cannot_be_met_is_refused_before(served: Served) -> None:
    """By the pace that was measured: 503 at once, and nothing of it is computed."""
    client = served()
    for _ in range(2):
        assert client.post("/predict", content=slow_photo()).status_code == 200  # the pace is learned
    with busy(client, 4) as answers:
        answered = metric(client, "convscope_batch_images_sum")
        answer = client.post("/predict", content=slow_photo(), headers={"X-Deadline-Ms": "50"})
        assert answer.status_code == 503
        assert "an answer that would take" in answer.json()["error"]["found"]
        assert [each.result().status_code for each in answers] == [200] * 4
    assert metric(client, "convscope_batch_images_sum") - answered <= 4


def test_request_that_takes_too_long_is_refused_at_once(served: Served) -> None:
    """By the pixels that the headers tell: a form of large images is 503 before any of them is decoded."""
    client = served()
    files = [("f", (f"{place}.png", slow_photo())) for place in range(8)]
    answer = client.post("/predict", files=files, headers={"X-Deadline-Ms": "500"})
    assert answer.status_code == 503
    assert "an answer that would take" in answer.json()["error"]["found"]
    assert metric(client, "convscope_batch_images_count") == 0


@pytest.mark.parametrize(("count", "side"), [(6, 5000), (60, 1500)])
def test_form_does_not_keep_others_waiting(served: Served, count: int, side: int) -> None:
    """Of few large images or of many usual ones: another client's photo is answered before it is through."""
    client = served(deadline=60)
    image = encode(Image.new("L", (side, side)), compress_level=1)
    files = [("f", (f"{place}.png", image)) for place in range(count)]
    with ThreadPoolExecutor(1) as crew:
        form = crew.submit(client.post, "/predict", files=files)
        until = time.monotonic() + 30
        while not metric(client, "convscope_waiting_images"):
            assert time.monotonic() < until
            time.sleep(0.005)
        assert client.post("/predict", content=photo("red")).status_code == 200
        assert not form.done()
        assert form.result().status_code == 200


def test_one_large_image_is_decoded_at_a_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many clients send one: memory holds the pixels of one, not of one for each core."""
    large = slow_photo()
    decoding, most = [], 0

    def watched(data: bytes, **choices: Any) -> Any:
        nonlocal most
        decoding.append(data)
        most = max(most, decoding.count(large))
        try:
            return read_image(data, **choices)
        finally:
            decoding.remove(data)

    monkeypatch.setattr("convscope.serving.batching.read_image", watched)
    client = served()
    with ThreadPoolExecutor(4) as crew:
        answers = [crew.submit(client.post, "/predict", content=large) for _ in range(4)]
        assert [answer.result().status_code for answer in answers] == [200] * 4
    assert most == 1


def test_what_nobody_waits_for_is_not_computed(served: Served) -> None:
    """An image whose deadline passed while it waited is left out."""
    client = served()
    late = {"content": slow_photo(), "headers": {"X-Deadline-Ms": "20"}}
    with busy(client, 6) as answers, ThreadPoolExecutor(8) as crew:
        statuses = [
            each.result().status_code for each in [crew.submit(client.post, "/predict", **late) for _ in range(8)]
        ]
        assert set(statuses) <= {503, 504}
        assert [each.result().status_code for each in answers] == [200] * 6
    until = time.monotonic() + 30
    while metric(client, "convscope_waiting_images") and time.monotonic() < until:
        time.sleep(0.05)
    assert metric(client, "convscope_waiting_images") == 0
    assert metric(client, "convscope_batch_images_sum") <= 8  # the six, and what a worker may just have begun


def test_error_of_the_model_costs_its_batch(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an answer cannot be computed it is 500 in three parts, and the next image is answered."""
    client = served()
    with monkeypatch.context() as patch:
        patch.setattr("convscope.serving.batching.read_image", None)
        answer = client.post("/predict", content=photo("red"))
    assert answer.status_code == 500
    assert set(answer.json()["error"]) == {"found", "expected", "fix"}
    assert client.post("/predict", content=photo("red")).status_code == 200
