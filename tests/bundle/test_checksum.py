"""bundle/checksum.py: a bit that changes in a model file is found when it is opened, wherever it is."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from commands import Command
from hypothesis import given
from hypothesis import strategies as st
from sample_images import write_folder
from tiny_model import random_model

from convscope.bundle.bundle import open_bundle
from convscope.bundle.checksum import KEY, LENGTH, has_seal, is_intact, sealed
from convscope.errors import BundleError, ConvscopeError

CLASSES = ("a", "b")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model that says that it is sealed, before it is."""
    return random_model(CLASSES).write(tmp_path_factory.mktemp("model") / "model.onnx", sealed=True).read_bytes()


@given(st.binary(max_size=300))
def test_what_was_sealed_is_intact(data: bytes) -> None:
    """Any bytes are, and are found to be without a seal before."""
    assert has_seal(sealed(data))
    assert is_intact(sealed(data))
    assert len(sealed(data)) == len(data) + LENGTH
    assert not has_seal(data)


@given(st.binary(min_size=1, max_size=99), st.data())
def test_any_bit_that_turns_is_found(data: bytes, draws: st.DataObject) -> None:
    """In what was sealed and in the hash; in the rest of the seal it is no seal any more."""
    content = bytearray(sealed(data))
    place = draws.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << draws.draw(st.integers(0, 7))
    assert not is_intact(bytes(content))


def test_other_programs_read_a_sealed_file(plain: bytes, tmp_path: Path) -> None:
    """ONNX and ONNX Runtime see one more entry of the metadata, and nothing else changed."""
    file = tmp_path / "model.onnx"
    file.write_bytes(sealed(plain))
    before, after = onnx.load_from_string(plain), onnx.load(file)
    assert after.graph == before.graph
    assert [each.key for each in after.metadata_props] == [*(each.key for each in before.metadata_props), KEY]
    assert open_bundle(file).metadata[KEY] == after.metadata_props[-1].value


def test_damaged_weight_is_refused_by_all_who_open_it(plain: bytes, tmp_path: Path, cli: Command) -> None:
    """The graph is as good as it was, and no golden image would meet the weight: `predict` and `verify` refuse it."""
    content = bytearray(sealed(plain))
    weights = random_model(CLASSES).matrix.tobytes()
    content[content.index(weights) + 7] ^= 64
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    photos = write_folder(tmp_path / "photos", per_class=1, size=8)
    for ended in (cli("verify", file), cli("predict", file, photos)):
        assert ended.code == 2
        assert "which has changed since it was written" in ended.err


def test_seal_that_is_gone_is_told(plain: bytes, tmp_path: Path) -> None:
    """A file that says that it was sealed, and is not; one that never said so may be opened."""
    file = tmp_path / "model.onnx"
    file.write_bytes(plain)
    with pytest.raises(BundleError, match="has changed since"):
        open_bundle(file)
    assert KEY not in open_bundle(random_model(CLASSES).write(tmp_path / "old.onnx")).metadata


@pytest.mark.parametrize("cut", [1, LENGTH, LENGTH + 1])
def test_file_that_was_cut_off_is_refused(plain: bytes, tmp_path: Path, cut: int) -> None:
    """Within the seal, before it, and in the metadata."""
    file = tmp_path / "model.onnx"
    file.write_bytes(sealed(plain)[:-cut])
    with pytest.raises(ConvscopeError):
        open_bundle(file)
