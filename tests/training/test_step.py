"""training/step.py: the loss is softmax cross-entropy, its gradient is right, and the tally counts every image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from numpy_network import cross_entropies, logits_of, softmax

from convscope.networks.catalog import build_network, read_weights, set_weights
from convscope.networks.tensorflow_internals import without_graph_rewriting
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.training import step as step_module
from convscope.training.optimizer import Adam
from convscope.training.step import Tally, make_evaluation_step, make_inference, make_training_step

pytestmark = pytest.mark.tensorflow

RECIPE = resolve(Recipe(network="classic", image_size=8, channels=1, filters=(3,), dense_units=4))
CLASSES = 3
RATE = np.float32(1e-3)
Batch = tuple[NDArray[np.uint8], NDArray[np.int32]]


def make_batch(count: int, seed: int = 0) -> Batch:
    """Noise with labels: (count, 8, 8, 1) uint8 and (count,) int32."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (count, 8, 8, 1), np.uint8), draw.integers(0, CLASSES, count, np.int32)


@pytest.fixture
def model() -> Any:
    """A tiny network with weights so large that its outputs differ from image to image."""
    model = build_network(RECIPE, CLASSES)
    draw = np.random.default_rng(7)
    wide = {name: draw.normal(0, 0.4, array.shape).astype("f4") for name, array in read_weights(model).items()}
    set_weights(model, wide)
    return model


def make_optimizer(model: Any) -> Adam:
    """Adam for the network's weights."""
    weights = model.trainable_weights
    return Adam([weight.value for weight in weights], [weight.path for weight in weights])


def test_evaluation_is_the_mean_over_all_images(model: Any) -> None:
    """Loss and accuracy over batches of any size equal NumPy's over all images at once."""
    tally = Tally()
    evaluate = make_evaluation_step(model, tally)
    images, labels = make_batch(45)
    for rows in np.split(np.arange(45), [16, 32, 44]):  # 16, 16, 12 and a single image
        evaluate(images[rows], labels[rows])
    logits = logits_of(read_weights(model), images)
    loss, accuracy = tally.read()
    assert loss == pytest.approx(cross_entropies(logits, labels).mean(), rel=1e-5)
    assert accuracy == (logits.argmax(axis=1) == labels).mean()
    assert 0 < accuracy < 1


def test_evaluation_changes_no_weight(model: Any) -> None:
    """All stay as they were, to the bit."""
    before = read_weights(model)
    make_evaluation_step(model, Tally())(*make_batch(8))
    assert all((before[name] == array).all() for name, array in read_weights(model).items())


def test_a_training_step_counts_with_the_weights_before_it(model: Any) -> None:
    """The tally has the loss and the correct predictions of the weights that the step started with."""
    images, labels = make_batch(11)
    logits = logits_of(read_weights(model), images)
    tally = Tally()
    make_training_step(model, make_optimizer(model), tally, batch_size=11)(images, labels, RATE)
    loss, accuracy = tally.read()
    assert loss == pytest.approx(cross_entropies(logits, labels).mean(), rel=1e-5)
    assert accuracy == (logits.argmax(axis=1) == labels).mean()


def test_loss_is_safe_with_large_logits(model: Any) -> None:
    """Logits of thousands give a finite loss: the maximum is subtracted before the exponential."""
    set_weights(model, {name: array * 100 for name, array in read_weights(model).items()})
    images, labels = make_batch(20)
    tally = Tally()
    make_evaluation_step(model, tally)(images, labels)
    logits = logits_of(read_weights(model), images)
    assert abs(logits).max() > 1_000
    assert tally.read()[0] == pytest.approx(cross_entropies(logits, labels).mean(), rel=1e-4)


def slopes_by_difference(weights: dict[str, Any], batch: Batch) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """The gradient of NumPy's mean loss, one weight at a time, by central differences in float64."""
    images, labels = batch
    exact = {name: array.astype(np.float64) for name, array in weights.items()}
    for name, array in exact.items():
        slopes = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            value = array[index]
            losses = []
            for moved in (value + 1e-6, value - 1e-6):
                array[index] = moved
                losses.append(cross_entropies(logits_of(exact, images), labels).mean())
            array[index] = value
            slopes[index] = (losses[0] - losses[1]) / 2e-6
        yield name, slopes


