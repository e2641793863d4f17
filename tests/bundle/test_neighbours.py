"""bundle/neighbour*.py: the training images most similar to an image, from a file in which every value is checked."""

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

from convscope.bundle import neighbour_selection
from convscope.bundle.bundle import NEIGHBOURS_FILE, Bundle, open_bundle
from convscope.bundle.neighbour_file import MAX_BYTES, MAX_IMAGES, STEPS, TENSORS, encode_neighbours
from convscope.bundle.neighbour_selection import HEADER_BYTES, balanced_order, build_neighbour_index, encode_picture
from convscope.bundle.neighbours import DEFAULT_NEIGHBOURS, NeighbourIndex, has_neighbours, open_neighbours
from convscope.datasets.dataset import Dataset, open_dataset
from convscope.errors import BundleError, RecipeError
from convscope.images.decoder_pool import InputSpec
from convscope.images.image_reader import read_image
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve

CLASSES = ("ring", "disc", "bar")  # as little in alphabetical order as a model's classes need to be
WEIGHTS = "0123"
PICTURE = encode(draw("disc", 8, 0), "JPEG")


@pytest.fixture(scope="module")
def model() -> TinyModel:
    """A model whose features are the pixels."""
    return random_model(CLASSES, InputSpec(16), seed=3)


