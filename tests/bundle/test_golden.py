"""bundle/golden.py: drawn images with different probabilities, which read back exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_model import random_model

from convscope.bundle.bundle import GOLDEN_KEY, open_bundle
from convscope.bundle.golden import NUM_IMAGES, GoldenImages, draw_golden
from convscope.errors import BundleError
from convscope.images.decoder_pool import InputSpec

CLASSES = ("a", "b", "c")


@pytest.mark.parametrize("square", [InputSpec(8), InputSpec(33, "pad", 1)])
def test_golden_reads_back_exactly(square: InputSpec) -> None:
    """Every pixel and every bit of the probabilities, through text; 8 to 16 images of the model's own square."""
    golden = draw_golden(random_model(CLASSES, square).predict, square, seed=3)
    back = GoldenImages.from_text(golden.to_text(), square, 3)
    assert 8 <= len(golden.images) == NUM_IMAGES <= 16
    assert golden.images.shape[1:] == square.shape
    np.testing.assert_array_equal(back.images, golden.images)
    np.testing.assert_array_equal(back.probabilities, golden.probabilities.astype(np.float32))


def test_probabilities_are_spread() -> None:
    """Those of the selected images differ more than those of as many drawings without a selection."""
    square, model = InputSpec(16), random_model(CLASSES, InputSpec(16), seed=2)
    candidates: list[np.ndarray] = []

    def predict(images: np.ndarray) -> np.ndarray:
        candidates.append(images)
        return model.predict(images).astype(np.float32)

    golden = draw_golden(predict, square, seed=0)
    unselected = np.log(model.predict(candidates[0])[:NUM_IMAGES] + 1e-6)
    assert len(candidates[0]) > 4 * NUM_IMAGES
    assert len(np.unique(golden.probabilities, axis=0)) == NUM_IMAGES
    assert np.log(golden.probabilities + 1e-6).std(axis=0).mean() > 1.2 * unselected.std(axis=0).mean()


def test_drawing_follows_from_the_seed() -> None:
    """The same seed gives the same images, another one others."""
    model = random_model(CLASSES)
    first, again, other = (draw_golden(model.predict, InputSpec(8), seed=seed).images for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"images": []}',
        '{"images": ["!"], "probabilities": [[1, 0, 0]]}',
        '{"images": 3}',
    ],
)
def test_damage_is_an_error(text: str, tmp_path: Path) -> None:
    """Golden images that cannot be read are an error in three parts that names the file, not a traceback."""
    with pytest.raises(ValueError, match=r".+"):
        GoldenImages.from_text(text, InputSpec(8), 3)
    file = write(tmp_path, text)
    with pytest.raises(BundleError, match="golden images are damaged") as caught:
        _ = open_bundle(file).golden
    assert str(file) in caught.value.found


def test_probabilities_of_another_model_are_an_error() -> None:
    """As many rows as images, as many columns as classes, all of them numbers."""
    golden = draw_golden(random_model(CLASSES).predict, InputSpec(8), seed=0)
    for wrong in (golden.probabilities[1:], golden.probabilities[:, :2], golden.probabilities * np.nan):
        text = json.dumps(json.loads(golden.to_text()) | {"probabilities": wrong.tolist()})
        with pytest.raises(ValueError, match="do not match"):
            GoldenImages.from_text(text, InputSpec(8), 3)


def write(folder: Path, text: str) -> Path:
    """A model with `text` in place of its golden images."""
    import onnx

    file = random_model(CLASSES).write(folder / "model.onnx")
    proto = onnx.load_model(file)
    entry = proto.metadata_props.add()
    entry.key, entry.value = GOLDEN_KEY, text
    onnx.save_model(proto, file)
    return file
