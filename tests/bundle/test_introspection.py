"""bundle/introspection.py: without TensorFlow one sees what TensorFlow would show: blocks, heat, filters."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import environment
from halves import CLASSES, draw_half

from convscope.bundle.bundle import open_bundle
from convscope.bundle.checksum import LENGTH
from convscope.bundle.introspection import open_inside
from convscope.errors import BundleError
from convscope.exporting.quantization import describe_file
from convscope.run import Run

pytestmark = pytest.mark.tensorflow

IMAGE = draw_half("ring", 10**6)


def test_what_is_seen_is_what_keras_computes(trained: Run) -> None:
    """Every block, the heat of every class and the probabilities agree with the network that was trained."""
    from convscope.explanation.activations import activations_of
    from convscope.explanation.heatmaps import grad_cam
    from convscope.exporting.trained_network import load_network

    inside, model = open_inside(trained.path), load_network(trained).model
    look = inside.look(IMAGE)
    assert tuple(look.activations) == inside.blocks == ("block1", "block2")
    for name, expected in activations_of(model, IMAGE, inside.blocks).items():
        assert (look.activations[name].shape, look.activations[name].dtype) == (expected.shape, np.float32)
        np.testing.assert_allclose(look.activations[name], expected, atol=1e-5 * expected.max())
    assert look.heat.shape == (8, 8, len(CLASSES))
    for index in range(len(CLASSES)):
        expected = grad_cam(model, IMAGE, index)
        np.testing.assert_allclose(look.heat[..., index], expected, atol=1e-4 * expected.max())
    np.testing.assert_allclose(look.probabilities, open_bundle(trained.path).predict(IMAGE[np.newaxis])[0], atol=1e-6)


def test_filters_are_the_weights(trained: Run) -> None:
    """(height, width, inputs, filters) of each convolution, first to last; another name is refused."""
    from safetensors.numpy import load_file

    inside, weights = open_inside(trained.path), load_file(trained.model / "weights.safetensors")
    assert inside.convolutions == ("block1_convolution", "block2_convolution")
    for name in inside.convolutions:
        np.testing.assert_array_equal(inside.filters(name), weights[f"{name}/kernel"])
    name, first = inside.first_filters()
    assert (name, first.shape) == ("block1_convolution", (3, 3, 3, 8))
    with pytest.raises(ValueError, match="found layer 'dense'; expected one of block1_convolution"):
        inside.filters("dense")


@pytest.fixture
def copy(trained: Run, tmp_path: Path) -> Run:
    """The trained run, to be damaged."""
    shutil.copytree(trained.path, tmp_path / "run")
    return Run(tmp_path / "run")


def test_model_alone_has_no_inside(copy: Run) -> None:
    """`model.onnx` answers alone; looking inside says which file is missing."""
    (copy.model / "inside.onnx").unlink()
    assert open_bundle(copy.path).classes == CLASSES
    with pytest.raises(BundleError, match=r"no inside\.onnx beside"):
        open_inside(copy.path)


def test_inside_of_another_model_is_refused(copy: Run) -> None:
    """A heat map of another network is no explanation of this one."""
    other = open_inside(copy.path).session.get_modelmeta().custom_metadata_map
    said = other["convscope"].replace('"weights": "', '"weights": "0')
    describe_file(copy.model / "inside.onnx", other | {"convscope": said})
    with pytest.raises(BundleError, match="of another model"):
        open_inside(copy.path)


def test_inside_that_lost_its_seal_is_refused(copy: Run) -> None:
    """As the model itself is: it says that it was written with one."""
    file = copy.model / "inside.onnx"
    file.write_bytes(file.read_bytes()[:-LENGTH])
    with pytest.raises(BundleError, match=r"inside\.onnx, which has changed since it was written"):
        open_inside(copy.path)


def test_damaged_weights_are_told(copy: Run) -> None:
    """Filters of a file that is cut off are an error in three parts."""
    file = copy.model / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BundleError, match=r"weights\.safetensors"):
        open_inside(copy.path).first_filters()


@pytest.mark.slow
def test_looking_inside_loads_no_tensorflow(trained: Run, tmp_path: Path) -> None:
    """`explain` draws everything in a process where TensorFlow and Keras cannot be imported."""
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['tensorflow', 'keras', 'tf2onnx', 'onnx', 'sklearn']))\n"
        "from pathlib import Path\nfrom convscope import explain\n"
        "explain(Path(sys.argv[1]), out=Path(sys.argv[2]))"
    )
    words = [sys.executable, "-c", program, trained.path, tmp_path / "out"]
    ended = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out" / "report.html").is_file()
    assert (tmp_path / "out" / "figures" / "image1_heatmap.png").is_file()