def test_gradient_is_that_of_finite_differences(model: Any) -> None:
    """Every weight's gradient of the mean loss agrees with central differences of NumPy's loss."""
    batch = make_batch(6)
    expected = dict(slopes_by_difference(read_weights(model), batch))
    optimizer = make_optimizer(model)
    make_training_step(model, optimizer, Tally(), batch_size=6)(*batch, RATE)
    for name, slopes in expected.items():
        gradient = optimizer.state[f"adam/mean/{name}"].numpy() / 0.1  # Adam's mean is a tenth of it after one step
        assert abs(slopes).max() > 1e-3
        np.testing.assert_allclose(gradient, slopes, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("count", [1, 7, 32])
def test_steps_lower_the_loss(model: Any, count: int) -> None:
    """Any batch size can be trained on, and the loss of the same batch falls."""
    batch = make_batch(count)
    tally = Tally()
    step = make_training_step(model, make_optimizer(model), tally, batch_size=count)
    losses = []
    for _ in range(20):
        tally.reset()
        step(*batch, 10 * RATE)
        losses.append(tally.read()[0])
    assert losses[-1] < 0.95 * losses[0]


def test_tally_of_nothing_is_zero() -> None:
    """Before the first image there is nothing to divide by, and that is no error."""
    assert Tally().read() == (0.0, 0.0)


def test_a_tally_can_be_saved_and_continued(model: Any) -> None:
    """A tally whose state was put into another one ends with the same bits."""
    uninterrupted, first, second = Tally(), Tally(), Tally()
    batches = [make_batch(5, seed) for seed in range(4)]
    for batch in batches:
        make_evaluation_step(model, uninterrupted)(*batch)
    for batch in batches[:2]:
        make_evaluation_step(model, first)(*batch)
    for name, variable in second.state.items():
        variable.assign(first.state[name].numpy())
    for batch in batches[2:]:
        make_evaluation_step(model, second)(*batch)
    assert second.read() == uninterrupted.read()
    second.reset()
    assert second.read() == (0.0, 0.0)


@pytest.mark.parametrize("smoothing", [0.1, 0.4])
def test_smoothed_labels_are_those_of_numpy(model: Any, smoothing: float) -> None:
    """The gradient is that of cross-entropy with smoothed labels; the tally has the loss without."""
    images, labels = make_batch(9)
    logits = logits_of(read_weights(model), images)
    targets = (1 - smoothing) * np.eye(CLASSES)[labels] + smoothing / CLASSES
    slopes = (softmax(logits) - targets).mean(axis=0)  # of the mean loss, by the bias of each class
    optimizer, tally = make_optimizer(model), Tally()
    make_training_step(model, optimizer, tally, batch_size=9, label_smoothing=smoothing)(images, labels, RATE)
    np.testing.assert_allclose(optimizer.state["adam/mean/logits/bias"].numpy() / 0.1, slopes, rtol=1e-3, atol=1e-6)
    unsmoothed = (softmax(logits) - np.eye(CLASSES)[labels]).mean(axis=0)
    assert abs(unsmoothed - slopes).max() > 1e-2
    assert tally.read()[0] == pytest.approx(cross_entropies(logits, labels).mean(), rel=1e-5)


def test_learning_rate_is_that_of_the_call(model: Any) -> None:
    """A rate of 0 changes no weight, and the same graph then takes a step of another rate."""
    step = make_training_step(model, make_optimizer(model), Tally(), batch_size=4)
    before = read_weights(model)
    step(*make_batch(4), np.float32(0))
    assert all((before[name] == array).all() for name, array in read_weights(model).items())
    step(*make_batch(4), RATE)
    assert all((before[name] != array).any() for name, array in read_weights(model).items())


def test_only_training_steps_run_without_graph_optimisation(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one does; evaluation and inference, which are faster fused, do not."""
    calls = []

    @contextmanager
    def counted() -> Iterator[None]:
        with without_graph_rewriting():
            calls.append(1)
            yield

    monkeypatch.setattr(step_module, "without_graph_rewriting", counted)
    step = make_training_step(model, make_optimizer(model), Tally(), batch_size=4)
    for count in (1, 2):
        step(*make_batch(4), RATE)
        assert len(calls) == count
    make_evaluation_step(model, Tally())(*make_batch(4))
    make_inference(model)(make_batch(4)[0])
    assert len(calls) == 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_single_image_is_not_halved(count: int) -> None:
    """The loss and the probabilities of few images, also of one alone, are those of the network."""
    recipe = resolve(Recipe(network="classic", image_size=16, filters=(4, 4), dense_units=6))
    network, tally = build_network(recipe, 3), Tally()
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    expected = network(images, training=False).numpy()
    np.testing.assert_allclose(make_inference(network)(images).numpy(), expected, atol=1e-6)
    make_evaluation_step(network, tally)(images, np.zeros(count, np.int32))
    assert tally.read()[0] == pytest.approx(-np.log(expected[:, 0]).mean(), rel=1e-5)