@pytest.fixture(scope="module")
def file(model: TinyModel, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a bundle, with its neighbour index. Only to be read."""
    return model.write_with_neighbours(tmp_path_factory.mktemp("model"), photos)


@pytest.fixture(scope="module")
def index(file: Path) -> NeighbourIndex:
    """Its neighbour index."""
    return open_neighbours(open_bundle(file))


@pytest.fixture(scope="module")
def dataset(photos: Path) -> Dataset:
    """The photos as training images of that model."""
    return open_dataset(photos, resolve(Recipe(network="classic", image_size=16, validation=0.1)))


def in_steps(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Vectors as the file contains them."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (np.rint(vectors / lengths * STEPS) / STEPS).astype(np.float32)


def with_file(bundle: Bundle, folder: Path, content: bytes) -> Bundle:
    """The model in another folder, with this file beside it, whose hash its description has."""
    (folder / NEIGHBOURS_FILE).write_bytes(content)
    facts = {"weights": WEIGHTS, "neighbours": {"sha256": hashlib.sha256(content).hexdigest()}}
    return replace(bundle, path=folder / "model.onnx", facts=bundle.facts | facts)


def neighbour_content(
    vectors: NDArray[np.floating], labels: list[int] | None = None, paths: list[bytes] | None = None
) -> bytes:
    """A file of training images with these features."""
    count = len(vectors)
    return encode_neighbours(
        in_steps(vectors),
        np.array(labels or [0] * count, np.int32),
        paths=paths or [b"%d.png" % number for number in range(count)],
        pictures=[PICTURE] * count,
        weights=WEIGHTS,
    )


@pytest.mark.slow
def test_nearest_are_those_with_the_largest_cosine(model: TinyModel, index: NeighbourIndex, photos: Path) -> None:
    """In order, with class and path, as computed from the photos themselves; their own training image comes first."""
    images = {path: read_image(photos / path, size=16) for path in index.paths}
    features = model.compute_features(np.stack([*images.values()])).astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosines = features @ features.T
    for query, neighbours in enumerate(index.nearest(model.compute_features(np.stack([*images.values()])), 4)):
        assert [neighbour.row for neighbour in neighbours] == np.argsort(-cosines[query])[:4].tolist()
        assert (neighbours[0].row, neighbours[0].similarity) == (query, 1.0)
        for neighbour in neighbours:
            assert neighbour.similarity == pytest.approx(cosines[query, neighbour.row], abs=5e-4)
            assert neighbour.path == index.paths[neighbour.row]
            assert neighbour.label == Path(neighbour.path).parent.name


@pytest.mark.slow
def test_only_training_images_are_in_the_index(index: NeighbourIndex, dataset: Dataset) -> None:
    """All of them where they fit, in the order of the data set, and none of validation."""
    assert list(index.paths) == [dataset.samples[row].path for row in dataset.rows("train")]
    assert 40 < len(index.paths) < 60


def test_similarity_does_not_depend_on_the_order_of_adding(tmp_path: Path, file: Path) -> None:
    """To the bit: in a batch of 1 or 40, and with the features in another order, as another machine would add them."""
    # integers: the lengths, which are not tested here, are the same in any order
    vectors = np.random.default_rng(0).integers(-50, 51, (300, 1280)).astype(np.float64)
    queries = np.random.default_rng(1).integers(-50, 51, (40, 1280)).astype(np.float32)
    order = np.random.default_rng(2).permutation(1280)
    bundle = open_bundle(file)
    index = open_neighbours(with_file(bundle, tmp_path, neighbour_content(vectors)))
    expected = index.nearest(queries, 20)
    assert [index.nearest(row[np.newaxis], 20)[0] for row in queries] == expected
    reordered = open_neighbours(with_file(bundle, tmp_path, neighbour_content(vectors[:, order])))
    assert reordered.nearest(queries[:, order], 20) == expected


def test_of_equally_similar_ones_the_first_comes_first(tmp_path: Path, file: Path) -> None:
    """Also where a tie crosses the end of the list."""
    vectors = np.array([[0, 1.0], [1, 0], [1, 0], [1, 0], [1, 1]])
    index = open_neighbours(with_file(open_bundle(file), tmp_path, neighbour_content(vectors)))
    (nearest,) = index.nearest(np.array([[5, 0]], np.float32), 2)
    assert [(neighbour.row, neighbour.similarity) for neighbour in nearest] == [(1, 1.0), (2, 1.0)]
    (nearest,) = index.nearest(np.array([[5, 0]], np.float32), 9)
    assert [neighbour.row for neighbour in nearest] == [1, 2, 3, 4, 0]


@pytest.mark.parametrize("size", [0.0, 1e-30, 3e38])
def test_any_features_have_neighbours(index: NeighbourIndex, size: float) -> None:
    """Features of zeros have similarity 0; lengths whose square overflows in float32 do not matter."""
    (nearest,) = index.nearest(np.full((1, index.features.shape[1]), size, np.float32))
    assert len(nearest) == DEFAULT_NEIGHBOURS
    assert all((neighbour.similarity == 0) if size == 0 else (0.1 < neighbour.similarity <= 1) for neighbour in nearest)


def test_more_than_there_are_is_refused(index: NeighbourIndex) -> None:
    """The error names how many there are."""
    index.check_count(len(index.paths))
    with pytest.raises(RecipeError, match=f"`neighbours=99` of a model with {len(index.paths)} training images"):
        index.check_count(99)


def test_pictures_are_the_images(index: NeighbourIndex, dataset: Dataset) -> None:
    """Each row has the picture of its own image, up to JPEG's loss."""
    images = dataset.images[dataset.rows("train")].astype(np.float64)
    for row in range(len(images)):
        picture = index.picture(row)
        assert picture.shape == (16, 16, 3)
        differences = np.sqrt(((picture - images) ** 2).mean(axis=(1, 2, 3)))
        assert differences.argmin() == row
        assert differences[row] < 40


@pytest.mark.slow
@pytest.mark.parametrize(("size", "channels", "side"), [(96, 3, 64), (20, 1, 20)])
def test_pictures_are_small(tmp_path: Path, photos: Path, size: int, channels: int, side: int) -> None:
    """At most 64 pixels a side and a few kB; grey where the model's images are."""
    model = random_model(CLASSES, InputSpec(size, "stretch", channels))
    dataset = open_dataset(photos, resolve(Recipe(network="classic", image_size=size, channels=channels)))
    content, facts = build_neighbour_index(model.compute_features, dataset, weights=WEIGHTS, seed=0)
    index = open_neighbours(with_file(open_bundle(model.write(tmp_path / "model.onnx")), tmp_path, content))
    assert index.picture(0).shape == (side, side, channels)
    assert len(index.pictures) < 4000 * facts["images"]


def test_every_prefix_is_class_balanced() -> None:
    """Each prefix of the order has as many images of each class, as long as a class has any left."""
    labels = np.array([0] * 50 + [1] * 5 + [2] * 20, np.int32)
    rows = np.arange(75) * 3
    drawn = balanced_order(rows, labels, seed=4)
    assert sorted(drawn) == rows.tolist()
    for count, expected in ((3, [1, 1, 1]), (15, [5, 5, 5]), (25, [10, 5, 10]), (75, [50, 5, 20])):
        assert np.bincount(labels[drawn[:count] // 3]).tolist() == expected
    assert (
        drawn.tolist() == balanced_order(rows, labels, seed=4).tolist() != balanced_order(rows, labels, seed=5).tolist()
    )
    assert np.sort(drawn[:15]).tolist() != drawn[:15].tolist()


class CountingModel:
    """A model that counts its images."""

    def __init__(self, model: TinyModel) -> None:
        self.model, self.count = model, 0

    def compute_features(self, images: Pixels) -> NDArray[np.float32]:
        """(n, size, size, channels) uint8 -> (n, width) float32."""
        self.count += len(images)
        return self.model.compute_features(images)


def test_number_of_images_is_bounded(
    model: TinyModel, dataset: Dataset, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more are selected, nor computed; as many of each class; the same for one seed, others for another."""
    monkeypatch.setattr(neighbour_selection, "MAX_IMAGES", 12)
    counting = CountingModel(model)
    content, facts = build_neighbour_index(counting.compute_features, dataset, weights=WEIGHTS, seed=0)
    assert counting.count == 12
    num_train = len(dataset.rows("train"))
    assert facts == {"images": 12, "of": num_train, "sha256": hashlib.sha256(content).hexdigest()}
    index = open_neighbours(with_file(open_bundle(file), tmp_path, content))
    assert [sum(Path(path).parent.name == name for path in index.paths) for name in CLASSES] == [4, 4, 4]
    assert list(index.paths) == sorted(index.paths)
    assert build_neighbour_index(model.compute_features, dataset, weights=WEIGHTS, seed=0)[0] == content
    assert build_neighbour_index(model.compute_features, dataset, weights=WEIGHTS, seed=1)[0] != content


@pytest.mark.parametrize("max_bytes", [20_000, 31_234])
def test_size_of_the_file_is_bounded(
    model: TinyModel, dataset: Dataset, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_bytes: int
) -> None:
    """It contains as many images as fit, class-balanced, each with its own features, label and path."""
    monkeypatch.setattr(neighbour_selection, "MAX_BYTES", max_bytes)
    monkeypatch.setattr(neighbour_selection, "BATCH_SIZE", 4)
    counting = CountingModel(model)
    content, facts = build_neighbour_index(counting.compute_features, dataset, weights=WEIGHTS, seed=0)
    assert max_bytes - HEADER_BYTES - 3000 < len(content) <= max_bytes
    assert facts["images"] <= counting.count < facts["images"] + 8
    index = open_neighbours(with_file(open_bundle(file), tmp_path, content))
    counts = [sum(Path(path).parent.name == name for path in index.paths) for name in CLASSES]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == facts["images"] < facts["of"]
    images = np.stack([read_image(dataset.root / path, size=16) for path in index.paths])
    assert [nearest[0].path for nearest in index.nearest(model.compute_features(images), 1)] == list(index.paths)


def test_stated_size_is_enough_for_every_number_of_images() -> None:
    """4,000 images of the widest network fit into 32 MB, even if they are noise."""
    noise = encode_picture(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8))
    assert MAX_IMAGES * (2 * 1280 + len(noise) + 200) < MAX_BYTES


def test_names_are_only_text(tmp_path: Path, file: Path) -> None:
    """A path comes back byte for byte, whatever it is, and nothing is opened by it."""
    names = [*(name.encode("utf-8", "surrogateescape") for name in STRANGE_NAMES), b"/etc/passwd", b"../../x", b""]
    vectors = np.random.default_rng(0).normal(size=(len(names), 4))
    index = open_neighbours(with_file(open_bundle(file), tmp_path, neighbour_content(vectors, paths=names)))
    assert [path.encode("utf-8", "surrogateescape") for path in index.paths] == names


def test_features_that_are_not_finite_are_an_error(dataset: Dataset) -> None:
    """A network that diverged gets no neighbour index."""
    with pytest.raises(BundleError, match="not finite"):
        build_neighbour_index(lambda images: np.full((len(images), 4), np.nan, np.float32), dataset, weights="", seed=0)


def test_features_of_another_network_are_refused(index: NeighbourIndex) -> None:
    """They have another width."""
    with pytest.raises(BundleError, match="of another model"):
        index.nearest(np.zeros((1, 5), np.float32))


def test_model_without_the_index_predicts(model: TinyModel, tmp_path: Path) -> None:
    """Without the file the model works; to open the index is an error."""
    bundle = open_bundle(model.write(tmp_path / "model.onnx"))
    assert not has_neighbours(bundle)
    assert bundle.predict(np.zeros((1, 16, 16, 3), np.uint8)).shape == (1, 3)
    with pytest.raises(BundleError, match=r"no neighbours\.safetensors beside"):
        open_neighbours(bundle)


def test_index_of_another_model_is_refused(file: Path, tmp_path: Path) -> None:
    """Similarities between two networks' features mean nothing."""
    bundle = with_file(open_bundle(file), tmp_path, file.with_name(NEIGHBOURS_FILE).read_bytes())
    for weights in ("4567", None):
        with pytest.raises(BundleError, match=r"neighbours\.safetensors of another model than"):
            open_neighbours(replace(bundle, facts=bundle.facts | {"weights": weights}))


def test_any_change_is_detected(file: Path, tmp_path: Path) -> None:
    """The description has the hash of the file: a pixel of a picture is enough."""
    content = bytearray(file.with_name(NEIGHBOURS_FILE).read_bytes())
    content[-1] ^= 1
    (tmp_path / NEIGHBOURS_FILE).write_bytes(content)
    bundle = open_bundle(file)
    with pytest.raises(BundleError, match="damaged: it has changed since it was written"):
        open_neighbours(replace(bundle, path=tmp_path / "model.onnx"))
    with pytest.raises(BundleError, match="damaged"):
        open_neighbours(with_file(bundle, tmp_path, bytes(content[:-1])))


GOOD: dict[str, Any] = {
    "features": np.eye(3, 4, dtype=np.float16),
    "labels": np.zeros(3, np.int32),
    "paths": np.frombuffer(b"a\0b\0c", np.uint8),
    "pictures": np.frombuffer(PICTURE * 3, np.uint8),
    "ends": np.arange(1, 4, dtype=np.int64) * len(PICTURE),
}
DESCRIPTION = json.dumps({"format": 1, "weights": WEIGHTS})


def made(description: str | None = DESCRIPTION, **changes: Any) -> bytes:
    """A file of valid tensors with changes, None for a tensor that is missing, and with this description."""
    tensors = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return save(tensors, None if description is None else {"convscope": description})


def raw(header: dict[str, Any], content: bytes = b"") -> bytes:
    """A file with any header."""
    text = json.dumps({"__metadata__": {"convscope": DESCRIPTION}} | header).encode()
    return len(text).to_bytes(8, "little") + text + content


def with_features(dtype: str, shape: list[int]) -> bytes:
    """A file without data whose header claims features of this type and shape."""
    header = {
        name: {"dtype": code, "shape": [0] * rank, "data_offsets": [0, 0]} for name, (code, rank) in TENSORS.items()
    }
    return raw(header | {"features": {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}})


def ends_at(*ends: int) -> NDArray[np.int64]:
    """The ends of pictures."""
    return np.array(ends, np.int64)


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
    "bfloat16": with_features("BF16", [0, 0]),
    "float8": with_features("F8_E4M3", [0, 0]),
    "one axis": made(features=np.zeros(12, np.float16)),
    "no images": with_features("F16", [0, 0]),
    "huge and empty": with_features("F16", [0, 2**62]),
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
    """Even if the description of the model has its hash: an error in three parts."""
    bundle = open_bundle(file)
    assert len(open_neighbours(with_file(bundle, tmp_path, made())).paths) == 3
    with pytest.raises(BundleError, match=NEIGHBOURS_FILE):
        open_neighbours(with_file(bundle, tmp_path, HOSTILE[name]))


def test_file_over_the_size_is_not_read(file: Path, tmp_path: Path) -> None:
    """Its size is checked first."""
    bundle = with_file(open_bundle(file), tmp_path, made())
    with (tmp_path / NEIGHBOURS_FILE).open("r+b") as large:
        large.truncate(MAX_BYTES + 1)
    with pytest.raises(BundleError, match="over 32 MB"):
        open_neighbours(bundle)


@pytest.mark.parametrize(
    "make",
    [lambda: b"text", lambda: PICTURE[:100], lambda: bomb(9000, 9000), lambda: encode(Image.new("RGB", (200, 200)))],
    ids=["text", "cut off", "bomb", "large"],
)
def test_hostile_picture_is_refused(file: Path, tmp_path: Path, make: Callable[[], bytes]) -> None:
    """Its header is checked first, so a large one is never decoded; the other pictures can be read."""
    content = make()
    pictures = np.frombuffer(PICTURE + content + PICTURE, np.uint8)
    ends = np.cumsum([len(PICTURE), len(content), len(PICTURE)], dtype=np.int64)
    index = open_neighbours(with_file(open_bundle(file), tmp_path, made(pictures=pictures, ends=ends)))
    with pytest.raises(BundleError, match="damaged: picture 1: "):
        index.picture(1)
    assert index.picture(0).shape == index.picture(2).shape == (16, 16, 3)


@pytest.mark.slow
def test_random_damage_is_refused_or_harmless(file: Path, tmp_path: Path) -> None:
    """1,000 files with random changes and matching hashes: each is refused in three parts, or can be used."""
    bundle, content = open_bundle(file), made()
    for seed in range(1000):
        draws = random.Random(seed)
        changed = bytearray(content)
        for _ in range(draws.randint(1, 4)):
            changed[draws.randrange(len(changed) if seed % 2 else 400)] = draws.randrange(256)
        try:
            index = open_neighbours(with_file(bundle, tmp_path, bytes(changed)))
            (nearest,) = index.nearest(np.ones((1, index.features.shape[1]), np.float32))
            for neighbour in nearest:
                index.picture(neighbour.row)
        except BundleError:
            continue
