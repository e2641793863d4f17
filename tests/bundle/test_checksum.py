"""bundle/checksum.py: a flipped bit in a model file is detected when the file is opened, wherever it is."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import Command
from sample_images import write_folder
from tiny_model import random_model

from convscope.bundle.bundle import open_bundle
from convscope.bundle.checksum import KEY, LENGTH, has_checksum, is_intact, with_checksum
from convscope.errors import BundleError, ConvscopeError

CLASSES = ("a", "b")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model whose description says that it has a checksum, without one."""
    return random_model(CLASSES).write(tmp_path_factory.mktemp("model") / "model.onnx", sealed=True).read_bytes()


@given(st.binary(max_size=300))
def test_bytes_with_their_checksum_are_intact(data: bytes) -> None:
    """Whatever they are; before, they have no checksum."""
    assert has_checksum(with_checksum(data))
    assert is_intact(with_checksum(data))
    assert len(with_checksum(data)) == len(data) + LENGTH
    assert not has_checksum(data)


@pytest.mark.slow
@given(st.binary(min_size=1, max_size=99), st.data())
def test_any_flipped_bit_is_detected(data: bytes, draws: st.DataObject) -> None:
    """In the content, in the hash, and in the rest of the entry."""
    content = bytearray(with_checksum(data))
    position = draws.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << draws.draw(st.integers(0, 7))
    assert not is_intact(bytes(content))


def test_other_programs_read_a_file_with_a_checksum(plain: bytes, tmp_path: Path) -> None:
    """ONNX and ONNX Runtime see one more entry of the metadata, and nothing else changed."""
    file = tmp_path / "model.onnx"
    file.write_bytes(with_checksum(plain))
    before, after = onnx.load_from_string(plain), onnx.load(file)
    assert after.graph == before.graph
    assert [entry.key for entry in after.metadata_props] == [*(entry.key for entry in before.metadata_props), KEY]
    assert open_bundle(file).metadata[KEY] == after.metadata_props[-1].value


def test_damaged_weight_is_refused_by_all_who_open_it(plain: bytes, tmp_path: Path, cli: Command) -> None:
    """The graph stays valid, and no golden image may reveal the weight: `predict` and `verify` refuse the file."""
    content = bytearray(with_checksum(plain))
    weights = random_model(CLASSES).matrix.tobytes()
    content[content.index(weights) + 7] ^= 64
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    photos = write_folder(tmp_path / "photos", per_class=1, size=8)
    for result in (cli("verify", file), cli("predict", file, photos)):
        assert result.code == 2
        assert "which has changed since it was written" in result.err


def test_missing_checksum_is_detected(plain: bytes, tmp_path: Path) -> None:
    """Where the description says that there is one; a file whose description does not may be opened."""
    file = tmp_path / "model.onnx"
    file.write_bytes(plain)
    with pytest.raises(BundleError, match="has changed since"):
        open_bundle(file)
    assert KEY not in open_bundle(random_model(CLASSES).write(tmp_path / "old.onnx")).metadata


@pytest.mark.parametrize("cut", [1, LENGTH, LENGTH + 1])
def test_truncated_file_is_refused(plain: bytes, tmp_path: Path, cut: int) -> None:
    """Within the checksum, before it, and in the metadata."""
    file = tmp_path / "model.onnx"
    file.write_bytes(with_checksum(plain)[:-cut])
    with pytest.raises(ConvscopeError):
        open_bundle(file)
