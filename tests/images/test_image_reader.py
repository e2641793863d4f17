"""Images: read correctly, upright and completely, whatever the file, or refused with the reason."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from sample_images import (
    NOISE_IMAGE,
    VARIED,
    Pixels,
    animation,
    bomb,
    draw,
    encode,
    exact,
    palette,
    png,
    png_16_bit,
    refused_files,
    tagged,
)
from unprivileged_user import UnprivilegedUser

from convscope.errors import ImageRefused
from convscope.images.image_reader import MAX_BYTES, decoding_work, read_bytes, read_image

LOSSLESS = ("PNG", "BMP", "TIFF", "WEBP")
# what each value of the EXIF tag asks to be done to the pixels, in NumPy
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[:, ::-1],
    7: lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda image: image.transpose(1, 0, 2)[::-1],
}


def difference(one: Pixels, other: Pixels) -> int:
    """The largest difference between two values."""
    return int(np.abs(one.astype(np.int32) - other).max())


def refusal(source: Path | bytes) -> str:
    """The reason why a file is refused."""
    with pytest.raises(ImageRefused) as caught:
        read_image(source, size=8)
    return str(caught.value)


@pytest.mark.parametrize("format", LOSSLESS)
def test_pixels_are_as_they_were_written(format: str) -> None:
    """A lossless file of the right size gives exactly its pixels, and its grey values where one channel is wanted."""
    image = draw("disc", 40, 1)
    data = encode(image, format, **exact(format))
    np.testing.assert_array_equal(read_image(data, size=40), image)
    grey = np.asarray(Image.fromarray(image).convert("L"))[..., None]
    np.testing.assert_array_equal(read_image(data, size=40, channels=1), grey)


def test_the_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    """A PNG that is named .jpg is read as a PNG."""
    image = draw("ring", 20, 1)
    (tmp_path / "photo.jpg").write_bytes(encode(image))
    np.testing.assert_array_equal(read_image(tmp_path / "photo.jpg", size=20), image)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_rotated_photo_is_upright(orientation: int, format: str) -> None:
    """All eight values of the EXIF tag, in each format that has it, transpose the pixels once and exactly."""
    image = np.zeros((24, 40, 3), np.uint8)
    image[:8, :, 0], image[:, :24, 1] = 255, 255  # no two of the eight orientations look the same
    upright = UPRIGHT[orientation](image)
    read = read_image(tagged(image, orientation, format), size=40, fit="pad")
    margin = (40 - 24) // 2
    inner = read[margin:-margin] if upright.shape[0] == 24 else read[:, margin:-margin]
    assert difference(inner, upright) <= (1 if format == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_invalid_orientation_changes_nothing(orientation: int) -> None:
    """A value that no camera writes leaves the pixels as they are."""
    image = draw("bar", 32, 3)
    np.testing.assert_array_equal(read_image(tagged(image, orientation, "PNG"), size=32), image)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning", "ignore:Truncated:UserWarning")
def test_a_damaged_exif_block_does_not_refuse_an_image() -> None:
    """The pixels are read even if the EXIF block is damaged."""
    image = draw("bar", 32, 3)
    expected = read_image(tagged(image, 6), size=32)
    text = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04top\0" + bytes(4)  # where a number should be
    for broken in (text, b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0"):
        read = read_image(encode(image, "JPEG", exif=broken, **exact("JPEG")), size=32)
        np.testing.assert_array_equal(np.rot90(read, -1), expected)


def test_transparency_becomes_white() -> None:
    """An alpha channel is composited on white."""
    random = np.random.default_rng(0)
    image = random.integers(256, size=(16, 16, 4), dtype=np.uint8)
    image[0, :, 3], image[1, :, 3] = 0, 255
    alpha = image[..., 3:].astype(float) / 255
    expected = np.round(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    for format in ("PNG", "WEBP", "TIFF"):
        read = read_image(encode(image, format, **exact(format)), size=16)
        assert difference(read, expected) <= 1
        assert (read[0] == 255).all()
        np.testing.assert_array_equal(read[1], image[1, :, :3])


@pytest.mark.parametrize(
    ("mode", "color", "transparency"),
    [
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("L", 7, 7),
        ("P", 0, 0),
        ("P", 0, b"\x00\xff"),
        ("1", 1, 1),
        ("LA", (9, 0), None),
        ("RGBA", (5, 6, 7, 0), None),
    ],
)
def test_every_kind_of_transparency_becomes_white(
    mode: str, color: int | tuple[int, ...], transparency: int | bytes | tuple[int, ...] | None
) -> None:
    """A colour that means transparent, the alpha of a palette, and grey with alpha."""
    options = {} if transparency is None else {"transparency": transparency}
    data = encode(Image.new(mode, (4, 4), color), "PNG", **options)
    for channels in (1, 3):
        assert (read_image(data, size=4, channels=channels) == 255).all()


def test_16_bits_keep_their_brightness() -> None:
    """0 to 65,535 becomes 0 to 255 in equal steps, in PNG and in TIFF of both byte orders; transparent is white."""
    values = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    files = [png_16_bit(values), encode(Image.fromarray(values), "TIFF"), encode(_big_endian(values), "TIFF")]
    for data in files:
        read = read_image(data, size=16)
        for channel in range(3):
            np.testing.assert_array_equal(read[..., channel], np.arange(256).reshape(16, 16))
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.abs(read_image(png_16_bit(every), size=256)[..., 0] - every / 257).max() <= 0.5
    assert (read_image(png_16_bit(np.full((4, 4), 300, np.uint16), transparent=300), size=4) == 255).all()
    assert (read_image(png_16_bit(np.full((4, 4), 300, np.uint16), transparent=301), size=4) == 1).all()


def _big_endian(values: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> Image.Image:
    return Image.frombytes("I;16B", values.shape[::-1], values.astype(">u2").tobytes())


@pytest.mark.parametrize(
    ("ink", "color"), [((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0))]
)
def test_cmyk_becomes_rgb(ink: tuple[int, ...], color: tuple[int, ...]) -> None:
    """CMYK: no ink is white, cyan ink is cyan, black ink is black; the same in JPEG and TIFF."""
    for format in ("JPEG", "TIFF"):
        data = encode(Image.new("CMYK", (16, 16), ink), format)
        assert difference(read_image(data, size=16), np.full((16, 16, 3), color, np.uint8)) <= 2
        grey = Image.new("RGB", (1, 1), color).convert("L").getpixel((0, 0))
        assert difference(read_image(data, size=16, channels=1), np.full((16, 16, 1), grey, np.uint8)) <= 2


def test_grey_and_bilevel_have_equal_channels() -> None:
    """An image without colour is the same in all three channels."""
    grey = draw("disc", 16, 0)[..., 0]
    for image in (Image.fromarray(grey), Image.fromarray(grey > 128)):
        read = read_image(encode(image), size=16)
        expected = np.asarray(image.convert("L"))
        np.testing.assert_array_equal(read, np.repeat(expected[..., None], 3, axis=2))


def test_a_palette_becomes_its_colours() -> None:
    """A palette image is read as the colours of its palette."""
    expected = np.asarray(Image.fromarray(NOISE_IMAGE).quantize(16, dither=Image.Dither.NONE).convert("RGB"))
    for format in ("PNG", "GIF", "BMP", "TIFF"):
        read = read_image(palette(NOISE_IMAGE, format), size=31, fit="pad")
        np.testing.assert_array_equal(read[4:28], expected)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_an_animation_is_its_first_frame(format: str) -> None:
    """Later frames and pages are not read."""
    first, second = np.full((9, 9, 3), 200, np.uint8), np.full((9, 9, 3), 20, np.uint8)
    options = exact("JPEG" if format == "MPO" else format)
    assert difference(read_image(animation([first, second], format, **options), size=9), first) <= 1


def test_stretch_pad_and_crop_make_a_square() -> None:
    """Stretching keeps the complete image, padding adds white above and below, cropping keeps the middle."""
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 10:30] = 100  # the middle
    data = encode(image)
    stretched, padded, cropped = (read_image(data, size=20, fit=fit) for fit in ("stretch", "pad", "crop"))
    np.testing.assert_array_equal(stretched[:, [0, 10, 19], 0], [[0, 100, 0]] * 20)
    assert (padded[:5] == 255).all()
    assert (padded[15:] == 255).all()
    np.testing.assert_array_equal(padded[5:15], stretched[5:15])
    assert (cropped == 100).all()


@pytest.mark.slow
@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 64), st.sampled_from(["stretch", "pad", "crop"]))
def test_every_proportion_fits(width: int, height: int, size: int, fit: str) -> None:
    """Lines of one pixel, panoramas, images smaller than the square: all give a full square of their colour."""
    data = encode(Image.new("RGB", (width, height), (10, 20, 30)))
    read = read_image(data, size=size, fit=fit)  # type: ignore[arg-type]
    assert read.shape == (size, size, 3)
    is_image = (read == (10, 20, 30)).all(axis=2)
    assert is_image.any()
    assert is_image.all() or (fit == "pad" and (read[~is_image] == 255).mean() > 0.4)


@pytest.mark.slow
def test_a_large_jpeg_that_is_decoded_small_looks_the_same() -> None:
    """Decoding at 1/2, 1/4 or 1/8 is nearly the same as decoding at full size and resizing."""
    photo = Image.fromarray(draw("ring", 300, 5))
    for side in (300, 700, 1300):
        data = encode(photo.resize((side, side)), "JPEG", quality=95)
        full = np.asarray(Image.open(io.BytesIO(data)).resize((64, 64), Image.Resampling.BILINEAR))
        small = read_image(data, size=64)
        assert np.abs(small.astype(int) - full).mean() < 1.5
        assert np.abs(small.astype(int) - np.rot90(full)).mean() > 5  # the measure can fail


@pytest.mark.parametrize("name", refused_files())
def test_an_unusable_image_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    """Each kind of bad file has its reason, the same from a path and from bytes."""
    data, reason = refused_files()[name]
    (tmp_path / name).write_bytes(data)
    assert refusal(tmp_path / name) == refusal(data) == reason


def test_files_that_cannot_be_read_are_refused_with_the_reason(tmp_path: Path) -> None:
    """Missing, a broken or circular link, a folder, a pipe, an invalid name: none blocks or raises another error."""
    (tmp_path / "broken.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "file.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    reasons = {
        "missing.jpg": "no such file",
        "broken.jpg": "broken link",
        "loop.jpg": "cannot be read: Too many levels of symbolic links",
        "folder.jpg": "not a file",
        "pipe.jpg": "not a file",
        "file.jpg/inside.jpg": "cannot be read: Not a directory",
        "a" * 300: "cannot be read: File name too long",
        "nul\0.jpg": "cannot be read: embedded null byte",
    }
    for name, reason in reasons.items():
        assert refusal(tmp_path / name) == reason


def test_a_file_without_permission_is_refused(unprivileged_user: UnprivilegedUser) -> None:
    """The reason is the missing permission."""
    file = unprivileged_user.folder / "photo.png"
    file.write_bytes(VARIED["png"])
    file.chmod(0)
    with unprivileged_user.impersonate():
        assert refusal(file) == "no permission to read"


@pytest.mark.slow
def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    """A file that is too large is refused by its size; one byte less is read."""
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert refusal(tmp_path / "large.jpg") == "over 64 MB"
    os.truncate(tmp_path / "large.jpg", MAX_BYTES)
    assert len(read_bytes(tmp_path / "large.jpg")) == MAX_BYTES
    assert refusal(bytes(MAX_BYTES + 1)) == "over 64 MB"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # only tests turn warnings into errors
@pytest.mark.parametrize("side", [9_460, 12_000, 13_400, 50_000, 2**31 - 1])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    """Just over the limit, around twice the limit, where Pillow itself refuses, and at the largest of the format."""
    assert refusal(bomb(side, side)) == "over 89,478,485 pixels"


def test_a_text_bomb_is_refused_as_such() -> None:
    """A PNG may hold compressed text; more than a megabyte of it is not decompressed, and the reason names it."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a" * 3_000_000, zip=True)
    file = io.BytesIO()
    Image.fromarray(draw("disc", 12, 0)).save(file, "PNG", pnginfo=info)
    assert refusal(file.getvalue()) == "too much text beside the pixels"


