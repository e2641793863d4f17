"""Weights from a file that PyTorch wrote in its old format, read without PyTorch and without trusting it.

Such a file is a few pickles and then the numbers. A pickle may call whatever its reader lets it: this reader lets it
make an ordered dictionary and say where a tensor lies in the numbers, and refuses everything else. Tensors are views
whose bounds are checked before they are looked through.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what `torch.save` begins such a file with
LITTLE_ENDIAN = "little_endian"
COUNT = np.dtype("<u8")  # before the numbers of each storage: how many there are


@dataclass(frozen=True, slots=True)
class StorageType:
    """What the numbers of a storage are."""

    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies: in which storage, from which number on, and how far apart its numbers are."""

    storage: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(path: Path, *, sha256: str) -> dict[str, NDArray[np.generic]]:
    """The tensors of a file by name, as read-only arrays.

    Args:
        path: the file.
        sha256: of the content that it must have.

    Raises:
        ValueError: it has another content, or is no such file.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ValueError(f"its SHA-256 is {found}, not {sha256}")
    return parse_torch_file(data)


def parse_torch_file(data: bytes) -> dict[str, NDArray[np.generic]]:
    """The tensors in the bytes of a file, by name.

    Raises:
        ValueError: they are no such file, or one that wants more than tensors need.
    """
    stream = io.BytesIO(data)
    try:
        magic, protocol, system, places, keys = (_Reader(stream).load() for _ in range(5))
        if (magic, protocol) != (MAGIC, PROTOCOL) or system.get(LITTLE_ENDIAN) is not True:
            raise ValueError("another format of PyTorch's")
        _check_kind(places, keys)
        storages = _read_storages(stream, keys, {place.storage: place.dtype for place in places.values()})
        return {name: _tensor(place, storages[place.storage]) for name, place in places.items()}
    except ValueError:
        raise
    except Exception as error:  # a pickle that is none, or is hostile, may raise anything
        raise ValueError(f"no weights of PyTorch's old format: {error!r}") from None


class _Reader(pickle._Unpickler):
    """Reads a pickle that may name four things.

    The one in Python: that in C makes room for as many values as a pickle says that it will remember, gigabytes of it.
    """

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for; anything but tensors and their dictionary is refused."""
        allowed: Mapping[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _place,
            ("torch", "FloatStorage"): StorageType(np.dtype("<f4")),
            ("torch", "LongStorage"): StorageType(np.dtype("<i8")),
        }
        if (module, name) not in allowed:
            raise ValueError(f"it asks for {module}.{name}, which no weights need")
        return allowed[module, name]

    def persistent_load(self, words: Any) -> tuple[str, np.dtype[Any]]:
        """A storage as a pickle names it: ("storage", its type, its key, device, count, view); no view of another."""
        kind, storage_type, key, _, _, view = words
        if kind != "storage" or not isinstance(storage_type, StorageType) or view is not None:
            raise ValueError("it asks for something else than numbers")
        return str(key), storage_type.dtype


def _place(storage: tuple[str, np.dtype[Any]], offset: int, shape: Any, strides: Any, *_: Any) -> Place:
    key, dtype = storage
    return Place(key, dtype, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _check_kind(places: Any, keys: Any) -> None:
    is_weights = isinstance(places, dict) and all(isinstance(place, Place) for place in places.values())
    if not is_weights or not isinstance(keys, list):
        raise ValueError("it holds something else than weights")


def _read_storages(
    stream: io.BytesIO, keys: list[Any], dtypes: Mapping[str, np.dtype[Any]]
) -> dict[str, NDArray[np.generic]]:
    """The numbers of each storage, in the order in which the file has them."""
    storages = {}
    for key in map(str, keys):
        dtype = dtypes[key]
        count = int(np.frombuffer(stream.read(COUNT.itemsize), COUNT)[0])
        numbers = stream.read(count * dtype.itemsize)
        if len(numbers) != count * dtype.itemsize:
            raise ValueError("truncated")
        storages[key] = np.frombuffer(numbers, dtype)
    return storages


def _tensor(place: Place, storage: NDArray[np.generic]) -> NDArray[np.generic]:
    """A tensor, whose numbers may lie in any order in its storage."""
    if len(place.shape) != len(place.strides) or min((place.offset, *place.shape, *place.strides), default=0) < 0:
        raise ValueError("a tensor with a negative or missing length")
    last = place.offset + sum((length - 1) * step for length, step in zip(place.shape, place.strides, strict=True))
    if 0 not in place.shape and last >= len(storage):
        raise ValueError("a tensor that reaches beyond its numbers")
    if math.prod(place.shape) > len(storage):
        raise ValueError("a tensor of more numbers than there are")
    steps = tuple(step * storage.itemsize for step in place.strides)
    return np.lib.stride_tricks.as_strided(storage[place.offset :], place.shape, steps, writeable=False)
