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
from convscope.networks.frameworks import as_traced
from convscope.recipe.recipe import Recipe
from convscope.training import step as step_module
from convscope.training.optimizer import Adam
from convscope.training.step import Tally, make_evaluation_step, make_inference, make_training_step

pytestmark = pytest.mark.tensorflow

RECIPE = Recipe(network="classic", image_size=8, channels=1, filters=(3,), dense_units=4)
CLASSES = 3
RATE = np.float32(1e-3)
Batch = tuple[NDArray[np.uint8], NDArray[np.int32]]


def make_batch(count: int, seed: int = 0) -> Batch:
    """Noise with labels: (count, 8, 8, 1) uint8 and (count,) int32."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (count, 8, 8, 1), np.uint8), draw.integers(0, CLASSES, count, np.int32)


@pytest.fixture
def model() -> Any:
    """A tiny network with weights so large that its answers differ from image to image."""
    model = build_network(RECIPE, CLASSES)
    draw = np.random.default_rng(7)
    wide = {name: draw.normal(0, 0.4, array.shape).astype("f4") for name, array in read_weights(model).items()}
    set_weights(model, wide)
    return model


def make_optimizer(model: Any) -> Adam:
    """Adam on the network's weights, as Learner makes it."""
    weights = model.trainable_weights
    return Adam([each.value for each in weights], [each.path for each in weights])


def test_evaluation_is_the_mean_over_all_images(model: Any) -> None:
    """Loss and accuracy over batches of any size equal NumPy's over all images at once."""
    tally = Tally()
    judge = make_evaluation_step(model, tally)
    images, labels = make_batch(45)
    for some in np.split(np.arange(45), [16, 32, 44]):  # 16, 16, 12 and one image alone
        judge(images[some], labels[some])
    logits = logits_of(read_weights(model), images)
    loss, accuracy = tally.read()
    assert loss == pytest.approx(cross_entropies(logits, labels).mean(), rel=1e-5)
    assert accuracy == (logits.argmax(axis=1) == labels).mean()
    assert 0 < accuracy < 1


def test_evaluation_teaches_nothing(model: Any) -> None:
    """No weight moves."""
    before = read_weights(model)
    make_evaluation_step(model, Tally())(*make_batch(8))
    assert all((before[name] == array).all() for name, array in read_weights(model).items())


def test_training_counts_what_it_saw_before_the_step(model: Any) -> None:
    """The tally of a training step has the loss and the right answers of the weights that the step began with."""
    images, labels = make_batch(11)
    logits = logits_of(read_weights(model), images)
    tally = Tally()
    make_training_step(model, make_optimizer(model), tally, batch_size=11)(images, labels, RATE)
    loss, accuracy = tally.read()
    assert loss == pytest.approx(cross_entropies(logits, labels).mean(), rel=1e-5)
    assert accuracy == (logits.argmax(axis=1) == labels).mean()


def test_loss_is_safe_with_large_logits(model: Any) -> None:
    """Logits of thousands give a finite loss: nothing is exponentiated before its maximum is taken off."""
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
        for place in np.ndindex(array.shape):
            kept = array[place]
            sides = []
            for moved in (kept + 1e-6, kept - 1e-6):
                array[place] = moved
                sides.append(cross_entropies(logits_of(exact, images), labels).mean())
            array[place] = kept
            slopes[place] = (sides[0] - sides[1]) / 2e-6
        yield name, slopes


