"""Adam in one fused operation per variable, with all its state in named variables.

Kingma and Ba, 2015 (arXiv 1412.6980), in the form with the corrected learning rate that TensorFlow 1 used. TensorFlow's
fused kernel reads and writes each weight once, where Keras's Adam is a dozen operations over the whole tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convscope.models.frameworks import tf

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """The optimiser of some variables.

    Args:
        variables: `tf.Variable`s, float32.
        names: of the variables, for the saved state.
        learning_rate: the step size.
    """

    def __init__(self, variables: Sequence[Any], names: Sequence[str], *, learning_rate: float) -> None:
        self.targets = list(variables)
        self.learning_rate = learning_rate
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.means = [tf.Variable(tf.zeros_like(each), trainable=False) for each in self.targets]
        self.squares = [tf.Variable(tf.zeros_like(each), trainable=False) for each in self.targets]
        self.state: dict[str, Any] = {"adam/step": self.step}
        for name, mean, square in zip(names, self.means, self.squares, strict=True):
            self.state |= {f"adam/mean/{name}": mean, f"adam/square/{name}": square}

    def apply(self, gradients: Sequence[Any]) -> None:
        """Take one step down `gradients`, one for each variable. To be called while a `tf.function` is traced."""
        count = tf.cast(self.step.assign_add(1), tf.float32)
        for variable, mean, square, gradient in zip(self.targets, self.means, self.squares, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=tf.pow(BETA1, count),
                beta2_power=tf.pow(BETA2, count),
                lr=self.learning_rate,
                beta1=BETA1,
                beta2=BETA2,
                epsilon=EPSILON,
                grad=gradient,
            )
