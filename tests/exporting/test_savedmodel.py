"""exporting/savedmodel.py: TensorFlow decodes and fits an image file as `images/image_reader.py` does."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_images import NOISE_IMAGE, VARIED, animation, draw, encode, palette, png_16_bit, tagged

from convscope.images.decoder_pool import InputSpec
from convscope.images.image_reader import read_image
from convscope.recipe.validation import Fit

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

PHOTO = draw("disc", 300, 3)[:, :210]  # taller than wide
CLEAR = np.concatenate([PHOTO, np.full((*PHOTO.shape[:2], 1), 90, np.uint8)], axis=2)
FILES = {
    "jpeg": encode(PHOTO, "JPEG"),
    "progressive": encode(PHOTO, "JPEG", progressive=True),
    "grey jpeg": encode(PHOTO[..., 0], "JPEG"),
    "cmyk jpeg": encode(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=100),
    "png": encode(PHOTO),
    "wide": encode(PHOTO.transpose(1, 0, 2)),
    "small": encode(NOISE_IMAGE[:9, :7]),
    "clear png": encode(CLEAR),
    "palette": palette(PHOTO, transparency=0),
    "16-bit": png_16_bit(PHOTO[..., 0].astype(np.uint16) * 257),
    "bmp": encode(PHOTO, "BMP"),
    "webp": encode(PHOTO, "WEBP"),
    "clear webp": encode(CLEAR, "WEBP", lossless=True, exact=True),
    "gif": animation([PHOTO, PHOTO[::-1]]),
}


def read_by_tensorflow(data: bytes, square: InputSpec) -> np.ndarray:
    """The image that the signature of encoded images decodes from a file."""
    from convscope.exporting.savedmodel import read_encoded
    from convscope.networks.frameworks import tf

    image: np.ndarray = read_encoded(tf.constant(data), square).numpy()
    return image


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", FILES)
def test_file_is_decoded_to_the_same_pixels(name: str, channels: int, fit: Fit) -> None:
    """Each pixel is within 3 of 255, and nearly all within 1, for every format that both read and every fit."""
    square = InputSpec(32, fit, channels)
    expected = read_image(FILES[name], size=32, fit=fit, channels=channels).astype(int)
    image = read_by_tensorflow(FILES[name], square).astype(int)
    assert image.shape == expected.shape
    assert np.abs(image - expected).max() <= 3
    assert (np.abs(image - expected) <= 1).mean() > 0.98


def test_large_jpeg_is_decoded_small() -> None:
    """Both decode a large photo at an eighth of its size, which gives another image than to resize all of it."""
    blocks = np.random.default_rng(0).integers(256, size=(50, 72, 3), dtype=np.uint8)
    data = encode(np.kron(blocks, np.ones((21, 21, 1), np.uint8)), "JPEG")
    expected = read_image(data, size=32).astype(int)
    assert np.abs(read_by_tensorflow(data, InputSpec(32)).astype(int) - expected).max() <= 1
    resized = np.asarray(Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(resized.astype(int) - expected).max() > 8


def test_limits_of_tensorflows_decoders() -> None:
    """As the guide says: the EXIF orientation is ignored; TIFF is refused."""
    from convscope.networks.frameworks import tf

    rotated = tagged(PHOTO, 6)
    upright = encode(PHOTO, "JPEG", quality=100, subsampling=0)
    np.testing.assert_array_equal(
        read_by_tensorflow(rotated, InputSpec(32)), read_by_tensorflow(upright, InputSpec(32))
    )
    assert np.abs(read_image(rotated, size=32).astype(int) - read_image(upright, size=32)).max() > 30
    with pytest.raises(tf.errors.InvalidArgumentError):
        read_by_tensorflow(VARIED["tiff"], InputSpec(32))


def test_signature_takes_what_tensorflow_serving_passes(compact_job: Any, tmp_path: Path) -> None:
    """`{"instances": [{"b64": ...}]}`: a batch of bytes under the signature's only input, which ends in _bytes."""
    from convscope.bundle.bundle import open_bundle
    from convscope.exporting.savedmodel import save_model
    from convscope.networks.frameworks import tf

    order = compact_job("savedmodel")
    steps: list[int] = []
    converted = save_model(order, steps.append)
    signatures = tf.saved_model.load(str(tmp_path / "1")).signatures
    assert sorted(signatures) == ["encoded", "serving_default"]
    (_, inputs), outputs = signatures["encoded"].structured_input_signature, signatures["encoded"].structured_outputs
    assert [*inputs] == ["image_bytes"]
    assert [*outputs] == ["probabilities"]
    files = [encode(draw(kind, 50, 9), format) for kind, format in (("disc", "JPEG"), ("ring", "PNG"))]
    request = json.dumps({"instances": [{"b64": base64.b64encode(data).decode()} for data in files]})
    decoded = [base64.b64decode(instance["b64"]) for instance in json.loads(request)["instances"]]
    probabilities = signatures["encoded"](image_bytes=tf.constant(decoded))["probabilities"].numpy()
    bundle = open_bundle(Path(order.run))
    images = np.stack([read_image(data, size=bundle.square.size) for data in files])
    np.testing.assert_allclose(probabilities, bundle.predict(images), atol=0.01)
    np.testing.assert_allclose(converted.predict(images), bundle.predict(images), atol=1e-5)
    first, nothing, second = converted.predict_encoded([files[0], b"no image", files[1]])
    assert nothing is None
    np.testing.assert_allclose([first, second], probabilities, atol=1e-5)
    assert sum(steps) == 2
