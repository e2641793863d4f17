"""Listing: every file with the suffix of an image is there once, with its class; all others are counted."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest
from sample_images import draw, encode
from unprivileged_user import UnprivilegedUser

from convscope.datasets.listing import SPLIT_NAMES, Listing, describe_ignored, label_of_filename, list_folder
from convscope.errors import FolderError


def touch(root: Path, *paths: str) -> Path:
    """Make empty files: a listing does not open them."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def labels(listing: Listing) -> dict[str, str]:
    """The class of each usable file."""
    return {item.path: item.label for item in listing.items if not item.reason}


def reasons(listing: Listing) -> dict[str, str]:
    """Why each of the other files is refused."""
    return {item.path: item.reason for item in listing.items if item.reason}


def refusal(data: Path, **options: bool) -> FolderError:
    """The error of a data set that cannot be listed."""
    with pytest.raises(FolderError) as caught:
        list_folder(data, **options)
    return caught.value


def write_manifest(folder: Path, lines: Iterable[str]) -> Path:
    """Write a manifest with these lines."""
    (folder / "images.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "images.csv"


# folders


def test_each_folder_is_a_class_with_all_files_below_it(tmp_path: Path) -> None:
    """The first folder below the root names the class, at any depth."""
    deep = "cat/" + "a/" * 50 + "x.jpg"
    listing = list_folder(touch(tmp_path, "dog/1.jpg", "cat/b/2.jpg", "cat/3.jpg", deep))
    assert labels(listing) == {"dog/1.jpg": "dog", "cat/b/2.jpg": "cat", "cat/3.jpg": "cat", deep: "cat"}
    assert listing.classes == ("cat", "dog")
    assert listing.root == tmp_path
    assert {item.split for item in listing.items} == {None}
    assert (reasons(listing), listing.ignored, listing.empty) == ({}, {}, ())


def test_suffixes_of_images_count_in_any_case_and_others_are_counted(tmp_path: Path) -> None:
    """All eight suffixes, in lower and upper case; other files are counted by suffix and not listed."""
    images = [f"cat/{n}{suffix}" for n, suffix in enumerate((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"))]
    images += ["cat/a.tif", "cat/b.tiff", "cat/c.JPG", "cat/d.JpEg"]
    listing = list_folder(touch(tmp_path, *images, "cat/notes.txt", "cat/more.TXT", "cat/README", "cat/x.heic"))
    assert set(labels(listing)) == set(images)
    assert listing.ignored == {".txt": 2, "file without a suffix": 1, ".heic": 1}


def test_hidden_files_and_system_folders_are_not_listed(tmp_path: Path) -> None:
    """Names with a leading dot, notebook checkpoints, and the files that macOS and Synology leave.

    Hidden files with the suffix of an image are counted: the user may miss them.
    """
    hidden = [
        ".hidden.jpg",
        "cat/._1.jpg",
        "cat/.ipynb_checkpoints/1-checkpoint.jpg",
        ".ipynb_checkpoints/1.jpg",
        "__MACOSX/cat/1.jpg",
        "cat/@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg",
        ".cache/1.jpg",
    ]
    listing = list_folder(touch(tmp_path, "cat/1.jpg", *hidden))
    assert [item.path for item in listing.items] == ["cat/1.jpg"]
    assert (listing.ignored, listing.empty) == ({"image with a hidden name": 2}, ())


@pytest.mark.parametrize(
    ("ignored", "expected"),
    [
        ({}, ""),
        ({".txt": 1, ".a b": 2}, "2 .a b, 1 .txt"),
        (
            {"folder linked in a circle": 1, "file without a suffix": 1200},
            "1,200 files without a suffix, 1 folder linked in a circle",
        ),
        ({"image with a hidden name": 2}, "2 images with a hidden name"),
        ({".a\x1b": 1}, "1 .a\\x1b"),
        ({".heic": 1}, "1 .heic: convert to JPEG"),
        ({".heic": 2, ".txt": 1, ".avif": 1}, "1 .txt; 1 .avif, 2 .heic: convert to JPEG"),
    ],
)
def test_skipped_files_are_described(ignored: dict[str, int], expected: str) -> None:
    """In the singular and the plural, with the fix for other image formats; control characters are escaped."""
    assert describe_ignored(ignored) == expected


def test_folders_without_images_are_no_classes(tmp_path: Path) -> None:
    """An empty folder, one of empty folders, and one of other files are listed as empty."""
    touch(tmp_path, "cat/1.jpg", "texts/1.txt")
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "inner").mkdir(parents=True)
    listing = list_folder(tmp_path)
    assert listing.classes == ("cat",)
    assert listing.empty == ("empty", "hollow", "texts")


def test_images_beside_the_class_folders_are_refused(tmp_path: Path) -> None:
    """An image in no class folder has no class; it is listed with that reason."""
    listing = list_folder(touch(tmp_path, "cat/1.jpg", "dog/1.jpg", "2.jpg"))
    assert reasons(listing) == {"2.jpg": "in no class folder"}


def test_the_order_is_that_of_the_paths_and_not_of_the_disk(tmp_path: Path) -> None:
    """Two folders that were filled in another order have equal listings."""
    paths = [f"{name}/{number}.jpg" for name in "abc" for number in range(20)]
    one = list_folder(touch(tmp_path / "one", *paths))
    other = list_folder(touch(tmp_path / "other", *reversed(paths)))
    assert one.items == other.items
    assert [item.label for item in one.items] == sorted(item.label for item in one.items)


# links


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    """A class may be a link to a folder elsewhere, and an image a link to a file."""
    touch(tmp_path, "store/cats/1.jpg", "data/dog/2.jpg")
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "store" / "cats")
    (tmp_path / "data" / "dog" / "linked.jpg").symlink_to(tmp_path / "store" / "cats" / "1.jpg")
    listing = list_folder(tmp_path / "data")
    assert labels(listing) == {"cat/1.jpg": "cat", "dog/2.jpg": "dog", "dog/linked.jpg": "dog"}


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "/"])
def test_links_to_parents_are_skipped(target: str, tmp_path: Path) -> None:
    """A link to its folder, to the root, or to a parent of it is not followed: it would include other classes."""
    touch(tmp_path, "data/cat/deep/1.jpg", "data/dog/2.jpg", "beside/3.jpg")
    (tmp_path / "data" / "cat" / "deep" / "up").symlink_to(target)
    listing = list_folder(tmp_path / "data")
    assert labels(listing) == {"cat/deep/1.jpg": "cat", "dog/2.jpg": "dog"}
    assert listing.ignored == {"folder linked in a circle": 1}


