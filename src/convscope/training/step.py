"""One optimisation step and one evaluation step, as compiled graphs.

Both work on the two halves of a batch side by side, each half on its share of the cores: an operation that is spread
over all cores waits for the slowest of them, some hundred times a step (measured: 1.2 times the images per second on
two cores). The halves' gradients are added, so that it is the batch's gradient that is followed; batch normalisation
sees a half at a time (Hoffer et al., 2017, arXiv 1705.08741, who found that smaller groups generalise better).

Both add what they see to a Tally inside the graph, so that nothing is read back to Python but once in a while. They
are traced once for all image sizes. XLA stays off: on a CPU it is 2.4 times slower on this network (measured).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convscope.networks.catalog import outputs_of
from convscope.networks.frameworks import as_traced, tf
from convscope.training.optimizer import Optimizer

TrainingStep = Callable[[Any, Any, Any], None]  # (images (B, h, w, c) uint8, labels (B,) int32, learning rate ())
EvaluationStep = Callable[[Any, Any], None]
Inference = Callable[[Any], Any]  # images (B, h, w, c) uint8 -> probabilities (B, classes) float32
LEAST_HALVED = 16  # images: statistics over fewer than half as many would be noise


class Tally:
    """Sums over the images of an epoch: loss, right answers, images. Exact to save and to go on with."""

    def __init__(self) -> None:
        self.loss = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.correct = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.count = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.state = {"tally/loss": self.loss, "tally/correct": self.correct, "tally/count": self.count}

    def add(self, losses: Any, logits: Any, labels: Any) -> None:
        """Add a batch: losses (B,), logits (B, classes), labels (B,)."""
        right = tf.argmax(logits, axis=1, output_type=labels.dtype) == labels
        self.loss.assign_add(tf.reduce_sum(tf.cast(losses, tf.float64)))
        self.correct.assign_add(tf.reduce_sum(tf.cast(right, tf.int64)))
        self.count.assign_add(tf.size(labels, out_type=tf.int64))

    def read(self) -> tuple[float, float]:
        """(mean loss, accuracy) so far; (0, 0) before the first image."""
        count = max(int(self.count.numpy()), 1)
        return float(self.loss.numpy()) / count, int(self.correct.numpy()) / count

    def reset(self) -> None:
        for variable in self.state.values():
            variable.assign(tf.zeros_like(variable))


def make_training_step(
    model: Any, optimizer: Optimizer, tally: Tally, *, batch_size: int, label_smoothing: float = 0.0
) -> TrainingStep:
    """One step of `optimizer` down the mean cross-entropy of a batch of `batch_size`.

    With `label_smoothing` that share of the truth is spread over all classes (Szegedy et al., arXiv 1512.00567) in the
    loss that is learned from; the tally counts the plain one, so that losses can be compared.
    """
    logits_of = outputs_of(model, "logits")

    def learn_from(images: Any, labels: Any) -> list[Any]:
        """The gradients of these images' share of the mean loss."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(optimizer.targets)
            logits = logits_of(images, training=True)["logits"]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_sum(losses)
            if label_smoothing:
                spread = tf.reduce_sum(tf.reduce_logsumexp(logits, axis=1) - tf.reduce_mean(logits, axis=1))
                loss = (1 - label_smoothing) * loss + label_smoothing * spread
            share = loss / batch_size
        tally.add(losses, logits, labels)
        return list(tape.gradient(share, optimizer.targets))

    def step(images: Any, labels: Any, learning_rate: Any) -> None:
        gradients = [learn_from(*half) for half in _halves(images, labels, batch_size=batch_size)]
        optimizer.apply([tf.add_n(each) for each in zip(*gradients, strict=True)], learning_rate)

    rate = tf.TensorSpec((), tf.float32)
    compiled = _compiled(step, _batches_of(model, batch_size), tf.TensorSpec((batch_size,), tf.int32), rate)

    def step_as_traced(images: Any, labels: Any, learning_rate: Any) -> None:
        # what TensorFlow would make of the graph saves nothing, and takes half a second (docs/decisions/compact.md)
        with as_traced():
            compiled(images, labels, learning_rate)

    return step_as_traced


def make_evaluation_step(model: Any, tally: Tally) -> EvaluationStep:
    """Add a batch's losses and right answers to `tally`; nothing learns."""
    logits_of = outputs_of(model, "logits")

    def judge(images: Any, labels: Any) -> None:
        logits = logits_of(images, training=False)["logits"]
        tally.add(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits), logits, labels)

    def judge_halves(images: Any, labels: Any) -> None:
        for half in _halves(images, labels):
            judge(*half)

    signature = _batches_of(model), tf.TensorSpec((None,), tf.int32)
    return _by_length(_compiled(judge, *signature), _compiled(judge_halves, *signature))


def make_inference(model: Any) -> Inference:
    """The network's answers, without learning."""

    def infer(images: Any) -> Any:
        return model(images, training=False)

    def infer_halves(images: Any) -> Any:
        return tf.concat([infer(half) for (half,) in _halves(images)], axis=0)

    return _by_length(_compiled(infer, _batches_of(model)), _compiled(infer_halves, _batches_of(model)))


def _by_length(whole: Callable[..., Any], halves: Callable[..., Any]) -> Callable[..., Any]:
    """What works on the halves of a batch where each has an image.

    TensorFlow takes a wrong turn at a convolution of no images: the one of the other half is given a wrong input then.
    """

    def work(images: Any, *more: Any) -> Any:
        return (halves if len(images) > 1 else whole)(images, *more)

    return work


def _halves(*batch: Any, batch_size: int | None = None) -> list[tuple[Any, ...]]:
    """The batch's tensors, (B, ...) each, in two parts; whole where B is known to be small."""
    if batch_size is not None and batch_size < LEAST_HALVED:
        return [batch]
    middle = tf.shape(batch[0])[0] // 2 if batch_size is None else batch_size // 2
    return [tuple(each[:middle] for each in batch), tuple(each[middle:] for each in batch)]


def _batches_of(model: Any, batch_size: int | None = None) -> Any:
    """What a batch of a network's images is: of any size where the network takes any."""
    return tf.TensorSpec((batch_size, *model.input.shape[1:]), tf.uint8)


def _compiled(work: Any, *signature: Any) -> Any:
    return tf.function(work, jit_compile=False, autograph=False, input_signature=signature)
