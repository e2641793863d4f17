"""The tensors of one published file of PyTorch's old format, read without PyTorch.

The SHA-256 is checked first, so that nothing else has to be. Such a file is five pickles, then the values of each
storage; the unpickler makes nothing but tensors.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): lambda *arguments: arguments,  # storage, offset, shape, strides, ...
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise ValueError(f"it refers to {module}.{name}, which no tensor needs")
        return ALLOWED[module, name]

    def persistent_load(self, reference: Any) -> tuple[str, str]:
        _, dtype, key, _, _, _ = reference  # kind, dtype, key, device, number of values, view
        return key, dtype


def read_torch_file(path: Path, *, sha256: str) -> dict[str, NDArray[np.generic]]:
    """The tensors of the file with this checksum (hexadecimal), by name, as read-only arrays.

    Raises:
        ValueError: it has another content, or refers to more than tensors.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    if (actual := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(f"its SHA-256 is {actual}, not {sha256}")
    stream = io.BytesIO(content)
    _, _, _, tensors, keys = (_TensorUnpickler(stream).load() for _ in range(5))  # magic number, protocol, system
    dtypes = {storage[0]: storage[1] for storage, *_ in tensors.values()}
    storages, arrays = {}, {}
    for key in keys:
        num_values = int.from_bytes(stream.read(8), "little")
        storages[key] = np.frombuffer(content, dtypes[key], num_values, stream.tell())
        stream.seek(storages[key].nbytes, io.SEEK_CUR)
    for name, ((key, _), offset, shape, strides, *_) in tensors.items():
        steps = [step * storages[key].itemsize for step in strides]
        arrays[name] = np.lib.stride_tricks.as_strided(storages[key][offset:], shape, steps, writeable=False)
    return arrays
