"""exporting/litert.py: a network becomes a LiteRT file that takes uint8 and predicts what the model predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_images import draw

from convscope.bundle.bundle import open_bundle

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated"),  # in favour of ai-edge-litert
]


@pytest.mark.parametrize(("to", "tolerance"), [("litert", 1e-5), ("litert-int8", 0.05)])
def test_compact_converts(compact_job: Any, to: str, tolerance: float) -> None:
    """Its fused normalization and its global average too: one uint8 image in, probabilities out; all steps reported."""
    from convscope.exporting.litert import convert_to_litert
    from convscope.networks.frameworks import tf

    order, steps = compact_job(to), []
    converted = convert_to_litert(order, steps.append)
    bundle = open_bundle(Path(order.run))
    images = np.stack([draw(kind, 32, seed) for kind in ("disc", "ring") for seed in range(4)])
    np.testing.assert_allclose(converted.predict(images), bundle.predict(images), atol=tolerance)
    interpreter = tf.lite.Interpreter(str(order.file))
    ((image,), (probabilities,)) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (image["dtype"], image["shape"].tolist()) == (np.uint8, [1, 32, 32, 3])
    assert (probabilities["dtype"], probabilities["shape"].tolist()) == (np.float32, [1, 2])
    assert sum(steps) == 2 + (16 if to == "litert-int8" else 0)


def test_int8_computes_in_bytes(compact_job: Any) -> None:
    """No operation but the last, which dequantizes the probabilities, outputs floats."""
    from convscope.exporting.litert import convert_to_litert
    from convscope.networks.frameworks import tf

    order = compact_job("litert-int8")
    convert_to_litert(order, lambda _: None)
    tensors = tf.lite.Interpreter(str(order.file)).get_tensor_details()
    floats = [tensor["name"] for tensor in tensors if tensor["dtype"] == np.float32]
    assert len(floats) == 1
