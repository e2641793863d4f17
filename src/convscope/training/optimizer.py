"""Optimisers in one fused operation per variable, with all their state in named variables.

Adam: Kingma and Ba, 2015 (arXiv 1412.6980), in the form with the corrected learning rate that TensorFlow 1 used; its
fused kernel reads and writes each weight once, where Keras's Adam is a dozen operations over the whole tensor.
SGD: Nesterov's momentum in the form of Sutskever et al., 2013.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from convscope.models.frameworks import tf

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
MOMENTUM = 0.9


class Optimizer(Protocol):
    """What the training step needs of an optimiser.

    Attributes:
        targets: the variables that it moves.
        state: everything that it remembers, by name.
    """

    targets: list[Any]
    state: dict[str, Any]

    def apply(self, gradients: Sequence[Any], learning_rate: Any) -> None:
        """Take one step down `gradients`, one for each target. To be called while a `tf.function` is traced."""


class Adam:
    """The optimiser of some variables.

    Args:
        variables: `tf.Variable`s, float32.
        names: of the variables, for the saved state.
    """

    def __init__(self, variables: Sequence[Any], names: Sequence[str]) -> None:
        self.targets = list(variables)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.means = [tf.Variable(tf.zeros_like(each), trainable=False) for each in self.targets]
        self.squares = [tf.Variable(tf.zeros_like(each), trainable=False) for each in self.targets]
        self.state: dict[str, Any] = {"adam/step": self.step}
        for name, mean, square in zip(names, self.means, self.squares, strict=True):
            self.state |= {f"adam/mean/{name}": mean, f"adam/square/{name}": square}

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


class NesterovSGD:
    """Stochastic gradient descent with Nesterov momentum; kernels are also pulled towards 0.

    Args:
        variables: `tf.Variable`s, float32.
        names: of the variables, for the saved state.
        weight_decay: this share of each kernel is added to its gradient; biases and normalisation are left alone.
    """

    def __init__(self, variables: Sequence[Any], names: Sequence[str], *, weight_decay: float) -> None:
        self.targets = list(variables)
        self.weight_decay = weight_decay
        self.velocities = [tf.Variable(tf.zeros_like(each), trainable=False) for each in self.targets]
        self.state = {f"sgd/velocity/{name}": each for name, each in zip(names, self.velocities, strict=True)}

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
