"""prediction/inference.py: answers in order, whose bits depend on the image and its place in the list alone."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sample_images import refused_files
from tiny_model import SMALL, TinyModel, random_model

from convscope.bundle.bundle import Bundle, open_bundle
from convscope.errors import BundleError
from convscope.images.reading import read_image
from convscope.prediction.inference import BATCH_IMAGES, Answer, answer_batches, answer_files, open_for_answering

CLASSES = ("one", "two", "three")


@pytest.fixture(scope="module")
def model() -> TinyModel:
    """A model that answers something else for every image."""
    return random_model(CLASSES, seed=5)


@pytest.fixture(scope="module")
def bundle(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same model, opened."""
    return open_for_answering(model.write(tmp_path_factory.mktemp("model") / "model.onnx"))


@pytest.fixture
def paths(photos: Path, tmp_path: Path) -> list[str]:
    """Four batches of files and some more, unreadable ones among them."""
    for name, (content, _) in refused_files().items():
        (tmp_path / name).write_bytes(content)
    bad = [str(tmp_path / name) for name in refused_files()]
    good = sorted(map(str, photos.rglob("*.png")))
    return [*good[:40], *bad, *good, *bad, *good[10:40]]


def same_bits(some: Sequence[Answer], others: Sequence[Answer]) -> bool:
    """Whether two lists of answers are equal to the last bit."""
    return [_exact(each) for each in some] == [_exact(each) for each in others]


def _exact(answer: Answer) -> tuple[str, str, bytes]:
    return answer.path, answer.reason, b"" if answer.probabilities is None else answer.probabilities.tobytes()


def test_answers_are_those_of_each_file(model: TinyModel, bundle: Bundle, paths: list[str]) -> None:
    """In order, each with its own path: what the model says of that file, or the reason why it says nothing."""
    answers = list(answer_files(bundle, paths))
    assert [answer.path for answer in answers] == paths
    for answer in answers:
        if answer.probabilities is None:
            assert answer.reason == refused_files()[os.path.basename(answer.path)][1]
        else:
            pixels = read_image(Path(answer.path), size=SMALL.size)
            np.testing.assert_allclose(answer.probabilities, model.answer(pixels[np.newaxis])[0], atol=1e-5)
            assert answer.reason == ""


def test_mirrored_answers_are_the_mean_over_an_image_and_its_mirror_image(
    model: TinyModel, bundle: Bundle, paths: list[str]
) -> None:
    """What the model says of both, averaged; what cannot be read stays so."""
    plain, mirrored = (list(answer_files(bundle, paths, mirror=mirror)) for mirror in (False, True))
    assert [(answer.path, answer.reason) for answer in plain] == [(answer.path, answer.reason) for answer in mirrored]
    differing = 0
    for before, after in zip(plain, mirrored, strict=True):
        assert (before.probabilities is None) == (after.probabilities is None)
        if before.probabilities is None or after.probabilities is None:
            continue
        pixels = read_image(Path(before.path), size=SMALL.size)
        both = model.answer(np.stack([pixels, pixels[:, ::-1]]))
        np.testing.assert_allclose(after.probabilities, both.mean(axis=0), atol=1e-5)
        assert after.probabilities.dtype == np.float32
        differing += not np.allclose(before.probabilities, after.probabilities, atol=1e-4)
    assert differing > 30


