"""Where a network that has seen other images begins with these: its head solved on the features that it has already."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.datasets.dataset import Dataset
from convscope.training.features import features_of
from convscope.training.linear_probe import Head, solve_head

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Judged:
    """Mean cross-entropy (nats) and accuracy of a solved head, on the training and on the validation images."""

    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float


def start_from_features(model: Any, dataset: Dataset, *, seed: int) -> Judged:
    """Put the head that tells the training images apart best into a network, and judge it.

    Args:
        model: a `keras.Model` whose weights were learned before, with the layers `features` and `logits`.
        dataset: with the splits `train` and `validation`.
        seed: of what is drawn while it is solved.
    """
    features, labels = features_of(model, dataset.images), dataset.labels
    train, validation = dataset.rows("train"), dataset.rows("validation")
    head = solve_head(features[train], labels[train], len(dataset.classes), seed=seed)
    model.get_layer("logits").set_weights([head.kernel, head.bias])
    judged = Judged(
        *_judge(head, features[train], labels[train]), *_judge(head, features[validation], labels[validation])
    )
    logger.info(
        f"head solved on the features of {len(train):,} images: validation accuracy {judged.val_accuracy:.1%},"
        f" loss {judged.val_loss:.4f}"
    )
    return judged


def _judge(head: Head, features: NDArray[np.float16], labels: NDArray[np.int32]) -> tuple[float, float]:
    logits = head.logits(features)
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return float(losses.mean(dtype=np.float64)), float((logits.argmax(axis=1) == labels).mean())
