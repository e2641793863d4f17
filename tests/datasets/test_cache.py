"""Cache: decoded once, found again at once, and never taken for whole when it is not."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sample_images import draw, encode, near_copies, refused_files, scene, write_folder
from stranger import Stranger

from convscope.datasets.cache import Cache, cache_folder, clear_caches, fingerprint, list_caches, open_cache
from convscope.errors import CacheError
from convscope.images.decoding import Square
from convscope.images.reading import read_image

SOURCE = Path(__file__).parents[2] / "src"
SQUARE = Square(12)
PATHS = [f"disc/{number:03d}.png" for number in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images, to do with as one likes."""
    return write_folder(tmp_path / "photos", ("disc",), per_class=6, size=12)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Where the caches of one test are."""
    return tmp_path / "caches"


def state(cache: Cache) -> tuple[int, int]:
    """What is another after a build: the file of pixels, and when it was written."""
    found = (cache.path / "images.uint8").stat()
    return found.st_ino, found.st_mtime_ns


def test_a_row_is_what_reading_the_file_gives(folder: Path, base: Path) -> None:
    """Row i is file i with its hash; a refused file is black, and its reason stands in its row."""
    for name, (data, _) in refused_files().items():
        (folder / name).write_bytes(data)
    paths = [PATHS[0], *refused_files(), *PATHS[1:], "gone.jpg"]
    cache = open_cache(folder, paths, SQUARE, folder=base)
    assert (cache.images.shape, cache.images.dtype) == ((len(paths), 12, 12, 3), np.uint8)
    for path, image, sha256, reason in zip(paths, cache.images, cache.sha256, cache.reasons, strict=True):
        if path in PATHS:
            np.testing.assert_array_equal(image, read_image(folder / path, size=12))
            assert (sha256, reason) == (hashlib.sha256((folder / path).read_bytes()).hexdigest(), "")
        else:
            assert not image.any()
            assert reason == refused_files().get(path, (b"", "no such file"))[1]


def test_the_second_open_decodes_nothing(folder: Path, base: Path) -> None:
    """What was decoded is found again, byte for byte the same file, and cannot be written to."""
    first = open_cache(folder, PATHS, SQUARE, folder=base)
    before = state(first), base.stat().st_mtime_ns
    second = open_cache(folder, PATHS, SQUARE, folder=base)
    assert (state(second), base.stat().st_mtime_ns) == before  # a build, even one in vain, would be seen in its folder
    assert (second.path, second.sha256, second.reasons) == (first.path, first.sha256, first.reasons)
    assert second.groups == first.groups
    np.testing.assert_array_equal(second.images, first.images)
    with pytest.raises(ValueError, match="read-only"):
        second.images[0] = 0


def test_near_duplicates_share_a_group_that_is_kept(folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index says which images are copies, and is asked the second time; others and refused ones bear their own."""
    copies = {f"{name}.image.png": data for name, data in near_copies(scene(200, 1)).items()}
    for name, data in (copies | {"broken.png": b"\x89PNG", "cut off.png": b"\x89PNG\r"}).items():
        (folder / name).write_bytes(data)
    paths = [*PATHS, "broken.png", "cut off.png", *copies]
    for square in (Square(48), Square(48, "crop", 1)):
        first = open_cache(folder, paths, square, folder=base)
        assert first.groups[:8] == tuple(sha256[:16] for sha256 in first.sha256[:8])
        assert set(first.groups[8:]) == {min(first.sha256[8:])[:16]}
        monkeypatch.setattr("convscope.datasets.cache.near_groups", None)
        assert open_cache(folder, paths, square, folder=base).groups == first.groups
        monkeypatch.undo()


def test_a_cache_of_the_format_before_is_made_again(folder: Path, base: Path) -> None:
    """What an older convscope left under the same name, without groups, is not taken for whole."""
    first = open_cache(folder, PATHS, SQUARE, folder=base)
    facts = json.loads((first.path / "cache.json").read_text(encoding="utf-8"))
    (first.path / "cache.json").write_text(json.dumps(facts | {"format": 1}), encoding="utf-8")
    assert [count for _, count, _ in list_caches(base)] == [0]
    assert open_cache(folder, PATHS, SQUARE, folder=base).groups == first.groups
    assert [count for _, count, _ in list_caches(base)] == [6]


