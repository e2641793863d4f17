"""Cache: images are decoded once, found again at once, and never used when the cache is damaged."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL
import pytest
from processes import start_python
from sample_images import draw, encode, near_copies, refused_files, scene, write_folder
from unprivileged_user import UnprivilegedUser

from convscope.datasets.cache import Cache, cache_folder, clear_caches, fingerprint, list_caches, open_cache
from convscope.errors import CacheError
from convscope.images.decoder_pool import InputSpec
from convscope.images.image_reader import read_image

OLD = Path(__file__).parents[1] / "old"
SPEC = InputSpec(12)
PATHS = [f"disc/{number:03d}.png" for number in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images, which a test may change."""
    return write_folder(tmp_path / "photos", ("disc",), per_class=6, size=12)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder of the caches of one test."""
    return tmp_path / "caches"


def state(cache: Cache) -> tuple[int, int]:
    """Which file the pixels are in, and when it was written: a build changes both."""
    status = (cache.path / "images.uint8").stat()
    return status.st_ino, status.st_mtime_ns


def test_a_row_is_what_read_image_returns(folder: Path, base: Path) -> None:
    """Row i is file i with its SHA-256; the pixels of a refused file are 0, and its row has the reason."""
    for name, (data, _) in refused_files().items():
        (folder / name).write_bytes(data)
    paths = [PATHS[0], *refused_files(), *PATHS[1:], "gone.jpg"]
    cache = open_cache(folder, paths, SPEC, folder=base)
    assert (cache.images.shape, cache.images.dtype) == ((len(paths), 12, 12, 3), np.uint8)
    for path, image, sha256, reason in zip(paths, cache.images, cache.sha256, cache.reasons, strict=True):
        if path in PATHS:
            np.testing.assert_array_equal(image, read_image(folder / path, size=12))
            assert (sha256, reason) == (hashlib.sha256((folder / path).read_bytes()).hexdigest(), "")
        else:
            assert not image.any()
            assert reason == refused_files().get(path, (b"", "no such file"))[1]


def test_the_second_open_decodes_nothing(folder: Path, base: Path) -> None:
    """The same file is opened again, and cannot be written to."""
    first = open_cache(folder, PATHS, SPEC, folder=base)
    before = state(first), base.stat().st_mtime_ns
    second = open_cache(folder, PATHS, SPEC, folder=base)
    assert (state(second), base.stat().st_mtime_ns) == before  # a build, even a failed one, changes the folder
    assert (second.path, second.sha256, second.reasons) == (first.path, first.sha256, first.reasons)
    assert second.groups == first.groups
    np.testing.assert_array_equal(second.images, first.images)
    with pytest.raises(ValueError, match="read-only"):
        second.images[0] = 0


@pytest.mark.slow
def test_near_duplicates_share_a_group_that_is_kept(folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies have a common group, read from the index the second time; other and refused images have their own."""
    copies = {f"{name}.image.png": data for name, data in near_copies(scene(200, 1)).items()}
    for name, data in (copies | {"broken.png": b"\x89PNG", "cut off.png": b"\x89PNG\r"}).items():
        (folder / name).write_bytes(data)
    paths = [*PATHS, "broken.png", "cut off.png", *copies]
    for spec in (InputSpec(48), InputSpec(48, "crop", 1)):
        first = open_cache(folder, paths, spec, folder=base)
        assert first.groups[:8] == tuple(sha256[:16] for sha256 in first.sha256[:8])
        assert set(first.groups[8:]) == {min(first.sha256[8:])[:16]}
        monkeypatch.setattr("convscope.datasets.cache.group_near_duplicates", None)
        assert open_cache(folder, paths, spec, folder=base).groups == first.groups
        monkeypatch.undo()


def test_a_cache_of_an_older_format_is_made_again(folder: Path, base: Path) -> None:
    """One of the same name, without groups, is not used."""
    first = open_cache(folder, PATHS, SPEC, folder=base)
    facts = json.loads((first.path / "cache.json").read_text(encoding="utf-8"))
    (first.path / "cache.json").write_text(json.dumps(facts | {"format": 1}), encoding="utf-8")
    assert [count for _, count, _ in list_caches(base)] == [0]
    assert open_cache(folder, PATHS, SPEC, folder=base).groups == first.groups
    assert [count for _, count, _ in list_caches(base)] == [6]


