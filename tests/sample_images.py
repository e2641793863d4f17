"""Images for tests, drawn from a seed: three kinds that a network can separate, and invalid or unusual files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance

Pixels = NDArray[np.uint8]
KINDS = ("bar", "disc", "ring")
ORIENTATION = 0x0112  # the EXIF tag
NOISE = 12.0  # standard deviation, of 255
STRANGE_NAMES = [
    "comma, and more.png",
    "quote \" and ' .png",
    "two\nlines.png",
    "carriage\rreturn.png",
    "照片 一.png",
    "bytes \udcff\udc80.png",  # how Python spells bytes that are not UTF-8
    "=1+1.png",
    " space .png",
    "\x0b\x0c\x1c\x85\u2028.png",  # where str.splitlines ends lines
]


def draw(kind: str, size: int, seed: int) -> Pixels:
    """A disc, bar or ring in random colours at a random place, with noise. Returns: (size, size, 3) uint8."""
    random = np.random.default_rng([seed, KINDS.index(kind)])
    back = random.uniform(0, 255, 3)
    front = (back + random.uniform(90, 165, 3)) % 255  # far from `back`, also around the circle
    middle = random.uniform(0.38, 0.62, 2) * size
    y, x = np.mgrid[:size, :size] + 0.5
    down, right = y - middle[0], x - middle[1]
    distance = np.hypot(down, right) / size
    radius = random.uniform(0.22, 0.32)
    if kind == "disc":
        inside = distance < radius
    elif kind == "ring":
        inside = (distance < radius * 1.2) & (distance > radius * 0.7)
    else:
        angle = random.uniform(0, np.pi)
        inside = np.abs(down * np.cos(angle) + right * np.sin(angle)) / size < 0.08
    image = np.where(inside[..., None], front, back) + random.normal(0, NOISE, (size, size, 3))
    return image.clip(0, 255).astype(np.uint8)


def scene(size: int, seed: int) -> Pixels:
    """Clouds of every size in random colours: as much detail as a photo has. Returns: (size, size, 3) uint8."""
    random = np.random.default_rng([seed, 7])
    image = np.zeros((size, size, 3))
    for side in (2, 4, 8, 16, 32, 64):
        cloud = Image.fromarray(random.integers(256, size=(side, side, 3), dtype=np.uint8))
        image += (np.asarray(cloud.resize((size, size), Image.Resampling.BICUBIC), float) - 128) / side**0.5
    return (128 + image * (45 / image.std())).clip(0, 255).astype(np.uint8)


def near_copies(image: Pixels) -> dict[str, bytes]:
    """Near duplicates of an image, by name: saved again, resized, cropped, brightened, marked, flipped."""
    plain = Image.fromarray(image)
    width, height = plain.size
    marked = plain.copy()
    ImageDraw.Draw(marked).text((width * 0.6, height * 0.88), "(c) me", fill="white")
    trimmed = plain.crop((width // 50, height // 50, width, height))
    return {
        "as PNG": encode(plain),
        "quality 40": encode(plain, "JPEG", quality=40),
        "half the size": encode(plain.resize((width // 2, height // 2), Image.Resampling.BICUBIC), "JPEG", quality=85),
        "trimmed by 2 %": encode(trimmed, "JPEG", quality=90),
        "brighter": encode(ImageEnhance.Brightness(plain).enhance(1.15), "JPEG", quality=90),
        "marked": encode(marked, "JPEG", quality=90),
        "mirrored": encode(plain.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=90),
    }


def write_folder(
    root: Path,
    classes: Sequence[str] = KINDS,
    *,
    per_class: int = 20,
    size: int = 32,
    seed: int = 0,
    suffix: str = ".png",
) -> Path:
    """Write `root/<class>/<number><suffix>`, all different; a class that names no kind gets one in turn."""
    for position, name in enumerate(classes):
        kind = name if name in KINDS else KINDS[position % len(KINDS)]
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            image = draw(kind, size, seed + 1000 * position + number)
            Image.fromarray(image).save(folder / f"{number:03d}{suffix}")
    return root


def encode(image: Pixels | Image.Image, format: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, format, **options)
    return file.getvalue()


def exact(format: str) -> dict[str, Any]:
    """The options with which Pillow writes a format without loss, or nearly so for JPEG."""
    return {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True, "exact": True}}.get(format, {})


def tagged(image: Pixels, orientation: int, format: str = "JPEG") -> bytes:
    """A file with an EXIF orientation: 1 to 8, or an invalid one."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(image, format, exif=exif, **exact(format))


