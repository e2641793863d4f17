"""Reads one image, from a file or its bytes, as an upright uint8 square: the only module that reads file formats.

An image is read completely, or refused with a reason. Training, prediction and serving all read images here, so the
same file gives the same pixels everywhere.
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

    from convscope.recipe.validation import Fit

READING_VERSION = 1  # increase it when the same bytes give other pixels: it is part of the name of every cache
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
# of images that no decoder here reads, and other programs convert: phones, cameras, web pages
CONVERTIBLE_SUFFIXES = frozenset(
    {".avif", ".heic", ".heif", ".jp2", ".jxl", ".psd", ".svg"}
    | {".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"}
)
PLUGINS = (TiffImagePlugin, WebPImagePlugin)  # importing them registers these formats in Pillow
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # JPEG includes MPO, which many phones write to .jpg files
MAX_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 89_478_485  # Pillow's limit for decompression bombs: 256 MB of RGB
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
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*")  # the first bytes of JPEG, PNG, GIF, TIFF
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")


def read_bytes(path: Path) -> bytes:
    """The content of an image file.

    Raises:
        ImageRefused: the file is missing, unreadable, not a file, empty, or larger than `MAX_BYTES`.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would never end
            raise ImageRefused("not a file")
        _check_bytes(status.st_size)
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageRefused("broken link" if path.is_symlink() else "no such file") from None
    except PermissionError:
        raise ImageRefused("no permission to read") from None
    except (OSError, ValueError) as error:
        raise ImageRefused(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_image(source: Path | bytes, *, size: int, fit: Fit = "stretch", channels: int = 3) -> NDArray[np.uint8]:
    """Read one image: upright, transparency on white, fitted to a square.

    Args:
        source: a file, or its bytes.
        size: side of the square in pixels.
        fit: `stretch` changes the proportions, `pad` adds white borders, `crop` keeps the middle.
        channels: 3 for RGB, 1 for grey.

    Returns: (size, size, channels) uint8, 0-255.

    Raises:
        ImageRefused: it cannot be read completely: truncated, empty, not an image, too large.
    """
    data = source if isinstance(source, bytes) else read_bytes(source)
    _check_bytes(len(data))
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageRefused(TOO_MANY_PIXELS)
            square = _fit(_to_8_bit(_decode(image, size), channels), size, fit)
            return np.asarray(square).reshape(size, size, channels)
    except ImageRefused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # Pillow raises above twice MAX_PIXELS
        raise ImageRefused(TOO_MANY_PIXELS) from None
    except UnidentifiedImageError:
        raise ImageRefused(_explain_unidentified(data)) from None
    except Exception as error:  # a decoder may raise anything for hostile bytes
        raise ImageRefused(_explain_damage(error)) from None


def decoding_work(data: bytes) -> int:
    """Estimate how long decoding takes, from the header alone, in pixels of a PNG.

    A pixel of a JPEG that can be decoded at a fraction counts a quarter (3 ns each, against 12 to 50 in other formats).

    Returns: 0 where `read_image` would refuse the file before it decodes.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = image.width * image.height
            is_scalable = image.format in ("JPEG", "MPO") and not image.info.get("progressive")
    except Exception:  # a decoder may raise anything for hostile bytes; read_image gives the reason
        return 0
    return 0 if pixels > MAX_PIXELS else pixels // 4 if is_scalable else pixels


def _check_bytes(count: int) -> None:
    if not count:
        raise ImageRefused("empty file")
    if count > MAX_BYTES:
        raise ImageRefused(f"over {MAX_BYTES // 2**20} MB")


def _decode(image: Image.Image, size: int) -> Image.Image:
    """Decode and turn upright. Large JPEGs are decoded at 1/2, 1/4 or 1/8, never below twice `size`."""
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (2 * size, 2 * size))
    image.load()
    transposition = TRANSPOSITIONS.get(_orientation(image))
    return image if transposition is None else image.transpose(transposition)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where the tag is missing or the EXIF block is damaged."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a damaged tag does not damage the pixels
        return 1


def _to_8_bit(image: Image.Image, channels: int) -> Image.Image:
    """Convert any image to 8-bit RGB or grey, transparency composited on white."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image.convert("I"), dtype=np.uint32)  # 0-65535
        values = np.where(values == image.info.get("transparency", -1), 65535, values)  # one value may mean transparent
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))  # 65535 / 257 = 255
    elif image.mode in ("I", "F"):
        raise ImageRefused("32 bits per sample: the range of its values is not known")
    mode = "RGB" if channels == 3 else "L"
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", image.size, WHITE)
        image.paste(rgba, mask=rgba.getchannel("A"))
    return image if image.mode == mode else image.convert(mode)


def _fit(image: Image.Image, size: int, fit: Fit) -> Image.Image:
    """Fit an image to a square; bilinear with antialiasing, so every source pixel counts in a smaller image."""
    method = Image.Resampling.BILINEAR
    if fit == "pad":
        longest = max(image.size)
        width, height = (max(1, round(side * size / longest)) for side in image.size)  # a thin image keeps a line
        square = Image.new(image.mode, (size, size), "white")
        square.paste(image.resize((width, height), method), (round((size - width) / 2), round((size - height) / 2)))
        return square
    if fit == "crop":
        return ImageOps.fit(image, (size, size), method=method)
    return image if image.size == (size, size) else image.resize((size, size), method)


def _explain_unidentified(data: bytes) -> str:
    """The reason for refusing bytes that no decoder identifies; the formats of phones are named."""
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return "HEIC or AVIF: convert it to JPEG"
    return "damaged image" if data.startswith(SIGNATURES) or data[8:12] == b"WEBP" else "not an image"


def _explain_damage(error: Exception) -> str:
    """The reason for refusing an image on which its decoder failed with `error`."""
    text = str(error).lower()
    if "truncated" in text or "premature" in text or "eof" in text or "incomplete" in text:
        return "truncated"
    return "too much text beside the pixels" if "max_text" in text else "damaged image"
