"""Randomness: what is drawn depends on seed and purpose, and on nothing else."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope.randomness import draw_seed, generator, uniform

SEEDS = st.integers(0, 2**63 - 1)


@given(SEEDS, st.text(max_size=5), st.integers(0, 99))
def test_the_same_purpose_draws_the_same(seed: int, purpose: str, number: int) -> None:
    """Again and again, whatever was drawn between."""
    first = generator(seed, purpose, number).integers(2**62, size=4).tolist()
    generator(seed, "other").random(10)
    np.random.default_rng(seed).random()
    assert generator(seed, purpose, number).integers(2**62, size=4).tolist() == first
    assert draw_seed(seed, purpose, number) == draw_seed(seed, purpose, number)
    assert uniform(seed, purpose, number) == uniform(seed, purpose, number)


def test_each_seed_and_purpose_draws_something_else() -> None:
    """No two of a few hundred are alike."""
    drawn = [
        tuple(generator(seed, name, n).integers(2**62, size=2)) for seed in range(9) for name in "ab" for n in range(9)
    ]
    assert len(set(drawn)) == len(drawn)
    assert len({uniform(seed, name) for seed in range(99) for name in "ab"}) == 198
    assert len({draw_seed(seed, name) for seed in range(99) for name in "ab"}) == 198


@given(SEEDS, st.text(max_size=8))
def test_numbers_are_in_their_range(seed: int, purpose: str) -> None:
    """[0, 1) for `uniform`, 31 bits for a library's seed."""
    assert 0 <= uniform(seed, purpose) < 1
    assert 0 <= draw_seed(seed, purpose) < 2**31


def test_the_largest_draw_is_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a digest of nothing but ones stays in the range."""
    monkeypatch.setattr("convscope.randomness._digest", lambda *_: b"\xff" * 32)
    assert uniform(0, "x") == 1 - 2**-53


def test_uniform_is_uniform() -> None:
    """Ten thousand draws fall into ten equal parts, up to chance, and in no order."""
    drawn = np.array([uniform(1, "split", n) for n in range(10_000)])
    counts, _ = np.histogram(drawn, 10, (0, 1))
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(10_000 * 0.1 * 0.9)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.05


def test_nothing_of_the_process_is_seeded_or_drawn() -> None:
    """Drawing here leaves the global generators of Python and NumPy where they were."""
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    generator(0, "x").random(5)
    uniform(0, "x")
    draw_seed(0, "x")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index, union-attr]


def test_another_process_draws_the_same() -> None:
    """Not even Python's own salt for hashes matters: a resumed run goes on with the same numbers."""
    program = "from convscope.randomness import *; print(draw_seed(5, 'a', 1), uniform(5, '狗'), generator(5).random())"
    source = Path(__file__).parents[1] / "src"
    environment = {"PYTHONPATH": str(source), "PYTHONHASHSEED": "77", "PYTHONUTF8": "1"}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [str(draw_seed(5, "a", 1)), str(uniform(5, "狗")), str(generator(5).random())]
