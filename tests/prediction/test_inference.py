"""prediction/inference.py: predictions in order, whose bits depend only on the image and its position in the list."""

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
from prediction_tables import SQUARE, expected_probabilities
from sample_images import refused_files
from tiny_model import TinyModel

from convscope.bundle.bundle import Bundle, open_bundle
from convscope.errors import BundleError
from convscope.images.image_reader import read_image
from convscope.prediction.inference import BATCH_IMAGES, Prediction, Predictor, open_for_inference, predict_files


@pytest.fixture(scope="module")
def bundle(model_file: Path) -> Bundle:
    """The model, opened."""
    return open_for_inference(model_file)


@pytest.fixture
def paths(photos: Path, unreadable: Path) -> list[str]:
    """146 files, which are four batches and 18 more; 16 of them are unreadable."""
    bad = [str(unreadable / name) for name in refused_files()]
    good = sorted(map(str, photos.rglob("*.png")))
    return [*good[:40], *bad, *good, *bad, *good[10:40]]


def have_same_bits(left: Sequence[Prediction], right: Sequence[Prediction]) -> bool:
    """Whether two lists of predictions are equal to the last bit."""
    return [*map(_bits, left)] == [*map(_bits, right)]


def _bits(prediction: Prediction) -> tuple[str, str, bytes]:
    probabilities = b"" if prediction.probabilities is None else prediction.probabilities.tobytes()
    return prediction.path, prediction.reason, probabilities


@pytest.mark.slow
def test_each_file_has_its_own_prediction(model: TinyModel, bundle: Bundle, paths: list[str]) -> None:
    """In order, each with its own path: the probabilities, or the reason why there are none."""
    predictions = list(predict_files(bundle, paths))
    assert [prediction.path for prediction in predictions] == paths
    for prediction in predictions:
        if prediction.probabilities is None:
            assert prediction.reason == refused_files()[os.path.basename(prediction.path)][1]
        else:
            expected = expected_probabilities(model, prediction.path)
            np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)
            assert prediction.reason == ""


@pytest.mark.slow
def test_mirror_averages_an_image_and_its_horizontal_flip(model: TinyModel, bundle: Bundle, paths: list[str]) -> None:
    """The mean of both probabilities, float32; an unreadable file stays unreadable."""
    plain, averaged = (list(predict_files(bundle, paths, mirror=mirror)) for mirror in (False, True))
    assert [(item.path, item.reason) for item in plain] == [(item.path, item.reason) for item in averaged]
    num_different = 0
    for before, after in zip(plain, averaged, strict=True):
        assert (before.probabilities is None) == (after.probabilities is None)
        if before.probabilities is None or after.probabilities is None:
            continue
        image = read_image(Path(before.path), size=SQUARE.size, fit=SQUARE.fit)
        both = model.predict(np.stack([image, image[:, ::-1]]))
        np.testing.assert_allclose(after.probabilities, both.mean(axis=0), atol=1e-5)
        assert after.probabilities.dtype == np.float32
        num_different += not np.allclose(before.probabilities, after.probabilities, atol=1e-4)
    assert num_different > 30


