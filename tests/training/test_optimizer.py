"""training/optimizer.py: the steps are those of the papers and of Keras, and the state can be saved and restored."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convscope.networks.catalog import build_network
from convscope.networks.frameworks import keras, tf
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.training.optimizer import (
    OTHERS_RATE,
    Adam,
    Lamb,
    Muon,
    NesterovSGD,
    Optimizer,
    make_optimizer,
    orthogonalize,
)

pytestmark = pytest.mark.tensorflow

SHAPES = {"kernel": (3, 4), "bias": (4,)}
Values = dict[str, NDArray[np.float64]]


def draw(seed: int, scale: float = 1.0) -> Values:
    """One array for each variable."""
    generator = np.random.default_rng(seed)
    return {name: generator.normal(0, scale, shape) for name, shape in SHAPES.items()}


def adam_by_the_paper(start: Values, gradients: Sequence[Values], learning_rate: float) -> Values:
    """Algorithm 1 of Kingma and Ba, in the order that ends their section 2 (epsilon at the plain root), in float64."""
    values = dict(start)
    means = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    squares = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for step, gradient in enumerate(gradients, start=1):
        rate = learning_rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        for name, slope in gradient.items():
            means[name] = 0.9 * means[name] + 0.1 * slope
            squares[name] = 0.999 * squares[name] + 0.001 * slope**2
            values[name] = values[name] - rate * means[name] / (np.sqrt(squares[name]) + 1e-8)
    return values


def make_variables(start: Values) -> list[Any]:
    """Variables with these values."""
    return [tf.Variable(value.astype("f4")) for value in start.values()]


def make_adam(start: Values) -> Adam:
    """An optimiser of variables with these values."""
    return Adam(make_variables(start), list(start))


def make_sgd(start: Values, weight_decay: float = 0.0) -> NesterovSGD:
    """SGD of variables with these values."""
    return NesterovSGD(make_variables(start), list(start), weight_decay=weight_decay)


def take_steps(optimizer: Optimizer, gradients: Sequence[Values], rates: Sequence[float] = (0.01,)) -> Values:
    """Apply gradients as the training step does, in a compiled graph, the rates in turn; returns the variables."""
    apply = tf.function(lambda rate, *slopes: optimizer.apply(slopes, rate), autograph=False)
    for gradient, rate in zip(gradients, cycle(rates), strict=False):
        apply(tf.constant(rate, tf.float32), *(tf.constant(slope.astype("f4")) for slope in gradient.values()))
    return {name: variable.numpy() for name, variable in zip(SHAPES, optimizer.targets, strict=True)}


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_steps_are_those_of_the_paper(scale: float) -> None:
    """Twelve steps agree with an independent Adam in NumPy, for small and for large gradients."""
    start, gradients = draw(0), [draw(seed, scale) for seed in range(1, 13)]
    values = take_steps(make_adam(start), gradients)
    expected = adam_by_the_paper(start, gradients, 0.01)
    for name in SHAPES:
        assert abs(expected[name] - start[name]).max() > 0.01
        np.testing.assert_allclose(values[name], expected[name], rtol=1e-5, atol=2e-6)


def test_steps_are_those_of_keras() -> None:
    """Keras's Adam, with the same epsilon, takes the same steps."""
    start, gradients = draw(0), [draw(seed) for seed in range(1, 6)]
    variables = [tf.Variable(value.astype("f4")) for value in start.values()]
    optimizer = keras.optimizers.Adam(0.01, epsilon=1e-8)
    for gradient in gradients:
        optimizer.apply_gradients(
            [
                (tf.constant(gradient[name].astype("f4")), variable)
                for name, variable in zip(SHAPES, variables, strict=True)
            ]
        )
    values = take_steps(make_adam(start), gradients)
    for name, variable in zip(SHAPES, variables, strict=True):
        np.testing.assert_allclose(values[name], variable.numpy(), rtol=1e-5, atol=1e-6)


def test_first_step_is_the_learning_rate_long() -> None:
    """Whatever the gradient's size, the first step is one learning rate, against its sign."""
    start, gradient = draw(0), draw(1)
    moved = take_steps(make_adam(start), [gradient], [0.125])
    for name in SHAPES:
        np.testing.assert_allclose(moved[name] - start[name], -0.125 * np.sign(gradient[name]), rtol=1e-4)


