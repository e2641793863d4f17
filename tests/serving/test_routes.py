"""The HTTP API: POST /predict, POST /explain, model metadata, health and metrics."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from live_server import KERNEL, StartServer, photo, write_run
from PIL import Image
from sample_images import VARIED, Pixels, encode, refused_files
from tiny_model import COLOURS, colour_model

from convscope.bundle.bundle import NEIGHBOURS_FILE, Bundle, check_finite, open_bundle
from convscope.bundle.introspection import Introspection
from convscope.errors import BundleError
from convscope.image_rendering import data_uri, filter_grid, overlay, png_bytes
from convscope.images.image_reader import read_image
from convscope.serving.service import open_service
from convscope.serving.settings import ServiceSettings

Files = list[tuple[str, tuple[str, bytes]]]


def picture_of(uri: str) -> np.ndarray:
    """The pixels of a data URI."""
    head, _, text = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def check_error(response: httpx.Response, status: int) -> dict[str, str]:
    """The three parts of an error response."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    (error,) = response.json().values()
    assert set(error) == {"found", "expected", "fix"}
    assert all(error.values())
    return error


def test_raw_image_is_predicted(client: httpx.Client) -> None:
    """The body is the image, whatever its content type."""
    for headers in ({}, {"Content-Type": "image/png"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        response = client.post("/predict", content=photo("blue"), headers=headers)
        assert response.status_code == 200
        (prediction,) = response.json()["predictions"]
        fields = [prediction[key] for key in ("file", "label", "status", "error")]
        assert fields == ["", "blue", "ok", ""]
        assert prediction["confidence"] == prediction["probabilities"]["blue"] > 0.9
        assert response.json()["model"] == {"name": "colours", "version": "0.1.0"}


def test_predictions_are_those_of_the_bundle(client: httpx.Client, run_folder: Path) -> None:
    """Every format is read as everywhere else, and each of many files gets the prediction for its own pixels."""
    bundle = open_bundle(run_folder)
    images = [read_image(data, size=8) for data in VARIED.values()]
    expected = bundle.predict(np.stack(images))
    files: Files = [("file", (name, data)) for name, data in VARIED.items()]
    predictions = client.post("/predict", files=files).json()["predictions"]
    assert [prediction["file"] for prediction in predictions] == list(VARIED)
    probabilities = [list(prediction["probabilities"].values()) for prediction in predictions]
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert list(predictions[0]["probabilities"]) == list(COLOURS)


def test_unreadable_file_does_not_affect_the_others(client: httpx.Client) -> None:
    """The predictions for a form are in the order of its files; that of an unreadable one has the reason."""
    refused = refused_files()
    files: Files = [("file", ("good.png", photo("red")))]
    files += [("file", (name, content)) for name, (content, _) in refused.items()]
    files += [("other", ("last.png", photo("green")))]
    response = client.post("/predict", files=files)
    assert response.status_code == 200
    predictions = {prediction["file"]: prediction for prediction in response.json()["predictions"]}
    assert list(predictions) == ["good.png", *refused, "last.png"]
    assert (predictions["good.png"]["label"], predictions["last.png"]["label"]) == ("red", "green")
    for name, (_, reason) in refused.items():
        prediction = predictions[name]
        assert prediction["status"] == "unreadable"
        assert prediction["error"].startswith(reason)
        assert (prediction["label"], prediction["confidence"], prediction["probabilities"]) == (None, None, {})


@pytest.mark.parametrize("name", refused_files())
def test_single_unreadable_image_is_415(client: httpx.Client, name: str) -> None:
    """As the body and as the only file of a form, with the reason."""
    content, reason = refused_files()[name]
    assert reason in check_error(client.post("/predict", content=content), 415)["found"]
    assert reason in check_error(client.post("/predict", files={"file": (name, content)}), 415)["found"]
    assert reason in check_error(client.post("/explain", content=content), 415)["found"]


def test_number_of_files_is_limited(client: httpx.Client) -> None:
    """Zero files are too few, 65 too many; a field without a file does not count."""
    found = check_error(client.post("/predict", data={"a": "b"}, files={"": ("", b"")}), 422)["found"]
    assert found == "0 images in one request"
    many: Files = [("file", (f"{index}.png", photo("red"))) for index in range(65)]
    assert check_error(client.post("/predict", files=many), 422)["found"] == "65 images in one request"
    response = client.post("/predict", files=many[:64], data={"note": "text"})
    assert len(response.json()["predictions"]) == 64
    assert check_error(client.post("/explain", files=many[:2]), 422)["expected"] == "one, with a file name"


def test_file_names_are_not_paths(client: httpx.Client, tmp_path: Path) -> None:
    """A file name is text that the response repeats: one line, at most 200 characters, nothing is written."""
    target = tmp_path / "written.png"
    for name in ("../../etc/passwd", str(target), "a" * 500, "ein Bär 猫.png", 'quote".png'):
        response = client.post("/predict", files={"file": (name, photo("red"))})
        (prediction,) = response.json()["predictions"]
        assert prediction["label"] == "red"
        assert prediction["file"].removesuffix("...") in name or '"' in name
        assert len(prediction["file"]) <= 203
    assert not target.exists()
    body = (
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="a\x1b[2J\xff"\r\n\r\n'
        + photo("red")
        + b"\r\n--b--"
    )
    response = client.post("/predict", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert response.json()["predictions"][0]["file"] == "a?[2J\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ('filename="猫%22x.jpg"', '猫"x.jpg'),
        ('filename="100%25 %41%0D%0A.jpg"', "100%25 %41??.jpg"),
        ("filename*=UTF-8''%E7%8C%AB%20x.jpg", "猫 x.jpg"),
        ("filename=\"plain.jpg\"; filename*=UTF-8''other.jpg", "plain.jpg"),
        ("filename*=utf-8''%FF.jpg", "\N{REPLACEMENT CHARACTER}.jpg"),
    ],
)
def test_file_names_are_decoded(client: httpx.Client, parameter: str, name: str) -> None:
    """Characters that browsers and curl escape are decoded; so is `filename*` of RFC 5987."""
    head = f'--b\r\nContent-Disposition: form-data; name="f"; {parameter}\r\n\r\n'.encode()
    response = client.post(
        "/predict",
        content=head + photo("red") + b"\r\n--b--",
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert response.json()["predictions"][0]["file"] == name


def test_explanation_is_complete(client: httpx.Client) -> None:
    """Image, heat map, activations and probabilities; the heat is where the class is."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :5, 0], pixels[:, 5:, 2] = 255, 255  # red left, blue right
    response = client.post("/explain", files={"file": ("two.png", encode(pixels))})
    assert response.status_code == 200
    explanation = response.json()
    fields = [explanation[key] for key in ("file", "label", "class", "neighbours")]
    assert fields == ["two.png", "red", "red", []]
    assert explanation["confidence"] == explanation["probabilities"]["red"] > explanation["probabilities"]["blue"]
    np.testing.assert_array_equal(picture_of(explanation["image"]), pixels)
    layer = picture_of(explanation["heatmap"])
    assert layer.shape == (8, 8, 4)
    assert layer[4, 1, 3] > 100 > 10 > layer[4, 7, 3]
    (block,) = explanation["blocks"]
    assert {key: block[key] for key in ("name", "height", "width", "channels")} == {
        "name": "block1", "height": 8, "width": 8, "channels": 4
    }  # fmt: skip
    grid = picture_of(block["picture"])
    assert grid.shape == (8 * -(-4 // block["columns"]), 8 * block["columns"])
    first = np.maximum(pixels.astype(np.float32) / 255 @ KERNEL[0, 0, :, 0], 0)
    expected = (first - first.min()) / max(np.ptp(first), 1e-9) * 255
    np.testing.assert_allclose(grid[:8, :8], expected, atol=1)


def test_heat_map_for_another_class(client: httpx.Client) -> None:
    """`class` sets the class of the heat map; a class that the model does not have is 422."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :5, 0], pixels[:, 5:, 2] = 255, 255
    explanation = client.post("/explain?class=blue", content=encode(pixels)).json()
    assert (explanation["label"], explanation["class"]) == ("red", "blue")
    layer = picture_of(explanation["heatmap"])
    assert layer[4, 7, 3] > 100 > 10 > layer[4, 1, 3]
    error = check_error(client.post("/explain?class=violet", content=encode(pixels)), 422)
    assert error["found"] == "class 'violet'"


def test_explanation_as_png(client: httpx.Client) -> None:
    """With `Accept: image/png` the response is the heat map over the image."""
    content = photo("green", size=8)
    explanation = client.post("/explain", content=content).json()
    response = client.post("/explain", content=content, headers={"Accept": "image/png"})
    assert response.headers["content-type"] == "image/png"
    shown = picture_of(data_uri(response.content))
    np.testing.assert_array_equal(shown, overlay(picture_of(explanation["image"]), picture_of(explanation["heatmap"])))


@pytest.fixture
def with_neighbours(tmp_path: Path) -> Path:
    """A run folder whose model has a neighbour index of shades of red, green and blue."""
    for colour, shades in {"red": (255, 200, 150), "green": (255, 200), "blue": (255, 200, 150)}.items():
        (tmp_path / "data" / colour).mkdir(parents=True)
        for shade in shades:
            pixels = np.full((16, 16, 3), 40, np.uint8)
            pixels[..., COLOURS.index(colour)] = shade
            (tmp_path / "data" / colour / f"{shade}.png").write_bytes(encode(pixels))
    return write_run(tmp_path / "run", training_images=tmp_path / "data")


def test_explanation_shows_similar_training_images(start_server: StartServer, with_neighbours: Path) -> None:
    """At most five, most similar first, each with class, similarity and picture; the data folder is not needed."""
    client = start_server(with_neighbours)
    assert client.get("/info").json()["neighbours"] is True
    pixels = np.full((8, 8, 3), 40, np.uint8)
    pixels[..., 2] = 230
    neighbours = client.post("/explain", content=encode(pixels)).json()["neighbours"]
    assert len(neighbours) == 5
    assert [neighbour["label"] for neighbour in neighbours[:2]] == ["blue", "blue"]
    similarities = [neighbour["similarity"] for neighbour in neighbours]
    assert similarities == sorted(similarities, reverse=True)
    assert 0.99 < similarities[0] < 1
    for neighbour in neighbours:
        picture = picture_of(neighbour["picture"])
        assert picture.shape == (8, 8, 3)
        assert COLOURS[picture.mean(axis=(0, 1)).argmax()] == neighbour["label"]
    assert len({neighbour["picture"] for neighbour in neighbours}) == 5
    as_png = client.post("/explain", content=encode(pixels), headers={"Accept": "image/png"})
    assert as_png.headers["content-type"] == "image/png"


def test_neighbour_index_may_be_deleted(start_server: StartServer, with_neighbours: Path) -> None:
    """So that no training image is given away; everything else works."""
    (with_neighbours / "model" / NEIGHBOURS_FILE).unlink()
    client = start_server(with_neighbours)
    assert client.get("/info").json()["neighbours"] is False
    assert client.post("/explain", content=photo("red")).json()["neighbours"] == []


def test_damaged_neighbour_index_is_not_served(with_neighbours: Path) -> None:
    """The error is raised before the first request."""
    file = with_neighbours / "model" / NEIGHBOURS_FILE
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(BundleError, match=r"neighbours\.safetensors is damaged"):
        open_service(with_neighbours, ServiceSettings())


def test_filters_are_those_of_the_kernel(client: httpx.Client) -> None:
    """Of the first convolution, as a picture with its dimensions."""
    filters = client.get("/filters").json()
    grid, columns = filter_grid(KERNEL)
    picture = filters.pop("picture")
    assert filters == {"name": "block1_convolution", "count": 4, "columns": columns, "height": 1, "width": 1}
    assert picture == data_uri(png_bytes(grid))


def test_output_that_is_not_finite_is_500(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The response says so, without the path of the model; the next image is predicted."""
    predict, look = Bundle.predict, Introspection.run

    def break_on_black(bundle: Bundle, images: Pixels) -> Any:
        check_finite(bundle.path, np.float32(np.nan if images.max() == 0 else 0))
        return predict(bundle, images)

    def break_inside(inside: Introspection, image: Pixels) -> Any:
        check_finite(inside.bundle.path, np.float32(np.nan if image.max() == 0 else 0))
        return look(inside, image)

    client = start_server()
    monkeypatch.setattr(Bundle, "predict", break_on_black)
    monkeypatch.setattr(Introspection, "run", break_inside)
    black, red = photo("black"), photo("red")
    for path in ("/predict", "/explain"):
        error = check_error(client.post(path, content=black), 500)
        assert error["found"] == "a model whose output is not finite: it is broken"
    rows = {"instances": [{"b64": base64.b64encode(black).decode()}]}
    assert "broken" in client.post("/v1/models/colours:predict", json=rows).json()["error"]
    assert client.post("/predict", content=red).json()["predictions"][0]["label"] == "red"


def test_broken_model_is_not_served(tmp_path: Path) -> None:
    """The error is raised before the first request."""
    model = colour_model()
    model.matrix[5, 1] = np.nan
    with pytest.raises(BundleError, match="not finite"):
        open_service(model.write(tmp_path / "model.onnx"), ServiceSettings())


def test_model_without_intermediate_outputs(start_server: StartServer, bare_model: Path) -> None:
    """It predicts; explanations are 404 and name the missing file, without the path of the model."""
    client = start_server(bare_model)
    assert client.get("/info").json()["inside"] is False
    assert client.get("/info").json()["name"] == "bare"
    assert client.post("/predict", content=photo("red")).json()["predictions"][0]["label"] == "red"
    for response in (client.post("/explain", content=photo("red")), client.get("/filters")):
        assert "inside.onnx" in check_error(response, 404)["found"]
        assert str(bare_model.parent) not in response.text


def test_filters_without_weights_are_404(start_server: StartServer, tmp_path: Path) -> None:
    """A run folder without weights.safetensors still explains."""
    folder = write_run(tmp_path / "run")
    (folder / "model" / "weights.safetensors").unlink()
    client = start_server(folder)
    assert client.post("/explain", content=photo("red")).status_code == 200
    assert "weights.safetensors" in check_error(client.get("/filters"), 404)["found"]


def test_info_is_the_metadata_of_the_model(client: httpx.Client, start_server: StartServer, bare_model: Path) -> None:
    """Null where an old model has no value."""
    assert client.get("/info").json() == {
        "name": "colours",
        "version": "0.1.0",
        "task": "classify",
        "network": "tiny",
        "classes": list(COLOURS),
        "image_size": 8,
        "channels": 3,
        "fit": "stretch",
        "date": None,
        "license": None,
        "metrics": None,
        "data": None,
        "inside": True,
        "neighbours": False,
        "limits": {"max_bytes": 64 * 2**20, "max_images": 64},
    }
    old = start_server(bare_model, queue=8).get("/info").json()
    assert (old["task"], old["version"], old["limits"]["max_images"]) == (None, "1", 8)


def test_health_and_metrics(client: httpx.Client) -> None:
    """/health, /ready and /metrics; images are counted by outcome."""
    assert client.get("/health").json() == client.get("/ready").json() == {"status": "ok"}
    client.post("/predict", content=photo("red"))
    client.post("/predict", content=b"text")
    text = client.get("/metrics").text
    assert 'convscope_images_total{outcome="ok"}' in text
    assert 'convscope_images_total{outcome="unreadable"}' in text
    assert 'convscope_requests_total{path="/predict",status="415"}' in text
    assert "convscope_waiting_images 0.0" in text
    assert "convscope_body_bytes 0.0" in text


def test_unknown_paths_share_a_metric(client: httpx.Client) -> None:
    """Clients cannot add label values: memory stays flat."""
    for index in range(3):
        assert client.get(f"/made-up-{index}").status_code == 404
    assert "made-up" not in client.get("/metrics").text
    assert 'path="other",status="404"' in client.get("/metrics").text


def test_unknown_path_and_method(client: httpx.Client) -> None:
    """404 and 405 are errors in three parts too."""
    check_error(client.get("/nothing"), 404)
    check_error(client.put("/predict"), 405)
    check_error(client.get("/page/../serving.py"), 404)
    check_error(client.get("/page/..%2Fserving.py"), 404)
    check_error(client.get("/page/nothing.js"), 404)


def test_api_is_documented(client: httpx.Client) -> None:
    """/docs lists every path of /openapi.json, in plain HTML; bodies and errors are described."""
    description = client.get("/openapi.json").json()
    docs = client.get("/docs").text
    assert "<script" not in docs
    for path in description["paths"]:
        assert path in docs
    predict = description["paths"]["/predict"]["post"]
    assert {"multipart/form-data", "image/*"} <= set(predict["requestBody"]["content"])
    assert {"200", "400", "401", "408", "413", "415", "422", "503", "504"} <= set(predict["responses"])
    assert "Retry-After" in predict["responses"]["503"]["headers"]


def test_invalid_deadline_is_422(client: httpx.Client) -> None:
    """X-Deadline-Ms has to be a positive integer."""
    for value in ("soon", "0", "-5"):
        check_error(client.post("/predict", content=photo("red"), headers={"X-Deadline-Ms": value}), 422)