def test_gradient_is_that_of_finite_differences(model: Any) -> None:
    """Every weight's gradient of the mean loss is what moving that weight alone does to the loss in NumPy."""
    batch = make_batch(6)
    expected = dict(slopes_by_difference(read_weights(model), batch))
    optimizer = make_optimizer(model)
    make_training_step(model, optimizer, Tally(), batch_size=6)(*batch, RATE)
    for name, slopes in expected.items():
        ours = (
            optimizer.state[f"adam/mean/{name}"].numpy() / 0.1
        )  # after one step Adam's mean is a tenth of the gradient
        assert abs(slopes).max() > 1e-3
        np.testing.assert_allclose(ours, slopes, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("count", [1, 7, 32])
def test_steps_bring_the_loss_down(model: Any, count: int) -> None:
    """Any batch size can be trained on, and the same batch is answered better each time."""
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


def test_tally_can_be_saved_and_gone_on_with(model: Any) -> None:
    """A tally whose state was put into another one ends with the same bits."""
    whole, first, second = Tally(), Tally(), Tally()
    batches = [make_batch(5, seed) for seed in range(4)]
    for batch in batches:
        make_evaluation_step(model, whole)(*batch)
    for batch in batches[:2]:
        make_evaluation_step(model, first)(*batch)
    for name, variable in second.state.items():
        variable.assign(first.state[name].numpy())
    for batch in batches[2:]:
        make_evaluation_step(model, second)(*batch)
    assert second.read() == whole.read()
    second.reset()
    assert second.read() == (0.0, 0.0)


@pytest.mark.parametrize("smoothing", [0.1, 0.4])
def test_smoothed_labels_are_those_of_numpy(model: Any, smoothing: float) -> None:
    """The gradient is that of cross-entropy with the truth spread over all classes; the tally has the plain loss."""
    images, labels = make_batch(9)
    logits = logits_of(read_weights(model), images)
    truth = (1 - smoothing) * np.eye(CLASSES)[labels] + smoothing / CLASSES
    slopes = (softmax(logits) - truth).mean(axis=0)  # of the mean loss, by the bias of each class
    optimizer, tally = make_optimizer(model), Tally()
    make_training_step(model, optimizer, tally, batch_size=9, label_smoothing=smoothing)(images, labels, RATE)
    np.testing.assert_allclose(optimizer.state["adam/mean/logits/bias"].numpy() / 0.1, slopes, rtol=1e-3, atol=1e-6)
    plain = (softmax(logits) - np.eye(CLASSES)[labels]).mean(axis=0)
    assert abs(plain - slopes).max() > 1e-2
    assert tally.read()[0] == pytest.approx(cross_entropies(logits, labels).mean(), rel=1e-5)


def test_learning_rate_is_that_of_the_call(model: Any) -> None:
    """A rate of nothing moves no weight, and the same graph then takes a step of another rate."""
    step = make_training_step(model, make_optimizer(model), Tally(), batch_size=4)
    before = read_weights(model)
    step(*make_batch(4), np.float32(0))
    assert all((before[name] == array).all() for name, array in read_weights(model).items())
    step(*make_batch(4), RATE)
    assert all((before[name] != array).any() for name, array in read_weights(model).items())


def test_only_a_training_step_is_left_as_traced(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one is; judging and answering, which are faster fused, are not."""
    left = []

    @contextmanager
    def counted() -> Iterator[None]:
        with as_traced():
            left.append(1)
            yield

    monkeypatch.setattr(step_module, "as_traced", counted)
    step = make_training_step(model, make_optimizer(model), Tally(), batch_size=4)
    for count in (1, 2):
        step(*make_batch(4), RATE)
        assert len(left) == count
    make_evaluation_step(model, Tally())(*make_batch(4))
    make_inference(model)(make_batch(4)[0])
    assert len(left) == 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_single_image_has_no_halves(count: int) -> None:
    """In colour, as in grey, few images are judged and answered as the network answers them, one by one too."""
    recipe = Recipe(network="classic", image_size=16, filters=(4, 4), dense_units=6)
    network, tally = build_network(recipe, 3), Tally()
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    expected = network(images, training=False).numpy()
    np.testing.assert_allclose(make_inference(network)(images).numpy(), expected, atol=1e-6)
    make_evaluation_step(network, tally)(images, np.zeros(count, np.int32))
    assert tally.read()[0] == pytest.approx(-np.log(expected[:, 0]).mean(), rel=1e-5)