def test_a_class_that_links_to_the_root_is_empty(tmp_path: Path) -> None:
    """`all -> .` is not a class of all images."""
    touch(tmp_path, "cat/1.jpg")
    (tmp_path / "all").symlink_to(".")
    listing = list_folder(tmp_path)
    assert labels(listing) == {"cat/1.jpg": "cat"}
    assert listing.empty == ("all",)


def test_folders_that_link_to_each_other_are_followed_once(tmp_path: Path) -> None:
    """A circle of two folders ends."""
    touch(tmp_path, "x/1.jpg", "y/2.jpg", "data/cat/0.jpg")
    (tmp_path / "x" / "y").symlink_to(tmp_path / "y")
    (tmp_path / "y" / "x").symlink_to(tmp_path / "x")
    (tmp_path / "data" / "cat" / "x").symlink_to(tmp_path / "x")
    listing = list_folder(tmp_path / "data")
    assert set(labels(listing)) == {"cat/0.jpg", "cat/x/1.jpg", "cat/x/y/2.jpg"}
    assert listing.ignored == {"folder linked in a circle": 1}


def test_broken_links_are_listed_by_suffix(tmp_path: Path) -> None:
    """A broken link with the suffix of an image is listed, and refused when it is read; others are skipped."""
    touch(tmp_path, "cat/1.jpg")
    for name, target in (("broken.jpg", "gone.jpg"), ("loop.jpg", "loop.jpg"), ("folder", "gone"), ("self", "self")):
        (tmp_path / "cat" / name).symlink_to(target)
    listing = list_folder(tmp_path)
    assert set(labels(listing)) == {"cat/1.jpg", "cat/broken.jpg", "cat/loop.jpg"}
    assert listing.ignored == {"file without a suffix": 2}


# permissions


