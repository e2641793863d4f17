"""training/precision.py: bfloat16 only where it is there and pays; what learned in it is written in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sample_images import write_folder

from convscope.bundle.bundle import open_bundle
from convscope.networks.catalog import build_network, read_weights, set_weights
from convscope.recipe.recipe import Recipe
from convscope.training import precision
from convscope.training.learner import Learner
from convscope.training.precision import Precision, _faster, choose_precision, has_bfloat16, rates

pytestmark = pytest.mark.tensorflow

SMALL = Recipe(network="compact", image_size=32, filters=(8, 8, 16), batch_size=16, epochs=12, precision="bfloat16")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ("flags : fpu avx512f avx512_bf16 gfni\n", True),
        ("flags : fpu amx_bf16\n", True),
        ("flags : fpu avx512f avx512_bf16x\n", False),
        ("", False),
    ],
)
def test_the_processor_is_asked(tmp_path: Path, facts: str, expected: bool) -> None:
    """What Linux says of the processor decides; where it says nothing, there is none."""
    (tmp_path / "cpuinfo").write_text(facts)
    assert has_bfloat16(tmp_path / "cpuinfo") == expected
    assert not has_bfloat16(tmp_path / "missing")


@pytest.mark.parametrize(("bfloat16", "expected"), [(1.0, "float32"), (1.15, "float32"), (2.0, "bfloat16")])
def test_auto_takes_what_was_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch, bfloat16: float, expected: str
) -> None:
    """Faster by a little is not worth the digits; what is asked for is taken unmeasured."""
    speeds = {"float32": 1.0, "bfloat16": bfloat16}
    _faster.cache_clear()
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "rates", lambda *_: speeds)
    assert choose_precision("auto") == expected
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    assert choose_precision("auto") == "float32"
    monkeypatch.setattr(precision, "rates", None)
    assert choose_precision("bfloat16") == "bfloat16"
    assert choose_precision("float32") == "float32"
    _faster.cache_clear()


def test_the_probe_measures_what_there_is() -> None:
    """A convolution forward and back takes some time in each precision that the processor has."""
    asked: tuple[Precision, ...] = ("float32", "bfloat16") if has_bfloat16() else ("float32",)
    measured = rates(*asked, seconds=0.1)
    assert tuple(measured) == asked
    assert all(1 < each < 1e6 for each in measured.values())


@pytest.mark.parametrize("network", ["classic", "compact"])
def test_weights_and_answers_stay_float32(network: str) -> None:
    """In bfloat16 only the activations are: weights are those of float32 to the bit, answers near those."""
    recipe = Recipe(network=network, image_size=32, filters=(8, 8, 16), dense_units=8)
    exact, short = (build_network(recipe, 3, precision=each) for each in ("float32", "bfloat16"))
    assert {weight.value.dtype.name for weight in short.weights} == {"float32"}
    assert str(short.get_layer("block1").output.dtype) == "bfloat16"
    assert str(exact.get_layer("block1").output.dtype) == "float32"
    draw = np.random.default_rng(1)
    drawn = {name: draw.normal(0, 0.2, array.shape).astype("f4") ** 2 for name, array in read_weights(exact).items()}
    for model in (exact, short):
        set_weights(model, drawn)
    images = draw.integers(0, 256, (16, 32, 32, 3), np.uint8)
    one, other = (model(images, training=False).numpy() for model in (exact, short))
    assert one.dtype == other.dtype == np.float32
    assert np.ptp(one, axis=0).max() > 1e-4
    np.testing.assert_allclose(one, other, atol=0.05)
    assert (one != other).any()


@pytest.mark.slow
def test_what_learned_in_bfloat16_is_written_in_float32(tmp_path: Path) -> None:
    """It learns; the bundle's graph is float32 and answers as the same weights do in float32."""
    learner = Learner(write_folder(tmp_path / "photos", per_class=60), SMALL)
    learner.fit(epochs=12)
    assert learner.evaluate("train")["accuracy"] > 0.5  # of three classes
    bundle = open_bundle(learner.save(tmp_path / "model"))
    twin = build_network(SMALL, 3)
    set_weights(twin, read_weights(learner.model))
    images = learner.dataset.images[:40]
    np.testing.assert_allclose(bundle.predict(images), twin(images, training=False).numpy(), atol=1e-5)
    np.testing.assert_allclose(bundle.predict(images), learner.predict(images), atol=0.1)
