"""One image, from a file or its bytes, to an upright uint8 square: the only module that knows file formats.

An image is either read whole and right or refused with a reason. Training, prediction and serving all read here,
so the same file gives the same pixels everywhere.
"""

from __future__ import annotations

import io
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from convscope.errors import ImageRefused

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convscope.recipe.recipe import Fit

READING = 1  # to be counted up when the same bytes give other pixels: decoded images are kept under it
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
PLUGINS = (TiffImagePlugin, WebPImagePlugin)  # importing them is what makes Pillow know these formats
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # JPEG opens MPO too, which many phones write and call .jpg
MAX_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 89_478_485  # Pillow's own line for a decompression bomb: 256 MB of RGB
TOO_MANY_PIXELS = f"over {MAX_PIXELS:,} pixels"
ORIENTATION = 0x0112  # the EXIF tag
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
WHITE = (255, 255, 255)
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*")  # what the files of these formats begin with
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")


def read_bytes(path: Path) -> bytes:
    """The content of an image file.

    Raises:
        ImageRefused: the file is missing, unreadable, not a file, empty, or larger than `MAX_BYTES`.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would wait for ever
            raise ImageRefused("not a file")
        _check_bytes(found.st_size)
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageRefused("broken link" if path.is_symlink() else "no such file") from None
    except PermissionError:
        raise ImageRefused("no permission to read") from None
    except (OSError, ValueError) as error:
        raise ImageRefused(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_image(source: Path | bytes, *, size: int, fit: Fit = "stretch", channels: int = 3) -> NDArray[np.uint8]:
    """One image, upright, on white, fitted to a square.

    Args:
        source: a file, or the bytes of one.
        size: side of the square in pixels.
        fit: `stretch` changes the proportions, `pad` adds white, `crop` keeps the middle.
        channels: 3 for RGB, 1 for grey.

    Returns: (size, size, channels) uint8, 0-255.

    Raises:
        ImageRefused: it cannot be read whole: truncated, empty, not an image, over a cap.
    """
    data = source if isinstance(source, bytes) else read_bytes(source)
    _check_bytes(len(data))
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageRefused(TOO_MANY_PIXELS)
            square = _fit(_plain(_decode(image, size), channels), size, fit)
            return np.asarray(square).reshape(size, size, channels)
    except ImageRefused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # Pillow refuses first from twice the cap on
        raise ImageRefused(TOO_MANY_PIXELS) from None
    except UnidentifiedImageError:
        raise ImageRefused(_name_foreign(data)) from None
    except Exception as error:  # a decoder given hostile bytes may raise anything; all of it means the same
        raise ImageRefused(_name_damage(error)) from None


def decoding_work(data: bytes) -> int:
    """How much there is to decode in an image file, told from its beginning: pixels as a PNG has them.

    Those of a JPEG that can be decoded at a fraction count a quarter (3 ns each, against 12 to 50 in other formats).

    Returns: 0 where `read_image` would refuse it before it decodes.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = image.width * image.height
            drafted = image.format in ("JPEG", "MPO") and not image.info.get("progressive")
    except Exception:  # of hostile bytes anything; read_image gives the reason
        return 0
    return 0 if pixels > MAX_PIXELS else pixels // 4 if drafted else pixels


def _check_bytes(count: int) -> None:
    if not count:
        raise ImageRefused("empty file")
    if count > MAX_BYTES:
        raise ImageRefused(f"over {MAX_BYTES // 2**20} MB")


def _decode(image: Image.Image, size: int) -> Image.Image:
    """Decode and turn upright. Large JPEGs are decoded at 1/2, 1/4 or 1/8, never below twice the size."""
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (2 * size, 2 * size))
    image.load()
    turn = TRANSPOSITIONS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where the tag is missing or the EXIF block is damaged."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a broken tag does not make the pixels wrong
        return 1


def _plain(image: Image.Image, channels: int) -> Image.Image:
    """The image as 8-bit RGB or grey, whatever it was, transparency composited on white."""
    if image.mode.startswith("I;16"):
        deep = np.asarray(image.convert("I"), dtype=np.uint32)
        deep = np.where(deep == image.info.get("transparency", -1), 65535, deep)  # one value may stand for transparent
        image = Image.fromarray(((deep + 128) // 257).astype(np.uint8))  # 65535 / 257 = 255
    elif image.mode in ("I", "F"):
        raise ImageRefused("32 bits per sample: the range of its values is not known")
    mode = "RGB" if channels == 3 else "L"
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGB", image.size, WHITE)
        image.paste(layer, mask=layer.getchannel("A"))
    return image if image.mode == mode else image.convert(mode)


def _fit(image: Image.Image, size: int, fit: Fit) -> Image.Image:
    """The square. Bilinear with antialiasing: every source pixel has its part in a smaller image."""
    method = Image.Resampling.BILINEAR
    if fit == "pad":
        longest = max(image.size)
        width, height = (max(1, round(side * size / longest)) for side in image.size)  # a thin line stays visible
        square = Image.new(image.mode, (size, size), "white")
        square.paste(image.resize((width, height), method), (round((size - width) / 2), round((size - height) / 2)))
        return square
    if fit == "crop":
        return ImageOps.fit(image, (size, size), method=method)
    return image if image.size == (size, size) else image.resize((size, size), method)


def _name_foreign(data: bytes) -> str:
    """Why bytes that no decoder knows are refused, naming what people meet most."""
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return "HEIC or AVIF: convert it to JPEG"
    return "damaged image" if data.startswith(SIGNATURES) or data[8:12] == b"WEBP" else "not an image"


def _name_damage(error: Exception) -> str:
    text = str(error).lower()
    if "truncated" in text or "premature" in text or "eof" in text or "incomplete" in text:
        return "truncated"
    return "too much text beside the pixels" if "max_text" in text else "damaged image"