def test_unreadable_folders_are_refused_by_name(unprivileged_user: UnprivilegedUser) -> None:
    """A class folder, and a folder in one, without permission to read: one row each, with the class."""
    root = touch(unprivileged_user.folder, "cat/1.jpg", "cat/locked/2.jpg", "dog/3.jpg")
    (root / "cat" / "locked").chmod(0)
    (root / "dog").chmod(0)
    with unprivileged_user.impersonate():
        listing = list_folder(root)
    assert labels(listing) == {"cat/1.jpg": "cat"}
    unreadable = {item.path: (item.label, item.reason) for item in listing.items if item.reason}
    reason = "folder without permission to read"
    assert unreadable == {"cat/locked": ("cat", reason), "dog": ("dog", reason)}
    assert listing.empty == ()


def test_unreadable_folders_are_refused_with_label_from_name(unprivileged_user: UnprivilegedUser) -> None:
    """A folder without permission to read is listed there too."""
    root = touch(unprivileged_user.folder, "cat.1.jpg", "locked/dog.2.jpg")
    (root / "locked").chmod(0)
    with unprivileged_user.impersonate():
        listing = list_folder(root, label_from_name=True)
    assert labels(listing) == {"cat.1.jpg": "cat"}
    assert reasons(listing) == {"locked": "folder without permission to read"}


@pytest.mark.parametrize("locked", ["train", "test"])
def test_an_unreadable_split_is_an_error(locked: str, unprivileged_user: UnprivilegedUser) -> None:
    """Without one of its splits it would be another data set."""
    root = touch(unprivileged_user.folder, "train/cat/1.jpg", "test/cat/2.jpg")
    (root / locked).chmod(0)
    with unprivileged_user.impersonate():
        assert refusal(root).found == f"{root / locked}: folder without permission to read"


def test_an_unreadable_root_is_an_error(unprivileged_user: UnprivilegedUser) -> None:
    """The reason is the missing permission; below a folder without it, nothing is found."""
    root = touch(unprivileged_user.folder, "data/cat/1.jpg") / "data"
    root.chmod(0)
    with unprivileged_user.impersonate():
        assert "folder without permission to read" in refusal(root).found
        assert "no folder at" in refusal(root / "cat").found


# names


def test_class_names_are_compared_in_nfc(tmp_path: Path) -> None:
    """`café` with a composed or a decomposed é is one class; the paths are those on the disk."""
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    listing = list_folder(touch(tmp_path, f"{composed}/1.jpg", f"{decomposed}/2.jpg", "狗/3 号.jpg"))
    assert labels(listing) == {f"{composed}/1.jpg": composed, f"{decomposed}/2.jpg": composed, "狗/3 号.jpg": "狗"}


def test_names_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    """They could not be written to a table; that is the reason."""
    for path in (b"cat/1\xff.jpg", b"\xe9/2.jpg", b"cat/ok.jpg"):
        file = os.path.join(os.fsencode(tmp_path), path)
        os.makedirs(os.path.dirname(file), exist_ok=True)
        open(file, "wb").close()
    listing = list_folder(tmp_path)
    assert labels(listing) == {"cat/ok.jpg": "cat"}
    assert reasons(listing) == {"cat/1\udcff.jpg": "its name is not UTF-8", "\udce9/2.jpg": "its name is not UTF-8"}
    assert [item.label for item in listing.items if item.reason] == ["cat", "?"]


def test_control_characters_in_names_are_kept(tmp_path: Path) -> None:
    """A line break, a tab or a bell does not change a path."""
    names = ["a\nb.jpg", "a\rb.jpg", "tab\t.jpg", "bell\a.jpg", " .jpg", 'quo"te,.jpg', "-n.jpg"]
    listing = list_folder(touch(tmp_path, *(f"cat/{name}" for name in names)))
    assert set(labels(listing)) == {f"cat/{name}" for name in names}