@pytest.fixture(scope="module")
def touchy(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model whose answers tell an image's place in its batch and the size of the batch.

    The arithmetic of a real one may depend on both, in the last bits and on some processors; of this one it does.
    """
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["image"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["number"], ["features"]),
        helper.make_node("Shape", ["features"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["size"]),
        helper.make_node("Range", ["zero", "size", "one"], ["places"]),
        helper.make_node("Cast", ["places"], ["place"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["size"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["place", "count"], ["both"]),
        helper.make_node("Unsqueeze", ["both", "axis"], ["column"]),
        helper.make_node("Concat", ["column", "column"], ["probabilities"], axis=1),
    ]
    numbers = [helper.make_tensor(name, TensorProto.INT64, [], [value]) for name, value in (("zero", 0), ("one", 1))]
    graph = helper.make_graph(
        nodes,
        "touchy",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *SMALL.shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])],
        [*numbers, helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    facts = {"format": 1, "classes": ["a", "b"], "image_size": SMALL.size, "channels": SMALL.channels, "fit": SMALL.fit}
    helper.set_model_props(proto, {"convscope": json.dumps(facts)})
    path = tmp_path_factory.mktemp("touchy") / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return open_for_answering(path)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("cuts", [(0, 32, 146), (0, 1, 2, 50, 96, 145, 146), (0, 73, 146)])
def test_stretches_have_the_bits_of_the_whole(
    touchy: Bundle, paths: list[str], cuts: tuple[int, ...], mirror: bool
) -> None:
    """Wherever a list is cut, each stretch gives to the last bit what the whole list gives; mirrored too."""
    assert len(paths) == cuts[-1]
    whole = list(answer_files(touchy, paths, mirror=mirror))
    pieces: list[Answer] = []
    for first, last in itertools.pairwise(cuts):
        for batch in answer_batches(touchy, iter(paths[first:last]), first=first, total=len(paths), mirror=mirror):
            pieces += batch
    assert same_bits(pieces, whole)


def test_batches_lie_on_one_grid(bundle: Bundle, paths: list[str]) -> None:
    """A stretch begins in the middle of a batch, and goes on with whole ones."""
    batches = list(answer_batches(bundle, iter(paths[20:]), first=20, total=len(paths)))
    sizes = [len(batch) for batch in batches]
    assert sizes == [BATCH_IMAGES - 20, *[BATCH_IMAGES] * 3, len(paths) - 4 * BATCH_IMAGES]


def test_unreadable_neighbours_change_no_bit(touchy: Bundle, paths: list[str]) -> None:
    """When other files of its batch are lost, an image's answer stays as it was."""
    before = list(answer_files(touchy, paths[:32]))
    missing = [path if number % 3 else f"{path}.gone" for number, path in enumerate(paths[:32])]
    after = list(answer_files(touchy, missing))
    kept = [number for number in range(32) if number % 3]
    assert same_bits([after[number] for number in kept], [before[number] for number in kept])


def test_nothing_gives_nothing(bundle: Bundle) -> None:
    """No file, no answer."""
    assert list(answer_files(bundle, [])) == []


def test_answers_come_before_the_last_file_is_read(bundle: Bundle, photos: Path) -> None:
    """Answers flow: the first is there while most files still wait, so memory does not grow with their number."""
    paths = [str(photos / "disc" / "000.png")] * 100_000
    answers = answer_files(bundle, paths)
    started = time.monotonic()
    assert next(iter(answers)).path == paths[0]
    answers.close()
    assert time.monotonic() - started < 10.0  # all of them take a minute


def test_nothing_runs_on_when_answers_are_given_up(bundle: Bundle, photos: Path) -> None:
    """Whoever stops in the middle leaves no thread behind."""
    before = threading.active_count()
    batches = answer_batches(bundle, iter([str(photos / "disc" / "000.png")] * 10_000), first=0, total=10_000)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_model_that_is_none_is_told(tmp_path: Path) -> None:
    """As wherever a model is opened."""
    with pytest.raises(BundleError, match="no model in"):
        open_for_answering(tmp_path)


def test_threads_change_no_bit(model: TinyModel, bundle: Bundle, paths: list[str], tmp_path: Path) -> None:
    """A machine with more cores gives the same answers."""
    other = open_bundle(model.write(tmp_path / "model.onnx"), threads=4)
    assert same_bits(list(answer_files(other, paths)), list(answer_files(bundle, paths)))
