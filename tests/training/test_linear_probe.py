"""training/linear_probe.py: the head is scikit-learn's optimum, fitted on training images alone, to the bit."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from numpy_network import cross_entropies, logits_of, softmax

from convscope.datasets.dataset import Dataset
from convscope.datasets.splits import Sample
from convscope.networks.catalog import build_network, read_weights
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.training import linear_probe as module
from convscope.training.linear_probe import DEFAULT_STRENGTH, STRENGTHS, Head, HeadMetrics, fit_head, fit_linear_probe

pytestmark = pytest.mark.tensorflow

WIDTH = 24
RECIPE = resolve(Recipe(network="classic", image_size=8, channels=1, filters=(4,), dense_units=8, seed=3))


def clouds(
    per_class: int, num_classes: int = 2, *, distance: float = 4.0, seed: int = 0
) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
    """Features (n, WIDTH) and labels (n,) of classes around fixed centers, in random order."""
    centers = np.random.default_rng(99).normal(size=(num_classes, WIDTH))
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.repeat(np.arange(num_classes, dtype=np.int32), per_class))
    features = distance * centers[labels] + draw.normal(size=(len(labels), WIDTH)) + 3.0
    return features.astype(np.float16), labels


def probabilities(head: Head, features: NDArray[np.float16]) -> NDArray[np.float64]:
    """The probabilities (n, classes) of a head."""
    return softmax(features.astype(np.float64) @ head.kernel + head.bias)


@pytest.mark.parametrize("num_classes", [2, 3, 30])
def test_distant_classes_are_separated(num_classes: int) -> None:
    """Fitted on 20 images of each, the predictions for others are correct; kernel and bias fit a dense layer."""
    head = fit_head(*clouds(20, num_classes), num_classes, seed=0)
    assert (head.kernel.shape, head.bias.shape) == ((WIDTH, num_classes), (num_classes,))
    assert head.kernel.dtype == head.bias.dtype == np.float32
    features, labels = clouds(50, num_classes, seed=1)
    assert (probabilities(head, features).argmax(axis=1) == labels).mean() > 0.97


@pytest.mark.parametrize("num_classes", [2, 4])
def test_it_is_the_optimum_of_scikit_learn(num_classes: int) -> None:
    """The same probabilities as its logistic regression on scaled features, with the regularization that was chosen.

    Each feature is divided by the geometric mean of its own standard deviation and the common one.
    """
    from sklearn.linear_model import LogisticRegression

    features, labels = clouds(40, num_classes, distance=0.5)
    head = fit_head(features, labels, num_classes, seed=0)
    exact = features.astype(np.float32)
    deviation = exact.std(axis=0)
    common = np.sqrt((deviation**2).mean())
    scaled = (exact - exact.mean(axis=0)) / (np.sqrt(deviation * common) + 1e-3 * common)
    expected = LogisticRegression(C=head.strength, max_iter=1000).fit(scaled, labels).predict_proba(scaled)
    assert np.ptp(expected[:, 0]) > 0.3
    np.testing.assert_allclose(probabilities(head, features), expected, atol=2e-3)


def test_two_classes_are_symmetric() -> None:
    """The two columns are each other's negative, so that the regularization is the same for both classes."""
    head = fit_head(*clouds(20), 2, seed=0)
    np.testing.assert_array_equal(head.kernel[:, 0], -head.kernel[:, 1])


def test_a_class_may_have_one_image() -> None:
    """The regularization is chosen without that class; its image gets the highest probability of it."""
    features, labels = clouds(20, 3)
    first = np.flatnonzero(labels == 2)[0]
    kept = np.sort(np.append(np.flatnonzero(labels != 2), first))
    head = fit_head(features[kept], labels[kept], 3, seed=0)
    many = kept[kept != first]
    assert head.strength == fit_head(features[many], labels[many], 2, seed=0).strength != DEFAULT_STRENGTH
    assert kept[probabilities(head, features[kept])[:, 2].argmax()] == first
    assert fit_head(features[:2], np.array([0, 1], np.int32), 2, seed=0).strength == DEFAULT_STRENGTH


def test_constant_features_have_no_effect() -> None:
    """They have no weight, zeros too; where all are constant, every class has the probability of its frequency."""
    features, labels = clouds(20)
    features[:, 3], features[:, 7] = 0, 5
    head = fit_head(features, labels, 2, seed=0)
    assert np.isfinite(head.kernel).all()
    assert np.isfinite(head.bias).all()
    assert not head.kernel[[3, 7]].any()
    constant = np.full((30, WIDTH), 2, np.float16)
    head = fit_head(constant, np.repeat([0, 1], [10, 20]).astype(np.int32), 2, seed=0)
    np.testing.assert_allclose(probabilities(head, constant)[0], [1 / 3, 2 / 3], atol=0.01)


def test_same_seed_same_bits() -> None:
    """Fitted again it is the same to the bit; another seed draws other folds and another order."""
    features, labels = clouds(30, 3, distance=0.5)
    first, second, other = (fit_head(features, labels, 3, seed=seed) for seed in (5, 5, 6))
    assert first.kernel.tobytes() == second.kernel.tobytes() != other.kernel.tobytes()
    assert first.bias.tobytes() == second.bias.tobytes()
    assert first.strength == second.strength


