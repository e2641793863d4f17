"""A network as a SavedModel with two signatures: of pixels, and of encoded images as TensorFlow Serving is sent them.

The second reads and fits images as `images/reading.py` does, as far as TensorFlow's decoders go: the same scales of
large JPEGs, the same filter, transparency on white. They know neither EXIF orientation nor TIFF. Needs TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.exporting.conversion_client import Converted, Order
from convscope.exporting.trained_network import Network, load_network
from convscope.images.decoding import Square
from convscope.networks.frameworks import tf
from convscope.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENCODED = "encoded"
LUMA = (19595, 38470, 7471)  # of red, green, blue, in 65536ths: as Pillow makes grey (ITU-R 601)
JPEG_RATIOS = (1, 2, 4, 8)  # by which libjpeg decodes smaller
AT_ONCE = 32


def save_model(order: Order, tell: Callable[[int], None]) -> Converted:
    """Write it, and open it again to answer with it."""
    network = load_network(Run(Path(order.run)))
    tell(1)
    place = str(order.file)
    module = signatures_of(network)
    tf.saved_model.save(module, place, signatures={"serving_default": module.answer, ENCODED: module.answer_encoded})
    signatures = tf.saved_model.load(place).signatures
    tell(1)

    def answer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches = (images[first : first + AT_ONCE] for first in range(0, len(images), AT_ONCE))
        asked = (signatures["serving_default"](image=tf.constant(batch))["probabilities"].numpy() for batch in batches)
        return np.concatenate(list(asked))

    def answer_encoded(files: list[bytes]) -> list[NDArray[np.float32] | None]:
        try:
            return list(signatures[ENCODED](image_bytes=tf.constant(files))["probabilities"].numpy())
        except tf.errors.InvalidArgumentError:  # which of them is it?
            return [None] if len(files) == 1 else [row for data in files for row in answer_encoded([data])]

    return Converted(answer=answer, facts={}, answer_encoded=answer_encoded)


def signatures_of(network: Network) -> Any:
    """A `tf.Module` with two functions, both to `probabilities` (n, classes) float32.

    `answer`: of `image` (n, size, size, channels) uint8. `answer_encoded`: of `image_bytes` (n,), whole image files.
    """
    recipe = network.recipe
    square = Square(recipe.image_size, recipe.fit, recipe.channels)

    def answer(image: Any) -> dict[str, Any]:
        return {"probabilities": network.model(image, training=False)}

    def answer_encoded(image_bytes: Any) -> dict[str, Any]:
        pixels = tf.map_fn(
            lambda data: read_encoded(data, square),
            image_bytes,
            fn_output_signature=tf.TensorSpec(square.shape, tf.uint8),
        )
        return answer(pixels)

    module = tf.Module()
    module.weights = [weight.value for weight in network.model.weights]  # what a saved function may refer to
    module.answer = _function(answer, tf.TensorSpec((None, *square.shape), tf.uint8, name="image"))
    # TensorFlow Serving takes {"b64": ...} for an input whose name ends in _bytes
    module.answer_encoded = _function(answer_encoded, tf.TensorSpec((None,), tf.string, name="image_bytes"))
    return module


def read_encoded(data: Any, square: Square) -> Any:
    """The bytes of an image file, a string () -> (size, size, channels) uint8, in TensorFlow's operations."""
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
    """(h, w, 3) uint8, large ones at 1/2, 1/4 or 1/8, never below twice the size, as Pillow's `draft` does."""
    scale = tf.reduce_min(tf.io.extract_jpeg_shape(data)[:2]) // (2 * size)
    place = tf.reduce_sum(tf.cast(scale >= JPEG_RATIOS[1:], tf.int32))

    def decode_at(ratio: int) -> Callable[[], Any]:
        return lambda: tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    return tf.switch_case(place, [decode_at(ratio) for ratio in JPEG_RATIOS])


def _decode(data: Any, channels: int) -> Any:
    """(h, w, channels) uint8, as many as the file has where `channels` is 0; of an animation the first frame."""
    return tf.io.decode_image(data, channels=channels, expand_animations=False)


def _on_white(image: Any) -> Any:
    """(h, w, 3 or 4) uint8 -> (h, w, 3) uint8."""
    image = tf.cast(tf.concat([image, tf.fill(tf.shape(image[..., :1]), tf.constant(255, tf.uint8))], -1), tf.float32)
    colour, share = image[..., :3], image[..., 3:4] / 255  # of an image without transparency the 255 from above
    return tf.cast(tf.round(255 + (colour - 255) * share), tf.uint8)


def _fit(image: Any, square: Square) -> Any:
    """(h, w, c) uint8 -> (size, size, c) uint8: bilinear with antialiasing, outside of the image white."""
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
    # the operation leaves 0 where there is no image; so white is made 0 before it, and 0 white after it
    dark = tf.raw_ops.ScaleAndTranslate(
        images=255 - tf.cast(image, tf.float32)[tf.newaxis],
        size=[square.size, square.size],
        scale=scale,
        translation=offset,
        kernel_type="triangle",
    )
    return tf.cast(tf.round(255 - dark[0]), tf.uint8)
