"""training/precision.py: bfloat16 only where the processor has it and is faster; bundles are float32 all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from learners import make_learner

from convscope.bundle.bundle import open_bundle
from convscope.datasets.dataset import open_dataset
from convscope.networks.catalog import build_network, read_weights, set_weights
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.recipe.validation import Precision
from convscope.training import precision
from convscope.training.bundle_export import save_bundle
from convscope.training.precision import choose_precision, has_bfloat16, measure_operations, measure_rates

pytestmark = pytest.mark.tensorflow

SMALL = resolve(
    Recipe(network="compact", image_size=32, filters=(8, 8, 16), batch_size=16, epochs=12, precision="bfloat16")
)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """The rates that are "measured", on a processor with bfloat16; nothing measured before or here is remembered."""
    rates = {"float32": 1.0, "bfloat16": 1.0}
    with monkeypatch.context() as patch:
        patch.setattr(precision, "_measure_faster", precision._measure_faster.__wrapped__)
        patch.setattr(precision, "has_bfloat16", lambda: True)
        patch.setattr(precision, "measure_rates", lambda *_: rates)
        yield rates


@pytest.mark.parametrize(
    ("cpu_info", "expected"),
    [
        ("flags : fpu avx512f avx512_bf16 gfni\n", True),
        ("flags : fpu amx_bf16\n", True),
        ("flags : fpu avx512f avx512_bf16x\n", False),
        ("", False),
    ],
)
def test_bfloat16_is_a_flag_of_the_processor(tmp_path: Path, cpu_info: str, expected: bool) -> None:
    """As Linux lists them; without a list there is none."""
    (tmp_path / "cpuinfo").write_text(cpu_info)
    assert has_bfloat16(tmp_path / "cpuinfo") == expected
    assert not has_bfloat16(tmp_path / "missing")


@pytest.mark.parametrize(("bfloat16", "expected"), [(1.0, "float32"), (1.15, "float32"), (2.0, "bfloat16")])
def test_auto_is_the_one_measured_to_be_faster(measured: dict[str, float], bfloat16: float, expected: str) -> None:
    """A small gain is not worth the lost digits."""
    measured["bfloat16"] = bfloat16
    assert choose_precision("auto") == expected


def test_a_choice_is_not_measured(measured: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is `auto` on a processor without bfloat16."""
    measured.clear()
    assert choose_precision("bfloat16") == "bfloat16"
    assert choose_precision("float32") == "float32"
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    assert choose_precision("auto") == "float32"


def test_rates_are_measured_on_this_machine() -> None:
    """A convolution forward and backward takes some time in each precision; operations are counted from that."""
    precisions: tuple[Precision, ...] = ("float32", "bfloat16") if has_bfloat16() else ("float32",)
    rates = measure_rates(*precisions, seconds=0.1)
    assert tuple(rates) == precisions
    assert all(1 < rate < 1e6 for rate in rates.values())
    assert 1e8 < measure_operations("float32") < 1e14


@pytest.mark.parametrize("network", ["classic", "compact"])
def test_weights_and_probabilities_are_float32(network: str) -> None:
    """Only the activations are bfloat16: weights are those of float32 to the bit, probabilities near those."""
    recipe = resolve(Recipe(network=network, image_size=32, filters=(8, 8, 16), dense_units=8))
    exact, short = (build_network(recipe, 3, precision=name) for name in ("float32", "bfloat16"))
    assert {weight.value.dtype.name for weight in short.weights} == {"float32"}
    assert str(short.get_layer("block1").output.dtype) == "bfloat16"
    assert str(exact.get_layer("block1").output.dtype) == "float32"
    draw = np.random.default_rng(1)
    drawn = {name: draw.normal(0, 0.2, array.shape).astype("f4") ** 2 for name, array in read_weights(exact).items()}
    for model in (exact, short):
        set_weights(model, drawn)
    images = draw.integers(0, 256, (16, 32, 32, 3), np.uint8)
    expected, probabilities = (model(images, training=False).numpy() for model in (exact, short))
    assert expected.dtype == probabilities.dtype == np.float32
    assert np.ptp(expected, axis=0).max() > 1e-4
    np.testing.assert_allclose(probabilities, expected, atol=0.05)
    assert (expected != probabilities).any()


@pytest.mark.slow
def test_bundles_of_networks_trained_in_bfloat16_are_float32(photos: Path, tmp_path: Path) -> None:
    """Training works; the bundle's graph is float32 and its probabilities are those of the weights in float32."""
    learner = make_learner(open_dataset(photos, SMALL), SMALL)
    learner.fit(epochs=12)
    assert learner.evaluate("train")["accuracy"] > 0.4  # of three classes
    bundle = open_bundle(save_bundle(learner, tmp_path / "model"))
    twin = build_network(SMALL, 3)
    set_weights(twin, read_weights(learner.model))
    images = learner.dataset.images[:40]
    np.testing.assert_allclose(bundle.predict(images), twin(images, training=False).numpy(), atol=1e-5)
    np.testing.assert_allclose(bundle.predict(images), learner.predict(images), atol=0.1)
