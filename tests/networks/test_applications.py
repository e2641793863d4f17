"""networks/applications.py: networks of Keras start as Keras has them, from our bytes, and say what is amiss."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope.errors import RecipeError
from convscope.networks.applications import application, names, prepare
from convscope.networks.blocks import images
from convscope.networks.catalog import outputs_of, read_weights, set_weights
from convscope.networks.frameworks import keras

pytestmark = pytest.mark.tensorflow

SHAPE = (32, 32, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), np.uint8)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The random weights of a MobileNetV3Small as Keras saves them, and what it makes of IMAGES."""
    core = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=SHAPE)
    draws = np.random.default_rng(1)
    for layer in core.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([draws.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    file = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    core.save_weights(file)
    return file, np.asarray(core(IMAGES.astype("f4"), training=False)).mean(axis=(1, 2))


@pytest.mark.parametrize("name", ["MobileNetV2", "DenseNet121", "VGG16", "EfficientNetB0", "ConvNeXtTiny", "ResNet50"])
def test_pixels_are_prepared_as_keras_does(name: str) -> None:
    """Scaled to -1..1, by ImageNet's statistics, to BGR, or left as they are: to 1e-5 what `preprocess_input` does."""
    build = getattr(keras.applications, name)
    module = getattr(keras.applications, build.__module__.rpartition(".")[2])
    image = images(SHAPE)
    answers = keras.Model(image, prepare(image, build))(IMAGES).numpy()
    expected = module.preprocess_input(IMAGES.astype("f4"))
    np.testing.assert_allclose(answers, expected, rtol=1e-6, atol=1e-5)


def test_every_network_of_keras_can_be_named() -> None:
    """The names are those of the functions, and no module."""
    assert {"MobileNetV2", "ResNet50", "ConvNeXtXLarge"} < set(names())
    assert not {"resnet", "imagenet_utils"} & set(names())
    for name in names():
        image = images(SHAPE)
        assert tuple(prepare(image, getattr(keras.applications, name)).shape) == (None, *SHAPE)


def test_file_with_weights_gives_the_features_that_it_has(small_file: tuple[Path, np.ndarray]) -> None:
    """What Keras saved is what ours answers with, while training too: batch normalisation stays as it was."""
    file, expected = small_file
    model = application("MobileNetV3Small", SHAPE, 3, weights=str(file))
    features_of = outputs_of(model, "features")
    for training in (False, True):
        features = features_of(IMAGES, training=training)["features"]
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    frozen = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert frozen
    assert not any(layer.trainable_weights for layer in frozen)
    np.testing.assert_array_equal(model(IMAGES), np.full((4, 3), 1 / 3, np.float32))


def test_blank_network_takes_the_weights_of_one_that_is_not(small_file: tuple[Path, np.ndarray]) -> None:
    """As a finished run is opened: nothing is read or fetched, and what learns is the same."""
    file, expected = small_file
    model = application("MobileNetV3Small", SHAPE, 3, weights=str(file))
    blank = application("MobileNetV3Small", SHAPE, 3, weights="imagenet", is_blank=True)
    set_weights(blank, read_weights(model))
    features = outputs_of(blank, "features")(IMAGES)["features"]
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert [weight.trainable for weight in blank.weights] == [weight.trainable for weight in model.weights]


def test_network_from_nothing_learns_all_of_itself() -> None:
    """With weights `none` batch normalisation learns, with a memory that suits a few hundred steps."""
    model = application("MobileNetV3Small", SHAPE, 3, weights="none")
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {(layer.trainable, layer.momentum) for layer in normalizations} == {(True, 0.9)}
    before = read_weights(model)
    model(IMAGES, training=True)
    changed = {name for name, array in read_weights(model).items() if (array != before[name]).any()}
    assert {name.rpartition("/")[2] for name in changed} == {"moving_mean", "moving_variance"}


@pytest.mark.slow
def test_efficientnet_of_a_file_is_the_one_that_keras_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras builds it otherwise with weights that it fetched: with a file, and blank, ours is built like that too."""
    file = tmp_path / "fetched.weights.h5"
    core = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=SHAPE)
    normalization = core.layers[2]
    for weight, value in zip(normalization.weights, ([0.5, 0.4, 0.3], [0.05, 0.06, 0.07], 1), strict=True):
        weight.assign(value)
    core.save_weights(file)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(file))
    fetched = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=SHAPE)
    expected = np.asarray(fetched(IMAGES.astype("f4"), training=False)).mean(axis=(1, 2))
    otherwise = np.asarray(core(IMAGES.astype("f4"), training=False)).mean(axis=(1, 2))
    assert np.abs(expected - otherwise).max() > 0.1 * np.abs(expected).max()
    ours = [application("EfficientNetB0", SHAPE, 2, weights=weights) for weights in ("imagenet", str(file))]
    ours.append(application("EfficientNetB0", SHAPE, 2, weights="imagenet", is_blank=True))
    set_weights(ours[2], read_weights(ours[0]))
    for model in ours:
        features = outputs_of(model, "features")(IMAGES, training=False)["features"]
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_unknown_network_is_told_with_the_nearest() -> None:
    """A slip of the keyboard is answered with what was meant; anything else with all that there is."""
    with pytest.raises(RecipeError, match="did you mean keras:MobileNetV2") as caught:
        application("mobilnetv2", SHAPE, 3, weights="none")
    assert "ResNet50" in caught.value.expected
    with pytest.raises(RecipeError, match="change --network"):
        application("Qqqq", SHAPE, 3, weights="none")


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_images_that_are_too_small_are_told(weights: str) -> None:
    """What Keras says about the size is passed on, whatever the weights, before anything is fetched."""
    with pytest.raises(RecipeError, match=r"32 x 32 images .*75x75"):
        application("InceptionV3", SHAPE, 3, weights=weights)


def test_weights_that_cannot_be_fetched_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a network: where the file is, and the three ways to go on; standard output stays clean."""

    def no_network(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(RecipeError) as caught:
        application("MobileNetV3Small", SHAPE, 3, weights="imagenet")
    assert "name resolution" in caught.value.found
    assert ".h5 elsewhere and say --weights FILE" in caught.value.fix
    assert "fetch https://" in caught.value.fix
    assert "--weights none" in caught.value.fix
    assert socket.getdefaulttimeout() is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["missing", "text", "of another network", "folder"])
def test_wrong_files_are_told(tmp_path: Path, kind: str) -> None:
    """What is no file of weights, or one of another network, is named, with what is wrong."""
    file = tmp_path / "wrong.weights.h5"
    if kind == "text":
        file.write_text("not weights", encoding="utf-8")
    elif kind == "of another network":
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(file)
    elif kind == "folder":
        file.mkdir()
    with pytest.raises(RecipeError) as caught:
        application("MobileNetV3Small", SHAPE, 3, weights=str(file))
    assert str(file) in caught.value.found
    assert "include_top=False" in caught.value.expected
    assert ("no such file" in caught.value.found) == (kind == "missing")
    assert ("a folder" in caught.value.found) == (kind == "folder")
