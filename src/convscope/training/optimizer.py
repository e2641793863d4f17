"""Optimisers in one fused operation per variable, with all of their state in named variables.

`make_optimizer` makes the one that a recipe chooses. Weight decay is for kernels alone, and never for biases or
normalisation: SGD adds it to the gradient, Lamb to the update; Muon's convolution kernels have a constant length, so
that it is for its dense kernels alone; Adam has none.


Adam: Kingma and Ba, 2015 (arXiv 1412.6980), in the form with the corrected learning rate that TensorFlow 1 used; its
fused kernel reads and writes each weight once, where Keras's Adam is a dozen operations over the whole tensor.
SGD: Nesterov's momentum in the form of Sutskever et al., 2013.
Lamb: You et al., 2019 (arXiv 1904.00962): Adam's directions, by steps that are shares of what they change.
Muon: Jordan et al., 2024 (kellerjordan.github.io/posts/muon): momentum whose directions all count the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Protocol

from convscope.networks.catalog import named_weights
from convscope.networks.frameworks import tf
from convscope.recipe.resolved import ResolvedRecipe

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
MOMENTUM = 0.9
KERNEL_MOMENTUM = 0.95  # of Muon: a mean over some twenty batches
OTHERS_RATE = 8.0  # times the learning rate of Muon's convolution kernels: that of all other variables
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of an odd polynomial that drives singular values towards 1, steeply
NEWTON_SCHULZ_STEPS = 5


class Optimizer(Protocol):
    """An optimiser, as the training step uses it.

    Attributes:
        targets: the variables that it updates.
        state: its own variables by name, such as moments.
    """

    targets: list[Any]
    state: dict[str, Any]

    def apply(self, gradients: Sequence[Any], learning_rate: Any) -> None:
        """Take one step down `gradients`, one for each target. To be called while a `tf.function` is traced."""


def make_optimizer(recipe: ResolvedRecipe, model: Any) -> Optimizer:
    """The optimiser that a recipe chooses, for the trainable weights of a `keras.Model`."""
    trainable = {name: weight.value for name, weight in named_weights(model).items() if weight.trainable}
    variables, names = list(trainable.values()), list(trainable)
    if recipe.optimizer == "adam":
        return Adam(variables, names)
    kinds: dict[str, type[Lamb | Muon | NesterovSGD]] = {"lamb": Lamb, "muon": Muon, "sgd": NesterovSGD}
    return kinds[recipe.optimizer](variables, names, weight_decay=recipe.weight_decay)


class Adam:
    """Adam, in TensorFlow's fused kernel.

    Args:
        variables: `tf.Variable`s, float32.
        names: of the variables, for the saved state.
    """

    def __init__(self, variables: Sequence[Any], names: Sequence[str]) -> None:
        self.targets = list(variables)
        self.step, self.means, self.squares, self.state = _moments(self.targets, names, "adam")

    def apply(self, gradients: Sequence[Any], learning_rate: Any) -> None:
        """Take one step down `gradients`, one for each variable. To be called while a `tf.function` is traced."""
        count = tf.cast(self.step.assign_add(1), tf.float32)
        for variable, mean, square, gradient in zip(self.targets, self.means, self.squares, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=tf.pow(BETA1, count),
                beta2_power=tf.pow(BETA2, count),
                lr=learning_rate,
                beta1=BETA1,
                beta2=BETA2,
                epsilon=EPSILON,
                grad=gradient,
            )


class Lamb:
    """Adam whose step for each variable is as long as the learning rate times the length of the variable.

    For pretrained networks whose normalisation is folded into their kernels: the kernels of EfficientNet-Lite0 have
    values between 0.01 and 3 then, its biases up to 19; one rate for all of them would destroy some before others
    changed.

    Args:
        variables: `tf.Variable`s, float32.
        names: of the variables, for the saved state.
        weight_decay: this share of each kernel is added to its update; biases have none.
    """

    def __init__(self, variables: Sequence[Any], names: Sequence[str], *, weight_decay: float) -> None:
        self.targets = list(variables)
        self.weight_decay = weight_decay
        self.step, self.means, self.squares, self.state = _moments(self.targets, names, "lamb")

    def apply(self, gradients: Sequence[Any], learning_rate: Any) -> None:
        """Take one step down `gradients`, one for each variable. To be called while a `tf.function` is traced."""
        count = tf.cast(self.step.assign_add(1), tf.float32)
        for variable, mean, square, gradient in zip(self.targets, self.means, self.squares, gradients, strict=True):
            first = mean.assign(BETA1 * mean + (1 - BETA1) * gradient) / (1 - tf.pow(BETA1, count))
            second = square.assign(BETA2 * square + (1 - BETA2) * gradient**2) / (1 - tf.pow(BETA2, count))
            direction = first / (tf.sqrt(second) + EPSILON)
            if self.weight_decay and len(variable.shape) > 1:
                direction += self.weight_decay * variable
            length, reach = tf.norm(variable), tf.norm(direction)
            share = tf.where(
                (length > 0) & (reach > 0), length / (reach + EPSILON), 1.0
            )  # a variable of zeros is updated as by Adam
            variable.assign_sub(learning_rate * share * direction)


class NesterovSGD:
    """Stochastic gradient descent with Nesterov momentum, in TensorFlow's fused kernel.

    Args:
        variables: `tf.Variable`s, float32.
        names: of the variables, for the saved state.
        weight_decay: this share of each kernel is added to its gradient; biases and normalisation have none.
    """

    def __init__(self, variables: Sequence[Any], names: Sequence[str], *, weight_decay: float) -> None:
        self.targets = list(variables)
        self.weight_decay = weight_decay
        self.velocities = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in self.targets]
        self.state = {f"sgd/velocity/{name}": velocity for name, velocity in zip(names, self.velocities, strict=True)}

    def apply(self, gradients: Sequence[Any], learning_rate: Any) -> None:
        """Take one step down `gradients`, one for each variable. To be called while a `tf.function` is traced."""
        for variable, velocity, gradient in zip(self.targets, self.velocities, gradients, strict=True):
            decayed = (
                gradient + self.weight_decay * variable if self.weight_decay and len(variable.shape) > 1 else gradient
            )
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=variable.handle,
                accum=velocity.handle,
                lr=learning_rate,
                grad=decayed,
                momentum=MOMENTUM,
                use_nesterov=True,
            )


def _moments(
    variables: Sequence[Any], names: Sequence[str], kind: str
) -> tuple[Any, list[Any], list[Any], dict[str, Any]]:
    """(count of steps, mean of the gradients of each variable, mean of their squares, all of these by name)."""
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    means = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in variables]
    squares = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in variables]
    state = {f"{kind}/step": step}
    for name, mean, square in zip(names, means, squares, strict=True):
        state |= {f"{kind}/mean/{name}": mean, f"{kind}/square/{name}": square}
    return step, means, squares, state


class Muon:
    """Orthogonalized updates for convolution kernels, Nesterov's SGD for all other variables.

    The gradient of a kernel has a few strong directions and many weak ones; its orthogonal factor, whose singular
    values are all near 1, weighs them equally. Each kernel is kept at one length, the square root of its number of
    filters, so that the learning rate is the angle by which it turns: for convolutions whose outputs are normalised,
    so that their length has no effect, and neither would weight decay.

    Kernels of one shape are updated together: half the operations to trace, and to launch at each step.

    Args:
        variables: `tf.Variable`s, float32; kernels are those with four axes, (height, width, in, out).
        names: of the variables, for the saved state.
        weight_decay: as of `NesterovSGD`, for the other variables; convolution kernels have none.
    """

    def __init__(self, variables: Sequence[Any], names: Sequence[str], *, weight_decay: float) -> None:
        named = dict(zip(names, variables, strict=True))
        kernels = {name: variable for name, variable in named.items() if len(variable.shape) == 4}
        others = {name: variable for name, variable in named.items() if name not in kernels}
        momenta = {name: tf.Variable(tf.zeros_like(kernel), trainable=False) for name, kernel in kernels.items()}
        names_by_shape: dict[tuple[int, ...], list[str]] = {}
        for name, kernel in kernels.items():
            names_by_shape.setdefault(tuple(kernel.shape), []).append(name)
        self._groups = [
            ([kernels[name] for name in group], [momenta[name] for name in group]) for group in names_by_shape.values()
        ]
        self._rest = NesterovSGD(list(others.values()), list(others), weight_decay=weight_decay)
        self.targets = [*(kernel for kernels, _ in self._groups for kernel in kernels), *self._rest.targets]
        self.state = {f"muon/momentum/{name}": momentum for name, momentum in momenta.items()} | self._rest.state

    def apply(self, gradients: Sequence[Any], learning_rate: Any) -> None:
        """Take one step down `gradients`, one for each of `targets`. To be called while a `tf.function` is traced."""
        remaining = iter(gradients)
        for kernels, momenta in self._groups:
            gradient = tf.stack(list(itertools.islice(remaining, len(kernels))))  # (n, h, w, in, out)
            momentum = KERNEL_MOMENTUM * tf.stack(momenta) + gradient
            moved = tf.stack(kernels) - learning_rate * orthogonalize(gradient + KERNEL_MOMENTUM * momentum)
            length = tf.norm(tf.reshape(moved, (len(kernels), -1)), axis=1)[:, None, None, None, None]
            turned = moved * (moved.shape[-1] ** 0.5 / (length + EPSILON))
            for variables, values in ((momenta, momentum), (kernels, turned)):
                for variable, value in zip(variables, tf.unstack(values), strict=True):
                    variable.assign(value)
        self._rest.apply(list(remaining), OTHERS_RATE * learning_rate)


def orthogonalize(kernels: Any) -> Any:
    """Approximate orthogonal factors of kernels (n, h, w, in, out), as matrices (h * w * in, out); the same shape.

    Their singular values are between about 0.7 and 1.2. The iteration runs on the small product of the matrix with
    itself, which is a third of the work and the same but for rounding.
    """
    count, *sides, width = kernels.shape
    matrix = tf.reshape(kernels, (count, math.prod(sides), width))
    is_wide = math.prod(sides) < width
    matrix = tf.linalg.matrix_transpose(matrix) if is_wide else matrix
    matrix = matrix / (tf.norm(matrix, axis=(1, 2), keepdims=True) + EPSILON)
    matrix = matrix @ _orthogonalizer(tf.matmul(matrix, matrix, transpose_a=True))
    return tf.reshape(tf.linalg.matrix_transpose(matrix) if is_wide else matrix, kernels.shape)


@tf.function(autograph=False, jit_compile=False, input_signature=[tf.TensorSpec((None, None, None), tf.float32)])  # type: ignore[untyped-decorator]
def _orthogonalizer(gram: Any) -> Any:
    """The matrix by which a matrix is multiplied to become orthogonal, from its product with itself: (n, w, w) both.

    A separate graph is traced once for all shapes, not once for each.
    """
    first, third, fifth = NEWTON_SCHULZ
    one = tf.eye(tf.shape(gram)[-1])
    product = one
    for _ in range(NEWTON_SCHULZ_STEPS):
        factor = first * one + third * gram + fifth * gram @ gram
        product, gram = product @ factor, factor @ gram @ factor
    return product