@pytest.mark.slow
def test_a_hundred_thousand_files_are_listed(tmp_path: Path) -> None:
    """Each once, without being opened."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(50_000):
            os.mknod(tmp_path / name / f"{number}.jpg")
    listing = list_folder(tmp_path)
    assert len({item.path for item in listing.items}) == 100_000
    assert listing.classes == ("cat", "dog")


# given splits


@pytest.mark.parametrize("name", [*SPLIT_NAMES, "Train", "VAL", "Test"])
def test_split_folders_are_known_by_their_usual_names(name: str, tmp_path: Path) -> None:
    """train, training, val, valid, validation, test: in any case."""
    listing = list_folder(touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", f"{name}/cat/3.jpg"))
    assert {item.path: item.split for item in listing.items}[f"{name}/cat/3.jpg"] == SPLIT_NAMES[name.lower()]
    assert {item.path: item.split for item in listing.items}["train/dog/2.jpg"] == "train"
    assert listing.classes == ("cat", "dog")


def test_train_alone_is_a_split(tmp_path: Path) -> None:
    """A root with only a folder `train` of class folders is a data set whose other splits are to be assigned."""
    listing = list_folder(touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg"))
    assert [(item.label, item.split) for item in listing.items] == [("cat", "train"), ("dog", "train")]


@pytest.mark.parametrize("other", ["plane", "testing", "validate"])
def test_a_class_may_be_called_train(other: str, tmp_path: Path) -> None:
    """`train` beside folders that are no splits is a class, with or without folders in it."""
    listing = list_folder(touch(tmp_path, "train/steam/1.jpg", "train/2.jpg", f"{other}/3.jpg"))
    assert labels(listing) == {"train/steam/1.jpg": "train", "train/2.jpg": "train", f"{other}/3.jpg": other}


def test_classes_may_be_called_train_and_test(tmp_path: Path) -> None:
    """Folders with the names of splits that have images and no folders are classes."""
    listing = list_folder(touch(tmp_path, "train/1.jpg", "test/2.jpg"))
    assert labels(listing) == {"train/1.jpg": "train", "test/2.jpg": "test"}


def test_folders_and_files_beside_the_splits_are_reported(tmp_path: Path) -> None:
    """Other folders are counted, images in no class are refused, empty classes are named with their split."""
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg", "extra/cat/4.jpg", "5.jpg", "test/6.jpg")
    (tmp_path / "val" / "dog").mkdir()
    listing = list_folder(tmp_path)
    assert labels(listing) == {"train/cat/1.jpg": "cat", "train/dog/2.jpg": "dog", "val/cat/3.jpg": "cat"}
    assert reasons(listing) == {"5.jpg": "in no class folder", "test/6.jpg": "in no class folder"}
    assert listing.ignored == {"folder beside the splits": 1}
    assert listing.empty == ("val/dog",)


@pytest.mark.realdata
@pytest.mark.slow
def test_the_real_splits_are_found(cifar10: Path) -> None:
    """CIFAR-10 as it is on the disk: ten classes in train and test, nothing refused or skipped."""
    listing = list_folder(cifar10)
    assert len(listing.classes) == 10
    assert {item.split for item in listing.items} == {"train", "test"}
    assert (reasons(listing), listing.empty) == ({}, ())


# manifests


def test_a_manifest_has_files_classes_and_splits(tmp_path: Path) -> None:
    """Paths are relative to the manifest; splits may have any of their names, or none; other columns are ignored."""
    lines = ["label,path,who,split", "cat,a/1.jpg,me,train", "dog,/b/2.jpg,,VALID", '"cat, fat", c.jpg ,you,']
    listing = list_folder(write_manifest(tmp_path, lines))
    assert [(item.path, item.label, item.split) for item in listing.items] == [
        ("a/1.jpg", "cat", "train"),
        ("/b/2.jpg", "dog", "validation"),
        ("c.jpg", "cat, fat", None),
    ]
    assert listing.root == tmp_path
    assert not reasons(listing)


@pytest.mark.parametrize(
    "content", ["path,label\na.jpg,cat", "path,label\r\na.jpg,cat\r\n", "\ufeffpath,label\na.jpg,cat\n"]
)
def test_a_manifest_may_come_from_any_program(content: str, tmp_path: Path) -> None:
    """With the line ends and the byte order mark of Excel, or without an end of the last line."""
    (tmp_path / "m.csv").write_bytes(content.encode())
    assert labels(list_folder(tmp_path / "m.csv")) == {"a.jpg": "cat"}


def test_incomplete_and_repeated_rows_are_refused(tmp_path: Path) -> None:
    """A row without path or label, and a repeated one, are listed in order, with the reason."""
    lines = ["path,label", "1.jpg,cat", ",cat", "2.jpg,", "3.jpg", "1.jpg,cat", "1.jpg,dog"]
    listing = list_folder(write_manifest(tmp_path, lines))
    assert [item.reason for item in listing.items] == [
        "",
        "no path",
        "no label",
        "no label",
        "listed already in line 2",
        "",  # another label: refused when the contents are compared
    ]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "with the columns none"),
        (b"path,label\n", "no usable row"),
        (b"path,label\n,cat\nx.jpg,\n", "no usable row"),
        (b"file,class\na.jpg,cat\n", "with the columns file, class"),
        (b"path;label\na.jpg;cat\n", "with the columns path;label"),
        (b"a.jpg,cat\nb.jpg,dog\n", "with the columns a.jpg, cat"),
        (b"path,label,split\na.jpg,cat,holdout\n", "split 'holdout' in line 2"),
        ("path,label\ncafé.jpg,cat\n".encode("latin-1"), "cannot be read as CSV"),
        ("path,label\na.jpg,cat\n".encode("utf-16"), "cannot be read as CSV"),
        (b"path,label\n" + b"a" * 200_000 + b",cat\n", "cannot be read as CSV"),
        (encode(draw("disc", 16, 0)), "cannot be read as CSV"),
    ],
)
def test_an_invalid_manifest_is_an_error_with_the_reason(content: bytes, found: str, tmp_path: Path) -> None:
    """Empty, without rows, with other columns, an unknown split or another encoding, or not CSV."""
    (tmp_path / "images.csv").write_bytes(content)
    assert found in refusal(tmp_path / "images.csv").found


# classes from file names


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cat.0.jpg", "cat"),
        ("dog.12499.jpg", "dog"),
        ("cat_003.PNG", "cat"),
        ("cat-7.jpg", "cat"),
        ("cat12.jpg", "cat"),
        ("German Shepherd (3).jpg", "German Shepherd"),
        ("狗.5.jpg", "狗"),
        ("n02085620_10074.jpg", "n02085620"),
        ("cat.jpg", None),
        ("12.jpg", None),
        ("2021-05-07.jpg", None),
        ("1_2.jpg", None),
        ("cat.0.1a.jpg", None),
    ],
)
def test_the_class_is_the_text_before_the_number(name: str, label: str | None) -> None:
    """If it has a letter; a name without a number has no class."""
    assert label_of_filename(name) == label


def test_file_names_are_labels_with_label_from_name(tmp_path: Path) -> None:
    """Kaggle's layout: files in one folder, or in folders that are no classes; names without a class are refused."""
    listing = list_folder(touch(tmp_path, "cat.0.jpg", "dog.1.jpg", "more/dog.2.jpg", "17.jpg"), label_from_name=True)
    assert labels(listing) == {"cat.0.jpg": "cat", "dog.1.jpg": "dog", "more/dog.2.jpg": "dog"}
    assert reasons(listing) == {"17.jpg": "no class in its name"}


# nothing to list


def test_no_images_is_an_error_that_names_what_is_there(tmp_path: Path) -> None:
    """Nothing at the path, an empty folder, other files: each has its text."""
    assert f"no folder at {tmp_path / 'gone'}" in refusal(tmp_path / "gone").found
    assert "no folder at" in refusal(tmp_path / "nul\0").found
    assert "no folder at" in refusal(tmp_path / ("long" * 100)).found
    assert refusal(tmp_path).found == f"no images in {tmp_path} (nothing else)"
    touch(tmp_path, "a/1.txt", "a/2.pdf", "a/3.txt")
    assert refusal(tmp_path).found == f"no images in {tmp_path} (1 .pdf, 2 .txt)"


def test_images_without_class_folders_are_an_error(tmp_path: Path) -> None:
    """The fix is to make class folders; `label_from_name` is proposed only if the names have a class."""
    error = refusal(touch(tmp_path, "1.jpg", "2.jpg"))
    assert "2 images in" in error.found
    assert "label_from_name=True" not in error.fix
    assert "label_from_name=True" in refusal(touch(tmp_path, "cat.3.jpg")).fix
    assert "no class in its name" in refusal(touch(tmp_path / "more", "4.jpg"), label_from_name=True).found
