"""plotting/probabilities.py: the most probable classes as bars."""

from __future__ import annotations

import numpy as np
import pytest
from figure_content import tick_names

from convscope.plotting.probabilities import plot_probabilities

pytestmark = pytest.mark.slow  # every figure takes a third of a second


def test_bars_are_sorted_and_the_rest_is_summed() -> None:
    """The highest on top; of 12 classes the first 10, with the sum of the others."""
    probabilities = np.array([0.01] * 10 + [0.6, 0.3])
    axes = plot_probabilities(probabilities, [f"class {number}" for number in range(12)]).axes[0]
    assert tick_names(axes)[:3] == ["class 10", "class 11", "class 0"]
    assert [round(bar.get_width(), 2) for bar in axes.patches] == [0.6, 0.3] + [0.01] * 8  # type: ignore[attr-defined]
    assert axes.yaxis_inverted()
    assert axes.get_title() == "the 10 highest of 12 classes; sum of the others 2.0%"
    assert [text.get_text() for text in axes.texts][:2] == ["60.0%", "30.0%"]


def test_probabilities_of_another_shape_are_rejected() -> None:
    """The error says what was found and what was expected."""
    with pytest.raises(ValueError, match=r"found probabilities of shape \(1, 2\); expected \(2,\)"):
        plot_probabilities(np.ones((1, 2)), ["cat", "dog"])
