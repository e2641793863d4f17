"""A network as a LiteRT file, once called TensorFlow Lite: one image at a time, uint8 in, probabilities out.

The batch is fixed at 1, since that is what phones and their accelerators are given. Needs TensorFlow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.environment import available_cores
from convscope.errors import ExportError
from convscope.exporting.conversion_client import Converted, Order
from convscope.exporting.trained_network import Network, load_network
from convscope.files import write_atomic
from convscope.networks.frameworks import keras, tf
from convscope.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray


def convert_to_litert(order: Order, tell: Callable[[int], None]) -> Converted:
    """Write `model.tflite`: in float32, or its weights and activations in 8 bits."""
    network = load_network(Run(Path(order.run)))
    tell(1)
    images = np.load(order.calibration, mmap_mode="r")
    data = _quantize(network, images, tell) if order.to == "litert-int8" else _convert(network)
    write_atomic(order.file, data)
    tell(1)
    return Converted(answer=answer_of(data), facts={"images": len(images)} if order.to == "litert-int8" else {})


def answer_of(data: bytes) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """(n, size, size, channels) uint8 -> (n, classes) float32, by the interpreter that TensorFlow brings."""
    interpreter = tf.lite.Interpreter(model_content=data, num_threads=available_cores())
    interpreter.allocate_tensors()
    ((image,), (probabilities,)) = interpreter.get_input_details(), interpreter.get_output_details()

    def answer_one(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        interpreter.set_tensor(image["index"], pixels[np.newaxis])
        interpreter.invoke()
        return np.array(interpreter.get_tensor(probabilities["index"])[0], np.float32)

    return lambda images: np.stack([answer_one(pixels) for pixels in images])


def _convert(network: Network) -> bytes:
    with _converter_of(network, tf.uint8) as converter:
        return bytes(converter.convert())


def _quantize(network: Network, images: NDArray[np.uint8], tell: Callable[[int], None]) -> bytes:
    """In 8 bits: the graph takes floats, and the converter puts bytes of scale 1 in their place."""
    with _converter_of(network, tf.float32) as converter:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _calibrating(images, tell)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.float32
        data = bytes(converter.convert())
    (image,) = tf.lite.Interpreter(model_content=data).get_input_details()
    if image["quantization"] != (1.0, 0):
        raise ExportError(
            found=f"a converter that made pixels of scale and zero {image['quantization']}",
            expected="bytes from 0 to 255 as they are: (1.0, 0)",
            fix="please report this, with the versions in the run's environment.json",
        )
    return data


def _calibrating(images: NDArray[np.uint8], tell: Callable[[int], None]) -> Iterator[list[NDArray[np.float32]]]:
    """Each image as floats (1, size, size, channels); and one with the whole range, so that a pixel's scale is 1."""
    yield [np.linspace(0, 255, images[0].size, dtype=np.float32).round().reshape(1, *images.shape[1:])]
    for image in images:
        yield [image[np.newaxis].astype(np.float32)]
        tell(1)


@contextmanager
def _converter_of(network: Network, dtype: Any) -> Iterator[Any]:
    """A converter of the network as a function of `image` (1, size, size, channels)."""
    size = network.recipe.image_size
    signature = [tf.TensorSpec((1, size, size, network.recipe.channels), dtype, name="image")]
    scale = network.model.get_layer("scale")
    rest = keras.Model(scale.output, network.model.output)  # the whole model would make floats bytes again

    def answer(image: Any) -> dict[str, Any]:
        return {"probabilities": rest(scale(image), training=False)}

    module = tf.Module()
    module.weights = [weight.value for weight in network.model.weights]  # what a saved function may refer to
    module.answer = tf.function(answer, input_signature=signature, autograph=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": module.answer})
        yield tf.lite.TFLiteConverter.from_saved_model(folder)
