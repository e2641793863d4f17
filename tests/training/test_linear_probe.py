"""training/linear_probe.py: the fitted head is scikit-learn's optimum, and the same to the bit each time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from numpy_network import softmax

from convscope.training import linear_probe as module
from convscope.training.linear_probe import STRENGTHS, USUAL, Head, _scale, solve_head

pytestmark = pytest.mark.tensorflow  # it needs the extra `train`, for scikit-learn

WIDTH = 24


def clouds(
    per_class: int, num_classes: int = 2, *, apart: float = 4.0, seed: int = 0
) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
    """Features (n, WIDTH) and labels (n,) of classes that lie apart, in any order; the middles are always the same."""
    middles = np.random.default_rng(99).normal(size=(num_classes, WIDTH))
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.repeat(np.arange(num_classes, dtype=np.int32), per_class))
    features = apart * middles[labels] + draw.normal(size=(len(labels), WIDTH)) + 3.0
    return features.astype(np.float16), labels


def answers(head: Head, features: NDArray[np.float16]) -> NDArray[np.float64]:
    """The probabilities (n, classes) that a head gives."""
    return softmax(features.astype(np.float64) @ head.kernel + head.bias)


@pytest.mark.parametrize("num_classes", [2, 3, 30])
def test_classes_that_lie_apart_are_told_apart(num_classes: int) -> None:
    """From 20 images of each, those that were not seen are right; kernel and bias are what a dense layer takes."""
    head = solve_head(*clouds(20, num_classes), num_classes, seed=0)
    assert (head.kernel.shape, head.bias.shape) == ((WIDTH, num_classes), (num_classes,))
    assert head.kernel.dtype == head.bias.dtype == np.float32
    features, labels = clouds(50, num_classes, seed=1)
    assert (answers(head, features).argmax(axis=1) == labels).mean() > 0.97


@pytest.mark.parametrize("num_classes", [2, 4])
def test_it_is_what_scikit_learn_finds(num_classes: int) -> None:
    """The same probabilities as its logistic regression on scaled features, with the strength that was chosen."""
    from sklearn.linear_model import LogisticRegression

    features, labels = clouds(40, num_classes, apart=0.5)
    head = solve_head(features, labels, num_classes, seed=0)
    plain = features.astype(np.float32)
    scaled = (plain - plain.mean(axis=0)) / _scale(plain)
    expected = LogisticRegression(C=head.strength, max_iter=1000).fit(scaled, labels).predict_proba(scaled)
    assert np.ptp(expected[:, 0]) > 0.3
    np.testing.assert_allclose(answers(head, features), expected, atol=2e-3)


def test_two_classes_share_what_one_would_have() -> None:
    """The two columns are each other's negative, so that neither class is pulled more than the other."""
    head = solve_head(*clouds(20), 2, seed=0)
    np.testing.assert_array_equal(head.kernel[:, 0], -head.kernel[:, 1])


def test_a_class_may_have_one_image() -> None:
    """The strength is chosen as without it; its image is the one that looks most like its class."""
    features, labels = clouds(20, 3)
    first = np.flatnonzero(labels == 2)[0]
    kept = np.sort(np.append(np.flatnonzero(labels != 2), first))
    head = solve_head(features[kept], labels[kept], 3, seed=0)
    many = kept[kept != first]
    assert head.strength == solve_head(features[many], labels[many], 2, seed=0).strength != USUAL
    assert kept[answers(head, features[kept])[:, 2].argmax()] == first
    assert solve_head(features[:2], np.array([0, 1], np.int32), 2, seed=0).strength == USUAL


def test_a_feature_that_never_changes_changes_nothing() -> None:
    """Constant features, zeros too, have no weight; where all are, every class has its share of the images."""
    features, labels = clouds(20)
    features[:, 3], features[:, 7] = 0, 5
    head = solve_head(features, labels, 2, seed=0)
    assert np.isfinite(head.kernel).all()
    assert np.isfinite(head.bias).all()
    assert not head.kernel[[3, 7]].any()
    same = np.full((30, WIDTH), 2, np.float16)
    nothing = solve_head(same, np.repeat([0, 1], [10, 20]).astype(np.int32), 2, seed=0)
    np.testing.assert_allclose(answers(nothing, same)[0], [1 / 3, 2 / 3], atol=0.01)


def test_same_seed_same_bits() -> None:
    """Solved again it is the same to the bit; another seed draws other folds and another order."""
    features, labels = clouds(30, 3, apart=0.5)
    one, two, other = (solve_head(features, labels, 3, seed=seed) for seed in (5, 5, 6))
    assert one.kernel.tobytes() == two.kernel.tobytes() != other.kernel.tobytes()
    assert one.bias.tobytes() == two.bias.tobytes()
    assert one.strength == two.strength


def test_strength_is_chosen_by_images_that_were_not_solved_on() -> None:
    """Labels that follow from nothing pull every weight towards 0; classes that lie far apart do not."""
    features, labels = clouds(60)
    drawn = np.random.default_rng(3).permutation(labels)
    assert solve_head(features, drawn, 2, seed=0).strength == min(STRENGTHS)
    assert solve_head(features, labels, 2, seed=0).strength > min(STRENGTHS)
    assert np.abs(answers(solve_head(features, drawn, 2, seed=0), features) - 0.5).max() < 0.2


def test_every_class_is_among_those_that_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more images than can be solved on, each class keeps one at least: no column is missing or another's."""
    monkeypatch.setattr(module, "MOST_SOLVED", 30)
    features, labels = clouds(100, 4)
    kept = np.concatenate([np.flatnonzero(labels < 3), np.flatnonzero(labels == 3)[:1]])
    for seed in range(5):
        head = solve_head(features[kept], labels[kept], 4, seed=seed)
        assert head.kernel.shape == (WIDTH, 4)
        found = answers(head, features[kept])
        assert (found.argmax(axis=1) == labels[kept]).mean() > 0.95
        assert found[:, 3].argmax() == len(kept) - 1


def test_not_quite_settled_is_no_warning(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What scikit-learn says of digits that nobody needs does not reach a person; every warning is an error here."""
    monkeypatch.setattr(module, "MOST_ITERATIONS", 1)
    solve_head(*clouds(20, 3), 3, seed=0)
    assert "Warning" not in capsys.readouterr().err


def test_folds_are_of_the_images_that_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-validation sees the training images and no other: what it is given is what it scores on."""
    import sklearn.model_selection

    seen: list[int] = []
    score = sklearn.model_selection.cross_val_score

    def counted(regression: Any, features: Any, labels: Any, **words: Any) -> Any:
        seen.append(len(features))
        return score(regression, features, labels, **words)

    monkeypatch.setattr(sklearn.model_selection, "cross_val_score", counted)
    solve_head(*clouds(20, 3), 3, seed=0)
    assert seen == [60] * len(STRENGTHS)