def test_a_changed_file_makes_another_cache(folder: Path, base: Path) -> None:
    """New content is seen even where size and modification time are made to be the same."""
    first = open_cache(folder, PATHS, SQUARE, folder=base)
    file = folder / PATHS[2]
    found = file.stat()
    content = encode(draw("ring", 12, 9))
    file.write_bytes(content[: found.st_size].ljust(found.st_size, b"\0"))
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    second = open_cache(folder, PATHS, SQUARE, folder=base)
    assert second.path != first.path
    assert second.sha256[2] != first.sha256[2]
    assert second.sha256[:2] == first.sha256[:2]


def test_the_name_depends_on_files_and_decoding_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    """Another file, order, size, fit, number of channels or folder is another cache; a link to the folder is not."""
    (tmp_path / "link").symlink_to(folder)
    same = fingerprint(folder, PATHS, SQUARE)
    assert fingerprint(tmp_path / "link", PATHS, Square(12)) == same
    shutil.copytree(folder, tmp_path / "copy")
    others = [
        fingerprint(folder, PATHS[:-1], SQUARE),
        fingerprint(folder, PATHS[::-1], SQUARE),
        fingerprint(folder, [*PATHS, "gone.jpg"], SQUARE),
        fingerprint(folder, PATHS, Square(13)),
        fingerprint(folder, PATHS, Square(12, "crop")),
        fingerprint(folder, PATHS, Square(12, "stretch", 1)),
        fingerprint(tmp_path / "copy", PATHS, SQUARE),
    ]
    assert len({same, *others}) == 8


def damage_bytes(file: Path, place: int) -> None:
    """Change one byte."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "no pixels": lambda place: (place / "images.uint8").unlink(),
    "fewer pixels": lambda place: os.truncate(place / "images.uint8", 100),
    "more pixels": lambda place: os.truncate(place / "images.uint8", 6 * 12 * 12 * 3 + 1),
    "no index": lambda place: (place / "index.csv").unlink(),
    "another index": lambda place: damage_bytes(place / "index.csv", 30),
    "no facts": lambda place: (place / "cache.json").unlink(),
    "half the facts": lambda place: os.truncate(place / "cache.json", 20),
    "other facts": lambda place: (place / "cache.json").write_text("{}", encoding="utf-8") and None,
    "nothing": lambda place: [file.unlink() for file in place.iterdir()] and None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_made_again(damage: str, folder: Path, base: Path) -> None:
    """Whatever lacks or is changed is noticed, decoded again, and then found again."""
    first = open_cache(folder, PATHS, SQUARE, folder=base)
    pixels, before = np.array(first.images), state(first)
    DAMAGES[damage](first.path)
    second = open_cache(folder, PATHS, SQUARE, folder=base)
    np.testing.assert_array_equal(second.images, pixels)
    assert second.sha256 == first.sha256
    assert state(second) != before
    assert state(open_cache(folder, PATHS, SQUARE, folder=base)) == state(second)
    assert [path.name for path in base.iterdir()] == [second.path.name]


OPEN = """
import sys
from pathlib import Path
from convscope.datasets.cache import open_cache
from convscope.images.decoding import Square
folder, base, times, go = sys.argv[1:]
while go and not Path(go).exists():
    pass
