"""One optimisation step and one evaluation step, as compiled graphs.

Both work on the two halves of a batch side by side, each half on its share of the cores: an operation that is spread
over all cores waits for the slowest of them, some hundred times a step (measured: 1.2 times the images per second on
two cores). The gradients of the halves are added, so that the step follows the gradient of the batch; batch
normalisation sees a half at a time (Hoffer et al., 2017, arXiv 1705.08741: smaller groups generalise better).

Both add their sums to a Tally inside the graph, so that Python reads them only now and then. They are traced once for
all image sizes. XLA stays off: on a CPU it is 2.4 times slower on this network (measured).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convscope.networks.catalog import submodel
from convscope.networks.frameworks import tf
from convscope.networks.tensorflow_internals import without_graph_rewriting
from convscope.training.optimizer import Optimizer

TrainingStep = Callable[[Any, Any, Any], None]  # (images (B, h, w, c) uint8, labels (B,) int32, learning rate ())
EvaluationStep = Callable[[Any, Any], None]
Inference = Callable[[Any], Any]  # images (B, h, w, c) uint8 -> probabilities (B, classes) float32
MIN_HALVED = 16  # images of a batch: statistics over fewer than half as many would be noise


class Tally:
    """Sums over the images of an epoch: loss, correct predictions, images. Exact to save and to continue."""

    def __init__(self) -> None:
        self.loss = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.correct = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.count = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.state = {"tally/loss": self.loss, "tally/correct": self.correct, "tally/count": self.count}

    def add(self, losses: Any, logits: Any, labels: Any) -> None:
        """Add a batch: losses (B,), logits (B, classes), labels (B,)."""
        is_correct = tf.argmax(logits, axis=1, output_type=labels.dtype) == labels
        self.loss.assign_add(tf.reduce_sum(tf.cast(losses, tf.float64)))
        self.correct.assign_add(tf.reduce_sum(tf.cast(is_correct, tf.int64)))
        self.count.assign_add(tf.size(labels, out_type=tf.int64))

    def read(self) -> tuple[float, float]:
        """(mean loss, accuracy) so far; (0, 0) before the first image."""
        count = max(int(self.count.numpy()), 1)
        return float(self.loss.numpy()) / count, int(self.correct.numpy()) / count

    def reset(self) -> None:
        """Start again with no images."""
        for variable in self.state.values():
            variable.assign(tf.zeros_like(variable))


def make_training_step(
    model: Any, optimizer: Optimizer, tally: Tally, *, batch_size: int, label_smoothing: float = 0.0
) -> TrainingStep:
    """A function that takes one step of `optimizer` down the mean cross-entropy of a batch.

    Args:
        model: the `keras.Model`.
        optimizer: of its trainable weights.
        tally: counts the loss without label smoothing, so that losses can be compared.
        batch_size: images of each batch.
        label_smoothing: the factor (Szegedy et al., arXiv 1512.00567).
    """
    logits_of = submodel(model, "logits")

    def compute_gradients(images: Any, labels: Any) -> list[Any]:
        """The gradients of these images' share of the mean loss."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(optimizer.targets)
            logits = logits_of(images, training=True)["logits"]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_sum(losses)
            if label_smoothing:
                uniform = tf.reduce_sum(tf.reduce_logsumexp(logits, axis=1) - tf.reduce_mean(logits, axis=1))
                loss = (1 - label_smoothing) * loss + label_smoothing * uniform
            share = loss / batch_size
        tally.add(losses, logits, labels)
        return list(tape.gradient(share, optimizer.targets))

    def step(images: Any, labels: Any, learning_rate: Any) -> None:
        gradients = [compute_gradients(*half) for half in _halves(images, labels, batch_size=batch_size)]
        optimizer.apply([tf.add_n(halves) for halves in zip(*gradients, strict=True)], learning_rate)

    rate = tf.TensorSpec((), tf.float32)
    compiled = _compiled(step, _batch_spec(model, batch_size), tf.TensorSpec((batch_size,), tf.int32), rate)

    def step_as_traced(images: Any, labels: Any, learning_rate: Any) -> None:
        # TensorFlow's graph optimisation saves nothing here and takes half a second (docs/decisions/compact.md)
        with without_graph_rewriting():
            compiled(images, labels, learning_rate)

    return step_as_traced


def make_evaluation_step(model: Any, tally: Tally) -> EvaluationStep:
    """A function that adds the losses and correct predictions of a batch to `tally`; no weight changes."""
    logits_of = submodel(model, "logits")

    def evaluate(images: Any, labels: Any) -> None:
        logits = logits_of(images, training=False)["logits"]
        tally.add(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits), logits, labels)

    def evaluate_halves(images: Any, labels: Any) -> None:
        for half in _halves(images, labels):
            evaluate(*half)

    signature = _batch_spec(model), tf.TensorSpec((None,), tf.int32)
    return _by_length(_compiled(evaluate, *signature), _compiled(evaluate_halves, *signature))


def make_inference(model: Any) -> Inference:
    """A function that computes a network's output in inference mode."""

    def infer(images: Any) -> Any:
        return model(images, training=False)

    def infer_halves(images: Any) -> Any:
        return tf.concat([infer(half) for (half,) in _halves(images)], axis=0)

    return _by_length(_compiled(infer, _batch_spec(model)), _compiled(infer_halves, _batch_spec(model)))


def _by_length(for_one: Callable[..., Any], for_several: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls `for_several`, which halves a batch, if each half has an image, else `for_one`.

    TensorFlow miscomputes a convolution of no images: the convolution of the other half is given a wrong input then.
    """

    def run(images: Any, *labels: Any) -> Any:
        return (for_several if len(images) > 1 else for_one)(images, *labels)

    return run


def _halves(*batch: Any, batch_size: int | None = None) -> list[tuple[Any, ...]]:
    """The batch's tensors, (B, ...) each, in two halves; in one piece where B is known to be small."""
    if batch_size is not None and batch_size < MIN_HALVED:
        return [batch]
    middle = tf.shape(batch[0])[0] // 2 if batch_size is None else batch_size // 2
    return [tuple(tensor[:middle] for tensor in batch), tuple(tensor[middle:] for tensor in batch)]


def _batch_spec(model: Any, batch_size: int | None = None) -> Any:
    """The specification of a batch of images for a network: of any size where the network takes any."""
    return tf.TensorSpec((batch_size, *model.input.shape[1:]), tf.uint8)


def _compiled(function: Any, *signature: Any) -> Any:
    return tf.function(function, jit_compile=False, autograph=False, input_signature=signature)
