"""Random numbers as pure functions of a seed and a purpose: no global state, the same on every machine."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A generator that depends only on `seed` and `purpose`, as in `generator(seed, "order", epoch)`."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_digest(seed, purpose)[:16], "little")))


def draw_seed(seed: int, *purpose: str | int) -> int:
    """A 31-bit seed for another library, such as for an initializer of Keras."""
    return int.from_bytes(_digest(seed, purpose)[:4], "little") >> 1


def uniform(seed: int, *purpose: str | int) -> float:
    """A number in [0, 1) that depends only on `seed` and `purpose`."""
    # 53 bits, the precision of a float: with more, the highest numbers would round up to 1
    return (int.from_bytes(_digest(seed, purpose)[:7], "little") >> 3) / 2**53


def _digest(seed: int, purpose: tuple[str | int, ...]) -> bytes:
    return hashlib.sha256("\0".join(map(str, (seed, *purpose))).encode("utf-8", "surrogateescape")).digest()
