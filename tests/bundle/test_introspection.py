"""bundle/introspection.py: ONNX Runtime computes the activations, heat maps and filters that Keras would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from localized_shapes import CLASSES, draw_shape
from processes import run_python

from convscope.bundle.bundle import open_bundle
from convscope.bundle.checksum import LENGTH
from convscope.bundle.introspection import open_introspection
from convscope.errors import BundleError
from convscope.exporting.quantization import set_metadata
from convscope.image_rendering import heat_scale
from convscope.run import Run

pytestmark = pytest.mark.tensorflow

IMAGE = draw_shape("ring", 10**6)


def test_outputs_are_what_keras_computes(trained: Run) -> None:
    """Every block, the heat map of every class and the probabilities agree with the network that was trained."""
    from convscope.exporting.trained_network import load_network
    from convscope.networks.catalog import submodel
    from convscope.networks.hirescam import class_heat_maps, head_layers

    introspection, model = open_introspection(trained.path), load_network(trained).model
    result = introspection.run(IMAGE)
    assert tuple(result.activations) == introspection.blocks == ("block1", "block2")
    layers = dict.fromkeys([*introspection.blocks, *(layer.name for layer in head_layers(model))])
    outputs = submodel(model, *layers)(IMAGE[np.newaxis], training=False)
    for name in introspection.blocks:
        expected = outputs[name].numpy()[0]
        assert (result.activations[name].shape, result.activations[name].dtype) == (expected.shape, np.float32)
        np.testing.assert_allclose(result.activations[name], expected, atol=1e-5 * expected.max())
    expected = class_heat_maps(model, outputs).numpy()[0]
    assert result.heat.shape == expected.shape == (8, 8, len(CLASSES))
    np.testing.assert_allclose(result.heat, expected, atol=1e-4 * expected.max())
    probabilities = open_bundle(trained.path).predict(IMAGE[np.newaxis])[0]
    np.testing.assert_allclose(result.probabilities, probabilities, atol=1e-6)


def test_heat_maps_of_an_image_have_one_scale(trained: Run) -> None:
    """The maximum over all positions and classes; the map of a class with less evidence stays below it."""
    result = open_introspection(trained.path).run(IMAGE)
    maxima = result.heat.max(axis=(0, 1))  # (h, w, classes) -> (classes,)
    assert result.heat.min() >= 0
    assert heat_scale(result.heat) == maxima.max() == maxima[result.probabilities.argmax()] > maxima.min()


def test_filters_are_the_weights(trained: Run) -> None:
    """(height, width, inputs, filters) of each convolution, first to last; another name is refused."""
    from safetensors.numpy import load_file

    introspection = open_introspection(trained.path)
    weights = load_file(trained.model / "weights.safetensors")
    assert introspection.convolutions == ("block1_convolution", "block2_convolution")
    for name in introspection.convolutions:
        np.testing.assert_array_equal(introspection.filters(name), weights[f"{name}/kernel"])
    name, first = introspection.first_filters()
    assert (name, first.shape) == ("block1_convolution", (3, 3, 3, 8))
    with pytest.raises(ValueError, match="found layer 'dense'; expected one of block1_convolution"):
        introspection.filters("dense")


def test_model_without_introspection(trained_copy: Run) -> None:
    """`model.onnx` opens alone; introspection names the file that is missing."""
    (trained_copy.model / "inside.onnx").unlink()
    assert open_bundle(trained_copy.path).classes == CLASSES
    with pytest.raises(BundleError, match=r"no inside\.onnx beside"):
        open_introspection(trained_copy.path)


def test_introspection_of_another_model_is_refused(trained_copy: Run) -> None:
    """A heat map of another network is no explanation of this one."""
    metadata = open_introspection(trained_copy.path).session.get_modelmeta().custom_metadata_map
    description = metadata["convscope"].replace('"weights": "', '"weights": "0')
    set_metadata(trained_copy.model / "inside.onnx", metadata | {"convscope": description})
    with pytest.raises(BundleError, match="of another model"):
        open_introspection(trained_copy.path)


def test_introspection_without_its_checksum_is_refused(trained_copy: Run) -> None:
    """As the model itself is: the description says that there is one."""
    file = trained_copy.model / "inside.onnx"
    file.write_bytes(file.read_bytes()[:-LENGTH])
    with pytest.raises(BundleError, match=r"inside\.onnx, which has changed since it was written"):
        open_introspection(trained_copy.path)


def test_damaged_weights_are_an_error(trained_copy: Run) -> None:
    """Filters of a truncated file are an error in three parts."""
    file = trained_copy.model / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BundleError, match=r"weights\.safetensors"):
        open_introspection(trained_copy.path).first_filters()


@pytest.mark.slow
def test_introspection_loads_no_tensorflow(trained: Run, tmp_path: Path) -> None:
    """`explain` draws everything in a process where TensorFlow and Keras cannot be imported."""
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['tensorflow', 'keras', 'tf2onnx', 'onnx', 'sklearn']))\n"
        "from pathlib import Path\nfrom convscope import explain\n"
        "explain(Path(sys.argv[1]), out=Path(sys.argv[2]))"
    )
    result = run_python(program, trained.path, tmp_path / "out")
    assert result.code == 0, result.err
    assert (tmp_path / "out" / "report.html").is_file()
    assert (tmp_path / "out" / "figures" / "image1_heatmap.png").is_file()
