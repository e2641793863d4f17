"""A network as a LiteRT file, formerly TensorFlow Lite: one image at a time, uint8 in, probabilities out.

The batch size is fixed at 1, as phones and their accelerators expect. Needs TensorFlow.
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
from convscope.exporting.conversion_client import ConversionJob, ConvertedModel
from convscope.exporting.trained_network import TrainedNetwork, load_network
from convscope.files import explain_write_errors, write_atomic
from convscope.networks.frameworks import keras, tf
from convscope.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray


def convert_to_litert(job: ConversionJob, advance: Callable[[int], None]) -> ConvertedModel:
    """Write `model.tflite`, in float32, or with 8-bit weights and activations.

    Args:
        job: what to convert.
        advance: called with the number of steps done since: two, and for 8 bits one for each calibration image.

    Raises:
        ExportError: it cannot be converted, or there is no space to write it.
    """
    network = load_network(Run(Path(job.run)))
    advance(1)
    images = np.load(job.calibration, mmap_mode="r")
    is_quantized = job.to == "litert-int8"
    data = _quantize(network, images, advance) if is_quantized else _convert(network)
    with explain_write_errors(job.file.parent, ExportError):
        write_atomic(job.file, data)
    advance(1)
    return ConvertedModel(predict=_predictor(data), facts={"images": len(images)} if is_quantized else {})


def _predictor(data: bytes) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A function from (n, size, size, channels) uint8 to (n, classes) float32, by TensorFlow's own interpreter."""
    interpreter = tf.lite.Interpreter(model_content=data, num_threads=available_cores())
    interpreter.allocate_tensors()
    ((image,), (probabilities,)) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict_one(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        interpreter.set_tensor(image["index"], pixels[np.newaxis])
        interpreter.invoke()
        return np.array(interpreter.get_tensor(probabilities["index"])[0], np.float32)

    return lambda images: np.stack([predict_one(pixels) for pixels in images])


def _convert(network: TrainedNetwork) -> bytes:
    """The content of a file in float32."""
    with _converter_of(network, tf.uint8) as converter:
        return bytes(converter.convert())


def _quantize(network: TrainedNetwork, images: NDArray[np.uint8], advance: Callable[[int], None]) -> bytes:
    """The content of a file in 8 bits: the converter makes the float input one of uint8, with scale 1."""
    with _converter_of(network, tf.float32) as converter:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _representative_images(images, advance)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.float32
        data = bytes(converter.convert())
    (image,) = tf.lite.Interpreter(model_content=data).get_input_details()
    if image["quantization"] != (1.0, 0):
        raise ExportError(
            found=f"an input of scale and zero point {image['quantization']}, from the converter",
            expected="pixels from 0 to 255 as they are: (1.0, 0)",
            fix="please report this, with the versions in the run's environment.json",
        )
    return data


def _representative_images(
    images: NDArray[np.uint8], advance: Callable[[int], None]
) -> Iterator[list[NDArray[np.float32]]]:
    """Each image (1, size, size, channels) float32; before them one with the full range, so that the scale is 1."""
    yield [np.linspace(0, 255, images[0].size, dtype=np.float32).round().reshape(1, *images.shape[1:])]
    for image in images:
        yield [image[np.newaxis].astype(np.float32)]
        advance(1)


@contextmanager
def _converter_of(network: TrainedNetwork, dtype: Any) -> Iterator[Any]:
    """A converter of the network as a function of `image` (1, size, size, channels)."""
    size = network.recipe.image_size
    signature = [tf.TensorSpec((1, size, size, network.recipe.channels), dtype, name="image")]
    scale = network.model.get_layer("scale")
    rest = keras.Model(scale.output, network.model.output)  # the complete model would cast floats to uint8

    def predict(image: Any) -> dict[str, Any]:
        return {"probabilities": rest(scale(image), training=False)}

    module = tf.Module()
    module.weights = [weight.value for weight in network.model.weights]  # a saved function refers to them
    module.predict = tf.function(predict, input_signature=signature, autograph=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": module.predict})
        yield tf.lite.TFLiteConverter.from_saved_model(folder)