def test_a_changed_file_makes_another_cache(folder: Path, base: Path) -> None:
    """Also where its size and modification time are made equal."""
    first = open_cache(folder, PATHS, SPEC, folder=base)
    file = folder / PATHS[2]
    status = file.stat()
    content = encode(draw("ring", 12, 9))
    file.write_bytes(content[: status.st_size].ljust(status.st_size, b"\0"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = open_cache(folder, PATHS, SPEC, folder=base)
    assert second.path != first.path
    assert second.sha256[2] != first.sha256[2]
    assert second.sha256[:2] == first.sha256[:2]


def test_the_name_depends_on_files_and_decoding_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    """Another file, order, size, fit, number of channels or folder is another cache; a link to the folder is not."""
    (tmp_path / "link").symlink_to(folder)
    same = fingerprint(folder, PATHS, SPEC)
    assert fingerprint(tmp_path / "link", PATHS, InputSpec(12)) == same
    shutil.copytree(folder, tmp_path / "copy")
    others = [
        fingerprint(folder, PATHS[:-1], SPEC),
        fingerprint(folder, PATHS[::-1], SPEC),
        fingerprint(folder, [*PATHS, "gone.jpg"], SPEC),
        fingerprint(folder, PATHS, InputSpec(13)),
        fingerprint(folder, PATHS, InputSpec(12, "crop")),
        fingerprint(folder, PATHS, InputSpec(12, "stretch", 1)),
        fingerprint(tmp_path / "copy", PATHS, SPEC),
    ]
    assert len({same, *others}) == 8


@pytest.mark.parametrize("spec", [InputSpec(64, "pad", 1), InputSpec(128)])
def test_the_name_never_changes(spec: InputSpec, tmp_path: Path) -> None:
    """The fingerprint is of exactly these bytes, so that the caches of earlier versions are found."""
    decoding = f"Square(size={spec.size}, fit='{spec.fit}', channels={spec.channels})"
    head = f"2 1 {PIL.__version__} {decoding} {os.path.realpath(tmp_path)}"
    expected = hashlib.sha256(
        f"{head}\0a/1.jpg\0unreadable\0ü\udcff.png\0unreadable".encode("utf-8", "surrogateescape")
    )
    assert fingerprint(tmp_path, ["a/1.jpg", "ü\udcff.png"], spec) == expected.hexdigest()[:20]


def test_a_cache_of_an_earlier_version_is_read(base: Path, tmp_path: Path) -> None:
    """Under its name it is opened, and nothing is decoded."""
    photos = Path(shutil.copytree(OLD / "photos", tmp_path / "photos"))
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    (old,) = (OLD / "cache").iterdir()
    copy = shutil.copytree(old, base / f"images-{fingerprint(photos, paths, InputSpec(16))}")
    before = (copy / "images.uint8").stat()
    cache = open_cache(photos, paths, InputSpec(16), folder=base)
    assert (cache.path, state(cache)) == (copy, (before.st_ino, before.st_mtime_ns))
    np.testing.assert_array_equal(cache.images[3], read_image(photos / paths[3], size=16))
    assert len(cache.groups) == len(paths) == 24


def damage_bytes(file: Path, position: int) -> None:
    """Change one byte."""
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "no pixels": lambda path: (path / "images.uint8").unlink(),
    "fewer pixels": lambda path: os.truncate(path / "images.uint8", 100),
    "more pixels": lambda path: os.truncate(path / "images.uint8", 6 * 12 * 12 * 3 + 1),
    "no index": lambda path: (path / "index.csv").unlink(),
    "another index": lambda path: damage_bytes(path / "index.csv", 30),
    "no facts": lambda path: (path / "cache.json").unlink(),
    "half the facts": lambda path: os.truncate(path / "cache.json", 20),
    "other facts": lambda path: (path / "cache.json").write_text("{}", encoding="utf-8") and None,
    "nothing": lambda path: [file.unlink() for file in path.iterdir()] and None,
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_made_again(damage: str, folder: Path, base: Path) -> None:
    """Whatever is missing or changed, the images are decoded again, and the new cache is found again."""
    first = open_cache(folder, PATHS, SPEC, folder=base)
    pixels, before = np.array(first.images), state(first)
    DAMAGES[damage](first.path)
    second = open_cache(folder, PATHS, SPEC, folder=base)
    np.testing.assert_array_equal(second.images, pixels)
    assert second.sha256 == first.sha256
    assert state(second) != before
    assert state(open_cache(folder, PATHS, SPEC, folder=base)) == state(second)
    assert [path.name for path in base.iterdir()] == [second.path.name]


OPEN = """
import sys
from pathlib import Path
from convscope.datasets.cache import open_cache
from convscope.images.decoder_pool import InputSpec
folder, base, times, go = sys.argv[1:]
while go and not Path(go).exists():
    pass
paths = [f"disc/{number:03d}.png" for number in range(6)] * int(times)
cache = open_cache(Path(folder), paths, InputSpec(12), folder=Path(base))
print(len(cache.images), hash(cache.images.tobytes()) % 10**9)
"""


def start_opening(folder: Path, base: Path, *, times: int = 1, go: Path | None = None) -> subprocess.Popen[str]:
    """Start a process that opens a cache of the six images, each so many times, when the file `go` appears."""
    return start_python(OPEN, folder, base, times, go or "", PYTHONHASHSEED="0")


@pytest.mark.slow
def test_a_killed_build_leaves_no_cache(folder: Path, base: Path) -> None:
    """After `kill -9` during a build there is no cache, and the next build removes the unfinished one."""
    with start_opening(folder, base, times=2000) as process:
        deadline = time.monotonic() + 60
        while not list(base.glob(".images-*.part/images.uint8")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert len(list(base.iterdir())) == 1
    assert list_caches(base) == []
    cache = open_cache(folder, PATHS, SPEC, folder=base)
    assert [path.name for path in base.iterdir()] == [cache.path.name]


@pytest.mark.slow
def test_two_builds_at_once_end_with_one_cache(folder: Path, base: Path, tmp_path: Path) -> None:
    """Processes that build the same cache at the same time all get it, and one is kept."""
    processes = [start_opening(folder, base, times=10, go=tmp_path / "go") for _ in range(4)]
    time.sleep(1)
    (tmp_path / "go").touch()
    outputs = [process.communicate() for process in processes]
    assert {stderr for _, stderr in outputs} == {""}
    assert len({stdout for stdout, _ in outputs}) == 1
    assert len(list(base.iterdir())) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB, if it can be mounted here."""
    path = tmp_path / "small"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", path], capture_output=True).returncode:
        pytest.skip("no permission to mount a small disk")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_is_an_error_before_anything_is_decoded(folder: Path, small_disk: Path) -> None:
    """The error says how much space is needed and what to do."""
    with pytest.raises(CacheError) as caught:
        open_cache(folder, PATHS, SPEC, folder=small_disk)
    assert "0.0 GB free" in caught.value.found
    assert "`cache`" in caught.value.fix
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_while_writing_leaves_nothing(folder: Path, base: Path) -> None:
    """A write that fails is a `CacheError`, and no part of a cache is left."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, unlimited[1]))
    try:
        with pytest.raises(CacheError, match="cannot be read or written: File too large"):
            open_cache(folder, PATHS, SPEC, folder=base)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert list(base.iterdir()) == []
    assert len(open_cache(folder, PATHS, SPEC, folder=base).images) == 6


def test_a_folder_that_may_not_be_written_is_an_error(
    folder: Path, unprivileged_user: UnprivilegedUser, tmp_path: Path
) -> None:
    """No permission to write, or to read, or a file in its place: the fix is another folder."""
    (unprivileged_user.folder / "closed").mkdir(mode=0o700)
    for parent in (unprivileged_user.folder / "new", unprivileged_user.folder / "closed" / "new"):
        with (
            unprivileged_user.impersonate(),
            pytest.raises(CacheError, match=r"Permission denied.*choose another `cache`"),
        ):
            open_cache(folder, PATHS, SPEC, folder=parent)
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="choose another `cache`"):
        open_cache(folder, PATHS, SPEC, folder=tmp_path / "file")


def test_a_cache_folder_that_cannot_be_read_is_an_error(unprivileged_user: UnprivilegedUser) -> None:
    """Also where caches are only listed or cleared."""
    closed = unprivileged_user.folder / "closed"
    (closed / "images-0").mkdir(parents=True)
    closed.chmod(0o444)
    for function in (list_caches, clear_caches):
        with (
            unprivileged_user.impersonate(),
            pytest.raises(CacheError, match="cannot be read or written: Permission denied"),
        ):
            function(closed)


def test_caches_are_listed_and_cleared(folder: Path, base: Path) -> None:
    """Each cache with its images and bytes, a damaged one with 0 images; clearing removes unfinished builds too."""
    assert list_caches(base) == []
    assert clear_caches(base) == 0
    paths = [open_cache(folder, PATHS[:count], SPEC, folder=base).path for count in (2, 5)]
    listed = {name: (count, size) for name, count, size in list_caches(base)}
    assert {count for count, _ in listed.values()} == {2, 5}
    assert all(size > count * 12 * 12 * 3 for count, size in listed.values())
    (paths[0] / "cache.json").write_text("[]", encoding="utf-8")
    assert {count for _, count, _ in list_caches(base)} == {0, 5}
    (base / ".images-x.0a0a0a-1-00000000.part").mkdir()
    (base / "digits").mkdir()
    assert clear_caches(base) > 7 * 12 * 12 * 3
    assert [path.name for path in base.iterdir()] == ["digits"]


def test_the_cache_folder_is_the_chosen_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument, else CONVSCOPE_CACHE, else XDG_CACHE_HOME, else `.cache` in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CONVSCOPE_CACHE", "configured")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder(Path("chosen")) == Path("chosen")
    assert cache_folder() == Path("configured")
    monkeypatch.delenv("CONVSCOPE_CACHE")
    assert cache_folder() == Path("/xdg/convscope")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "convscope"


def test_a_cache_has_its_format_version(folder: Path, base: Path) -> None:
    """cache.json has it, so that a later convscope can tell."""
    cache = open_cache(folder, PATHS, SPEC, folder=base)
    facts = json.loads((cache.path / "cache.json").read_text(encoding="utf-8"))
    assert (facts["format"], facts["images"], facts["shape"]) == (2, 6, [12, 12, 3])
