"""bundle/neighbours.py: the training images that are really most like one; whose file, and nothing but it."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save
from sample_images import STRANGE_NAMES, Pixels, bomb, draw, encode
from tiny_model import TinyModel, random_model

from convscope.bundle import neighbours as ours
from convscope.bundle.bundle import Bundle, open_bundle
from convscope.bundle.neighbours import (
    MOST_BYTES,
    NEIGHBOURS,
    SHOWN,
    STEPS,
    Neighbours,
    draw_evenly,
    draw_neighbours,
    encode_neighbours,
    has_neighbours,
    neighbours_of,
)
from convscope.datasets.dataset import Dataset, open_dataset
from convscope.errors import BundleError, RecipeError
from convscope.images.decoding import Square
from convscope.images.reading import read_image
from convscope.recipe.recipe import Recipe

CLASSES = ("ring", "disc", "bar")  # as little in alphabetical order as a model's classes need to be
WEIGHTS = "0123"
PICTURE = encode(draw("disc", 8, 0), "JPEG")


@pytest.fixture(scope="module")
def model() -> TinyModel:
    """A model whose features are the pixels."""
    return random_model(CLASSES, Square(16), seed=3)


@pytest.fixture(scope="module")
def file(model: TinyModel, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a bundle, with the training images that it carries. Only to be read."""
    return model.write_with_neighbours(tmp_path_factory.mktemp("model"), photos)


@pytest.fixture(scope="module")
def carried(file: Path) -> Neighbours:
    """What it carries."""
    return neighbours_of(open_bundle(file))


@pytest.fixture(scope="module")
def dataset(photos: Path) -> Dataset:
    """The photos as that model learned from them."""
    return open_dataset(photos, Recipe(network="classic", image_size=16, validation=0.1))