def palette(image: Pixels, format: str = "PNG", **options: Any) -> bytes:
    """A file with a palette of 16 colours; `transparency=0` makes the first of them transparent."""
    return encode(Image.fromarray(image).quantize(16, dither=Image.Dither.NONE), format, **options)


def animation(frames: Sequence[Pixels], format: str = "GIF", **options: Any) -> bytes:
    """An animated file of several frames."""
    first, *others = map(Image.fromarray, frames)
    return encode(first, format, save_all=True, append_images=others, duration=50, **options)


def multi_picture(frames: Sequence[Pixels]) -> bytes:
    """An MPO file, which phones write and call .jpg."""
    return animation(frames, "MPO", **exact("JPEG"))


def png(width: int, height: int, *, depth: int = 8, color: int = 2, rows: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG file of any header, valid or not, with `rows` as its data."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_16_bit(values: NDArray[np.uint16], *, transparent: int | None = None) -> bytes:
    """A grey PNG file of (height, width) uint16; one value may mean transparent."""
    height, width = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    extra = b"" if transparent is None else _chunk(b"tRNS", struct.pack(">H", transparent))
    return png(width, height, depth=16, color=0, rows=rows, extra=extra)


def bomb(width: int, height: int) -> bytes:
    """A few bytes that declare a huge image."""
    return png(width, height, rows=bytes(1000))


def heic() -> bytes:
    """The first bytes of a HEIC photo, as phones take them, which Pillow alone cannot read."""
    return struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(200)


def refused_files() -> dict[str, tuple[bytes, str]]:
    """Files that are refused: name, content and reason."""
    photo = encode(draw("disc", 48, 7), "JPEG")
    deep = encode(Image.new("F", (8, 8)), "TIFF")
    return {
        "truncated.jpg": (photo[: len(photo) // 2], "truncated"),
        "truncated.png": (encode(draw("bar", 48, 7))[:-400], "truncated"),
        "header_only.jpg": (photo[:5], "damaged image"),
        "empty.jpg": (b"", "empty file"),
        "text.jpg": (b"<html>404 not found</html>", "not an image"),
        "bomb.png": (bomb(50_000, 50_000), "over 89,478,485 pixels"),
        "phone.jpg": (heic(), "HEIC or AVIF: convert it to JPEG"),
        "deep.tif": (deep, "32 bits per sample: the range of its values is not known"),
    }


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


NOISE_IMAGE: Pixels = np.random.default_rng(0).integers(256, size=(24, 31, 3), dtype=np.uint8)
# files of every format that is read, by name
VARIED: dict[str, bytes] = {
    "jpeg": encode(NOISE_IMAGE, "JPEG"),
    "progressive": encode(NOISE_IMAGE, "JPEG", progressive=True),
    "tagged": tagged(NOISE_IMAGE, 6),
    "mpo": multi_picture([NOISE_IMAGE, NOISE_IMAGE[::-1]]),
    "png": encode(NOISE_IMAGE),
    "palette": palette(NOISE_IMAGE, transparency=0),
    "16-bit": png_16_bit(NOISE_IMAGE[..., 0].astype(np.uint16) * 201),
    "webp": encode(NOISE_IMAGE, "WEBP"),
    "lossless": encode(NOISE_IMAGE, "WEBP", lossless=True),
    "bmp": encode(NOISE_IMAGE, "BMP"),
    "gif": animation([NOISE_IMAGE, NOISE_IMAGE[::-1]]),
    "tiff": encode(NOISE_IMAGE, "TIFF"),
    "packed": encode(NOISE_IMAGE, "TIFF", compression="tiff_lzw"),
}
