"""A network as a SavedModel with two signatures: one takes pixels, one the image files that TensorFlow Serving is sent.

The second decodes and fits images as `images/image_reader.py` does, as far as TensorFlow's decoders go: the same scales
of large JPEGs, the same filter, transparency on white. They support neither EXIF orientation nor TIFF. Needs
TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.exporting.conversion_client import ConversionJob, ConvertedModel
from convscope.exporting.trained_network import TrainedNetwork, load_network
from convscope.images.decoder_pool import InputSpec
from convscope.networks.frameworks import tf
from convscope.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENCODED = "encoded"
LUMA = (19595, 38470, 7471)  # weights of red, green, blue, in 65536ths: Pillow's conversion to grey (ITU-R 601)
JPEG_RATIOS = (1, 2, 4, 8)  # by which libjpeg can reduce while decoding
BATCH_SIZE = 32


def save_model(job: ConversionJob, advance: Callable[[int], None]) -> ConvertedModel:
    """Write the SavedModel, and load it again to predict with it.

    Args:
        job: what to convert.
        advance: called with the number of steps done since, two in all.
    """
    network = load_network(Run(Path(job.run)))
    advance(1)
    folder = str(job.file)
    module = build_module(network)
    tf.saved_model.save(module, folder, signatures={"serving_default": module.predict, ENCODED: module.predict_encoded})
    signatures = tf.saved_model.load(folder).signatures
    advance(1)

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches = (tf.constant(images[first : first + BATCH_SIZE]) for first in range(0, len(images), BATCH_SIZE))
        return np.concatenate(
            [signatures["serving_default"](image=batch)["probabilities"].numpy() for batch in batches]
        )

    def predict_encoded(files: list[bytes]) -> list[NDArray[np.float32] | None]:
        try:
            return list(signatures[ENCODED](image_bytes=tf.constant(files))["probabilities"].numpy())
        except tf.errors.InvalidArgumentError:  # one of them cannot be decoded: try each alone
            return [None] if len(files) == 1 else [row for data in files for row in predict_encoded([data])]

    return ConvertedModel(predict=predict, facts={}, predict_encoded=predict_encoded)


def build_module(network: TrainedNetwork) -> Any:
    """A `tf.Module` with two functions, both to `probabilities` (n, classes) float32.

    `predict`: of `image` (n, size, size, channels) uint8. `predict_encoded`: of `image_bytes` (n,), image files.
    """
    recipe = network.recipe
    square = InputSpec(recipe.image_size, recipe.fit, recipe.channels)

    def predict(image: Any) -> dict[str, Any]:
        return {"probabilities": network.model(image, training=False)}

    def predict_encoded(image_bytes: Any) -> dict[str, Any]:
        pixels = tf.map_fn(
            lambda data: read_encoded(data, square),
            image_bytes,
            fn_output_signature=tf.TensorSpec(square.shape, tf.uint8),
        )
        return predict(pixels)

    module = tf.Module()
    module.weights = [weight.value for weight in network.model.weights]  # a saved function refers to them
    module.predict = _function(predict, tf.TensorSpec((None, *square.shape), tf.uint8, name="image"))
    # TensorFlow Serving takes {"b64": ...} for an input whose name ends in _bytes
    module.predict_encoded = _function(predict_encoded, tf.TensorSpec((None,), tf.string, name="image_bytes"))
    return module


def read_encoded(data: Any, square: InputSpec) -> Any:
    """Decode and fit an image file, a string tensor () -> (size, size, channels) uint8, by TensorFlow operations."""
    image = tf.case(
        [
            (tf.strings.substr(data, 0, 3) == b"\xff\xd8\xff", lambda: _decode_jpeg(data, square.size)),
            (tf.strings.substr(data, 0, 4) == b"\x89PNG", lambda: _on_white(tf.io.decode_png(data, channels=4))),
            (tf.strings.substr(data, 8, 4) == b"WEBP", lambda: _on_white(_decode(data, 0))),
        ],
        default=lambda: _decode(data, 3),
    )
    image = tf.ensure_shape(image, (None, None, 3))
    if square.channels == 1:
        luma = tf.reduce_sum(tf.cast(image, tf.int32) * LUMA, axis=-1, keepdims=True)  # (h, w, 3) -> (h, w, 1)
        image = tf.cast((luma + 32768) // 65536, tf.uint8)
    return tf.ensure_shape(_fit(image, square), square.shape)


def _function(function: Callable[..., Any], spec: Any) -> Any:
    return tf.function(function, input_signature=[spec], autograph=False)


def _decode_jpeg(data: Any, size: int) -> Any:
    """A JPEG file as (h, w, 3) uint8, a large one reduced by 2, 4 or 8, never below twice `size`: Pillow's `draft`."""
    scale = tf.reduce_min(tf.io.extract_jpeg_shape(data)[:2]) // (2 * size)
    branch = tf.reduce_sum(tf.cast(scale >= JPEG_RATIOS[1:], tf.int32))

    def decode_at(ratio: int) -> Callable[[], Any]:
        return lambda: tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    return tf.switch_case(branch, [decode_at(ratio) for ratio in JPEG_RATIOS])


def _decode(data: Any, channels: int) -> Any:
    """(h, w, channels) uint8, the file's own number where `channels` is 0; of an animation the first frame."""
    return tf.io.decode_image(data, channels=channels, expand_animations=False)


def _on_white(image: Any) -> Any:
    """Composite an image with transparency on white: (h, w, 3 or 4) uint8 -> (h, w, 3) uint8."""
    image = tf.cast(tf.concat([image, tf.fill(tf.shape(image[..., :1]), tf.constant(255, tf.uint8))], -1), tf.float32)
    colour, alpha = image[..., :3], image[..., 3:4] / 255  # without transparency, the 255 that was appended
    return tf.cast(tf.round(255 + (colour - 255) * alpha), tf.uint8)


def _fit(image: Any, square: InputSpec) -> Any:
    """(h, w, c) uint8 -> (size, size, c) uint8: bilinear with antialiasing, padded with white."""
    sides = tf.cast(tf.shape(image)[:2], tf.float32)  # height, width
    size = float(square.size)
    if square.fit == "pad":
        target = tf.maximum(1.0, tf.round(sides * size / tf.reduce_max(sides)))
        scale, offset = target / sides, tf.round((size - target) / 2)
    elif square.fit == "crop":
        scale = tf.repeat(size / tf.reduce_min(sides), 2)
        offset = (size - sides * scale) / 2
    else:
        scale, offset = size / sides, tf.zeros(2)
    # the operation pads with 0, so the image is inverted before and after: the padding becomes white
    inverted = tf.raw_ops.ScaleAndTranslate(
        images=255 - tf.cast(image, tf.float32)[tf.newaxis],
        size=[square.size, square.size],
        scale=scale,
        translation=offset,
        kernel_type="triangle",
    )
    return tf.cast(tf.round(255 - inverted[0]), tf.uint8)
