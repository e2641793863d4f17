"""networks/feature_maps.py: the last feature map of each resolution is found, or an error says why there is none."""

from __future__ import annotations

import pytest

from convscope.errors import RecipeError
from convscope.networks.blocks import layers
from convscope.networks.feature_maps import last_calls_of_resolutions
from convscope.networks.frameworks import keras

pytestmark = pytest.mark.tensorflow

SHAPE = (16, 16, 3)


def test_resolutions_end_at_cut_vertices() -> None:
    """Each ends at its last tensor that no skip connection goes around, not at padding, nor before the first kernel."""
    image = keras.Input(SHAPE)
    tensor = layers.Conv2D(4, 3, padding="same", name="first")(layers.Rescaling(1 / 255)(image))
    inner = layers.Conv2D(4, 3, padding="same", name="inner")(tensor)
    tensor = layers.ZeroPadding2D(name="padding")(layers.Add(name="sum")([tensor, inner]))
    tensor = layers.Conv2D(4, 3, strides=2, name="second")(tensor)
    calls = last_calls_of_resolutions(keras.Model(image, layers.GlobalMaxPooling2D()(tensor)))
    assert [call.operation.name for call in calls] == ["sum", "second"]


@pytest.mark.parametrize("end", ["tanh", "sum", "two pools", "keepdims", "no convolution"])
def test_head_without_heat_maps_is_an_error(end: str) -> None:
    """When the network is built, and not after it has been trained."""
    image = keras.Input(SHAPE)
    tensor = layers.Conv2D(2, 3)(image)
    pooled = layers.GlobalAveragePooling2D()(tensor)
    features = {
        "tanh": lambda: layers.Dense(2, activation="tanh")(pooled),
        "sum": lambda: keras.ops.sum(tensor, axis=(1, 2)),
        "two pools": lambda: layers.Concatenate()([pooled, layers.GlobalMaxPooling2D()(tensor)]),
        "keepdims": lambda: layers.Flatten()(layers.GlobalAveragePooling2D(keepdims=True)(tensor)),
        "no convolution": lambda: layers.Dense(2)(layers.Flatten()(image)),
    }[end]()
    with pytest.raises(RecipeError, match=r"no heat map can be computed through it|as the last feature map"):
        last_calls_of_resolutions(keras.Model(image, features))