paths = [f"disc/{number:03d}.png" for number in range(6)] * int(times)
cache = open_cache(Path(folder), paths, Square(12), folder=Path(base))
print(len(cache.images), hash(cache.images.tobytes()) % 10**9)
"""


def start_opening(folder: Path, base: Path, *, times: int = 1, go: Path | None = None) -> subprocess.Popen[str]:
    """Another process that opens a cache of the six images, so many times each, when the file `go` appears."""
    words = [sys.executable, "-c", OPEN, str(folder), str(base), str(times), str(go or "")]
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONHASHSEED": "0"}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_build_leaves_nothing_that_counts(folder: Path, base: Path) -> None:
    """After `kill -9` in the middle there is no cache, and the next build removes what was left."""
    with start_opening(folder, base, times=2000) as process:
        end = time.monotonic() + 60
        while not list(base.glob(".images-*.part/images.uint8")) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert len(list(base.iterdir())) == 1
    assert list_caches(base) == []
    cache = open_cache(folder, PATHS, SQUARE, folder=base)
    assert [path.name for path in base.iterdir()] == [cache.path.name]


@pytest.mark.slow
def test_two_builds_at_once_end_with_one_cache(folder: Path, base: Path, tmp_path: Path) -> None:
    """Processes that build the same cache at the same moment all get it, and one is kept."""
    processes = [start_opening(folder, base, times=10, go=tmp_path / "go") for _ in range(4)]
    time.sleep(1)
    (tmp_path / "go").touch()
    answers = [process.communicate() for process in processes]
    assert {error for _, error in answers} == {""}
    assert len({answer for answer, _ in answers}) == 1
    assert len(list(base.iterdir())) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB, where this machine lets us make one."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_told_before_anything_is_decoded(folder: Path, small_disk: Path) -> None:
    """Room is looked for first, and the error says how much is needed and what to do."""
    with pytest.raises(CacheError) as caught:
        open_cache(folder, PATHS, SQUARE, folder=small_disk)
    assert "0.0 GB free" in caught.value.found
    assert "--cache" in caught.value.fix
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_while_writing_leaves_nothing(folder: Path, base: Path) -> None:
    """Where a write fails all the same, it is an error of its own and not half a cache."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, unlimited[1]))
    try:
        with pytest.raises(CacheError, match="cannot be written: File too large"):
            open_cache(folder, PATHS, SQUARE, folder=base)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert list(base.iterdir()) == []
    assert len(open_cache(folder, PATHS, SQUARE, folder=base).images) == 6


def test_a_folder_that_may_not_be_written_is_an_error(folder: Path, stranger: Stranger, tmp_path: Path) -> None:
    """No permission to write, or even to look, or a file in the way: said, with another place as the way out."""
    (stranger.folder / "closed").mkdir(mode=0o700)
    for place in (stranger.folder / "new", stranger.folder / "closed" / "new"):
        with stranger.rights(), pytest.raises(CacheError, match=r"Permission denied.*choose another with --cache"):
            open_cache(folder, PATHS, SQUARE, folder=place)
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="choose another with --cache"):
        open_cache(folder, PATHS, SQUARE, folder=tmp_path / "file")


def test_caches_are_listed_and_cleared(folder: Path, base: Path) -> None:
    """Each cache with its images and bytes, a damaged one with none; clearing takes unfinished builds too."""
    assert list_caches(base) == []
    assert clear_caches(base) == 0
    places = [open_cache(folder, PATHS[:count], SQUARE, folder=base).path for count in (2, 5)]
    found = {name: (count, size) for name, count, size in list_caches(base)}
    assert {count for count, _ in found.values()} == {2, 5}
    assert all(size > count * 12 * 12 * 3 for count, size in found.values())
    (places[0] / "cache.json").write_text("[]", encoding="utf-8")
    assert {count for _, count, _ in list_caches(base)} == {0, 5}
    (base / ".images-x.0a0a0a-1-00000000.part").mkdir()
    (base / "digits").mkdir()
    assert clear_caches(base) > 7 * 12 * 12 * 3
    assert [path.name for path in base.iterdir()] == ["digits"]


def test_the_place_is_the_one_that_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the caller says, else CONVSCOPE_CACHE, else the user's folder for caches, else `.cache` at home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CONVSCOPE_CACHE", "told")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder(Path("chosen")) == Path("chosen")
    assert cache_folder() == Path("told")
    monkeypatch.delenv("CONVSCOPE_CACHE")
    assert cache_folder() == Path("/xdg/convscope")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "convscope"


def test_a_cache_says_its_format(folder: Path, base: Path) -> None:
    """cache.json has the format's version, so that a later convscope knows what it reads."""
    cache = open_cache(folder, PATHS, SQUARE, folder=base)
    facts = json.loads((cache.path / "cache.json").read_text(encoding="utf-8"))
    assert (facts["format"], facts["images"], facts["shape"]) == (2, 6, [12, 12, 3])