def test_just_under_the_limit_is_no_bomb() -> None:
    """With one row less the file is decoded, and found truncated."""
    assert refusal(bomb(9_459, 9_459)) == "truncated"


def test_other_kinds_of_files_are_named() -> None:
    """The reasons distinguish damaged images, files of another kind, and formats that phones write."""
    avif, video = (b"\0\0\0\x20ftyp" + brand + bytes(100) for brand in (b"avif", b"isom"))
    assert refusal(avif) == "HEIC or AVIF: convert it to JPEG"
    assert refusal(video) == "not an image"
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"MM\0*", b"RIFF\0\0\0\0WEBPVP8 "):
        assert refusal(start + bytes(3)) in ("damaged image", "truncated")
    assert refusal(png(8, 8)) == "truncated"


@pytest.mark.parametrize("name", ["jpeg", "progressive", "palette", "webp", "bmp", "gif", "tiff", "packed"])
def test_a_truncated_file_is_refused_or_complete(name: str) -> None:
    """No prefix of a file is read as another image: it is refused, or only padding was missing."""
    data = VARIED[name]
    complete = read_image(data, size=16)
    refused = 0
    for length in range(0, len(data), 7):
        try:
            np.testing.assert_array_equal(read_image(data[:length], size=16), complete)
        except ImageRefused:
            refused += 1
    assert refused > 0.4 * len(data) / 7  # an animation may lose its second frame


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(VARIED)),
    st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=8),
    st.booleans(),
)
def test_hostile_bytes_are_refused_or_make_a_square(name: str, changes: list[tuple[int, bytes]], early: bool) -> None:
    """A file with bytes overwritten, most of all in its header, gives a full square or `ImageRefused`."""
    data = bytearray(VARIED[name])
    for position, content in changes:
        start = position % (60 if early else len(data))
        data[start : start + len(content)] = content
    try:
        read = read_image(bytes(data), size=12, fit="crop")
    except ImageRefused:
        return
    assert (read.shape, read.dtype) == ((12, 12, 3), np.uint8)


