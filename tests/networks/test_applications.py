"""networks/applications.py: networks of Keras keep their outputs, from uint8 images; errors say what is wrong."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope.errors import RecipeError
from convscope.networks.applications import application_names, keras_application, preprocess
from convscope.networks.blocks import image_input
from convscope.networks.catalog import read_weights, set_weights, submodel
from convscope.networks.frameworks import keras

pytestmark = pytest.mark.tensorflow

SHAPE = (32, 32, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), np.uint8)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The random weights of a MobileNetV3Small as Keras saves them, and its features of IMAGES."""
    core = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=SHAPE)
    generator = np.random.default_rng(1)
    for layer in core.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([generator.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    file = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    core.save_weights(file)
    return file, np.asarray(core(IMAGES.astype("f4"), training=False)).mean(axis=(1, 2))


@pytest.mark.parametrize("name", ["MobileNetV2", "DenseNet121", "VGG16", "EfficientNetB0", "ConvNeXtTiny", "ResNet50"])
def test_pixels_are_preprocessed_as_keras_does(name: str) -> None:
    """Scaled to -1..1, by ImageNet's statistics, to BGR, or unchanged: within 1e-5 of `preprocess_input`."""
    build = getattr(keras.applications, name)
    module = getattr(keras.applications, build.__module__.rpartition(".")[2])
    image = image_input(SHAPE)
    outputs = keras.Model(image, preprocess(image, build))(IMAGES).numpy()
    expected = module.preprocess_input(IMAGES.astype("f4"))
    np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-5)


def test_every_network_of_keras_has_a_name() -> None:
    """The names are those of the functions, not of modules, and pixels can be preprocessed for each."""
    assert {"MobileNetV2", "ResNet50", "ConvNeXtXLarge"} < set(application_names())
    assert not {"resnet", "imagenet_utils"} & set(application_names())
    for name in application_names():
        image = image_input(SHAPE)
        assert tuple(preprocess(image, getattr(keras.applications, name)).shape) == (None, *SHAPE)


def test_features_are_those_of_the_file_of_weights(small_file: tuple[Path, np.ndarray]) -> None:
    """A network with weights that Keras saved has the same features, in training too: batch normalisation is frozen."""
    file, expected = small_file
    model = keras_application("MobileNetV3Small", SHAPE, 3, weights=str(file))
    trunk = submodel(model, "features")
    for training in (False, True):
        features = trunk(IMAGES, training=training)["features"]
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    frozen = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert frozen
    assert not any(layer.trainable_weights for layer in frozen)
    np.testing.assert_array_equal(model(IMAGES), np.full((4, 3), 1 / 3, np.float32))


def test_network_without_weights_takes_those_of_a_pretrained_one(small_file: tuple[Path, np.ndarray]) -> None:
    """As when a finished run is opened: nothing is read or downloaded, and the same weights are trainable."""
    file, expected = small_file
    model = keras_application("MobileNetV3Small", SHAPE, 3, weights=str(file))
    empty = keras_application("MobileNetV3Small", SHAPE, 3, weights="imagenet", load_weights=False)
    set_weights(empty, read_weights(model))
    features = submodel(empty, "features")(IMAGES)["features"]
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert [weight.trainable for weight in empty.weights] == [weight.trainable for weight in model.weights]


def test_network_without_pretraining_trains_its_normalization() -> None:
    """With weights `none` batch normalisation is trained, with a momentum that suits a few hundred steps."""
    model = keras_application("MobileNetV3Small", SHAPE, 3, weights="none")
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {(layer.trainable, layer.momentum) for layer in normalizations} == {(True, 0.9)}
    before = read_weights(model)
    model(IMAGES, training=True)
    changed = {name for name, array in read_weights(model).items() if (array != before[name]).any()}
    assert {name.rpartition("/")[2] for name in changed} == {"moving_mean", "moving_variance"}


@pytest.mark.slow
def test_efficientnet_from_a_file_is_the_one_that_keras_downloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras adds a rescaling to weights that it downloads: it is there with a file, and without weights, too."""
    file = tmp_path / "downloaded.weights.h5"
    core = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=SHAPE)
    normalization = core.layers[2]
    for weight, value in zip(normalization.weights, ([0.5, 0.4, 0.3], [0.05, 0.06, 0.07], 1), strict=True):
        weight.assign(value)
    core.save_weights(file)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(file))
    downloaded = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=SHAPE)
    expected = np.asarray(downloaded(IMAGES.astype("f4"), training=False)).mean(axis=(1, 2))
    without_rescaling = np.asarray(core(IMAGES.astype("f4"), training=False)).mean(axis=(1, 2))
    assert np.abs(expected - without_rescaling).max() > 0.1 * np.abs(expected).max()
    models = [keras_application("EfficientNetB0", SHAPE, 2, weights=weights) for weights in ("imagenet", str(file))]
    models.append(keras_application("EfficientNetB0", SHAPE, 2, weights="imagenet", load_weights=False))
    set_weights(models[2], read_weights(models[0]))
    for model in models:
        features = submodel(model, "features")(IMAGES, training=False)["features"]
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_error_about_an_unknown_network_names_similar_ones() -> None:
    """A typing error gets suggestions; any other name the list of all networks."""
    with pytest.raises(RecipeError, match="did you mean keras:MobileNetV2") as caught:
        keras_application("mobilnetv2", SHAPE, 3, weights="none")
    assert "ResNet50" in caught.value.expected
    with pytest.raises(RecipeError, match="change `network`"):
        keras_application("Qqqq", SHAPE, 3, weights="none")


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_images_that_are_too_small_are_an_error(weights: str) -> None:
    """Keras's message about the size is passed on, whatever the weights, before anything is downloaded."""
    with pytest.raises(RecipeError, match=r"32 x 32 images .*75x75"):
        keras_application("InceptionV3", SHAPE, 3, weights=weights)


def test_failed_download_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a network: the address of the file, and three alternatives; standard output stays clean."""

    def no_network(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(RecipeError) as caught:
        keras_application("MobileNetV3Small", SHAPE, 3, weights="imagenet")
    assert "name resolution" in caught.value.found
    assert ".h5 elsewhere and set `weights` to the file" in caught.value.fix
    assert "download https://" in caught.value.fix
    assert "`weights=none`" in caught.value.fix
    assert socket.getdefaulttimeout() is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["missing", "text", "of another network", "folder"])
def test_wrong_files_of_weights_are_an_error(tmp_path: Path, kind: str) -> None:
    """A file that has no weights, or those of another network, is named, with what is wrong."""
    file = tmp_path / "wrong.weights.h5"
    if kind == "text":
        file.write_text("not weights", encoding="utf-8")
    elif kind == "of another network":
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(file)
    elif kind == "folder":
        file.mkdir()
    with pytest.raises(RecipeError) as caught:
        keras_application("MobileNetV3Small", SHAPE, 3, weights=str(file))
    assert str(file) in caught.value.found
    assert "include_top=False" in caught.value.expected
    assert ("no such file" in caught.value.found) == (kind == "missing")
    assert ("a folder" in caught.value.found) == (kind == "folder")