@pytest.fixture(scope="module")
def batch_dependent(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model whose predictions are an image's position in its batch, divided by the size of the batch.

    Those of a real model may depend on both, in the last bits and on some processors.
    """
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["image"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["number"], ["features"]),
        helper.make_node("Shape", ["features"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["size"]),
        helper.make_node("Range", ["zero", "size", "one"], ["positions"]),
        helper.make_node("Cast", ["positions"], ["position"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["size"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["position", "count"], ["quotient"]),
        helper.make_node("Unsqueeze", ["quotient", "axis"], ["column"]),
        helper.make_node("Concat", ["column", "column"], ["probabilities"], axis=1),
    ]
    numbers = [helper.make_tensor(name, TensorProto.INT64, [], [value]) for name, value in (("zero", 0), ("one", 1))]
    graph = helper.make_graph(
        nodes,
        "batch_dependent",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *SQUARE.shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])],
        [*numbers, helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    facts = {
        "format": 1,
        "classes": ["a", "b"],
        "image_size": SQUARE.size,
        "channels": SQUARE.channels,
        "fit": SQUARE.fit,
    }
    helper.set_model_props(proto, {"convscope": json.dumps(facts)})
    path = tmp_path_factory.mktemp("batch_dependent") / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return open_for_inference(path)


@pytest.mark.slow
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("cuts", [(0, 32, 146), (0, 1, 2, 50, 96, 145, 146), (0, 73, 146)])
def test_ranges_have_the_bits_of_the_complete_list(
    batch_dependent: Bundle, paths: list[str], cuts: tuple[int, ...], mirror: bool
) -> None:
    """Wherever a list is cut, the predictions for its ranges are to the last bit those for the complete list."""
    assert len(paths) == cuts[-1]
    complete = list(predict_files(batch_dependent, paths, mirror=mirror))
    predictor = Predictor(bundle=batch_dependent, mirror=mirror)
    joined: list[Prediction] = []
    for first, last in itertools.pairwise(cuts):
        for batch in predictor.predict_batches(iter(paths[first:last]), first=first, total=len(paths)):
            joined += batch
    assert have_same_bits(joined, complete)


@pytest.mark.slow
def test_batches_are_fixed_ranges_of_the_list(bundle: Bundle, paths: list[str]) -> None:
    """A range that begins in the middle of a batch first yields the rest of that batch."""
    predictor = Predictor(bundle=bundle)
    batches = list(predictor.predict_batches(iter(paths[20:]), first=20, total=len(paths)))
    sizes = [len(batch) for batch in batches]
    assert sizes == [BATCH_IMAGES - 20, *[BATCH_IMAGES] * 3, len(paths) - 4 * BATCH_IMAGES]


def test_unreadable_files_change_no_other_bit(batch_dependent: Bundle, paths: list[str]) -> None:
    """When other files of its batch are missing, an image's prediction stays the same."""
    before = list(predict_files(batch_dependent, paths[:32]))
    missing = [path if number % 3 else f"{path}.gone" for number, path in enumerate(paths[:32])]
    after = list(predict_files(batch_dependent, missing))
    kept = [number for number in range(32) if number % 3]
    assert have_same_bits([after[number] for number in kept], [before[number] for number in kept])


def test_no_files_have_no_predictions(bundle: Bundle) -> None:
    """An empty list is no error."""
    assert list(predict_files(bundle, [])) == []


@pytest.mark.slow
def test_first_prediction_comes_before_the_last_file_is_read(bundle: Bundle, photos: Path) -> None:
    """Predictions are streamed, so memory does not grow with the number of files."""
    paths = [str(photos / "disc" / "000.png")] * 100_000
    predictions = predict_files(bundle, paths)
    started = time.monotonic()
    assert next(iter(predictions)).path == paths[0]
    predictions.close()
    assert time.monotonic() - started < 10.0  # all files take a minute


@pytest.mark.slow
def test_closing_the_generator_ends_every_thread(bundle: Bundle, photos: Path) -> None:
    """A caller that stops in the middle leaves no thread running."""
    before = threading.active_count()
    paths = iter([str(photos / "disc" / "000.png")] * 10_000)
    batches = Predictor(bundle=bundle).predict_batches(paths, first=0, total=10_000)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_missing_model_is_an_error(tmp_path: Path) -> None:
    """The same error as everywhere a model is opened."""
    with pytest.raises(BundleError, match="no model in"):
        open_for_inference(tmp_path)


@pytest.mark.slow
def test_number_of_threads_changes_no_bit(model_file: Path, bundle: Bundle, paths: list[str]) -> None:
    """A machine with more cores gives the same predictions."""
    other = open_bundle(model_file, threads=4)
    assert have_same_bits(list(predict_files(other, paths)), list(predict_files(bundle, paths)))