def test_state_is_complete() -> None:
    """With its state and the variables put into another optimiser, the next steps are the same bits."""
    gradients = [draw(seed) for seed in range(1, 8)]
    one = make_adam(draw(0))
    half = take_steps(one, gradients[:3])
    other = make_adam(half)
    for name, variable in other.state.items():
        variable.assign(one.state[name].numpy())
    expected, resumed = take_steps(one, gradients[3:]), take_steps(other, gradients[3:])
    assert all((expected[name] == resumed[name]).all() for name in SHAPES)
    forgetful = take_steps(make_adam(half), gradients[3:])
    assert any((expected[name] != forgetful[name]).any() for name in SHAPES)


def test_state_is_named_after_the_variables() -> None:
    """A step counter, and a mean and a square for each variable, of its shape."""
    shapes = {name: tuple(variable.shape) for name, variable in make_adam(draw(0)).state.items()}
    assert shapes == {
        "adam/step": (),
        "adam/mean/kernel": (3, 4),
        "adam/square/kernel": (3, 4),
        "adam/mean/bias": (4,),
        "adam/square/bias": (4,),
    }


def nesterov_by_the_paper(
    start: Values, gradients: Sequence[Values], rates: Sequence[float], weight_decay: float
) -> Values:
    """Sutskever et al., 2013, equations 3 and 4, evaluated at the look-ahead point; in float64."""
    values, velocities = dict(start), {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for gradient, rate in zip(gradients, rates, strict=True):
        for name, slope in gradient.items():
            decayed = slope + weight_decay * values[name] if name == "kernel" else slope
            velocities[name] = 0.9 * velocities[name] - rate * decayed
            values[name] = values[name] + 0.9 * velocities[name] - rate * decayed
    return values


def make_lamb(start: Values, weight_decay: float = 0.0) -> Lamb:
    """Lamb of variables with these values."""
    return Lamb(make_variables(start), list(start), weight_decay=weight_decay)


def test_lamb_is_that_of_keras() -> None:
    """Keras's Lamb, with the same epsilon, takes the same steps."""
    start, gradients = draw(0), [draw(seed, 10.0**-seed) for seed in range(1, 6)]
    variables = make_variables(start)
    optimizer = keras.optimizers.Lamb(0.01, epsilon=1e-8)
    for gradient in gradients:
        optimizer.apply([tf.constant(slope.astype("f4")) for slope in gradient.values()], variables)
    values = take_steps(make_lamb(start), gradients)
    for (name, value), other in zip(values.items(), variables, strict=True):
        assert abs(value - start[name]).max() > 0.01
        np.testing.assert_allclose(value, other.numpy(), rtol=1e-5, atol=2e-6)


def test_lamb_changes_large_and_small_variables_by_the_same_share() -> None:
    """Whatever a variable's length, a step is the learning rate times it; variables of zeros are updated as by Adam."""
    scales = {"kernel": 20.0, "bias": 0.01}
    start = {name: value * scales[name] for name, value in draw(0).items()}
    values = take_steps(make_lamb(start), [draw(1)], rates=[0.02])
    for name, value in values.items():
        moved = np.linalg.norm(value - start[name]) / np.linalg.norm(start[name])
        assert moved == pytest.approx(0.02, rel=1e-3)
    zeros = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for value in take_steps(make_lamb(zeros), [draw(1)], [0.02]).values():
        assert abs(abs(value) - 0.02).max() < 1e-6


def test_lamb_decays_kernels_alone() -> None:
    """With weight decay the update of a kernel also points towards 0; that of a bias is the same."""
    start, gradients = draw(0), [draw(1)]
    without, decayed = take_steps(make_lamb(start), gradients), take_steps(make_lamb(start, 0.5), gradients)
    np.testing.assert_array_equal(without["bias"], decayed["bias"])
    assert (decayed["kernel"] * start["kernel"]).sum() < (without["kernel"] * start["kernel"]).sum()


def test_lamb_state_is_complete() -> None:
    """Put into another optimiser of the same variables, the state leads to the same bits."""
    start, gradients = draw(0), [draw(seed) for seed in range(1, 7)]
    uninterrupted = take_steps(make_lamb(start), gradients)
    first = make_lamb(start)
    half = take_steps(first, gradients[:3])
    second = make_lamb({name: value.astype("f8") for name, value in half.items()})
    for name, variable in second.state.items():
        variable.assign(first.state[name])
    for name, value in take_steps(second, gradients[3:]).items():
        np.testing.assert_array_equal(value, uninterrupted[name])


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_sgd_is_that_of_numpy(weight_decay: float) -> None:
    """Twelve steps at changing learning rates agree with NumPy; weight decay is for kernels and not for biases."""
    start, gradients = draw(0), [draw(seed) for seed in range(1, 13)]
    rates = [0.01 * step for step in range(1, 13)]
    values = take_steps(make_sgd(start, weight_decay), gradients, rates)
    expected = nesterov_by_the_paper(start, gradients, rates, weight_decay)
    for name in SHAPES:
        assert abs(expected[name] - start[name]).max() > 0.1
        np.testing.assert_allclose(values[name], expected[name], rtol=1e-5, atol=1e-5)


def test_sgd_state_is_complete() -> None:
    """With its velocities and the variables put into another one, the next steps are the same bits."""
    gradients = [draw(seed) for seed in range(1, 8)]
    one = make_sgd(draw(0), 0.1)
    half = take_steps(one, gradients[:3])
    other, forgetful = make_sgd(half, 0.1), make_sgd(half, 0.1)
    assert other.state.keys() == {"sgd/velocity/kernel", "sgd/velocity/bias"}
    for name, variable in other.state.items():
        variable.assign(one.state[name].numpy())
    expected, resumed, forgot = (take_steps(optimizer, gradients[3:]) for optimizer in (one, other, forgetful))
    assert all((expected[name] == resumed[name]).all() for name in SHAPES)
    assert any((expected[name] != forgot[name]).any() for name in SHAPES)


@pytest.mark.parametrize("shape", [(3, 3, 4, 8), (1, 1, 3, 10), (3, 3, 32, 32), (2, 2, 1, 1)])
def test_orthogonal_factor_has_the_directions_of_its_kernel(shape: tuple[int, ...]) -> None:
    """Singular vectors stay; singular values, however far apart, come near 1. Tall matrices and wide ones."""
    rows, columns = int(np.prod(shape[:3])), shape[3]
    left, _, right = np.linalg.svd(np.random.default_rng(5).normal(size=(rows, columns)), full_matrices=False)
    values = np.geomspace(1, 0.05, len(right)) * 40
    kernel = ((left * values) @ right).reshape(shape).astype("f4")
    factor = orthogonalize(tf.constant(kernel[np.newaxis])).numpy()[0]
    assert factor.shape == shape
    inside = left.T @ factor.reshape(rows, columns) @ right.T
    assert np.diag(inside).min() > 0.5
    assert np.diag(inside).max() < 1.3
    assert abs(inside - np.diag(np.diag(inside))).max() < 1e-3


def test_a_kernel_without_a_gradient_stays() -> None:
    """Nothing is divided by nothing."""
    assert not orthogonalize(tf.zeros((1, 3, 3, 4, 8))).numpy().any()


def make_muon(kernel: NDArray[np.floating[Any]], bias: NDArray[np.floating[Any]]) -> Muon:
    """Muon on one kernel and one bias."""
    variables = [tf.Variable(bias.astype("f4")), tf.Variable(kernel.astype("f4"))]
    return Muon(variables, ["bias", "kernel"], weight_decay=0.1)


def test_muon_turns_kernels_by_the_learning_rate_and_keeps_their_length() -> None:
    """A step is along the gradient's orthogonal factor; the length is the square root of the number of filters."""
    draw = np.random.default_rng(2)
    kernel, gradient, bias = draw.normal(size=(3, 3, 4, 8)), draw.normal(size=(3, 3, 4, 8)), draw.normal(size=8)
    kernel *= np.sqrt(8) / np.linalg.norm(kernel)
    muon = make_muon(kernel, bias)
    step = tf.function(lambda rate: muon.apply([tf.constant(gradient, tf.float32), tf.ones(8)], rate), autograph=False)
    step(np.float32(0.05))
    moved = muon.targets[0].numpy()
    assert np.linalg.norm(moved) == pytest.approx(np.sqrt(8), rel=1e-5)
    expected = kernel - 0.05 * orthogonalize(tf.constant(gradient[np.newaxis], tf.float32)).numpy()[0]
    np.testing.assert_allclose(moved, expected * np.sqrt(8) / np.linalg.norm(expected), atol=1e-5)
    assert 0.02 < np.linalg.norm(moved - kernel) / np.sqrt(8) < 0.06


def test_muon_updates_kernels_together_as_it_does_alone() -> None:
    """Two kernels of one shape and, between them, one of another: each as by a separate Muon, over three steps."""
    draw = np.random.default_rng(4)
    shapes = [(3, 3, 4, 8), (3, 3, 8, 4), (3, 3, 4, 8)]
    starts, gradients = ([draw.normal(size=shape).astype("f4") for shape in shapes] for _ in range(2))
    names = ["a", "b", "c"]
    together = Muon([tf.Variable(start) for start in starts], names, weight_decay=0.0)
    order = [0, 2, 1]  # that its targets have: by shape
    assert [tuple(target.shape) for target in together.targets] == [shapes[number] for number in order]
    step = tf.function(lambda rate: together.apply([gradients[number] for number in order], rate), autograph=False)
    for _ in range(3):
        step(np.float32(0.03))
    for index, number in enumerate(order):
        alone = Muon([tf.Variable(starts[number])], [names[number]], weight_decay=0.0)
        for _ in range(3):
            alone.apply([gradients[number]], np.float32(0.03))
        np.testing.assert_allclose(together.targets[index].numpy(), alone.targets[0].numpy(), atol=1e-5)
        state = f"muon/momentum/{names[number]}"
        np.testing.assert_allclose(together.state[state].numpy(), alone.state[state].numpy(), rtol=1e-5)


def test_muon_updates_other_variables_as_sgd() -> None:
    """All but convolution kernels take NesterovSGD's steps at OTHERS_RATE times the rate, weight decay included."""
    draw = np.random.default_rng(3)
    kernel, bias = draw.normal(size=(3, 3, 2, 4)), draw.normal(size=4)
    muon = make_muon(kernel, bias)
    other = NesterovSGD([tf.Variable(bias.astype("f4"))], ["bias"], weight_decay=0.1)
    step = tf.function(lambda rate: muon.apply([tf.ones((3, 3, 2, 4)), 2 * tf.ones(4)], rate), autograph=False)
    alone = tf.function(lambda rate: other.apply([2 * tf.ones(4)], rate), autograph=False)
    for _ in range(3):
        step(np.float32(0.01))
        alone(np.float32(0.01 * OTHERS_RATE))
    np.testing.assert_allclose(muon.targets[1].numpy(), other.targets[0].numpy(), rtol=1e-6)
    assert muon.state.keys() == {"muon/momentum/kernel", "sgd/velocity/bias"}
    assert all(abs(variable.numpy()).max() > 0 for variable in muon.state.values())


def test_muon_decays_no_convolution_kernel() -> None:
    """With another weight decay kernels take the same step, since their length is kept anyway; dense kernels do not."""
    draw = np.random.default_rng(3)
    kernel, dense = draw.normal(size=(3, 3, 2, 4)).astype("f4"), draw.normal(size=(4, 2)).astype("f4")
    ends = {}
    for weight_decay in (0.0, 0.5):
        muon = Muon([tf.Variable(kernel), tf.Variable(dense)], ["kernel", "dense"], weight_decay=weight_decay)
        muon.apply([tf.ones(kernel.shape), tf.ones(dense.shape)], np.float32(0.01))
        ends[weight_decay] = [variable.numpy() for variable in muon.targets]
    np.testing.assert_array_equal(ends[0.0][0], ends[0.5][0])
    assert (ends[0.0][1] != ends[0.5][1]).any()


@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("lamb", Lamb), ("sgd", NesterovSGD), ("muon", Muon)])
def test_the_recipe_chooses_the_optimizer(name: str, kind: type[Optimizer]) -> None:
    """By its name, for every trainable weight of the network and no other."""
    recipe = resolve(Recipe(network="compact", image_size=16, filters=(2, 2, 2), optimizer=name))  # type: ignore[arg-type]
    model = build_network(recipe, 2)
    optimizer = make_optimizer(recipe, model)
    assert type(optimizer) is kind
    assert len(optimizer.targets) == len(model.trainable_weights) < len(model.weights)