@settings(max_examples=50)
@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF"]), st.binary())
def test_random_bytes_are_refused(start: bytes, rest: bytes) -> None:
    """Even behind the first bytes of an image."""
    assert refusal(start + rest)


def test_threads_read_the_same() -> None:
    """Several threads at once read the same pixels as one."""
    sources = [encode(draw("disc", 32, seed), "JPEG") for seed in range(20)]
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda data: read_image(data, size=24), sources))
    for data, image in zip(sources, read, strict=True):
        np.testing.assert_array_equal(read_image(data, size=24), image)


def test_decoding_work_is_estimated_from_the_header() -> None:
    """Pixels, without decoding any; a quarter of them for a JPEG that is decoded at a fraction; 0 for refused files."""
    image = Image.new("RGB", (200, 100))
    for name in ("PNG", "WEBP", "BMP", "GIF", "TIFF"):
        assert decoding_work(encode(image, name)) == 20_000
    assert decoding_work(encode(image, "JPEG")) == 5_000
    assert decoding_work(encode(image, "JPEG", progressive=True)) == 20_000
    assert decoding_work(encode(image)[:60]) == 20_000
    with warnings.catch_warnings(action="ignore"):  # Pillow warns about the images that are refused here
        for data in (b"", b"text", bomb(50_000, 50_000), bomb(10_000, 9_000)):
            assert decoding_work(data) == 0