def in_steps(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Vectors as a file holds them."""
    long = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (np.rint(vectors / long * STEPS) / STEPS).astype(np.float32)


def with_file(bundle: Bundle, folder: Path, content: bytes) -> Bundle:
    """The model in another folder, with this beside it, and saying itself that it is what belongs there."""
    (folder / NEIGHBOURS).write_bytes(content)
    said = {"weights": WEIGHTS, "neighbours": {"sha256": hashlib.sha256(content).hexdigest()}}
    return replace(bundle, path=folder / "model.onnx", facts=bundle.facts | said)


def some_content(
    vectors: NDArray[np.floating], labels: list[int] | None = None, paths: list[bytes] | None = None
) -> bytes:
    """A file of training images with these features."""
    count = len(vectors)
    return encode_neighbours(
        in_steps(vectors),
        np.array(labels or [0] * count, np.int32),
        paths=paths or [b"%d.png" % place for place in range(count)],
        pictures=[PICTURE] * count,
        weights=WEIGHTS,
    )


def test_nearest_are_those_with_the_largest_cosine(model: TinyModel, carried: Neighbours, photos: Path) -> None:
    """In order, with class and path, as computed from the photos themselves; their own training image comes first."""
    images = {path: read_image(photos / path, size=16) for path in carried.paths}
    features = model.see(np.stack([*images.values()])).astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosines = features @ features.T
    found = carried.nearest(model.see(np.stack([*images.values()])), 4)
    for own, nearest in enumerate(found):
        assert [each.place for each in nearest] == np.argsort(-cosines[own])[:4].tolist()
        assert (nearest[0].place, nearest[0].similarity) == (own, 1.0)
        for each in nearest:
            assert each.similarity == pytest.approx(cosines[own, each.place], abs=5e-4)
            assert (each.path, each.label) == (carried.paths[each.place], Path(each.path).parent.name)


def test_only_training_images_are_carried(carried: Neighbours, dataset: Dataset) -> None:
    """All of them where they fit, in the order of the data set, and none that the model is judged by."""
    assert list(carried.paths) == [dataset.samples[row].path for row in dataset.rows("train")]
    assert 40 < len(carried.paths) < 60


def test_similarity_does_not_depend_on_the_order_of_adding(tmp_path: Path, file: Path) -> None:
    """To the bit: alone or among others, and with the features in another order, as another machine would add them."""
    # whole numbers: the lengths, which are not what is tested here, come out the same in any order
    vectors = np.random.default_rng(0).integers(-50, 51, (300, 1280)).astype(np.float64)
    asked = np.random.default_rng(1).integers(-50, 51, (40, 1280)).astype(np.float32)
    order = np.random.default_rng(2).permutation(1280)
    bundle = open_bundle(file)
    some = neighbours_of(with_file(bundle, tmp_path, some_content(vectors)))
    found = some.nearest(asked, 20)
    assert [some.nearest(row[np.newaxis], 20)[0] for row in asked] == found
    others = neighbours_of(with_file(bundle, tmp_path, some_content(vectors[:, order])))
    assert others.nearest(asked[:, order], 20) == found


def test_of_equally_similar_ones_the_first_comes_first(tmp_path: Path, file: Path) -> None:
    """Also where a tie goes over the end of the list."""
    vectors = np.array([[0, 1.0], [1, 0], [1, 0], [1, 0], [1, 1]])
    some = neighbours_of(with_file(open_bundle(file), tmp_path, some_content(vectors)))
    (nearest,) = some.nearest(np.array([[5, 0]], np.float32), 2)
    assert [(each.place, each.similarity) for each in nearest] == [(1, 1.0), (2, 1.0)]
    (nearest,) = some.nearest(np.array([[5, 0]], np.float32), 9)
    assert [each.place for each in nearest] == [1, 2, 3, 4, 0]


@pytest.mark.parametrize("size", [0.0, 1e-30, 3e38])
def test_any_features_have_neighbours(carried: Neighbours, size: float) -> None:
    """Where nothing is active, the similarity is 0; lengths that float32 cannot square do not matter."""
    (nearest,) = carried.nearest(np.full((1, carried.features.shape[1]), size, np.float32))
    assert len(nearest) == SHOWN
    assert all((each.similarity == 0) if size == 0 else (0.1 < each.similarity <= 1) for each in nearest)


def test_more_than_there_are_is_refused(carried: Neighbours) -> None:
    """Their number is told."""
    carried.check_count(len(carried.paths))
    with pytest.raises(RecipeError, match=f"--neighbours 99 of a model that carries {len(carried.paths)} training im"):
        carried.check_count(99)


def test_pictures_are_the_images(carried: Neighbours, dataset: Dataset) -> None:
    """Each its own, as far as a JPEG can be."""
    images = dataset.images[dataset.rows("train")].astype(np.float64)
    for place in range(len(images)):
        picture = carried.picture(place)
        assert picture.shape == (16, 16, 3)
        differences = np.sqrt(((picture - images) ** 2).mean(axis=(1, 2, 3)))
        assert differences.argmin() == place
        assert differences[place] < 40


@pytest.mark.parametrize(("size", "channels", "side"), [(96, 3, 64), (20, 1, 20)])
def test_pictures_are_small(tmp_path: Path, photos: Path, size: int, channels: int, side: int) -> None:
    """At most 64 pixels a side and a few kB; grey where the model sees grey."""
    model = random_model(CLASSES, Square(size, "stretch", channels))
    dataset = open_dataset(photos, Recipe(network="classic", image_size=size, channels=channels))
    content, said = draw_neighbours(model.see, dataset, weights=WEIGHTS, seed=0)
    some = neighbours_of(with_file(open_bundle(model.write(tmp_path / "model.onnx")), tmp_path, content))
    assert some.picture(0).shape == (side, side, channels)
    assert len(some.pictures) < 4000 * said["images"]


def test_draw_is_even() -> None:
    """Of each beginning of the order the classes have as many as each other, as long as a class has any left."""
    labels = np.array([0] * 50 + [1] * 5 + [2] * 20, np.int32)
    rows = np.arange(75) * 3
    drawn = draw_evenly(rows, labels, seed=4)
    assert sorted(drawn) == rows.tolist()
    for count, expected in ((3, [1, 1, 1]), (15, [5, 5, 5]), (25, [10, 5, 10]), (75, [50, 5, 20])):
        assert np.bincount(labels[drawn[:count] // 3]).tolist() == expected
    assert drawn.tolist() == draw_evenly(rows, labels, seed=4).tolist() != draw_evenly(rows, labels, seed=5).tolist()
    assert np.sort(drawn[:15]).tolist() != drawn[:15].tolist()


class Watched:
    """A model that counts the images that it looks at."""

    def __init__(self, model: TinyModel) -> None:
        self.model, self.count = model, 0

    def see(self, images: Pixels) -> NDArray[np.float32]:
        """The features."""
        self.count += len(images)
        return self.model.see(images)


def test_number_of_images_is_bounded(
    model: TinyModel, dataset: Dataset, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more are kept, nor looked at; as many of each class; the same of one seed, others of another."""
    monkeypatch.setattr(ours, "MOST_IMAGES", 12)
    watched = Watched(model)
    content, said = draw_neighbours(watched.see, dataset, weights=WEIGHTS, seed=0)
    assert watched.count == 12
    num_train = len(dataset.rows("train"))
    assert said == {"images": 12, "of": num_train, "sha256": hashlib.sha256(content).hexdigest()}
    some = neighbours_of(with_file(open_bundle(file), tmp_path, content))
    assert [sum(Path(path).parent.name == name for path in some.paths) for name in CLASSES] == [4, 4, 4]
    assert list(some.paths) == sorted(some.paths)
    assert draw_neighbours(model.see, dataset, weights=WEIGHTS, seed=0)[0] == content
    assert draw_neighbours(model.see, dataset, weights=WEIGHTS, seed=1)[0] != content


@pytest.mark.parametrize("most", [20_000, 31_234])
def test_size_of_the_file_is_bounded(
    model: TinyModel, dataset: Dataset, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """It holds as many images as fit, evenly, and what is beside each of them is its own."""
    monkeypatch.setattr(ours, "MOST_BYTES", most)
    monkeypatch.setattr(ours, "AT_ONCE", 4)
    watched = Watched(model)
    content, said = draw_neighbours(watched.see, dataset, weights=WEIGHTS, seed=0)
    assert most - ours.HEAD_BYTES - 3000 < len(content) <= most
    assert said["images"] <= watched.count < said["images"] + 8
    some = neighbours_of(with_file(open_bundle(file), tmp_path, content))
    counts = [sum(Path(path).parent.name == name for path in some.paths) for name in CLASSES]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == said["images"] < said["of"]
    images = np.stack([read_image(dataset.root / path, size=16) for path in some.paths])
    assert [nearest[0].path for nearest in some.nearest(model.see(images), 1)] == list(some.paths)


def test_stated_size_is_enough_for_every_number_of_images() -> None:
    """32 MB hold 4,000 images of the widest network that there is, noise among them."""
    noise = ours._to_picture(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8))
    assert ours.MOST_IMAGES * (2 * 1280 + len(noise) + 200) < MOST_BYTES


def test_names_are_only_text(tmp_path: Path, file: Path) -> None:
    """Whatever a path holds comes back byte for byte, and nothing is opened by it."""
    names = [*(name.encode("utf-8", "surrogateescape") for name in STRANGE_NAMES), b"/etc/passwd", b"../../x", b""]
    vectors = np.random.default_rng(0).normal(size=(len(names), 4))
    some = neighbours_of(with_file(open_bundle(file), tmp_path, some_content(vectors, paths=names)))
    assert [path.encode("utf-8", "surrogateescape") for path in some.paths] == names


def test_features_that_are_no_numbers_are_told(dataset: Dataset) -> None:
    """A network that diverged has no neighbours."""
    with pytest.raises(BundleError, match="no numbers"):
        draw_neighbours(lambda images: np.full((len(images), 4), np.nan, np.float32), dataset, weights="", seed=0)


def test_features_of_another_network_are_refused(carried: Neighbours) -> None:
    """They have another width."""
    with pytest.raises(BundleError, match="of another model"):
        carried.nearest(np.zeros((1, 5), np.float32))


def test_model_without_them_answers(model: TinyModel, tmp_path: Path) -> None:
    """Whoever deletes the file has a model that works and carries no photos; who asks for them is told."""
    bundle = open_bundle(model.write(tmp_path / "model.onnx"))
    assert not has_neighbours(bundle)
    assert bundle.predict(np.zeros((1, 16, 16, 3), np.uint8)).shape == (1, 3)
    with pytest.raises(BundleError, match=r"no neighbours\.safetensors beside"):
        neighbours_of(bundle)


def test_those_of_another_model_are_refused(file: Path, tmp_path: Path) -> None:
    """Similarities between two networks' features say nothing."""
    bundle = with_file(open_bundle(file), tmp_path, file.with_name(NEIGHBOURS).read_bytes())
    for weights in ("4567", None):
        with pytest.raises(BundleError, match=r"neighbours\.safetensors of another model than"):
            neighbours_of(replace(bundle, facts=bundle.facts | {"weights": weights}))


def test_any_change_is_found(file: Path, tmp_path: Path) -> None:
    """The model knows the hash of the file: a pixel of a picture is enough."""
    content = bytearray(file.with_name(NEIGHBOURS).read_bytes())
    content[-1] ^= 1
    (tmp_path / NEIGHBOURS).write_bytes(content)
    bundle = open_bundle(file)
    with pytest.raises(BundleError, match="damaged: it has changed since it was written"):
        neighbours_of(replace(bundle, path=tmp_path / "model.onnx"))
    with pytest.raises(BundleError, match="damaged"):
        neighbours_of(with_file(bundle, tmp_path, bytes(content[:-1])))


GOOD: dict[str, Any] = {
    "features": np.eye(3, 4, dtype=np.float16),
    "labels": np.zeros(3, np.int32),
    "paths": np.frombuffer(b"a\0b\0c", np.uint8),
    "pictures": np.frombuffer(PICTURE * 3, np.uint8),
    "ends": np.arange(1, 4, dtype=np.int64) * len(PICTURE),
}
SAID = json.dumps({"format": 1, "weights": WEIGHTS})


def made(said: str | None = SAID, **changes: Any) -> bytes:
    """A file made by hand: tensors over good ones, None for one that is missing, and what it says of itself."""
    tensors = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return save(tensors, None if said is None else {"convscope": said})


def raw(header: dict[str, Any], content: bytes = b"") -> bytes:
    """A file with any header."""
    text = json.dumps({"__metadata__": {"convscope": SAID}} | header).encode()
    return len(text).to_bytes(8, "little") + text + content


def raw_kinds(kind: str, shape: list[int]) -> bytes:
    """A file whose features are of another kind, or say that they are large."""
    header = {
        name: {"dtype": code, "shape": [0] * rank, "data_offsets": [0, 0]}
        for name, (code, rank) in ours.TENSORS.items()
    }
    return raw(header | {"features": {"dtype": kind, "shape": shape, "data_offsets": [0, 0]}})


def ends_at(*places: int) -> NDArray[np.int64]:
    """Where pictures say that they end."""
    return np.array(places, np.int64)


ALL = 3 * len(PICTURE)
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "text": b"not a model",
    "no description": made(None),
    "no JSON": made("{"),
    "deep JSON": made("[" * 100_000),
    "another format": made(json.dumps({"format": 2, "weights": WEIGHTS})),
    "no object": made("[1]"),
    "a tensor missing": made(labels=None),
    "a tensor more": made(more=np.zeros(1, np.uint8)),
    "float32": made(features=np.eye(3, 4, dtype=np.float32)),
    "bfloat16": raw_kinds("BF16", [0, 0]),
    "float8": raw_kinds("F8_E4M3", [0, 0]),
    "one axis": made(features=np.zeros(12, np.float16)),
    "no images": raw_kinds("F16", [0, 0]),
    "huge and empty": raw_kinds("F16", [0, 2**62]),
    "no width": made(features=np.zeros((3, 0), np.float16)),
    "other counts": made(features=np.eye(2, 4, dtype=np.float16)),
    "fewer labels": made(labels=np.zeros(2, np.int32)),
    "not a number": made(features=np.full((3, 4), np.nan, np.float16)),
    "infinite": made(features=np.full((3, 4), np.inf, np.float16)),
    "between steps": made(features=np.full((3, 4), 0.1, np.float16)),
    "long": made(features=np.full((3, 4), 8, np.float16)),
    "negative class": made(labels=np.array([0, -1, 0], np.int32)),
    "unknown class": made(labels=np.array([0, 3, 0], np.int32)),
    "too few paths": made(paths=np.frombuffer(b"a\0b", np.uint8)),
    "too many paths": made(paths=np.frombuffer(b"a\0b\0c\0", np.uint8)),
    "ends that go back": made(ends=ends_at(20, 10, ALL)),
    "ends before the beginning": made(ends=ends_at(-5, 10, ALL)),
    "ends behind the end": made(ends=ends_at(1, ALL + 1, ALL)),
    "an end too early": made(ends=ends_at(1, 2, 3)),
    "ends that overflow": made(ends=ends_at(2**63 - 1, -(2**63), ALL)),
    "ends that overflow twice": made(ends=ends_at(2**63 - 1, -2, ALL)),
    "an empty picture": made(ends=ends_at(0, 10, ALL)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused(file: Path, tmp_path: Path, name: str) -> None:
    """Whatever it claims, also where the model vouches for it: an error in three parts."""
    bundle = open_bundle(file)
    assert len(neighbours_of(with_file(bundle, tmp_path, made())).paths) == 3
    with pytest.raises(BundleError, match=NEIGHBOURS):
        neighbours_of(with_file(bundle, tmp_path, HOSTILE[name]))


def test_file_over_the_size_is_not_read(file: Path, tmp_path: Path) -> None:
    """However much there is of it."""
    bundle = with_file(open_bundle(file), tmp_path, made())
    with (tmp_path / NEIGHBOURS).open("r+b") as large:
        large.truncate(MOST_BYTES + 1)
    with pytest.raises(BundleError, match="over 32 MB"):
        neighbours_of(bundle)


@pytest.mark.parametrize(
    "make",
    [lambda: b"text", lambda: PICTURE[:100], lambda: bomb(9000, 9000), lambda: encode(Image.new("RGB", (200, 200)))],
    ids=["text", "cut off", "bomb", "large"],
)
def test_hostile_picture_is_refused(file: Path, tmp_path: Path, make: Callable[[], bytes]) -> None:
    """It is looked at before it is shown, and never decoded where it is large; the others can be shown."""
    content = make()
    pictures = np.frombuffer(PICTURE + content + PICTURE, np.uint8)
    ends = np.cumsum([len(PICTURE), len(content), len(PICTURE)], dtype=np.int64)
    some = neighbours_of(with_file(open_bundle(file), tmp_path, made(pictures=pictures, ends=ends)))
    with pytest.raises(BundleError, match="damaged: picture 1: "):
        some.picture(1)
    assert some.picture(0).shape == some.picture(2).shape == (16, 16, 3)


def test_random_damage_never_gets_through_as_something_else(file: Path, tmp_path: Path) -> None:
    """1,000 files with random bytes changed, vouched for: each is refused in three parts, or can be used."""
    bundle, content = open_bundle(file), made()
    for seed in range(1000):
        draws = random.Random(seed)
        changed = bytearray(content)
        for _ in range(draws.randint(1, 4)):
            changed[draws.randrange(len(changed) if seed % 2 else 400)] = draws.randrange(256)
        try:
            some = neighbours_of(with_file(bundle, tmp_path, bytes(changed)))
            (nearest,) = some.nearest(np.ones((1, some.features.shape[1]), np.float32))
            for each in nearest:
                some.picture(each.place)
        except BundleError:
            continue
