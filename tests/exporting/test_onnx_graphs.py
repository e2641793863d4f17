"""exporting/onnx_graphs.py: what convscope relies on in tf2onnx's and ONNX's graph tools, one test each."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from convscope.bundle.onnx_safety import find_danger
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

IMAGES = np.random.default_rng(0).integers(256, size=(3, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> Any:
    """A small `compact`, untrained."""
    from convscope.networks.catalog import build_network

    return build_network(resolve(Recipe(network="compact", image_size=32, filters=(8, 8, 16, 16))), 3)


@pytest.fixture(scope="module")
def introspection(network: Any) -> Any:
    """Its graph with all outputs."""
    from convscope.exporting.onnx_graphs import introspection_graph

    return introspection_graph(network, (32, 32, 3))


def predict(proto: Any) -> list[np.ndarray]:
    """The probabilities and features of `IMAGES`, by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(["probabilities", "features"], {"image": IMAGES})
    return outputs


def test_converter_keeps_names_and_batch_axis(network: Any, introspection: Any) -> None:
    """`convert.from_function` names inputs and outputs by the signature and by the keys of the result.

    If it did not, `Bundle` and `Introspection` would find no output; if the batch were fixed, no batch would fit.
    """
    from convscope.networks.hirescam import block_names

    (image,) = introspection.graph.input
    assert image.name == "image"
    outputs = {value.name for value in introspection.graph.output}
    assert outputs == {"probabilities", "features", "heat", *block_names(network)}
    for value in (image, *introspection.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert find_danger(introspection.SerializeToString()) == ""
    np.testing.assert_allclose(predict(introspection)[0], network(IMAGES, training=False).numpy(), atol=1e-5)


def test_extracted_part_computes_the_same(introspection: Any) -> None:
    """`onnx.utils.Extractor` finds the part between inputs and outputs in memory, without files.

    If it changed, model.onnx would have to be converted a second time, which takes as long as the first.
    """
    from convscope.exporting.onnx_graphs import prediction_graph

    part = prediction_graph(introspection)
    assert [value.name for value in part.graph.output] == ["probabilities", "features"]
    assert len(part.graph.node) < len(introspection.graph.node)
    for output, expected in zip(predict(part), predict(introspection), strict=True):
        np.testing.assert_allclose(output, expected, atol=1e-5)


def test_extracted_part_is_optimized_again(introspection: Any) -> None:
    """`GraphUtil.optimize_model_proto` removes transpositions that the other outputs needed.

    If it did not, model.onnx would predict more slowly.
    """
    from onnx.utils import Extractor

    from convscope.exporting.onnx_graphs import prediction_graph

    extracted = Extractor(introspection).extract_model(["image"], ["probabilities", "features"])
    before, after = (
        sum(node.op_type == "Transpose" for node in proto.graph.node)
        for proto in (extracted, prediction_graph(introspection))
    )
    assert after < before


@pytest.mark.usefixtures("introspection")
def test_optimizer_logs_no_tracebacks() -> None:
    """tf2onnx's optimizer logs under this name; under another one its tracebacks would reach the user."""
    import tf2onnx.optimizer

    assert tf2onnx.optimizer.__name__ == "tf2onnx.optimizer"
    assert not logging.getLogger("tf2onnx.optimizer").isEnabledFor(logging.WARNING)