def test_regularization_is_cross_validated() -> None:
    """Random labels get the strongest; distant classes a weaker one."""
    features, labels = clouds(60)
    shuffled = np.random.default_rng(3).permutation(labels)
    assert fit_head(features, shuffled, 2, seed=0).strength == min(STRENGTHS)
    assert fit_head(features, labels, 2, seed=0).strength > min(STRENGTHS)
    assert np.abs(probabilities(fit_head(features, shuffled, 2, seed=0), features) - 0.5).max() < 0.2


def test_every_class_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more images than are fitted on, one of each class is drawn at least: no column is missing or another's."""
    monkeypatch.setattr(module, "MAX_FITTED", 30)
    features, labels = clouds(100, 4)
    kept = np.concatenate([np.flatnonzero(labels < 3), np.flatnonzero(labels == 3)[:1]])
    for seed in range(5):
        head = fit_head(features[kept], labels[kept], 4, seed=seed)
        assert head.kernel.shape == (WIDTH, 4)
        predicted = probabilities(head, features[kept])
        assert (predicted.argmax(axis=1) == labels[kept]).mean() > 0.95
        assert predicted[:, 3].argmax() == len(kept) - 1


def test_incomplete_convergence_is_no_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last digits do not matter, so that the user is not warned of them; every warning is an error here."""
    monkeypatch.setattr(module, "MAX_ITERATIONS", 1)
    fit_head(*clouds(20, 3), 3, seed=0)
    assert "Warning" not in capsys.readouterr().err


def test_folds_are_of_the_given_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-validation gets the training images and no other."""
    import sklearn.model_selection

    counts: list[int] = []
    score = sklearn.model_selection.cross_val_score

    def counted(regression: Any, features: Any, labels: Any, **options: Any) -> Any:
        counts.append(len(features))
        return score(regression, features, labels, **options)

    monkeypatch.setattr(sklearn.model_selection, "cross_val_score", counted)
    fit_head(*clouds(20, 3), 3, seed=0)
    assert counts == [60] * len(STRENGTHS)


@pytest.fixture
def dataset() -> Dataset:
    """40 grey images to fit on and 20 to validate with, brighter in the second class; the last one is refused."""
    draw = np.random.default_rng(0)
    labels = (np.arange(61) % 2).astype(np.int32)
    images = draw.integers(0, 150, (61, 8, 8, 1), np.uint8) + (labels * 60).astype(np.uint8)[:, None, None, None]
    splits = ["train"] * 40 + ["validation"] * 20 + [""]
    rows = enumerate(zip(labels, splits, strict=True))
    samples = [Sample(f"{row}.png", "ab"[label], split, str(row), "", "") for row, (label, split) in rows]
    labels[60] = -1
    return Dataset(Path("noise"), ("a", "b"), tuple(samples), images, labels, {}, ())


def fit(dataset: Dataset) -> tuple[Any, HeadMetrics]:
    """A network with its fitted head, and the metrics of that."""
    model = build_network(RECIPE, 2)
    return model, fit_linear_probe(model, dataset, seed=RECIPE.seed)


def evaluate(model: Any, dataset: Dataset, rows: NDArray[np.int64]) -> tuple[float, float]:
    """Loss and accuracy of a network, by NumPy."""
    logits, labels = logits_of(read_weights(model), dataset.images[rows]), dataset.labels[rows]
    return float(cross_entropies(logits, labels).mean()), float((logits.argmax(axis=1) == labels).mean())


def test_metrics_are_those_of_the_network(dataset: Dataset) -> None:
    """Loss and accuracy on both splits are those of the network with the head, but for the features' half precision."""
    model, metrics = fit(dataset)
    assert (metrics.loss, metrics.accuracy) == pytest.approx(evaluate(model, dataset, dataset.rows("train")), abs=0.01)
    expected = evaluate(model, dataset, dataset.rows("validation"))
    assert (metrics.val_loss, metrics.val_accuracy) == pytest.approx(expected, abs=0.01)
    assert metrics.val_accuracy > 0.8


def test_nothing_but_the_head_changes(dataset: Dataset) -> None:
    """All other weights stay as they were."""
    before = read_weights(build_network(RECIPE, 2))
    after = read_weights(fit(dataset)[0])
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {
        "logits/kernel",
        "logits/bias",
    }


def test_validation_images_have_no_effect_on_the_head(dataset: Dataset) -> None:
    """With other labels, or other pixels, of these the head has the same bits, and another validation loss."""
    rows = dataset.rows("validation")
    labels, images = dataset.labels.copy(), dataset.images.copy()
    labels[rows] = 1 - labels[rows]
    images[rows] = 255 - images[rows]
    model, metrics = fit(dataset)
    for changed in (replace(dataset, labels=labels), replace(dataset, images=images)):
        other, other_metrics = fit(changed)
        assert read_weights(other)["logits/kernel"].tobytes() == read_weights(model)["logits/kernel"].tobytes()
        assert (other_metrics.loss, other_metrics.accuracy) == (metrics.loss, metrics.accuracy)
        assert other_metrics.val_loss > metrics.val_loss


def test_its_accuracy_is_a_message(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    """How many images it was fitted on, its validation accuracy and loss."""
    caplog.set_level(logging.INFO, logger="convscope")
    _, metrics = fit(dataset)
    assert caplog.messages[-1] == (
        f"head (last layer) fitted on the frozen features of 40 images: validation accuracy"
        f" {metrics.val_accuracy:.1%}, loss {metrics.val_loss:.4f}"
    )
