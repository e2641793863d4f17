"""Every random number of the project comes from here: one generator for each seed and purpose, and no other state."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A generator that depends on nothing but `seed` and `purpose`, e.g. `generator(seed, "order", epoch)`."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_digest(seed, purpose)[:16], "little")))


def draw_seed(seed: int, *purpose: str | int) -> int:
    """A 31-bit seed for libraries that want one of their own, such as a Keras initializer."""
    return int.from_bytes(_digest(seed, purpose)[:4], "little") >> 1


def uniform(seed: int, *purpose: str | int) -> float:
    """One number in [0, 1) that depends on nothing but `seed` and `purpose`."""
    # 53 bits, as many as a float holds: with more, the highest ones would round up to 1
    return (int.from_bytes(_digest(seed, purpose)[:7], "little") >> 3) / 2**53


def _digest(seed: int, purpose: tuple[str | int, ...]) -> bytes:
    return hashlib.sha256("\0".join(map(str, (seed, *purpose))).encode("utf-8", "surrogateescape")).digest()
