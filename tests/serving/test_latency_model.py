"""The latency model follows what batches take."""

from __future__ import annotations

import pytest

from convscope.serving.latency_model import LatencyModel


def test_estimate_follows_the_measurements() -> None:
    """After many batches of images of 1e6 pixels, 0.02 s to decode and 0.001 s of inference: 0.021 s."""
    model = LatencyModel()
    for _ in range(200):
        model.update_decoding(10_000_000, 10, 0.2)
        model.update_inference(10, 0.01)
    assert model.estimate_seconds(1_000_000) == pytest.approx(0.021, rel=0.01)
    assert model.estimate_seconds(10_000_000) > 9 * model.estimate_seconds(1_000_000)
