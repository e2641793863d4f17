"""POST /predict, POST /explain and what the service says of itself."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from sample_images import VARIED, Pixels, encode, refused_files
from served import KERNEL, Served, photo, write_run
from tiny_model import COLOURS, colour_model

from convscope.bundle.bundle import Bundle, check_finite, open_bundle
from convscope.bundle.introspection import Inside
from convscope.bundle.neighbours import NEIGHBOURS
from convscope.drawing import data_uri, filter_grid, overlay, png_bytes
from convscope.errors import BundleError
from convscope.images.reading import read_image
from convscope.serving.service import ServiceSettings, open_service

Files = list[tuple[str, tuple[str, bytes]]]


def picture_of(uri: str) -> np.ndarray:
    """The pixels of a data URI."""
    head, _, text = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def check_problem(answer: httpx.Response, status: int) -> dict[str, str]:
    """The three parts of a refusal."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    (problem,) = answer.json().values()
    assert set(problem) == {"found", "expected", "fix"}
    assert all(problem.values())
    return problem


def test_raw_image_is_predicted(client: httpx.Client) -> None:
    """The body is the image, whatever type it is said to be."""
    for headers in ({}, {"Content-Type": "image/png"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        answer = client.post("/predict", content=photo("blue"), headers=headers)
        assert answer.status_code == 200
        (said,) = answer.json()["predictions"]
        assert (said["file"], said["label"], said["status"], said["error"]) == ("", "blue", "ok", "")
        assert said["confidence"] == said["probabilities"]["blue"] > 0.9
        assert answer.json()["model"] == {"name": "colours", "version": "0.1.0"}


def test_answers_are_those_of_predict(client: httpx.Client, run_folder: Path) -> None:
    """Every format is read as everywhere else, and each of many files gets the answer of its own pixels."""
    bundle = open_bundle(run_folder)
    images = [read_image(data, size=8) for data in VARIED.values()]
    expected = bundle.predict(np.stack(images))
    files: Files = [("file", (name, data)) for name, data in VARIED.items()]
    said = client.post("/predict", files=files).json()["predictions"]
    assert [each["file"] for each in said] == list(VARIED)
    np.testing.assert_allclose([list(each["probabilities"].values()) for each in said], expected, atol=1e-6)
    assert list(said[0]["probabilities"]) == list(COLOURS)


def test_one_bad_file_costs_only_itself(client: httpx.Client) -> None:
    """In a form of several files each keeps its place, and an unreadable one says why."""
    bad = refused_files()
    files: Files = [("file", ("good.png", photo("red")))]
    files += [("file", (name, content)) for name, (content, _) in bad.items()]
    files += [("other", ("last.png", photo("green")))]
    answer = client.post("/predict", files=files)
    assert answer.status_code == 200
    said = {each["file"]: each for each in answer.json()["predictions"]}
    assert list(said) == ["good.png", *bad, "last.png"]
    assert (said["good.png"]["label"], said["last.png"]["label"]) == ("red", "green")
    for name, (_, reason) in bad.items():
        assert said[name]["status"] == "unreadable"
        assert said[name]["error"].startswith(reason)
        assert (said[name]["label"], said[name]["confidence"], said[name]["probabilities"]) == (None, None, {})


@pytest.mark.parametrize("name", refused_files())
def test_the_only_image_that_is_none_is_415(client: httpx.Client, name: str) -> None:
    """As a body and as the only file of a form, with the reason."""
    content, reason = refused_files()[name]
    assert reason in check_problem(client.post("/predict", content=content), 415)["found"]
    assert reason in check_problem(client.post("/predict", files={"file": (name, content)}), 415)["found"]
    assert reason in check_problem(client.post("/explain", content=content), 415)["found"]


def test_form_has_a_number_of_files(client: httpx.Client) -> None:
    """None is too few, 65 are too many; a field that is no file does not count."""
    found = check_problem(client.post("/predict", data={"a": "b"}, files={"": ("", b"")}), 422)["found"]
    assert found == "0 images in one request"
    many: Files = [("file", (f"{place}.png", photo("red"))) for place in range(65)]
    assert check_problem(client.post("/predict", files=many), 422)["found"] == "65 images in one request"
    answer = client.post("/predict", files=many[:64], data={"note": "text"})
    assert len(answer.json()["predictions"]) == 64
    assert check_problem(client.post("/explain", files=many[:2]), 422)["expected"] == "one, with a file name"


def test_names_are_only_repeated(client: httpx.Client, tmp_path: Path) -> None:
    """A client's name for a file is text: no path, one line, at most 200 characters of it."""
    target = tmp_path / "written.png"
    for name in ("../../etc/passwd", str(target), "a" * 500, "ein Bär 猫.png", 'quote".png'):
        answer = client.post("/predict", files={"file": (name, photo("red"))})
        (said,) = answer.json()["predictions"]
        assert said["label"] == "red"
        assert said["file"].removesuffix("...") in name or '"' in name
        assert len(said["file"]) <= 203
    assert not target.exists()
    body = (
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="a\x1b[2J\xff"\r\n\r\n'
        + photo("red")
        + b"\r\n--b--"
    )
    answer = client.post("/predict", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.json()["predictions"][0]["file"] == "a?[2J\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ('filename="猫%22x.jpg"', '猫"x.jpg'),
        ('filename="100%25 %41%0D%0A.jpg"', "100%25 %41??.jpg"),
        ("filename*=UTF-8''%E7%8C%AB%20x.jpg", "猫 x.jpg"),
        ("filename=\"plain.jpg\"; filename*=UTF-8''other.jpg", "plain.jpg"),
        ("filename*=utf-8''%FF.jpg", "\N{REPLACEMENT CHARACTER}.jpg"),
    ],
)
def test_names_are_read_as_clients_write_them(client: httpx.Client, said: str, name: str) -> None:
    """What browsers and curl escape is as it was; a name in RFC 5987's form is one."""
    head = f'--b\r\nContent-Disposition: form-data; name="f"; {said}\r\n\r\n'.encode()
    answer = client.post(
        "/predict",
        content=head + photo("red") + b"\r\n--b--",
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert answer.json()["predictions"][0]["file"] == name


def test_explanation_shows_everything(client: httpx.Client) -> None:
    """Image, heat layer, blocks and probabilities; the heat is where the class is."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :5, 0], pixels[:, 5:, 2] = 255, 255  # red left, blue right
    answer = client.post("/explain", files={"file": ("two.png", encode(pixels))})
    assert answer.status_code == 200
    said = answer.json()
    assert (said["file"], said["label"], said["class"], said["neighbours"]) == ("two.png", "red", "red", [])
    assert said["confidence"] == said["probabilities"]["red"] > said["probabilities"]["blue"]
    np.testing.assert_array_equal(picture_of(said["image"]), pixels)
    layer = picture_of(said["heatmap"])
    assert layer.shape == (8, 8, 4)
    assert layer[4, 1, 3] > 100 > 10 > layer[4, 7, 3]
    (block,) = said["blocks"]
    assert {key: block[key] for key in ("name", "height", "width", "channels")} == {
        "name": "block1", "height": 8, "width": 8, "channels": 4
    }  # fmt: skip
    grid = picture_of(block["picture"])
    assert grid.shape == (8 * -(-4 // block["columns"]), 8 * block["columns"])
    shares = pixels.astype(np.float32) / 255 @ KERNEL[0, 0, :, 0]
    first = np.maximum(shares, 0)
    expected = (first - first.min()) / max(np.ptp(first), 1e-9) * 255
    np.testing.assert_allclose(grid[:8, :8], expected, atol=1)


def test_explanation_of_another_class(client: httpx.Client) -> None:
    """`class` chooses whose heat is shown; one that the model does not have is 422."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :5, 0], pixels[:, 5:, 2] = 255, 255
    said = client.post("/explain?class=blue", content=encode(pixels)).json()
    assert (said["label"], said["class"]) == ("red", "blue")
    layer = picture_of(said["heatmap"])
    assert layer[4, 7, 3] > 100 > 10 > layer[4, 1, 3]
    problem = check_problem(client.post("/explain?class=violet", content=encode(pixels)), 422)
    assert problem["found"] == "class 'violet'"


def test_explanation_as_a_picture(client: httpx.Client) -> None:
    """With `Accept: image/png` the answer is the heat over the image."""
    content = photo("green", size=8)
    said = client.post("/explain", content=content).json()
    answer = client.post("/explain", content=content, headers={"Accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    shown = picture_of(data_uri(answer.content))
    np.testing.assert_array_equal(shown, overlay(picture_of(said["image"]), picture_of(said["heatmap"])))


@pytest.fixture
def learned(tmp_path: Path) -> Path:
    """A run folder whose model carries training images: shades of red, green and blue."""
    for colour, shades in {"red": (255, 200, 150), "green": (255, 200), "blue": (255, 200, 150)}.items():
        (tmp_path / "data" / colour).mkdir(parents=True)
        for shade in shades:
            pixels = np.full((16, 16, 3), 40, np.uint8)
            pixels[..., COLOURS.index(colour)] = shade
            (tmp_path / "data" / colour / f"{shade}.png").write_bytes(encode(pixels))
    return write_run(tmp_path / "run", learned=tmp_path / "data")


def test_explanation_shows_similar_training_images(served: Served, learned: Path) -> None:
    """Five at most, best first, each with class, similarity and its own picture; its folder need not be there."""
    client = served(learned)
    assert client.get("/info").json()["neighbours"] is True
    pixels = np.full((8, 8, 3), 40, np.uint8)
    pixels[..., 2] = 230
    near = client.post("/explain", content=encode(pixels)).json()["neighbours"]
    assert len(near) == 5
    assert [each["label"] for each in near[:2]] == ["blue", "blue"]
    similarities = [each["similarity"] for each in near]
    assert similarities == sorted(similarities, reverse=True)
    assert 0.99 < similarities[0] < 1
    for each in near:
        picture = picture_of(each["picture"])
        assert picture.shape == (8, 8, 3)
        assert COLOURS[picture.mean(axis=(0, 1)).argmax()] == each["label"]
    assert len({each["picture"] for each in near}) == 5
    as_picture = client.post("/explain", content=encode(pixels), headers={"Accept": "image/png"})
    assert as_picture.headers["content-type"] == "image/png"


def test_model_serves_without_its_training_images(served: Served, learned: Path) -> None:
    """Whoever deletes them gives no photos away, and the rest is as it was."""
    (learned / "model" / NEIGHBOURS).unlink()
    client = served(learned)
    assert client.get("/info").json()["neighbours"] is False
    assert client.post("/explain", content=photo("red")).json()["neighbours"] == []


def test_damaged_training_images_are_not_served(learned: Path) -> None:
    """It is found before anybody asks."""
    file = learned / "model" / NEIGHBOURS
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(BundleError, match=r"neighbours\.safetensors is damaged"):
        open_service(learned, ServiceSettings())


def test_filters_are_the_kernel(client: httpx.Client) -> None:
    """The first convolution, as a picture with its measures."""
    said = client.get("/filters").json()
    grid, columns = filter_grid(KERNEL)
    picture = said.pop("picture")
    assert said == {"name": "block1_convolution", "count": 4, "columns": columns, "height": 1, "width": 1}
    assert picture == data_uri(png_bytes(grid))


def test_model_that_breaks_is_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is no number is 500 and says so, without a path; the next image is answered."""
    predict, run = Bundle.predict, Inside.look

    def break_on_black(bundle: Bundle, images: Pixels) -> Any:
        check_finite(bundle.path, np.float32(np.nan if images.max() == 0 else 0))
        return predict(bundle, images)

    def break_inside(inside: Inside, image: Pixels) -> Any:
        check_finite(inside.bundle.path, np.float32(np.nan if image.max() == 0 else 0))
        return run(inside, image)

    client = served()
    monkeypatch.setattr(Bundle, "predict", break_on_black)
    monkeypatch.setattr(Inside, "look", break_inside)
    black, red = photo("black"), photo("red")
    for path in ("/predict", "/explain"):
        problem = check_problem(client.post(path, content=black), 500)
        assert problem["found"] == "a model that answers with what is no number: it is broken"
    rows = {"instances": [{"b64": base64.b64encode(black).decode()}]}
    assert "broken" in client.post("/v1/models/colours:predict", json=rows).json()["error"]
    assert client.post("/predict", content=red).json()["predictions"][0]["label"] == "red"


def test_broken_model_is_not_served(tmp_path: Path) -> None:
    """It is found before anybody asks."""
    model = colour_model()
    model.matrix[5, 1] = np.nan
    with pytest.raises(BundleError, match="no numbers"):
        open_service(model.write(tmp_path / "model.onnx"), ServiceSettings())


def test_model_without_an_inside(served: Served, bare_model: Path) -> None:
    """It predicts; what would need the inside is 404 and says what is missing, and not where the model lies."""
    client = served(bare_model)
    assert client.get("/info").json()["inside"] is False
    assert client.get("/info").json()["name"] == "bare"
    assert client.post("/predict", content=photo("red")).json()["predictions"][0]["label"] == "red"
    for answer in (client.post("/explain", content=photo("red")), client.get("/filters")):
        assert "inside.onnx" in check_problem(answer, 404)["found"]
        assert str(bare_model.parent) not in answer.text


def test_missing_weights_are_told(served: Served, tmp_path: Path) -> None:
    """A run folder without its weights still explains; its filters are 404."""
    folder = write_run(tmp_path / "run")
    (folder / "model" / "weights.safetensors").unlink()
    client = served(folder)
    assert client.post("/explain", content=photo("red")).status_code == 200
    assert "weights.safetensors" in check_problem(client.get("/filters"), 404)["found"]


def test_info_says_what_the_model_says(client: httpx.Client, served: Served, bare_model: Path) -> None:
    """All that is known of the model; null where an old model says nothing."""
    said = client.get("/info").json()
    assert said == {
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
    old = served(bare_model, queue=8).get("/info").json()
    assert (old["task"], old["version"], old["limits"]["max_images"]) == (None, "1", 8)


def test_service_says_how_it_is(client: httpx.Client) -> None:
    """/health, /ready and /metrics; images are counted by what became of them."""
    assert client.get("/health").json() == client.get("/ready").json() == {"status": "ok"}
    client.post("/predict", content=photo("red"))
    client.post("/predict", content=b"text")
    text = client.get("/metrics").text
    assert 'convscope_images_total{outcome="ok"}' in text
    assert 'convscope_images_total{outcome="unreadable"}' in text
    assert 'convscope_requests_total{path="/predict",status="415"}' in text
    assert "convscope_waiting_images 0.0" in text
    assert "convscope_body_bytes 0.0" in text


def test_counted_paths_are_not_the_clients(client: httpx.Client) -> None:
    """Addresses that clients make up share one counter: memory stays flat."""
    for place in range(3):
        assert client.get(f"/made-up-{place}").status_code == 404
    assert "made-up" not in client.get("/metrics").text
    assert 'path="other",status="404"' in client.get("/metrics").text


def test_what_is_not_there(client: httpx.Client) -> None:
    """404 and 405 have the three parts too."""
    check_problem(client.get("/nothing"), 404)
    check_problem(client.put("/predict"), 405)
    check_problem(client.get("/page/../serving.py"), 404)
    check_problem(client.get("/page/..%2Fserving.py"), 404)
    check_problem(client.get("/page/nothing.js"), 404)


def test_addresses_are_listed(client: httpx.Client) -> None:
    """/docs has every address of /openapi.json, in plain HTML; bodies and refusals are described."""
    described = client.get("/openapi.json").json()
    listed = client.get("/docs").text
    assert "<script" not in listed
    for path in described["paths"]:
        assert path in listed
    predict = described["paths"]["/predict"]["post"]
    assert {"multipart/form-data", "image/*"} <= set(predict["requestBody"]["content"])
    assert {"200", "400", "401", "408", "413", "415", "422", "503", "504"} <= set(predict["responses"])
    assert "Retry-After" in predict["responses"]["503"]["headers"]


def test_wrong_deadline_header(client: httpx.Client) -> None:
    """A header that is no number of milliseconds is 422."""
    for value in ("soon", "0", "-5"):
        check_problem(client.post("/predict", content=photo("red"), headers={"X-Deadline-Ms": value}), 422)
